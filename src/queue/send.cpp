#include "pgqueue/queue/send.hpp"

#include "pgqueue/page/transaction.hpp"
#include "pgqueue/page/visibility.hpp"
#include "pgqueue/pg/heap_row.hpp"
#include "pgqueue/queue/expire.hpp"
#include "pgqueue/queue/numbers.hpp"
#include "pgqueue/queue/row.hpp"
#include "pgqueue/queue/table_writer.hpp"
#include "pgqueue/settings.hpp"

namespace pgqueue::queue {
namespace {

constexpr int kChunk = 256;  // rows formed at a time

// The bytes that a row will take on its page, line pointer included. A row that goes to the TOAST table ends up
// shorter.
uint16 SizeOnPage(HeapTuple tuple) {
    const Size length = tuple->t_len > TOAST_TUPLE_THRESHOLD ? TOAST_TUPLE_TARGET : tuple->t_len;
    return static_cast<uint16>(MAXALIGN(length) + sizeof(ItemIdData));
}

// Adds pages to the table and makes the first of them the tail, unless somebody did so while we waited for the lock.
void ExtendTail(const OpenedQueue& opened, const page::SegmentRef& map, BlockNumber seen) {
    Relation rel = opened.segment;
    LockRelationForExtension(rel, ExclusiveLock);
    if (page::Tail(map) == seen) {
        const BlockNumber blocks = RelationGetNumberOfBlocks(rel);
        if (blocks >= static_cast<BlockNumber>(settings::segment_size)) page::AskForSegment(map);
        const int count = std::clamp<int>(static_cast<int>(blocks / 8), 1, 32);
        const BlockNumber first = compat::ExtendTable(rel, count);
        if (first < seen && seen != InvalidBlockNumber) page::ForgetTail(map);  // VACUUM cut it off
        page::MoveTail(map, first, page::kEmptyPageRoom, count - 1);
    }
    UnlockRelationForExtension(rel, ExclusiveLock);
}

// Without a tail: behind all that is there. The page at which heap_insert was aimed last may be an early one, with room
// since a VACUUM, and rows there would come before older ones.
int AimAtEnd(Relation rel, int count) {
    RelationSetTargetBlock(rel, RelationGetNumberOfBlocks(rel) - 1);  // none in an empty table
    return count;
}

// Picks the page for the next rows and aims heap_insert at it, so that all senders append to one place in the order in
// which they come. Returns how many of the rows go there.
//
// The shared tail may lie beyond the table's end where VACUUM has cut off empty pages, so it is checked, unless the
// argument of BlockExists says that the page is there.
int AimAtTail(const OpenedQueue& opened, const page::SegmentRef& map, const uint16* sizes, int count) {
    Relation rel = opened.segment;
    for (;;) {
        const page::TailSpace space = page::ReserveTail(map, sizes, count);
        // There is a newer segment. What is sent here now was begun before it was known.
        if (space.passed) return AimAtEnd(rel, count);
        if (space.count == 0) {
            ExtendTail(opened, map, space.block);
            if (!page::IsCurrent(map)) return AimAtEnd(rel, count);  // evicted under us
            continue;
        }
        if (!page::BlockExists(rel, space.block)) {
            page::ForgetTail(map);
            continue;
        }
        RelationSetTargetBlock(rel, space.block);
        return space.count;
    }
}

// The map of a segment that has become very long is made anew.
void EnsureWidth(const OpenedQueue& opened, BlockNumber block, page::SegmentRef* map,
                 const page::SegmentRef& (*attach)(const OpenedQueue&)) {
    while (block >= map->pages) {
        CHECK_FOR_INTERRUPTS();
        page::Widen(*map, opened.segment);
        *map = attach(opened);
    }
}

HeapTuple FormMessage(TupleDesc desc, const RowHead& head, const OutgoingMessage& message, TimestampTz expires_at) {
    const std::array<pg::Column, 5> columns = {
        {{message.message, message.message_null},
         {message.headers, message.headers_null},
         {PointerGetDatum(message.group_key), message.group_key == nullptr},
         {PointerGetDatum(message.dedup_key), message.dedup_key == nullptr},
         {TimestampTzGetDatum(expires_at), TIMESTAMP_IS_NOEND(expires_at), pg::Kind::kEightBytes}}};
    static_assert(kMessage == kPriority + 1 && kExpiresAt == kMessage + 4);
    return pg::FormRow(desc, &head, sizeof(head), kPriority, columns.data(), static_cast<int>(columns.size()));
}

// What a stored row means to the map, once the transaction commits. Room for the touches is reserved.
void Touch(const OpenedQueue& opened, HeapTuple row, TimestampTz expires_at) {
    const RowHead* head = HeadOf(row->t_data);
    const BlockNumber block = ItemPointerGetBlockNumber(&row->t_self);
    page::SegmentRef map = MapOf(opened);
    EnsureWidth(opened, block, &map, MapOf);
    page::MakeRoom(map, page::BandFor(map, head->priority), block);
    page::TouchOnCommit(map, head->priority, block, page::BoundOf(head->vt), false);
    if (TIMESTAMP_IS_NOEND(expires_at)) return;
    page::SegmentRef expiry_map = ExpiryMapOf(opened);
    EnsureWidth(opened, block, &expiry_map, ExpiryMapOf);
    TouchExpiry(expiry_map, block, expires_at);
}

}  // namespace

void StoreAgain(const OpenedQueue& opened, HeapTuple row) {
    const TimestampTz expires_at = ExpiryOf(row, RelationGetDescr(opened.segment));
    const uint16 size = SizeOnPage(row);
    page::ReserveTouches(2);
    (void)AimAtTail(opened, MapOf(opened), &size, 1);
    TableWriter writer(opened.segment, SegmentOf(opened).primary_key, SegmentOf(opened).plain_indexes);
    writer.Insert(&row, 1, HEAP_INSERT_SKIP_FSM);
    Touch(opened, row, expires_at);
}

int64 Send(const OpenedQueue& opened, const OutgoingMessage* messages, int count, const SendOptions& options) {
    Relation rel = opened.segment;
    const Queue* queue = opened.queue;
    const bool plain = SegmentOf(opened).plain_indexes;
    const Oid primary_key = SegmentOf(opened).primary_key;
    page::SegmentRef map = MapOf(opened);
    const double delay = options.delay.value_or(queue->delay);
    const int64 first_id = options.first_id ? *options.first_id : DrawIds(queue, map, count);

    RowHead head{};
    head.enqueued_at = GetCurrentTimestamp();
    head.vt = options.deliver_at.value_or(head.enqueued_at + static_cast<int64>(delay * USECS_PER_SEC));
    head.vt = std::max(head.vt, head.enqueued_at);
    head.last_read_at = DT_NOBEGIN;
    head.priority = options.priority;
    const page::Bound bound = head.vt == head.enqueued_at ? page::kUnknown : page::BoundOf(head.vt);

    const double ttl = options.ttl.value_or(queue->message_ttl);
    const TimestampTz expires_at = ttl < 0 ? DT_NOEND : head.vt + static_cast<int64>(ttl * USECS_PER_SEC);
    if (ttl >= 0 && !queue->expiring) MarkExpiring(opened.queue);

    page::SegmentRef expiry_map = ttl >= 0 ? ExpiryMapOf(opened) : page::SegmentRef{};

    const int band = page::BandFor(map, head.priority);
    if (head.priority != 0 && !queue->prioritized) MarkPrioritized(opened.queue);
    BlockNumber last_block = InvalidBlockNumber;
    TableWriter writer(rel, primary_key, plain);
    const TupleDesc desc = RelationGetDescr(rel);
    std::array<HeapTuple, kChunk> tuples;
    std::array<uint16, kChunk> sizes;
    for (int done = 0; done < count;) {
        const int chunk = std::min(kChunk, count - done);
        for (int i = 0; i < chunk; i++) {
            head.msg_id = first_id + done + i;
            tuples[i] = FormMessage(desc, head, messages[done + i], expires_at);
            sizes[i] = SizeOnPage(tuples[i]);
        }
        page::ReserveTouches(ttl >= 0 ? 2 * chunk : chunk);
        for (int stored = 0; stored < chunk;) {
            const int n = AimAtTail(opened, map, &sizes[stored], chunk - stored);
            const BlockNumber aimed = RelationGetTargetBlock(rel);
            writer.Insert(&tuples[stored], n, HEAP_INSERT_SKIP_FSM);
            for (int i = stored; i < stored + n; i++) {
                const BlockNumber block = ItemPointerGetBlockNumber(&tuples[i]->t_self);
                EnsureWidth(opened, block, &map, MapOf);
                if (ttl >= 0) EnsureWidth(opened, block, &expiry_map, ExpiryMapOf);
            }
            for (int i = stored; i < stored + n; i++) {
                const BlockNumber block = ItemPointerGetBlockNumber(&tuples[i]->t_self);
                if (block != last_block) page::MakeRoom(map, band, block);
                last_block = block;
                // A delayed message of a group is looked at, since it keeps its group waiting.
                const bool grouped = messages[done + i].group_key != nullptr;
                page::TouchOnCommit(map, head.priority, block, grouped ? page::kUnknown : bound, grouped);
            }
            // If the rows went behind the tail after all: who sends after we have answered lies behind us.
            if (last_block != aimed) page::MoveTail(map, last_block, 0, 0);
            stored += n;
        }
        // By themselves: runs of one map are joined.
        for (int i = 0; i < chunk && ttl >= 0; i++)
            TouchExpiry(expiry_map, ItemPointerGetBlockNumber(&tuples[i]->t_self), expires_at);
        for (int i = 0; i < chunk; i++) heap_freetuple(tuples[i]);
        done += chunk;
        CHECK_FOR_INTERRUPTS();
    }
    return first_id;
}

}  // namespace pgqueue::queue
