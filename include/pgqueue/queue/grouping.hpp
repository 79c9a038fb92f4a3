// Order within groups, for one call of Read: which rows may be taken, and which wait behind others of their group.
#pragma once

#include "pgqueue/page/groups.hpp"
#include "pgqueue/queue/queue.hpp"
#include "pgqueue/queue/row.hpp"
#include "pgqueue/queue/row_state.hpp"
#include "pgqueue/queue/segment_pages.hpp"

namespace pgqueue::queue {

// The row's group, or 0. Its page may be locked. Raises data_corrupted where the key doesn't lie in the row.
page::GroupHash GroupOf(Relation rel, HeapTuple tuple);
// The same without raising: *elsewhere.
page::GroupHash GroupOrNone(Relation rel, HeapTuple tuple, bool* elsewhere);

inline page::HoldKey HoldKeyOf(const RowHead* head) { return page::HoldKeyOf(head->msg_id, head->receipt); }

// Makes sure that what is out of the queue's groups has its holds: after a restart, or before the first read by groups,
// all pages are looked at once. May wait for another session that does so, and begin with the pages again. Raises
// configuration_limit_exceeded.
void EnsureGroups(Oid parent, SegmentPages* pages);

class Grouping {
public:
    // lease: rows are taken, until `vt`; otherwise it is only asked which would be.
    // strict: in order of place; otherwise only one row of a group is out at a time.
    Grouping(SegmentPages* pages, bool lease, bool strict)
        : pages_(pages), map_(&pages->Map()), lease_(lease), strict_(strict) {}

    void BeginRead(TimestampTz now, TimestampTz vt) {
        now_ = now;
        vt_ = vt;
    }
    void BeginLook(BlockNumber block) {
        block_ = block;
        look_++;
        new_.clear();
        passed_.clear();
    }

    // The page is locked. Whether the row, due as far as it is concerned itself, is next in its group. If not, *due is
    // when the page is to be looked at again.
    bool MayTake(page::GroupHash group, const RowHead* head, TimestampTz* due);
    // The same for a row that isn't due, or that somebody has in hand (`soft`): later ones of its group wait. Returns
    // when the page is to be looked at again.
    TimestampTz Keep(page::GroupHash group, const RowHead* head, TimestampTz due, bool soft);
    // A row that is due is not wanted: later ones of its group wait behind it in this call.
    void PassBy(page::GroupHash group);

    // No more of it in this call.
    bool IsStopped(page::GroupHash group) {
        const Taken* taken = Find(group);
        return taken != nullptr && taken->stopped;
    }

    // The look comes to nothing: its groups are free again. The holds of rows that MayTake has let pass are the
    // caller's to drop.
    void UndoLook();
    // The row has got its receipt, and a lease until `vt`: a longer one than others where it is moved away.
    void Leased(page::GroupHash group, int64 msg_id, int64 receipt, TimestampTz vt) {
        page::RenameHold(*map_, group, -msg_id, receipt);
        if (vt != vt_) page::MoveHold(*map_, group, receipt, vt);
        if (Taken* taken = Find(group)) taken->hold = receipt;
    }

    // With no page locked: finds where the first row waits of each group that has been taken, at the end of the call,
    // or of which this look has met a row that isn't the first.
    void FindNext();
    void FindEarlier();
    // Makes the page due on which further rows wait of each group that has been taken: its bound may have been put off
    // when the group was another's. False: there is none.
    bool LowerNext();
    bool HasEarlier() const { return !earlier_.empty(); }

private:
    struct Taken {
        page::GroupHash group;
        BlockNumber block;        // of the last row that was taken
        page::HoldKey hold;       // of the last one that was leased
        page::HoldKey look_hold;  // of the last one that this look has taken
        uint64 look;              // which look that is
        bool stopped;             // no more of it in this call
        bool waits;               // no more of it until LowerNext
    };

    Taken* Find(page::GroupHash group);
    void NoteTaken(Taken* taken, const RowHead* head);
    page::HoldKey OursIn(const Taken& taken) const { return taken.look == look_ ? taken.look_hold : taken.hold; }
    Taken* Insert(page::GroupHash group, bool stopped);
    TimestampTz Again() const;
    void FindFirst(page::GroupHash group);

    SegmentPages* pages_;
    const page::SegmentRef* map_;
    bool lease_;
    bool strict_;
    TimestampTz now_ = 0;
    TimestampTz vt_ = 0;
    BlockNumber block_ = 0;
    uint64 look_ = 0;
    pg::Vector<Taken> taken_;          // sorted by group
    pg::Vector<page::GroupHash> new_;  // taken in this look for the first time
    // Of which a row was passed by in this look: those behind it wait as well, even if the group is free by now.
    pg::Vector<page::GroupHash> passed_;
    pg::Vector<page::GroupHash> earlier_;
};

}  // namespace pgqueue::queue
