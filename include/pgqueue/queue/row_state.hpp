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

// When the row's lease ends: its vt, or when a rollback has said: at once, or after the queue's backoff, which may be
// later than vt.
TimestampTz EffectiveVt(const page::SegmentRef& map, const RowHead* head, const ItemPointerData& tid, TimestampTz now);

// Whether that may be another instant than vt, for a row whose vt has come.
inline bool MayBePaused(const page::SegmentRef& map, const RowHead* head, TimestampTz now) {
    return head->receipt != 0 && page::ReleasedUntil(map) > now;
}

inline page::LeaseKey LeaseOf(const page::SegmentRef& map, const RowHead* head, const ItemPointerData& tid) {
    return {map.key, map.part, tid, head->receipt, head->vt};
}

}  // namespace pgqueue::queue
