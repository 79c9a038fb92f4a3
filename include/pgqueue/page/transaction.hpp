// What this backend's transaction owes to the page map: pages whose rows become deliverable when it ends, and leases
// that a rollback gives back.
//
// Everything is noted in normal code, with room reserved beforehand; the callbacks at commit, abort and prepare only
// walk the notes and touch fixed shared memory.
#pragma once

#include "pgqueue/page/groups.hpp"
#include "pgqueue/page/released_leases.hpp"

namespace pgqueue::page {

// Installs the callbacks. Once, from _PG_init.
void InitTransactions();

// Reserve before the row is written; may raise.
void ReserveTouches(int n);  // of either kind
void ReserveLeases(int n);
void ReserveDrops(int n);

// Rows of that priority on `block` become deliverable at `bound` if this transaction commits. Needs a reservation.
// `grouped`: they may have a group; see BeginCommit.
void TouchOnCommit(const SegmentRef& ref, int32 priority, BlockNumber block, Bound bound, bool grouped = false);
// The row on `block` was deleted by this transaction: if that is rolled back, it is deliverable at `bound` again. Needs
// a reservation.
void TouchOnAbort(const SegmentRef& ref, int32 priority, BlockNumber block, Bound bound);
// The row of a group, on `block`, was deleted by this transaction: it no longer holds the group if that commits. Needs
// a reservation.
void DropHoldOnCommit(const SegmentRef& ref, BlockNumber block, GroupHash group, HoldKey key);
// A transaction reads its own messages: lowers what it has touched on this segment so far. Commit lowers it again,
// since others may look in between and find the rows still in progress.
void ShowOwnTouches(const SegmentRef& ref);
// All waiting readers of the segment look again at commit (a queue was resumed, say).
void WakeAllOnCommit(const SegmentRef& ref);

// This transaction holds the lease: if the savepoint level that took it is rolled back, the row is free at `free_at`
// (0: at once), but not before `pause` microseconds after the rollback, even if its vt is earlier. Needs a reservation.
// `group`: whose hold the lease is, or 0. `expires_at`: the row's expiry, behind which there is no pause.
void HoldLease(const SegmentRef& ref, int32 priority, const LeaseKey& lease, TimestampTz free_at, int64 pause = 0,
               GroupHash group = 0, TimestampTz expires_at = DT_NOEND);
// The lease has a new vt (a heartbeat), still given back on rollback; or it is settled by a nack and no longer ours.
// False: this transaction doesn't hold it.
bool MoveHeldLease(const LeaseKey& lease, TimestampTz vt);
void DropHeldLease(const LeaseKey& lease);
// A rollback from here on doesn't give these back, by their receipts, ascending: they stay until they run out or are
// settled.
void KeepHeldLeases(const int64* receipts, int count);

// A waiting reader's registration: if the wait ends by an error, its timer (0: it keeps none) is given up and somebody
// else woken, to keep the next one.
void RegisterWait(const SegmentRef& ref, TimestampTz timer);
void UnregisterWait();

}  // namespace pgqueue::page
