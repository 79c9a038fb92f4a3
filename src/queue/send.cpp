#include "pgqueue/queue/send.hpp"

#include "pgqueue/page/transaction.hpp"
#include "pgqueue/queue/numbers.hpp"
#include "pgqueue/queue/row.hpp"
#include "pgqueue/queue/table_writer.hpp"

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
        const int count = std::clamp<int>(static_cast<int>(blocks / 8), 1, 32);
        const BlockNumber first = compat::ExtendTable(rel, count);
        if (first < seen && seen != InvalidBlockNumber) page::ForgetTail(map);  // VACUUM cut it off
        page::MoveTail(map, first, page::kEmptyPageRoom, count - 1);
    }
    UnlockRelationForExtension(rel, ExclusiveLock);
}

// Picks the page for the next rows and aims heap_insert at it, so that all senders append to one place in the order in
// which they come. Returns how many of the rows go there.
//
// The shared tail may lie beyond the table's end where VACUUM has cut off empty pages. It can't do so while we hold our
// lock on the table, and its invalidation, which came with our lock, closes the storage handle and so clears the target
// block. So while the target is what our last send left, the tail has only been moved by senders, and needs no check.
int AimAtTail(const OpenedQueue& opened, const page::SegmentRef& map, const uint16* sizes, int count) {
    Relation rel = opened.segment;
    for (;;) {
        const page::TailSpace space = page::ReserveTail(map, sizes, count);
        if (space.count == 0) {
            ExtendTail(opened, map, space.block);
            if (!page::IsCurrent(map)) return count;  // evicted under us: any place will do
            continue;
        }
        const BlockNumber target = RelationGetTargetBlock(rel);
        if ((target == InvalidBlockNumber || target != opened.queue->last_target) &&
            space.block >= RelationGetNumberOfBlocks(rel)) {
            page::ForgetTail(map);
            continue;
        }
        RelationSetTargetBlock(rel, space.block);
        return space.count;
    }
}

HeapTuple FormRow(TupleDesc desc, const RowHead& head, const OutgoingMessage& message) {
    pg::SmallVector<Datum, 16> values(desc->natts);
    pg::SmallVector<bool, 16> nulls(desc->natts, true);
    std::fill_n(nulls.begin(), kMessage - 1, false);
    values[kMsgId - 1] = Int64GetDatum(head.msg_id);
    values[kEnqueuedAt - 1] = TimestampTzGetDatum(head.enqueued_at);
    values[kVt - 1] = TimestampTzGetDatum(head.vt);
    values[kLastReadAt - 1] = TimestampTzGetDatum(head.last_read_at);
    values[kReceipt - 1] = Int64GetDatum(head.receipt);
    values[kReadCt - 1] = Int32GetDatum(head.read_ct);
    values[kPriority - 1] = Int32GetDatum(head.priority);
    values[kMessage - 1] = message.message;
    nulls[kMessage - 1] = message.message_null;
    values[kHeaders - 1] = message.headers;
    nulls[kHeaders - 1] = message.headers_null;
    return heap_form_tuple(desc, values.data(), nulls.data());
}

}  // namespace

int64 Send(const OpenedQueue& opened, const OutgoingMessage* messages, int count, const SendOptions& options) {
    Relation rel = opened.segment;
    const Queue* queue = opened.queue;
    const bool plain = queue->plain_indexes;
    const Oid primary_key = queue->primary_key;
    const page::SegmentRef map = MapOf(opened);
    const double delay = options.delay.value_or(queue->delay);
    const int64 first_id = DrawIds(queue, map, count);

    RowHead head{};
    head.enqueued_at = GetCurrentTimestamp();
    head.vt = options.deliver_at.value_or(head.enqueued_at + static_cast<int64>(delay * USECS_PER_SEC));
    head.vt = std::max(head.vt, head.enqueued_at);
    head.last_read_at = DT_NOBEGIN;
    head.priority = options.priority;
    const page::Bound bound = head.vt == head.enqueued_at ? page::kUnknown : page::BoundOf(head.vt);

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
            tuples[i] = FormRow(desc, head, messages[done + i]);
            sizes[i] = SizeOnPage(tuples[i]);
        }
        page::ReserveTouches(chunk);
        for (int stored = 0; stored < chunk;) {
            const int n = AimAtTail(opened, map, &sizes[stored], chunk - stored);
            const BlockNumber aimed = RelationGetTargetBlock(rel);
            writer.Insert(&tuples[stored], n, HEAP_INSERT_SKIP_FSM);
            opened.queue->last_target = RelationGetTargetBlock(rel);
            for (int i = stored; i < stored + n; i++) {
                const BlockNumber block = ItemPointerGetBlockNumber(&tuples[i]->t_self);
                if (block != last_block) page::MakeRoom(map, band, block);
                last_block = block;
                page::TouchOnCommit(map, head.priority, block, bound);
            }
            // If the rows went behind the tail after all: who sends after we have answered lies behind us.
            if (last_block != aimed) page::MoveTail(map, last_block, 0, 0);
            stored += n;
        }
        for (int i = 0; i < chunk; i++) heap_freetuple(tuples[i]);
        done += chunk;
        CHECK_FOR_INTERRUPTS();
    }
    return first_id;
}

}  // namespace pgqueue::queue
