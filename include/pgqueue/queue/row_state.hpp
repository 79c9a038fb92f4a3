// What a row on a locked page is to the queue at this moment.
#pragma once

#include "pgqueue/page/released_leases.hpp"
#include "pgqueue/queue/queue.hpp"
#include "pgqueue/queue/row.hpp"

namespace pgqueue::queue {

enum class RowState {
    kLive,       // committed or our own, and nobody is changing it
    kDead,       // deleted, rolled back, or not a row: never to be seen again
    kReplaced,   // the same, by an UPDATE: a newer version is where t_ctid points
    kPending,    // being inserted by a transaction that is still open
    kOurFuture,  // inserted by the running command of our own: visible to the next one
    kChanging,   // live, but locked, or being deleted or updated by a transaction that is still open
    kGone,       // deleted or updated by our own transaction
};

// A row of a page that is locked, shared or exclusively. `off` may be any number. The tuple's fields are filled where
// the line pointer is normal.
RowState StateOf(Relation rel, Buffer buffer, OffsetNumber off, HeapTuple tuple);

// Whether the row really has the leading columns at their places. The table's definition says so, but rows that are
// older than a definition may end before them, or hold NULLs. StateOf raises data_corrupted for those that aren't over.
bool HasHead(const HeapTupleData* tuple);

inline bool IsOver(RowState state) { return state == RowState::kDead || state == RowState::kReplaced; }

// When to look again at a row that somebody else has in hand: soon at first, then ever more rarely, up to a second.
// Commits of our functions and aborts announce themselves; this is for COMMIT PREPARED and plain SQL, which don't.
TimestampTz LookAgain(TimestampTz since, TimestampTz now);

// When the row's lease ends: its vt, or earlier where a rollback gave the lease back.
TimestampTz EffectiveVt(const page::SegmentRef& map, const RowHead* head, const ItemPointerData& tid, TimestampTz now);

inline page::LeaseKey LeaseOf(const page::SegmentRef& map, const RowHead* head, const ItemPointerData& tid) {
    return {map.key, tid, head->receipt, head->vt};
}

}  // namespace pgqueue::queue
