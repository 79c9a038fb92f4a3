#include "pgqueue/queue/expire.hpp"

#include "pgqueue/page/due_pages.hpp"
#include "pgqueue/page/transaction.hpp"
#include "pgqueue/queue/ack.hpp"
#include "pgqueue/queue/archive_parts.hpp"
#include "pgqueue/queue/grouping.hpp"
#include "pgqueue/queue/row_state.hpp"
#include "pgqueue/settings.hpp"

namespace pgqueue::queue {
namespace {

// How soon an expired message that somebody has out is looked at again: its lease may end early, which nobody tells.
constexpr int64 kOutAgain = 5 * USECS_PER_SEC;

using Places = boost::container::static_vector<ItemPointerData, MaxHeapTuplesPerPage>;

// Deletes a row of a pinned page, unless somebody has it in hand.
bool DeleteAt(Relation rel, ItemPointerData tid) {
    TM_FailureData failure;
    return heap_delete(rel, &tid, GetCurrentCommandId(true), InvalidSnapshot, false, &failure, false) == TM_Ok;
}

int64 DeleteAll(Relation rel, const Places& places) {
    int64 deleted = 0;
    for (const ItemPointerData& tid : places) deleted += DeleteAt(rel, tid);
    return deleted;
}

struct Expired {
    ItemPointerData tid;
    page::GroupHash group;
    page::HoldKey hold;
};

class Expirer {
public:
    Expirer(const OpenedQueue& opened, int* pages)
        : opened_(opened), rel_(opened.segment), map_(ExpiryMapOf(opened)), pages_(pages) {}

    int64 Run() {
        const page::Bound now = page::BoundOf(GetCurrentTimestamp());
        page::TablePages pages(rel_);
        while (!page::ForDuePages(
            &pages, map_, 0, now,
            [this](BlockNumber block, bool publish, const page::Range&) { return LookAt(block, publish); },
            [this] { return *pages_ <= 0; }))
            map_ = ExpiryMapOf(opened_);  // evicted under us
        return expired_;
    }

private:
    page::Bound LookAt(BlockNumber block, bool publish) {
        --*pages_;
        page::ReserveTouches(1);
        page::ReserveDrops(MaxHeapTuplesPerPage);
        const page::SegmentRef leases = MapOf(opened_);
        boost::container::static_vector<Expired, MaxHeapTuplesPerPage> expired;
        page::Bound bound = page::kNever;
        Buffer buffer = ReadBuffer(rel_, block);
        LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
        const TimestampTz now = GetCurrentTimestamp();
        const auto look = publish ? page::BeginLook(map_, 0, block, page::BoundOf(now)) : std::nullopt;
        const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
        HeapTupleData tuple;
        bool elsewhere = false;
        for (OffsetNumber off = FirstOffsetNumber; off <= last; off = OffsetNumberNext(off)) {
            const RowState state = page::Judge(rel_, buffer, off, &tuple);
            if (IsOver(state) || !HasHead(&tuple)) continue;
            const TimestampTz expires_at = ExpiryOf(&tuple, RelationGetDescr(rel_));
            if (TIMESTAMP_IS_NOEND(expires_at)) continue;
            const RowHead* head = HeadOf(tuple.t_data);
            const TimestampTz out_until = head->receipt != 0 ? EffectiveVt(leases, head, tuple.t_self, now) : 0;
            if (expires_at > now)
                bound = std::min(bound, page::BoundOf(expires_at));
            else if (state != RowState::kLive)  // whoever has it may roll back
                bound = std::min(bound, page::BoundOf(LookAgain(std::max(expires_at, now - USECS_PER_DAY), now)));
            else if (out_until > now)  // it may be acked yet, or be given up before
                bound = std::min(bound, page::BoundOf(std::min(out_until, now + kOutAgain)));
            else
                expired.push_back({tuple.t_self, GroupOrNone(rel_, &tuple, &elsewhere), HoldKeyOf(head)});
        }
        if (look) page::Publish(map_, 0, block, look->word, bound);
        LockBuffer(buffer, BUFFER_LOCK_UNLOCK);  // the pin stays: places can't be given to other rows

        if (!expired.empty()) page::TouchOnAbort(map_, 0, block, page::kUnknown);
        int64 deleted = 0;
        for (const Expired& row : expired) {
            if (!DeleteAt(rel_, row.tid)) continue;
            deleted++;
            if (row.group != 0) page::DropHoldOnCommit(leases, block, row.group, row.hold);
        }
        expired_ += deleted;
        if (deleted < static_cast<int64>(expired.size())) {
            const page::Bound again = page::BoundOf(GetCurrentTimestamp() + USECS_PER_SEC);
            page::Lower(map_, 0, block, block, again);
            bound = std::min(bound, again);
        }
        ReleaseBuffer(buffer);
        return bound;
    }

    const OpenedQueue& opened_;
    Relation rel_;
    page::SegmentRef map_;
    int* pages_;
    int64 expired_ = 0;
};

// Where the trimming of an archive goes on. An archive is filled in order, so its oldest rows lie together, and behind
// a page whose rows are all young lie younger ones. But room that has become free at the front is filled again, and a
// restore may bring any order. So from time to time all of it is looked through, and then it goes on from the oldest.
struct Progress {
    Oid archive;
    compat::FileNumber file;
    int64 kept_for;  // microseconds
    BlockNumber next;
    bool all;            // looking through all of it
    TimestampTz began;   // since when
    TimestampTz all_at;  // when to do so again
    TimestampTz oldest;  // that this look has left
    BlockNumber oldest_at;
};
constexpr int kArchives = 256;  // a process remembers; one that is forgotten begins again
Progress progress[kArchives];

Progress* ProgressOf(Relation archive, int64 kept_for) {
    Progress* found = &progress[RelationGetRelid(archive) % kArchives];
    if (found->archive != RelationGetRelid(archive) || found->file != compat::FileNumberOf(archive) ||
        found->kept_for != kept_for || (!found->all && GetCurrentTimestamp() >= found->all_at))
        *found = {RelationGetRelid(archive),
                  compat::FileNumberOf(archive),
                  kept_for,
                  0,
                  true,
                  GetCurrentTimestamp(),
                  0,
                  DT_NOEND,
                  0};
    return found;
}

// A small archive may be looked through in every round; a large one for a tenth of the time at most.
TimestampTz LookThroughAgain(BlockNumber blocks, const Progress* at) {
    const TimestampTz now = GetCurrentTimestamp();
    const bool small = blocks <= static_cast<BlockNumber>(settings::purge_pages);
    const int64 least = small ? 0 : std::max<int64>(5 * int64{1000} * settings::purge_interval, 10 * (now - at->began));
    return now + std::max(at->kept_for / 4, least);
}

}  // namespace

void TouchExpiry(const page::SegmentRef& expiry_map, BlockNumber block, TimestampTz expires_at) {
    page::MakeRoom(expiry_map, 0, block);
    page::TouchOnCommit(expiry_map, 0, block, page::BoundOf(expires_at));
}

int64 Expire(const OpenedQueue& opened, int* pages) {
    const int64 expired = Expirer(opened, pages).Run();
    if (expired > 0) AddTotals(opened.queue->name, 0, expired);
    return expired;
}

namespace {

Trimmed TrimTable(const OpenedQueue& opened, Oid table, int* pages) {
    Relation archive = OpenArchiveTable(opened, table);
    const auto kept_for = static_cast<int64>(opened.queue->archive_retention * USECS_PER_SEC);
    Progress* at = ProgressOf(archive, kept_for);
    Trimmed result;
    const BlockNumber blocks = RelationGetNumberOfBlocks(archive);
    bool stopped = false;
    for (; !stopped && *pages > 0 && at->next < blocks; at->next += stopped ? 0 : 1) {
        CHECK_FOR_INTERRUPTS();
        --*pages;
        Places old;
        bool young = false;
        Buffer buffer = ReadBuffer(archive, at->next);
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        const TimestampTz now = GetCurrentTimestamp();
        const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
        HeapTupleData tuple;
        for (OffsetNumber off = FirstOffsetNumber; off <= last; off = OffsetNumberNext(off)) {
            const RowState state = page::Judge(archive, buffer, off, &tuple);
            if (IsOver(state)) continue;
            bool null = false;
            const Datum value = heap_getattr(&tuple, kArchivedAt, RelationGetDescr(archive), &null);
            const TimestampTz archived_at = null ? now : DatumGetTimestampTz(value);
            if (archived_at <= now - kept_for && state == RowState::kLive) {
                old.push_back(tuple.t_self);
                continue;
            }
            young |= archived_at > now - kept_for;
            if (archived_at < at->oldest) {
                at->oldest = archived_at;
                at->oldest_at = at->next;
            }
        }
        LockBuffer(buffer, BUFFER_LOCK_UNLOCK);  // the pin stays: places can't be given to other rows
        result.deleted += DeleteAll(archive, old);
        ReleaseBuffer(buffer);
        stopped = !at->all && young && old.empty();
    }
    if (at->next >= blocks) {
        // The last page may be filled further. What this look has left, the next one meets first.
        const BlockNumber last = blocks > 0 ? blocks - 1 : 0;
        at->next = at->all && !TIMESTAMP_IS_NOEND(at->oldest) ? at->oldest_at : last;
        if (at->all) at->all_at = LookThroughAgain(blocks, at);
        at->all = false;
    } else {
        result.more = !stopped && (at->all || result.deleted > 0);
    }
    table_close(archive, NoLock);
    return result;
}

}  // namespace

Trimmed TrimArchive(const OpenedQueue& opened, int* pages) {
    const Oid archive = opened.queue->archive;
    // Not to wait for whoever has it locked: the worker has other things to do.
    if (opened.queue->archive_retention < 0 || !OidIsValid(archive) ||
        !ConditionalLockRelationOid(archive, RowExclusiveLock))
        return {};
    const pg::Vector<Oid> parts = TrimmedParts(opened);
    Trimmed result = TrimTable(opened, archive, pages);
    for (const Oid part : parts) {
        if (*pages <= 0) break;
        const Trimmed more = TrimTable(opened, part, pages);
        result = {result.deleted + more.deleted, result.more || more.more};
    }
    return result;
}

}  // namespace pgqueue::queue
