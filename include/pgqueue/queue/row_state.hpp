// What a row on a locked page is to the queue at this moment.
#pragma once

#include "pgqueue/page/released_leases.hpp"
#include "pgqueue/page/visibility.hpp"
#include "pgqueue/queue/queue.hpp"
#include "pgqueue/queue/row.hpp"

namespace pgqueue::queue {

using page::IsOver;
using page::LookAgain;
using page::RowState;

// page::Judge, and a check that the row has the leading columns.
RowState StateOf(Relation rel, Buffer buffer, OffsetNumber off, HeapTuple tuple);

// Whether the row really has the leading columns at their places. The table's definition says so, but rows that are
// older than a definition may end before them, or hold NULLs. StateOf raises data_corrupted for those that aren't over.
bool HasHead(const HeapTupleData* tuple);

// When the row's lease ends: its vt, or earlier where a rollback gave the lease back.
TimestampTz EffectiveVt(const page::SegmentRef& map, const RowHead* head, const ItemPointerData& tid, TimestampTz now);

inline page::LeaseKey LeaseOf(const page::SegmentRef& map, const RowHead* head, const ItemPointerData& tid) {
    return {map.key, tid, head->receipt, head->vt};
}

}  // namespace pgqueue::queue
