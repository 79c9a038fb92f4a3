#include "pgqueue/queue/read.hpp"

#include "pgqueue/page/due_pages.hpp"
#include "pgqueue/page/inplace.hpp"
#include "pgqueue/page/transaction.hpp"
#include "pgqueue/queue/numbers.hpp"
#include "pgqueue/queue/row_state.hpp"

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
};

using Picks = pg::SmallVector<Pick, 8>;

// One call of Read.
class Reader {
public:
    Reader(const OpenedQueue& opened, const ReadOptions& options, RowSink* sink)
        : opened_(opened), rel_(opened.segment), map_(MapOf(opened)), options_(options), sink_(sink) {}

    ReadResult Run() {
        if (options_.lease) page::RequireInPlaceAllowed();
        page::ShowOwnTouches(map_);
        for (;;) {
            now_ = GetCurrentTimestamp();
            if (opened_.queue->prioritized) Survey();
            page::BandList bands;
            if (page::DueBands(map_, page::BoundOf(now_), &bands)) {
                bool stale = false;
                for (const page::BandInfo& band : bands) {
                    if (Done()) break;
                    stale = !ScanBand(band.band);
                    if (stale) break;
                }
                if (!stale) break;
            }
            map_ = MapOf(opened_);  // the map was evicted under us: what we have read so far stays read
            if (Done()) break;
        }
        if (scratch_ != nullptr) MemoryContextDelete(scratch_);
        return {found_, Done()};
    }

private:
    bool Done() const { return found_ >= options_.qty; }

    // After a restart the map knows no page's priorities. Before anything is read in a wrong order, the pages are
    // looked at once: all of them at the first read, unless they are very many, then a share of them at each.
    void Survey() {
        BlockNumber block = 0;
        BlockNumber end = 0;
        if (!page::TakeSurvey(map_, kSurveyPages, &block, &end)) return;
        band_ = 0;
        for (; block < end && page::BlockExists(rel_, block); block++) {
            CHECK_FOR_INTERRUPTS();
            Buffer buffer = ReadBuffer(rel_, block);
            LockBuffer(buffer, BUFFER_LOCK_SHARE);
            const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
            HeapTupleData tuple;
            for (OffsetNumber off = FirstOffsetNumber; off <= last; off = OffsetNumberNext(off)) {
                if (IsOver(StateOf(rel_, buffer, off, &tuple))) continue;
                const RowHead* head = HeadOf(tuple.t_data);
                if (page::BandFor(map_, head->priority) != 0)
                    page::Lower(map_, head->priority, block, block,
                                IsDue(head, now_) ? page::kUnknown
                                                  : page::BoundOf(EffectiveVt(map_, head, tuple.t_self, now_)));
            }
            UnlockReleaseBuffer(buffer);
        }
    }

    // False: the map is stale.
    bool ScanBand(int band) {
        band_ = band;
        return page::ForDuePages(
            rel_, map_, band, page::BoundOf(now_),
            [this](BlockNumber block, bool publish) { return ScanPage(block, publish); }, [this] { return Done(); });
    }

    // Looks at one page, takes what is wanted, and publishes when the next look is due, if it saw all of the page.
    // Returns that bound.
    page::Bound ScanPage(BlockNumber block, bool publish) {
        const int wanted = static_cast<int>(std::min<int64>(options_.qty - found_, MaxHeapTuplesPerPage));
        Picks picks;
        if (options_.lease) page::ReserveLeases(wanted);

        Buffer buffer = ReadBuffer(rel_, block);
        pg::Vector<OffsetNumber> matches;
        if (options_.filter != nullptr) matches = FilterPage(buffer);
        bool complete = false;
        for (;;) {
            if (options_.lease) StockReceipts(wanted, receipt_floor_);
            LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
            const page::Bound tick = page::BoundOf(now_);
            const auto found = publish ? page::BeginLook(map_, band_, block, tick) : std::nullopt;
            const page::PageLook look = found.value_or(page::PageLook{});
            // A filtered read passes by rows that others may want.
            page::Start start = options_.filter == nullptr ? look.start : page::Start{};
            bound_ = start.due;
            complete = Collect(buffer, &start.off, wanted, matches, &picks);
            if (options_.lease && !picks.empty() && !Lease(buffer, &picks)) {
                LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
                for (const Pick& pick : picks) heap_freetuple(pick.copy);
                picks.clear();
                continue;
            }
            if (found && complete) {
                page::Publish(map_, band_, block, look.word, bound_);
            } else if (found && options_.lease && options_.filter == nullptr && bound_ > tick) {
                start.due = std::min(bound_, tick + page::kStartReach);
                page::LeaveStart(map_, band_, block, look.word, start);
            }
            UnlockReleaseBuffer(buffer);
            break;
        }

        found_ += static_cast<int64>(picks.size());
        for (const Pick& pick : picks) {
            if (sink_ != nullptr) sink_->Take(rel_, pick.copy);
            heap_freetuple(pick.copy);
        }
        return complete ? bound_ : page::kUnknown;
    }

    // Page locked. Fills picks with copies of deliverable rows of our band from *from on, and lowers bound_ to when the
    // others are due. False: it stopped with enough rows before the page's end, and *from is where to go on.
    bool Collect(Buffer buffer, OffsetNumber* from, int wanted, const pg::Vector<OffsetNumber>& matches, Picks* picks) {
        const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
        HeapTupleData tuple;
        for (OffsetNumber off = *from; off <= last; off = OffsetNumberNext(off)) {
            const RowState state = StateOf(rel_, buffer, off, &tuple);
            if (IsOver(state)) continue;
            const RowHead* head = HeadOf(tuple.t_data);
            TimestampTz due = head->vt;
            bool deliverable = false;
            switch (state) {
                case RowState::kLive:
                    deliverable = IsDue(head, now_);
                    if (!deliverable) {
                        due = EffectiveVt(map_, head, tuple.t_self, now_);
                        deliverable = due <= now_;
                    }
                    break;
                case RowState::kPending:
                    due = LookAgain(head->enqueued_at, now_);
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
                page::Lower(map_, head->priority, block, block, deliverable ? page::kUnknown : page::BoundOf(due));
                continue;
            }
            const bool match = options_.filter == nullptr || std::binary_search(matches.begin(), matches.end(), off);
            if (!deliverable || !match || !options_.lease)
                bound_ = std::min(bound_, deliverable ? page::kUnknown : page::BoundOf(due));
            if (!deliverable || !match) continue;
            picks->push_back({off, heap_copytuple(&tuple)});
            if (static_cast<int>(picks->size()) == wanted) {
                *from = OffsetNumberNext(off);
                return false;
            }
        }
        return true;
    }

    // Page locked. Writes the leases into the page and into the copies, one WAL record for all. False: no receipts
    // left.
    bool Lease(Buffer buffer, Picks* picks) {
        const int count = static_cast<int>(picks->size());
        page::InPlaceWriter writer(count);
        const auto first_receipt = DrawReceipts(count);
        if (!first_receipt) return false;  // others took them
        // A receipt must be new to its row, wherever the row came from.
        for (const Pick& pick : *picks) receipt_floor_ = std::max(receipt_floor_, HeadOf(pick.copy->t_data)->receipt);
        if (receipt_floor_ >= *first_receipt) return false;
        const TimestampTz vt = now_ + static_cast<int64>(options_.vt * USECS_PER_SEC);
        Page page = BufferGetPage(buffer);
        for (int i = 0; i < count; i++) {
            const Pick& pick = (*picks)[i];
            RowHead* head = HeadOf(pick.copy->t_data);
            if (head->vt > now_) page::ForgetReleased(LeaseOf(map_, head, pick.copy->t_self));
            head->vt = vt;
            head->last_read_at = now_;
            head->receipt = *first_receipt + i;
            if (head->read_ct < PG_INT32_MAX) head->read_ct++;
            auto* row = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, PageGetItemId(page, pick.off)));
            writer.Set(&HeadOf(row)->vt, &head->vt, kLeaseBytes);
        }
        writer.Apply(rel_, buffer);
        bound_ = std::min(bound_, page::BoundOf(vt));
        for (const Pick& pick : *picks) {
            const RowHead* head = HeadOf(pick.copy->t_data);
            page::HoldLease(map_, head->priority, LeaseOf(map_, head, pick.copy->t_self), 0);
            RememberPlace(RelationGetRelid(rel_), head->msg_id, pick.copy->t_self);
        }
        return true;
    }

    // The deliverable rows whose message contains the filter's, in order. Messages may have to be fetched from the
    // TOAST table, which must not happen under the page's lock; so the rows are copied first. Collect looks at each
    // again.
    pg::Vector<OffsetNumber> FilterPage(Buffer buffer) {
        Picks candidates;
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
        HeapTupleData tuple;
        for (OffsetNumber off = FirstOffsetNumber; off <= last; off = OffsetNumberNext(off))
            if (StateOf(rel_, buffer, off, &tuple) == RowState::kLive &&
                (IsDue(HeadOf(tuple.t_data), now_) ||
                 EffectiveVt(map_, HeadOf(tuple.t_data), tuple.t_self, now_) <= now_))
                candidates.push_back({off, heap_copytuple(&tuple)});
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
            MemoryContextSwitchTo(caller);
            MemoryContextReset(scratch_);
            heap_freetuple(candidate.copy);
        }
        return matches;
    }

    const OpenedQueue& opened_;
    Relation rel_;
    page::SegmentRef map_;
    const ReadOptions& options_;
    RowSink* sink_;
    TimestampTz now_ = 0;
    int64 found_ = 0;
    int band_ = 0;
    page::Bound bound_ = page::kNever;
    MemoryContext scratch_ = nullptr;  // for filters
    int64 receipt_floor_ = 0;          // the highest that a row brought along
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
