#include "pgqueue/queue/grouping.hpp"

#include "pgqueue/page/key_lock.hpp"

namespace pgqueue::queue {
namespace {

// A page is looked at again after this long whatever its groups' holds say: where a row at which a group should go on
// has gone by plain SQL, nobody is told. The farther behind, the more rarely, so that a long backlog of one group costs
// its readers little.
constexpr int64 kSecondLook = USECS_PER_SEC;
constexpr int64 kSecondLookPerPage = 20;
constexpr int kFarthestNext = 64;  // pages that FindNext looks at for one group

// One page of the survey. False: there is no room for the holds.
bool SurveyPage(Relation rel, const page::SegmentRef& map, BlockNumber block) {
    const TimestampTz now = GetCurrentTimestamp();
    Buffer buffer = ReadBuffer(rel, block);
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    bool look_again = false;
    bool room = true;
    const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
    HeapTupleData tuple;
    for (OffsetNumber off = FirstOffsetNumber; room && off <= last; off = OffsetNumberNext(off)) {
        const RowState state = StateOf(rel, buffer, off, &tuple);
        if (IsOver(state) || ExpiryOf(&tuple, RelationGetDescr(rel)) <= now) continue;
        const page::GroupHash group = GroupOf(rel, &tuple);
        if (group == 0) continue;
        const RowHead* head = HeadOf(tuple.t_data);
        look_again |= state != RowState::kLive;
        // What is only delayed, and in somebody's hands, keeps no earlier one waiting.
        if (IsDue(head, now) || (state != RowState::kLive && head->receipt == 0)) continue;
        const TimestampTz due = EffectiveVt(map, head, tuple.t_self, now);
        if (due <= now) continue;
        if (head->receipt != 0) {
            room = page::HoldGroup(map, group, head->receipt, due);
            // Whoever is about to delete it drops the hold when he has, which may have been before it was in.
            if (state != RowState::kLive && IsOver(StateOf(rel, buffer, off, &tuple)))
                page::DropHold(map, group, head->receipt);
        } else {
            const TimestampTz until = std::min(due, ExpiryOf(&tuple, RelationGetDescr(rel)));
            const auto answer = page::KeepGroup(map, group, HoldKeyOf(head), until, false, map.base + block, now, now);
            room = answer.what != page::GroupAnswer::kFull;
            look_again |= answer.what == page::GroupAnswer::kWait;
        }
    }
    if (look_again) page::LowerAllBands(map, block, block, page::kUnknown);
    UnlockReleaseBuffer(buffer);
    return room;
}

}  // namespace

page::GroupHash GroupOrNone(Relation rel, HeapTuple tuple, bool* elsewhere) {
    *elsewhere = false;
    if (likely(HeapTupleHeaderGetNatts(tuple->t_data) < kGroupKey)) return 0;
    bool null = false;
    const Datum value = heap_getattr(tuple, kGroupKey, RelationGetDescr(rel), &null);
    if (null) return 0;
    const auto* key = reinterpret_cast<const struct varlena*>(DatumGetPointer(value));
    *elsewhere = VARATT_IS_EXTERNAL(key) || VARATT_IS_COMPRESSED(key);
    return *elsewhere ? 0 : page::HashGroup(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
}

page::GroupHash GroupOf(Relation rel, HeapTuple tuple) {
    bool elsewhere = false;
    const page::GroupHash group = GroupOrNone(rel, tuple, &elsewhere);
    if (unlikely(elsewhere))
        ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
                        errmsg("the group key of row (%u,%u) of table \"%s\" doesn't lie in the row",
                               ItemPointerGetBlockNumber(&tuple->t_self), ItemPointerGetOffsetNumber(&tuple->t_self),
                               RelationGetRelationName(rel)),
                        errhint("The column's storage must be PLAIN; update the row's group_key then.")));
    return group;
}

void EnsureGroups(Oid parent, SegmentPages* pages) {
    while (page::GroupModeOf(pages->Map()) != page::GroupMode::kReady) {
        // One survey at a time: what it sets up, another one's beginning would take back.
        const page::KeyLock lock(parent, 'g', {});
        pages->Begin();
        if (page::GroupModeOf(pages->Map()) == page::GroupMode::kReady) return;
        // First the mode, then the pages: whoever leases from here on makes holds.
        page::SetGroupMode(pages->Map(), page::GroupMode::kSurvey);
        // Who leases in a segment that we don't know has seen the mode as it was, or sees it as it is.
        AcceptInvalidationMessages();
        bool changed = !IsValid(pages->Parts().front().opened.queue);
        for (SegmentPages::Part& part : pages->Parts()) {
            changed = changed || !pages->Open(&part);
            if (changed) break;
            Relation rel = part.opened.segment;
            for (BlockNumber block = 0; page::BlockExists(rel, block); block++) {
                CHECK_FOR_INTERRUPTS();
                page::KeepInUse(part.map);
                if (!SurveyPage(rel, part.map, block))
                    ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                                    errmsg("too many messages of groups are out at once"),
                                    errhint("Raise \"pgqueue.group_holds\" and restart the server.")));
            }
        }
        if (!changed) page::SetGroupMode(pages->Map(), page::GroupMode::kReady);
    }
}

Grouping::Taken* Grouping::Find(page::GroupHash group) {
    auto* found = std::lower_bound(taken_.data(), taken_.data() + taken_.size(), group,
                                   [](const Taken& taken, page::GroupHash hash) { return taken.group < hash; });
    return found != taken_.data() + taken_.size() && found->group == group ? found : nullptr;
}

Grouping::Taken* Grouping::Insert(page::GroupHash group, bool stopped) {
    const auto place = std::lower_bound(taken_.begin(), taken_.end(), group,
                                        [](const Taken& taken, page::GroupHash hash) { return taken.group < hash; });
    return &*taken_.insert(place, {group, InvalidBlockNumber, 0, 0, 0, stopped, false});
}

void Grouping::NoteTaken(Taken* taken, const RowHead* head) {
    taken->block = block_;
    taken->look = look_;
    taken->look_hold = -head->msg_id;
}

TimestampTz Grouping::Again() const {
    return now_ + kSecondLook + kSecondLookPerPage * (block_ - pages_->At(block_).map.base);
}

bool Grouping::MayTake(page::GroupHash group, const RowHead* head, TimestampTz* due) {
    Taken* taken = Find(group);
    *due = now_;
    if (taken != nullptr && (taken->stopped || taken->waits)) {
        // Held by ourselves, or passed by for a reason that only this call knows.
        if (taken->block == InvalidBlockNumber || !lease_) return false;
        const auto answer = page::AskGroup(*map_, group, HoldKeyOf(head), true, block_, now_, Again());
        if (answer.what == page::GroupAnswer::kWait) *due = answer.until;
        return false;
    }
    if (taken != nullptr) {
        if (lease_ &&
            !page::TakeMore(*map_, group, OursIn(*taken), HoldKeyOf(head), -head->msg_id, vt_, strict_, block_)) {
            // Others may wait on pages between; see LowerNext.
            taken->waits = true;
            const auto answer = page::AskGroup(*map_, group, HoldKeyOf(head), true, block_, now_, Again());
            if (answer.what == page::GroupAnswer::kWait) *due = answer.until;
            return false;
        }
        NoteTaken(taken, head);
        return true;
    }
    const bool passed = std::find(passed_.begin(), passed_.end(), group) != passed_.end();
    // What waits before it may wait for this very row, which somebody's UPDATE has moved: its hold is void.
    if (passed && lease_ && page::HasHold(*map_, group, HoldKeyOf(head), now_)) {
        page::DropHold(*map_, group, HoldKeyOf(head));
        earlier_.push_back(group);
        return false;
    }
    const auto answer = lease_ && !passed ? page::TakeGroup(*map_, group, HoldKeyOf(head), -head->msg_id, vt_, strict_,
                                                            block_, now_, Again())
                                          : page::AskGroup(*map_, group, HoldKeyOf(head), true, block_, now_, Again());
    switch (answer.what) {
        case page::GroupAnswer::kWait:
            if (!passed) passed_.push_back(group);
            *due = answer.until;
            return false;
        case page::GroupAnswer::kEarlier:
            if (std::find(earlier_.begin(), earlier_.end(), group) == earlier_.end()) earlier_.push_back(group);
            return false;
        case page::GroupAnswer::kFull:
            Insert(group, true);
            return false;
        default:
            if (passed) return false;  // free since: the page stays due
            NoteTaken(Insert(group, false), head);
            new_.push_back(group);
            return true;
    }
}

TimestampTz Grouping::Keep(page::GroupHash group, const RowHead* head, TimestampTz due, bool soft) {
    Taken* taken = Find(group);
    if (taken != nullptr) {
        taken->stopped = true;
        if (!lease_ || taken->block == InvalidBlockNumber) return now_;
        if (!soft) return page::HoldGroup(*map_, group, HoldKeyOf(head), due) ? due : now_;
        // Should the group become free before `due`, the row's page must be known to come first.
        const auto answer = page::AskGroup(*map_, group, HoldKeyOf(head), false, block_, now_, Again());
        return answer.what == page::GroupAnswer::kWait ? std::min(due, answer.until) : now_;
    }
    const auto answer = page::KeepGroup(*map_, group, HoldKeyOf(head), due, soft, block_, now_, Again());
    switch (answer.what) {
        case page::GroupAnswer::kMine:
            // Its hold may end before `due`: the page must be looked at by then, before anybody finds the group free.
        case page::GroupAnswer::kWait:
            passed_.push_back(group);
            return std::min(due, answer.until);
        default:
            // Without a hold only this call knows; the page stays due, so that each one sees the row first.
            Insert(group, true);
            return now_;
    }
}

void Grouping::PassBy(page::GroupHash group) {
    Taken* taken = Find(group);
    (taken != nullptr ? taken : Insert(group, true))->stopped = true;
}

void Grouping::UndoLook() {
    for (const page::GroupHash group : new_)
        if (Taken* taken = Find(group)) taken_.erase(taken_.begin() + (taken - taken_.data()));
    new_.clear();
    look_++;
}

void Grouping::FindNext() {
    if (!lease_) return;
    for (const Taken& taken : taken_)
        if (taken.block != InvalidBlockNumber) FindFirst(taken.group);
}

bool Grouping::LowerNext() {
    if (!lease_) return false;
    bool lowered = false;
    for (Taken& taken : taken_) {
        if (taken.stopped || taken.block == InvalidBlockNumber) continue;
        taken.waits = false;
        FindFirst(taken.group);
        const auto waiting = page::BeginScan(*map_, taken.group);
        if (!waiting) continue;
        page::LowerAllBands(*map_, waiting->first, waiting->first, page::kUnknown);
        lowered = true;
    }
    return lowered;
}

void Grouping::FindEarlier() {
    for (const page::GroupHash group : earlier_) FindFirst(group);
    earlier_.clear();
}

void Grouping::FindFirst(page::GroupHash group) {
    const auto scan = page::BeginScan(*map_, group);
    if (!scan) return;
    bool found = false;
    bool changed = false;
    BlockNumber block = scan->first;
    for (int looked = 0; looked <= kFarthestNext; looked++, block++) {
        CHECK_FOR_INTERRUPTS();
        const auto next = pages_->NextOpened(block);
        changed = !next;
        if (changed) break;
        block = *next;
        if (block > scan->last) break;
        const SegmentPages::Part& part = pages_->At(block);
        Relation rel = part.opened.segment;
        Buffer buffer = ReadBuffer(rel, block - part.map.base);
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
        HeapTupleData tuple;
        for (OffsetNumber off = FirstOffsetNumber; !found && off <= last; off = OffsetNumberNext(off)) {
            const RowState state = StateOf(rel, buffer, off, &tuple);
            // One that somebody has in hand may come back, whatever its hold says by then.
            found =
                (state == RowState::kLive || state == RowState::kChanging) &&
                ExpiryOf(&tuple, RelationGetDescr(rel)) > now_ && GroupOf(rel, &tuple) == group &&
                (state == RowState::kChanging || !page::HasHold(*map_, group, HoldKeyOf(HeadOf(tuple.t_data)), now_));
        }
        UnlockReleaseBuffer(buffer);
        if (found) break;
    }
    const bool all = !found && !changed && block > scan->last;
    page::EndScan(*map_, group, *scan, all ? scan->last + 1 : block, found);
}

}  // namespace pgqueue::queue
