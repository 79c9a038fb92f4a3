// What a row on a locked page is at this moment, by the newest state and not by a snapshot.
#pragma once

#include "pgqueue/pg/memory.hpp"

namespace pgqueue::page {

enum class RowState {
    kLive,       // committed or our own, and nobody is changing it
    kDead,       // deleted, rolled back, or not a row: never to be seen again
    kReplaced,   // the same, by an UPDATE: a newer version is where t_ctid points
    kPending,    // being inserted by a transaction that is still open
    kOurFuture,  // inserted by the running command of our own: visible to the next one
    kChanging,   // live, but locked, or being deleted or updated by a transaction that is still open
    kGone,       // deleted or updated by our own transaction
};

// Judges the row at `off`, which may be any number, of a page that is locked, shared or exclusively. The tuple's fields
// are filled where the line pointer is normal.
RowState Judge(Relation rel, Buffer buffer, OffsetNumber off, HeapTuple tuple);

// The row at a normal line pointer of a page that is locked, or pinned while the row can't go.
inline HeapTupleHeader RowAt(Buffer buffer, const ItemPointerData& tid) {
    Page page = BufferGetPage(buffer);
    return reinterpret_cast<HeapTupleHeader>(PageGetItem(page, PageGetItemId(page, ItemPointerGetOffsetNumber(&tid))));
}

inline bool IsOver(RowState state) { return state == RowState::kDead || state == RowState::kReplaced; }

// When to look again at a row that somebody else has in hand: soon at first, then ever more rarely, up to a second.
// Commits of our functions and aborts announce themselves; this is for COMMIT PREPARED and plain SQL, which don't.
TimestampTz LookAgain(TimestampTz since, TimestampTz now);

// Whether the table is that long; the caller holds a lock on it. Mostly without asking the kernel: see the definition.
bool BlockExists(Relation rel, BlockNumber block);

}  // namespace pgqueue::page
