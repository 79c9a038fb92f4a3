#include "pgqueue/queue/read.hpp"

#include "pgqueue/page/due_pages.hpp"
#include "pgqueue/page/inplace.hpp"
#include "pgqueue/page/transaction.hpp"
#include "pgqueue/queue/dead_letters.hpp"
#include "pgqueue/queue/failures.hpp"
#include "pgqueue/queue/grouping.hpp"
#include "pgqueue/queue/numbers.hpp"
#include "pgqueue/queue/row_state.hpp"
#include "pgqueue/queue/segment_pages.hpp"

namespace pgqueue::queue {
namespace {

struct Place {
    Oid segment;
    int64 msg_id;
    ItemPointerData tid;
};
constexpr int kPlaces = 4096;
constexpr BlockNumber kSurveyPages = 10000;
Place places[kPlaces];

struct Pick {
    OffsetNumber off;
    HeapTuple copy;
    page::GroupHash group;
    bool exhausted;  // to be moved to the dead letters
};
constexpr int kMostRestarts = 1000;
constexpr int kMostExhausted = 32;  // of one look at a page

using Picks = pg::SmallVector<Pick, 8>;

// One call of Read.
class Reader {
public:
    Reader(const OpenedQueue& opened, const ReadOptions& options, RowSink* sink)
        : opened_(opened), pages_(opened, options.lease ? RowExclusiveLock : AccessShareLock), map_(pages_.Map()),
          options_(options), sink_(sink) {
        if (options.grouped) grouping_.emplace(&pages_, options.lease, !opened.queue->prioritized);
    }

    ReadResult Run() {
        if (options_.lease) page::RequireInPlaceAllowed();
        page::ShowOwnTouches(MapOf(opened_));
        int64 found_before = 0;
        pages_.Begin();
        for (;;) {
            if (grouping_) EnsureGroups(opened_.queue->parent, &pages_);
            Begin();
            if (opened_.queue->prioritized) Survey();
            page::BandList bands;
            if (page::DueBands(map_, page::BoundOf(now_), &bands)) {
                bool stale = false;
                for (const page::BandInfo& band : bands) {
                    if (Done()) break;
                    stale = !ScanBand(band.band);
                    if (stale) break;
                }
                // More of the groups that are ours may wait on pages that were put off when they were others'.
                const bool progress = found_ > std::exchange(found_before, found_);
                if (!stale && !(grouping_ && !Done() && progress && grouping_->LowerNext())) break;
            }
            // The map was evicted under us, or there is another segment: what we have read so far stays read.
            FinishDeadLetters();
            pages_.Begin();
            if (Done()) break;
        }
        if (grouping_) grouping_->FindNext();
        if (scratch_ != nullptr) MemoryContextDelete(scratch_);
        FinishDeadLetters();
        pages_.Close();
        return {found_, Done(), exhausted_};
    }

private:
    bool Done() const { return found_ >= options_.qty; }
    void Begin() {
        now_ = GetCurrentTimestamp();
        if (grouping_) grouping_->BeginRead(now_, LeaseEnd());
        // Where others read by groups, this read must not put off pages that they have to look at.
        keeper_.reset();
        if (!grouping_ && page::GroupModeOf(map_) != page::GroupMode::kOff) MakeKeeper();
    }
    void MakeKeeper() { keeper_.emplace(&pages_, true, false).BeginRead(now_, now_); }
    TimestampTz LeaseEnd() const { return now_ + static_cast<int64>(options_.vt * USECS_PER_SEC); }

    // After a restart the map knows no page's priorities. Before anything is read in a wrong order, the pages are
    // looked at once: all of them at the first read, unless they are very many, then a share of them at each.
    void Survey() {
        for (SegmentPages::Part& part : pages_.Parts()) {
            BlockNumber block = 0;
            BlockNumber end = 0;
            if (!page::TakeSurvey(part.map, kSurveyPages, &block, &end)) continue;
            if (!pages_.Open(&part)) return;  // it comes anew
            SurveyPart(part, block, end);
        }
    }

    void SurveyPart(const SegmentPages::Part& part, BlockNumber block, BlockNumber end) {
        band_ = 0;
        UsePart(part);
        for (; block < end && page::BlockExists(rel_, block); block++) {
            CHECK_FOR_INTERRUPTS();
            page::KeepInUse(part_);
            Buffer buffer = ReadBuffer(rel_, block);
            LockBuffer(buffer, BUFFER_LOCK_SHARE);
            const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
            HeapTupleData tuple;
            for (OffsetNumber off = FirstOffsetNumber; off <= last; off = OffsetNumberNext(off)) {
                if (IsOver(StateOf(rel_, buffer, off, &tuple))) continue;
                const RowHead* head = HeadOf(tuple.t_data);
                const int band = page::BandFor(map_, head->priority);
                if (band != 0)
                    LowerIn(band, head, block,
                            IsDue(head, now_) ? page::kUnknown
                                              : page::BoundOf(EffectiveVt(part_, head, tuple.t_self, now_)));
            }
            UnlockReleaseBuffer(buffer);
        }
    }

    // For a row of another band than that at hand. Without a node for the page many others would be due with it.
    void LowerIn(int band, const RowHead* head, BlockNumber block, page::Bound bound) {
        page::MakeRoom(part_, band, block);
        page::Lower(part_, head->priority, block, block, bound);
    }

    void UsePart(const SegmentPages::Part& part) {
        rel_ = part.opened.segment;
        part_ = part.map;
    }

    // False: the map is stale, or there is a segment that we don't know.
    bool ScanBand(int band) {
        band_ = band;
        for (int restarts = 0;; restarts++) {
            restart_ = false;
            left_due_.clear();
            appearing_.clear();
            const bool current = page::ForDuePages(
                &pages_, map_, band, page::BoundOf(now_),
                [this](BlockNumber block, bool publish, const page::Range& range) {
                    return ScanPage(block, publish, range);
                },
                [this] { return Done() || restart_ || lost_; });
            if (std::exchange(lost_, false)) return false;
            // After very many restarts there is nothing to be had in order; whoever waits comes again.
            if (!current || !restart_ || restarts == kMostRestarts) return current;
            grouping_->FindEarlier();
            Begin();
            CHECK_FOR_INTERRUPTS();
        }
    }

    // Looks at one page, takes what is wanted, and publishes when the next look is due, if it saw all of the page.
    // Returns that bound.
    page::Bound ScanPage(BlockNumber block, bool publish, const page::Range& range) {
        const int wanted = static_cast<int>(std::min<int64>(options_.qty - found_, MaxHeapTuplesPerPage));
        const int most = wanted + (opened_.queue->max_attempts > 0 ? kMostExhausted : 0);
        Picks picks;
        if (options_.lease) page::ReserveLeases(most);

        SegmentPages::Part& part = pages_.At(block);
        UsePart(part);
        Buffer buffer = ReadBuffer(rel_, block - part_.base);
        pg::Vector<OffsetNumber> matches;
        if (options_.filter != nullptr) {
            bool passed_by = false;
            matches = FilterPage(buffer, &passed_by);
            if (matches.empty() && passed_by && !grouping_) {  // groups keep what is passed by in mind
                ReleaseBuffer(buffer);
                return page::kUnknown;
            }
        }
        bool complete = false;
        for (;;) {
            if (options_.lease) StockReceipts(most, receipt_floor_);
            LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
            // In a new map somebody may have surveyed this page already, and would not hear of our leases.
            // Nor where there was no room for somebody's hold: what is out must be found anew.
            lost_ = options_.lease && grouping_ && page::GroupModeOf(map_) != page::GroupMode::kReady;
            if (lost_ || (options_.lease && !page::IsCurrent(map_))) {
                UnlockReleaseBuffer(buffer);
                return page::kUnknown;
            }
            // Somebody may have begun to read by groups since this read began.
            if (!grouping_ && !keeper_ && page::GroupModeOf(map_) != page::GroupMode::kOff) MakeKeeper();
            const page::Bound tick = page::BoundOf(now_);
            const auto found = publish ? page::BeginLook(map_, band_, block, tick) : std::nullopt;
            const page::PageLook look = found.value_or(page::PageLook{});
            // A filtered read passes by rows that others may want.
            // Nor is what is passed by because of its group gone for good.
            const bool may_skip = options_.filter == nullptr && !grouping_;
            page::Start start = may_skip ? look.start : page::Start{};
            bound_ = start.due;
            if (grouping_) grouping_->BeginLook(block);
            if (keeper_) keeper_->BeginLook(block);
            pending_.clear();
            unknown_ = page::kNever;
            complete = Collect(buffer, &start.off, wanted, matches, &picks);
            if (grouping_ && options_.lease &&
                (grouping_->HasEarlier() || (!picks.empty() && !IsFirst(block, range)))) {
                Drop(&picks);
                UnlockReleaseBuffer(buffer);
                restart_ = true;
                return page::kUnknown;
            }
            if (options_.lease && !picks.empty() && (HasAppeared(buffer, picks) || !Lease(buffer, &picks))) {
                Drop(&picks);
                LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
                continue;
            }
            if (found && complete) {
                const auto word = page::Publish(map_, band_, block, look.word, bound_);
                if (grouping_ && word && bound_ <= tick && unknown_ > tick) left_due_.push_back({block, *word});
            } else if (found && options_.lease && may_skip && bound_ > tick) {
                start.due = std::min(bound_, tick + page::kStartReach);
                page::LeaveStart(map_, band_, block, look.word, start);
            }
            UnlockReleaseBuffer(buffer);
            break;
        }

        part.keep |= !picks.empty();
        for (const Pick& pick : picks) {
            if (pick.exhausted) {
                MoveExhausted(part.opened, pick.copy);
            } else {
                found_++;
                if (sink_ != nullptr) sink_->Take(rel_, pick.copy);
            }
            heap_freetuple(pick.copy);
        }
        // It stopped at exhausted ones: there may be others behind them.
        if (!complete && !Done()) return ScanPage(block, publish, range);
        return complete ? bound_ : page::kUnknown;
    }

    // Page locked, and the groups of what was picked are ours. Whether no page before this one has become due since the
    // scan passed it: an earlier row of a group may have come. (The page of a row that can be seen is due until
    // somebody has seen it there: see page::BeginCommit.)
    bool IsFirst(BlockNumber block, const page::Range& range) {
        // By the clock as it is by now: others, who came later, may have found a hold run out.
        const page::Bound now = page::BoundOf(GetCurrentTimestamp());
        page::Range due;
        std::size_t left = 0;
        auto find = page::Find::kFound;
        for (BlockNumber from = 0;; from = due.end) {
            find = page::FindDue(map_, band_, from, now, &due);
            if (find != page::Find::kFound) break;
            // The pages of a coarse range have one word, which steps with every lowering.
            if (range.level > 0 && due.start == range.start) return due.word == range.word;
            if (due.start >= block) return true;
            // What was left due by this scan, for rows that it didn't want or couldn't have.
            while (left < left_due_.size() && left_due_[left].block < due.start) left++;
            if (left == left_due_.size() || left_due_[left].block != due.start || left_due_[left].word != due.word)
                return false;
        }
        // Of a map that was evicted under us nobody could have said that a page is due.
        return find != page::Find::kStale;
    }

    // Page locked. Whether a transaction has committed between the look at a pending row and that at a later one of the
    // same group, which was picked.
    bool HasAppeared(Buffer buffer, const Picks& picks) {
        HeapTupleData tuple;
        for (const Pending& row : pending_)
            for (const Pick& pick : picks)
                if (pick.group == row.group && HeadOf(pick.copy->t_data)->msg_id > row.msg_id &&
                    StateOf(rel_, buffer, row.off, &tuple) != RowState::kPending)
                    return true;
        return false;
    }

    // The look comes to nothing. The page is locked still: a row's hold is named after the row until it has a receipt.
    void Drop(Picks* picks) {
        for (const Pick& pick : *picks) {
            if (pick.group != 0 && options_.lease) page::DropHold(map_, pick.group, -HeadOf(pick.copy->t_data)->msg_id);
            heap_freetuple(pick.copy);
        }
        if (grouping_) grouping_->UndoLook();
        picks->clear();
    }

    // A row without attempts left: it is leased as the others are, but not counted as read, so that it is in nobody
    // else's hands while it is moved.
    void MoveExhausted(const OpenedQueue& from, HeapTuple row) {
        if (dead_letters_ && dead_from_.number != from.number) FinishDeadLetters();
        dead_from_ = from;
        if (!dead_letters_) dead_letters_.emplace(dead_from_);
        (void)dead_letters_->Move(row);
    }
    void FinishDeadLetters() {
        if (dead_letters_) dead_letters_->Finish();
        dead_letters_.reset();
    }

    // Page locked. Fills picks with copies of deliverable rows of our band from *from on, and lowers bound_ to when the
    // others are due. False: it stopped with enough rows before the page's end, and *from is where to go on.
    bool Collect(Buffer buffer, OffsetNumber* from, int wanted, const pg::Vector<OffsetNumber>& matches, Picks* picks) {
        const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
        HeapTupleData tuple;
        int found = 0;
        if (grouping_) SortPlaces(buffer);
        for (OffsetNumber place = *from; place <= last; place = OffsetNumberNext(place)) {
            const OffsetNumber off = places_.empty() ? place : places_[place - 1].off;
            const RowState state = StateOf(rel_, buffer, off, &tuple);
            if (IsOver(state)) continue;
            // An expired one is never due again, whatever becomes of its lease.
            if (ExpiryOf(&tuple, RelationGetDescr(rel_)) <= now_) continue;
            const RowHead* head = HeadOf(tuple.t_data);
            page::GroupHash group = grouping_ || keeper_ ? GroupOf(rel_, &tuple) : 0;
            TimestampTz due = head->vt;
            bool deliverable = false;
            switch (state) {
                case RowState::kLive:
                    deliverable = IsDue(head, now_) && !MayBePaused(part_, head, now_);
                    if (!deliverable) {
                        due = EffectiveVt(part_, head, tuple.t_self, now_);
                        deliverable = due <= now_;
                    }
                    break;
                case RowState::kPending:
                    due = LookAgain(head->enqueued_at, now_);
                    if (group != 0 && page::MayAppear(HeapTupleHeaderGetXmin(tuple.t_data))) {
                        due = now_;
                        appearing_.push_back(group);
                    }
                    if (group != 0) pending_.push_back({off, head->msg_id, group});
                    break;
                case RowState::kOurFuture:
                    due = now_;
                    break;
                default:  // kChanging, kGone: whoever has it may roll back, we to a savepoint
                    if (due <= now_) due = LookAgain(due, now_);
            }
            const int row_band = page::BandFor(map_, head->priority);
            if (row_band != band_) {
                const BlockNumber block = BufferGetBlockNumber(buffer);
                LowerIn(row_band, head, block, deliverable ? page::kUnknown : page::BoundOf(due));
                continue;
            }
            const bool match = options_.filter == nullptr || std::binary_search(matches.begin(), matches.end(), off);
            // A row without attempts left is taken, but not handed out.
            const bool exhausted = deliverable && match && IsExhausted(opened_.queue, head);
            exhausted_ |= exhausted;
            const bool want = match && !IsOurs(head) && (exhausted ? options_.lease : !options_.exhausted_only);
            if (keeper_ && group != 0) {
                if (state == RowState::kChanging)
                    due = keeper_->Keep(group, head, std::min(due, LookAgain(now_, now_)), true);
                else if (state == RowState::kLive && !deliverable)
                    due = keeper_->Keep(group, head, due, false);
                group = 0;
            }
            // Whether the row may stay due behind this scan's back: no later row of its group will be taken by it.
            bool known = group == 0 || state == RowState::kOurFuture || state == RowState::kPending;
            if (group != 0 && deliverable) {
                if (std::find(appearing_.begin(), appearing_.end(), group) != appearing_.end()) {
                    deliverable = false;  // an earlier one may be there by now
                    due = now_;
                    known = true;
                } else if (want) {
                    deliverable = grouping_->MayTake(group, head, &due);
                    known = deliverable || grouping_->IsStopped(group);
                } else {
                    grouping_->PassBy(group);
                    known = true;
                }
            } else if (group != 0 && (state == RowState::kChanging || (state == RowState::kGone && IsDeleted(tuple)))) {
                due = grouping_->Keep(group, head, std::min(due, LookAgain(now_, now_)), true);
                known = grouping_->IsStopped(group);
            } else if (group != 0 && state == RowState::kLive) {
                // What is out may be acked after it has expired; what is only delayed is nothing any more then.
                if (head->receipt == 0) due = std::min(due, ExpiryOf(&tuple, RelationGetDescr(rel_)));
                due = grouping_->Keep(group, head, due, false);
                known = grouping_->IsStopped(group);
            }
            const bool take = deliverable && want;
            if (!take || !options_.lease) {
                const page::Bound bound = deliverable ? page::kUnknown : page::BoundOf(due);
                bound_ = std::min(bound_, bound);
                if (!known) unknown_ = std::min(unknown_, bound);
            }
            if (!take) continue;
            picks->push_back({off, heap_copytuple(&tuple), group, exhausted});
            if (!exhausted) found++;
            if (found == wanted || static_cast<int>(picks->size()) - found == kMostExhausted) {
                *from = OffsetNumberNext(place);
                return false;
            }
        }
        return true;
    }

    // A lease of this very call that has run out already: in one answer a message is there once. (Or another's that is
    // as young. It stays due.)
    bool IsOurs(const RowHead* head) const {
        return first_receipt_ != 0 && head->receipt >= first_receipt_ && head->receipt <= last_receipt_;
    }

    // Page locked. VACUUM frees line pointers, and a send takes the first free one: then a page's rows are not in the
    // order in which they were sent, but that of their ids. Leaves places_ empty where both are the same.
    void SortPlaces(Buffer buffer) {
        places_.clear();
        Page page = BufferGetPage(buffer);
        const OffsetNumber last = PageGetMaxOffsetNumber(page);
        int64 highest = 0;
        bool sorted = true;
        for (OffsetNumber off = FirstOffsetNumber; off <= last; off = OffsetNumberNext(off)) {
            const ItemId item = PageGetItemId(page, off);
            int64 msg_id = 0;
            if (ItemIdIsNormal(item)) {
                HeapTupleData tuple;
                tuple.t_data = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, item));
                tuple.t_len = ItemIdGetLength(item);
                if (HasHead(&tuple)) {
                    msg_id = HeadOf(tuple.t_data)->msg_id;
                    sorted &= msg_id >= highest;
                    highest = std::max(highest, msg_id);
                }
            }
            places_.push_back({msg_id, off});
        }
        if (sorted)
            places_.clear();
        else
            std::sort(places_.begin(), places_.end(), [](const RowPlace& a, const RowPlace& b) {
                return a.msg_id != b.msg_id ? a.msg_id < b.msg_id : a.off < b.off;
            });
    }

    // Of a row that our own transaction has deleted or replaced. A replaced one doesn't keep its newer version waiting.
    static bool IsDeleted(const HeapTupleData& tuple) {
        return ItemPointerEquals(&tuple.t_data->t_ctid, const_cast<ItemPointer>(&tuple.t_self));
    }

    // Page locked. Writes the leases into the page and into the copies, one WAL record for all. False: no receipts
    // left.
    bool Lease(Buffer buffer, Picks* picks) {
        const int count = static_cast<int>(picks->size());
        page::InPlaceWriter writer(count);
        // Ungrouped reads keep the holds, too, where somebody reads by groups; before they have receipts, so that who
        // gets higher ones for later rows of the group finds them (see IsJoined).
        const bool note_groups = !grouping_ && page::GroupModeOf(map_) != page::GroupMode::kOff;
        if (note_groups)
            for (Pick& pick : *picks) NoteGroup(&pick, pick.exhausted ? now_ + kMoveLease : LeaseEnd());
        const auto first_receipt = DrawReceipts(count);
        if (!first_receipt) return false;  // others took them
        if (grouping_ && (page::GroupModeOf(map_) != page::GroupMode::kReady ||
                          std::any_of(picks->begin(), picks->end(), [this](const Pick& pick) {
                              return pick.group != 0 && page::IsJoined(map_, pick.group);
                          })))
            return false;
        // A receipt must be new to its row, wherever the row came from.
        for (const Pick& pick : *picks) receipt_floor_ = std::max(receipt_floor_, HeadOf(pick.copy->t_data)->receipt);
        if (receipt_floor_ >= *first_receipt) return false;
        if (first_receipt_ == 0) first_receipt_ = *first_receipt;
        last_receipt_ = *first_receipt + count - 1;
        const TimestampTz vt = LeaseEnd();
        const TimestampTz move_vt = now_ + kMoveLease;
        Page page = BufferGetPage(buffer);
        for (int i = 0; i < count; i++) {
            const Pick& pick = (*picks)[i];
            RowHead* head = HeadOf(pick.copy->t_data);
            if (head->vt > now_) page::ForgetReleased(LeaseOf(part_, head, pick.copy->t_self));
            head->receipt = *first_receipt + i;
            if (pick.exhausted) {
                head->vt = move_vt;
            } else {
                head->vt = vt;
                head->last_read_at = now_;
                if (head->read_ct < PG_INT32_MAX) head->read_ct++;
            }
            if (grouping_ && pick.group != 0) grouping_->Leased(pick.group, head->msg_id, head->receipt, head->vt);
            if (note_groups && pick.group != 0) page::RenameHold(map_, pick.group, -head->msg_id, head->receipt);
            auto* row = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, PageGetItemId(page, pick.off)));
            writer.Set(&HeadOf(row)->vt, &head->vt, kLeaseBytes);
        }
        writer.Apply(rel_, buffer);
        for (const Pick& pick : *picks) {
            const RowHead* head = HeadOf(pick.copy->t_data);
            bound_ = std::min(bound_, page::BoundOf(head->vt));
            const int64 pause = pick.exhausted ? 0 : BackoffAfter(opened_.queue, head->read_ct);
            page::HoldLease(part_, head->priority, LeaseOf(part_, head, pick.copy->t_self), 0, pause, pick.group,
                            pause > 0 ? ExpiryOf(pick.copy, RelationGetDescr(rel_)) : DT_NOEND);
            RememberPlace(RelationGetRelid(rel_), head->msg_id, pick.copy->t_self);
        }
        return true;
    }

    void NoteGroup(Pick* pick, TimestampTz until) {
        pick->group = GroupOf(rel_, pick->copy);
        // No room: whoever reads by groups must look for what is out anew.
        if (pick->group != 0 && !page::HoldGroup(map_, pick->group, -HeadOf(pick->copy->t_data)->msg_id, until))
            page::SetGroupMode(map_, page::GroupMode::kOff);
    }

    // The deliverable rows whose message contains the filter's, in order. Messages may have to be fetched from the
    // TOAST table, which must not happen under the page's lock; so the rows are copied first. Collect looks at each
    // again. *passed_by: there are deliverable rows of our band that don't match, so the page stays due and there is
    // no bound to publish. Where nothing matches either, others need not be kept from the page.
    pg::Vector<OffsetNumber> FilterPage(Buffer buffer, bool* passed_by) {
        Picks candidates;
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
        HeapTupleData tuple;
        for (OffsetNumber off = FirstOffsetNumber; off <= last; off = OffsetNumberNext(off))
            if (StateOf(rel_, buffer, off, &tuple) == RowState::kLive &&
                (IsDue(HeadOf(tuple.t_data), now_) ||
                 EffectiveVt(part_, HeadOf(tuple.t_data), tuple.t_self, now_) <= now_))
                candidates.push_back({off, heap_copytuple(&tuple), 0, false});
        LockBuffer(buffer, BUFFER_LOCK_UNLOCK);

        // Comparing makes copies: of everything that is fetched, and of every value with a short header.
        if (scratch_ == nullptr)
            scratch_ = AllocSetContextCreate(CurrentMemoryContext, "pgqueue filter", ALLOCSET_DEFAULT_SIZES);
        pg::Vector<OffsetNumber> matches;
        matches.reserve(candidates.size());
        for (const Pick& candidate : candidates) {
            const MemoryContext caller = MemoryContextSwitchTo(scratch_);
            bool null = false;
            const Datum message = heap_getattr(candidate.copy, kMessage, RelationGetDescr(rel_), &null);
            if (!null && DatumGetBool(DirectFunctionCall2(jsonb_contains, message, JsonbPGetDatum(options_.filter))))
                matches.push_back(candidate.off);
            else if (!*passed_by)
                *passed_by = page::BandFor(map_, HeadOf(candidate.copy->t_data)->priority) == band_;
            MemoryContextSwitchTo(caller);
            MemoryContextReset(scratch_);
            heap_freetuple(candidate.copy);
        }
        return matches;
    }

    const OpenedQueue& opened_;
    SegmentPages pages_;
    const page::SegmentRef& map_;  // of all pages
    Relation rel_ = nullptr;       // of the page at hand
    page::SegmentRef part_;        // the same
    const ReadOptions& options_;
    RowSink* sink_;
    TimestampTz now_ = 0;
    int64 found_ = 0;
    bool exhausted_ = false;
    std::optional<DeadLetters> dead_letters_;
    OpenedQueue dead_from_{};
    int band_ = 0;
    page::Bound bound_ = page::kNever;
    page::Bound unknown_ = page::kNever;  // the same of rows that must not stay due
    struct Pending {
        OffsetNumber off;
        int64 msg_id;
        page::GroupHash group;
    };

    struct RowPlace {
        int64 msg_id;
        OffsetNumber off;
    };

    struct LeftDue {
        BlockNumber block;
        uint64 word;
    };

    std::optional<Grouping> grouping_;
    std::optional<Grouping> keeper_;
    pg::Vector<LeftDue> left_due_;           // pages of this scan that are due still, with their words, in order
    pg::Vector<page::GroupHash> appearing_;  // of pending rows in this scan; see page::MayAppear
    pg::Vector<RowPlace> places_;            // of the page, by id; see SortPlaces
    pg::Vector<Pending> pending_;            // rows of groups on the page, in this look
    bool restart_ = false;                   // a page before the one at hand has become due
    bool lost_ = false;                      // the groups' holds are not complete any more
    MemoryContext scratch_ = nullptr;        // for filters
    int64 receipt_floor_ = 0;                // the highest that a row brought along
    int64 first_receipt_ = 0;                // that this call gave out; 0: none yet
    int64 last_receipt_ = 0;
};

Place* PlaceFor(Oid segment, int64 msg_id) { return &places[(static_cast<uint64>(msg_id) ^ segment) % kPlaces]; }

}  // namespace

ReadResult Read(const OpenedQueue& opened, const ReadOptions& options, RowSink* sink) {
    if (opened.queue->paused && options.lease) return {};
    return Reader(opened, options, sink).Run();
}

void RememberPlace(Oid segment, int64 msg_id, const ItemPointerData& tid) {
    *PlaceFor(segment, msg_id) = {segment, msg_id, tid};
}

std::optional<ItemPointerData> RememberedPlace(Oid segment, int64 msg_id) {
    const Place* place = PlaceFor(segment, msg_id);
    if (place->segment != segment || place->msg_id != msg_id) return std::nullopt;
    return place->tid;
}

}  // namespace pgqueue::queue
