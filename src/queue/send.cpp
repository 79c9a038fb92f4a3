#include "pgqueue/queue/send.hpp"

#include "pgqueue/page/transaction.hpp"
#include "pgqueue/page/visibility.hpp"
#include "pgqueue/pg/heap_row.hpp"
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
// The shared tail may lie beyond the table's end where VACUUM has cut off empty pages, so it is checked, unless the
// argument of BlockExists says that the page is there.
int AimAtTail(const OpenedQueue& opened, const page::SegmentRef& map, const uint16* sizes, int count) {
    Relation rel = opened.segment;
    for (;;) {
        const page::TailSpace space = page::ReserveTail(map, sizes, count);
        if (space.count == 0) {
            ExtendTail(opened, map, space.block);
            if (!page::IsCurrent(map)) return count;  // evicted under us: any place will do
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

HeapTuple FormMessage(TupleDesc desc, const RowHead& head, const OutgoingMessage& message) {
    const std::array<pg::Column, 2> columns = {
        {{message.message, message.message_null}, {message.headers, message.headers_null}}};
    static_assert(kMessage == kPriority + 1 && kHeaders == kMessage + 1);
    return pg::FormRow(desc, &head, sizeof(head), kPriority, columns.data(), static_cast<int>(columns.size()));
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
            tuples[i] = FormMessage(desc, head, messages[done + i]);
            sizes[i] = SizeOnPage(tuples[i]);
        }
        page::ReserveTouches(chunk);
        for (int stored = 0; stored < chunk;) {
            const int n = AimAtTail(opened, map, &sizes[stored], chunk - stored);
            const BlockNumber aimed = RelationGetTargetBlock(rel);
            writer.Insert(&tuples[stored], n, HEAP_INSERT_SKIP_FSM);
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
