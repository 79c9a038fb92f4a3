// Groups: of the rows that bear one group key, a queue gives out the oldest first, and no other while one of them is
// out.
//
// Shared memory keeps, for each group that has rows out, its *holds*: one for each row that keeps the others waiting,
// with the time at which it ends by itself (a lease's or a delay's end). And it keeps the range of pages whose bounds
// were put off because rows of the group wait there: when the last hold goes, the first of those pages is lowered in
// the page map, so that somebody looks there, and nobody takes a row from a page behind it before that is done.
//
// All of it can be thrown away: the truth about who is out is in the pages. After a restart, or where the page map was
// evicted, a survey of the segment puts the holds back before anybody reads by groups (see queue/read.cpp). A hold too
// many keeps a group waiting until it ends; a hold too few never happens while the segment's mode says kReady:
//
// - A row is leased only after its hold is in.
// - A row whose lease or delay runs on, and which is met by a reader, becomes a hold if its group has none.
// - A hold is taken away after the row is deliverable again and its page is lowered, or after the row's deletion is
//   committed; and the first waiting page is lowered under the same lock that guards the holds. So whoever finds the
//   group free finds the map lowered, too.
//
// Locks: a partition's LWLock comes after buffer content locks and before the map's locks. Nothing here allocates or
// raises, so all of it may be used in transaction callbacks.
#pragma once

#include "pgqueue/page/page_map.hpp"

namespace pgqueue::page {

// A group's key, hashed; two groups with one hash are one group. 0: no group.
using GroupHash = uint64;
GroupHash HashGroup(const char* key, std::size_t length);

// What keeps a group waiting: a lease's receipt, or, for a row that has none or is about to get one, its id negated.
using HoldKey = int64;
inline HoldKey HoldKeyOf(int64 msg_id, int64 receipt) { return receipt != 0 ? receipt : -msg_id; }

// `again`, below: no page is put off for longer than until then.
struct GroupAnswer {
    enum { kFree, kMine, kWait, kEarlier, kFull } what = kFree;
    TimestampTz until = 0;  // kWait: when to look at the page again; kMine: when the row's hold ends
};

// Pages are those of the whole map (see Whole).
// For a row on `block`, whose page is locked, that is deliverable but for its group. Takes the group with a hold `key`
// for the row (kMine) or, where another row holds it, notes that a row waits on this page (kWait). A hold of the row's
// own from before, `own`, is void: the page says that it is deliverable. kFull: there is no room for a hold. `strict`:
// not while rows may wait on earlier pages (kEarlier): see BeginScan.
GroupAnswer TakeGroup(const SegmentRef& ref, GroupHash group, HoldKey own, HoldKey key, TimestampTz until, bool strict,
                      BlockNumber block, TimestampTz now, TimestampTz again);
// A further row for who has taken the group and has the hold `ours` in it. False: no, by the same rules, or because
// that hold is gone.
bool TakeMore(const SegmentRef& ref, GroupHash group, HoldKey ours, HoldKey own, HoldKey key, TimestampTz until,
              bool strict, BlockNumber block);
// As TakeGroup without taking it: kFree or kWait. Not `deliverable`: the row's own hold, `own`, stays.
GroupAnswer AskGroup(const SegmentRef& ref, GroupHash group, HoldKey own, bool deliverable, BlockNumber block,
                     TimestampTz now, TimestampTz again);
// For a row on `block`, whose page is locked, that is not deliverable before `until` and so keeps its group waiting.
// kMine: it has a hold now, whose end is `until`, or, with `soft`, whatever it was before; kWait: another row holds the
// group, and this one waits behind it; kFull: there is no room.
GroupAnswer KeepGroup(const SegmentRef& ref, GroupHash group, HoldKey key, TimestampTz until, bool soft,
                      BlockNumber block, TimestampTz now, TimestampTz again);
// Adds or moves a hold, whoever else holds the group: one more lease. False: there is no room.
bool HoldGroup(const SegmentRef& ref, GroupHash group, HoldKey key, TimestampTz until);
// Whether a hold was added so to a group that others had, since it was free last: whoever has it may have a row behind
// that one, which is out, and takes no more (see TakeMore).
bool IsJoined(const SegmentRef& ref, GroupHash group);
bool HasHold(const SegmentRef& ref, GroupHash group, HoldKey key, TimestampTz now);  // that hasn't ended
// The row has got a receipt.
void RenameHold(const SegmentRef& ref, GroupHash group, HoldKey from, HoldKey to);
// The hold ends at another time; nothing where there is none. Pages that wait are lowered accordingly.
void MoveHold(const SegmentRef& ref, GroupHash group, HoldKey key, TimestampTz until);
// The hold is gone. Where it was the group's last one, the first page that waits is lowered.
void DropHold(const SegmentRef& ref, GroupHash group, HoldKey key);

// The pages on which rows of the group wait, from the first to the last: nothing where none does. The caller looks
// where the first one really is, with no page locked in between, and says so: the first page with a row that is neither
// deleted nor pending and has no hold; one behind `last` if there is none; or, not `sure`, the first that it hasn't
// looked at. If the group is free that page is lowered then (all of them, if it isn't sure).
struct WaitingScan {
    uint32 number;
    BlockNumber first;
    BlockNumber last;
};
std::optional<WaitingScan> BeginScan(const SegmentRef& ref, GroupHash group);
void EndScan(const SegmentRef& ref, GroupHash group, const WaitingScan& scan, BlockNumber first, bool sure);

// A transaction's rows can be seen an instant before its callback lowers their pages, and by then others may have seen
// its effects and sent later ones of the group. A reader that met those would pass by the earlier ones. So a
// transaction that has sent rows with a group says when it begins to commit, then lowers their pages, and only then
// commits; and from there on until the callback has run, readers that find the rows pending leave their page due. So
// the pages are due when the rows can be seen.
void BeginCommit();
void EndCommit();  // may be called without a BeginCommit
// Whether pending rows of that transaction or subtransaction may appear with nobody lowering their pages after: it is
// committing, or prepared.
bool MayAppear(TransactionId xid);

Size GroupsShmemSize();
void GroupsShmemInit();

}  // namespace pgqueue::page
