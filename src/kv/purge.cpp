#include "pgqueue/kv/purge.hpp"

#include "pgqueue/kv/cells.hpp"
#include "pgqueue/page/due_pages.hpp"
#include "pgqueue/page/inplace.hpp"
#include "pgqueue/page/transaction.hpp"
#include "pgqueue/page/undelete.hpp"
#include "pgqueue/pg/progress.hpp"

namespace pgqueue::kv {
namespace {

using page::RowState;

// Both tables have it at the same place.
static_assert(offsetof(ValueHead, expires_at) == offsetof(CellHead, expires_at));
TimestampTz* ExpiryIn(HeapTupleHeader row) { return &ValueHeadOf(row)->expires_at; }

bool IsCells(const Table& table) { return table.half == &table.store->cells; }

using Places = boost::container::static_vector<ItemPointerData, MaxHeapTuplesPerPage>;

class Purger {
public:
    Purger(const Table& table, int* pages) : table_(table), rel_(table.rel), map_(MapOf(table)), pages_(pages) {}

    int64 Run() {
        page::RequireInPlaceAllowed();
        CommandCounterIncrement();
        const page::Bound now = page::BoundOf(GetCurrentTimestamp());
        page::TablePages pages(rel_);
        pg::ProgressOnTable(RelationGetRelid(rel_), RelationGetNumberOfBlocks(rel_));
        while (!page::ForDuePages(
            &pages, map_, 0, now,
            [this](BlockNumber block, bool publish, const page::Range&) { return LookAt(block, publish); },
            [this] { return pages_ != nullptr && *pages_ <= 0; }))
            map_ = MapOf(table_);  // evicted under us
        Add(table_.store->stats, Statistic::kPurged, purged_);
        Add(table_.store->stats, Statistic::kPageVisits, visits_);
        return purged_;
    }

private:
    page::Bound LookAt(BlockNumber block, bool publish) {
        visits_++;
        pg::ProgressOnPage(block);
        if (pages_ != nullptr) --*pages_;
        page::ReserveTouches(1);
        Places expired;
        page::Bound bound = page::kNever;
        Buffer buffer = ReadBuffer(rel_, block);
        LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
        const TimestampTz now = GetCurrentTimestamp();
        const auto look = publish ? page::BeginLook(map_, 0, block, page::BoundOf(now)) : std::nullopt;
        const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
        HeapTupleData tuple;
        for (OffsetNumber off = FirstOffsetNumber; off <= last; off = OffsetNumberNext(off)) {
            const RowState state = page::Judge(rel_, buffer, off, &tuple);
            if (page::IsOver(state) || !KeyOf(&tuple)) continue;
            const TimestampTz expires_at = *ExpiryIn(tuple.t_data);
            if (TIMESTAMP_IS_NOEND(expires_at)) continue;
            if (expires_at > now)
                bound = std::min(bound, page::BoundOf(expires_at));
            else if (state == RowState::kLive)
                expired.push_back(tuple.t_self);
            else  // whoever has it may roll back
                bound = std::min(bound, page::BoundOf(page::LookAgain(std::max(expires_at, now - USECS_PER_DAY), now)));
        }
        if (look) page::Publish(map_, 0, block, look->word, bound);
        LockBuffer(buffer, BUFFER_LOCK_UNLOCK);  // the pin stays: places can't be given to other rows

        if (!expired.empty()) page::TouchOnAbort(map_, 0, block, page::kUnknown);
        for (ItemPointerData& tid : expired) {
            if (Delete(buffer, &tid)) {
                purged_++;
                pg::ProgressAddRows(1);
                continue;
            }
            const page::Bound again = page::BoundOf(GetCurrentTimestamp() + USECS_PER_SEC);
            page::Lower(map_, 0, block, block, again);
            bound = std::min(bound, again);
        }
        ReleaseBuffer(buffer);
        return bound;
    }

    // False: somebody has it in hand, or it lives again.
    bool Delete(Buffer buffer, ItemPointerData* tid) {
        TM_FailureData failure;
        if (heap_delete(rel_, tid, GetCurrentCommandId(true), InvalidSnapshot, false, &failure, false) != TM_Ok)
            return false;
        // Our look and the delete are two: a counter may have been started again in between. From the delete on,
        // whoever starts it again takes the row back himself (WriteCell).
        page::InPlaceWriter writer(page::Undeletion::kChanges);
        page::Undeletion undeletion;
        LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
        HeapTupleHeader row = page::RowAt(buffer, *tid);
        const bool alive = *ExpiryIn(row) > GetCurrentTimestamp();
        const bool deleted = page::IsBeingDeleted(row) && !alive;
        if (page::IsBeingDeleted(row) && alive) {
            // A value's end never moves once it has come, unless the clock goes back; its TOAST rows are gone by now.
            if ((row->t_infomask & HEAP_HASEXTERNAL) != 0)
                ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                                errmsg("an entry was refreshed while it was being purged")));
            undeletion.Add(row, &writer);
            writer.Apply(rel_, buffer);
        }
        LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
        if (deleted && !IsCells(table_)) AddEntries(table_.store->stats, -1);
        return deleted;
    }

    const Table& table_;
    Relation rel_;
    page::SegmentRef map_;
    int* pages_;
    int64 purged_ = 0;
    int64 visits_ = 0;
};

// A cell that stands for a key, as a value does.
bool IsKey(const Table& table, HeapTupleHeader row) { return !IsCells(table) || CellHeadOf(row)->kind == kCounter; }

void CountPage(const Table& table, BlockNumber block, TimestampTz now, Census* census) {
    CHECK_FOR_INTERRUPTS();
    Buffer buffer = ReadBuffer(table.rel, block);
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
    HeapTupleData tuple;
    for (OffsetNumber off = FirstOffsetNumber; off <= last; off = OffsetNumberNext(off)) {
        const RowState state = page::Judge(table.rel, buffer, off, &tuple);
        if ((state != RowState::kLive && state != RowState::kChanging) || !KeyOf(&tuple)) continue;
        census->rows++;
        if (*ExpiryIn(tuple.t_data) <= now)
            census->expired++;
        else if (IsKey(table, tuple.t_data))
            census->entries++;
    }
    UnlockReleaseBuffer(buffer);
}

}  // namespace

int64 Purge(const Table& table, int* pages) { return Purger(table, pages).Run(); }

Census TakeCensus(const Table& table) {
    Census census;
    const TimestampTz now = GetCurrentTimestamp();
    for (BlockNumber block = 0; page::BlockExists(table.rel, block); block++) CountPage(table, block, now, &census);
    return census;
}

Census SampleCensus(const Table& table, BlockNumber pages) {
    const BlockNumber length = RelationGetNumberOfBlocks(table.rel);
    if (length <= pages) return TakeCensus(table);
    Census census;
    const TimestampTz now = GetCurrentTimestamp();
    for (BlockNumber i = 0; i < pages; i++)
        CountPage(table, static_cast<BlockNumber>(uint64{i} * length / pages), now, &census);
    const double scale = static_cast<double>(length) / pages;
    for (int64* count : {&census.entries, &census.expired, &census.rows})
        *count = std::llround(static_cast<double>(*count) * scale);
    census.exact = false;
    return census;
}

}  // namespace pgqueue::kv
