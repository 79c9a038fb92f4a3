#include "pgqueue/queue/send.hpp"

#include "pgqueue/page/transaction.hpp"
#include "pgqueue/queue/numbers.hpp"
#include "pgqueue/queue/row.hpp"
#include "pgqueue/queue/table_writer.hpp"

namespace pgqueue::queue {
namespace {

// Aims heap_insert at the shared tail page, so that all senders append to one place in the order in which they come.
void AimAtTail(const OpenedQueue& opened, const page::SegmentRef& map) {
    const BlockNumber tail = page::Tail(map);
    if (tail == InvalidBlockNumber || tail == RelationGetTargetBlock(opened.segment)) return;
    if (BlockExists(opened, tail))
        RelationSetTargetBlock(opened.segment, tail);
    else
        page::ResetTail(map, tail);  // VACUUM cut it off
}

HeapTuple FormRow(TupleDesc desc, const RowHead& head, const OutgoingMessage& message) {
    auto* values = static_cast<Datum*>(palloc(desc->natts * sizeof(Datum)));
    auto* nulls = static_cast<bool*>(palloc(desc->natts * sizeof(bool)));
    std::fill_n(nulls, desc->natts, true);
    std::fill_n(nulls, kMessage - 1, false);
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
    HeapTuple tuple = heap_form_tuple(desc, values, nulls);
    pfree(values);
    pfree(nulls);
    return tuple;
}

}  // namespace

int64 Send(const OpenedQueue& opened, const OutgoingMessage* messages, int count, const SendOptions& options) {
    Relation rel = opened.segment;
    const Queue* queue = opened.queue;
    const bool plain = queue->plain_indexes;
    const Oid primary_key = queue->primary_key;
    const page::SegmentRef map = MapOf(opened);
    const double delay = options.delay.value_or(queue->delay);
    const int64 first_id = DrawIds(queue, count);

    RowHead head{};
    head.enqueued_at = GetCurrentTimestamp();
    head.vt = options.deliver_at.value_or(head.enqueued_at + static_cast<int64>(delay * USECS_PER_SEC));
    head.vt = std::max(head.vt, head.enqueued_at);
    head.last_read_at = DT_NOBEGIN;
    head.priority = options.priority;
    const page::Bound bound = head.vt == head.enqueued_at ? page::kUnknown : page::BoundOf(head.vt);

    page::ReserveTouches(count);
    AimAtTail(opened, map);
    const int band = page::BandFor(map, head.priority);
    BlockNumber last_block = InvalidBlockNumber;
    TableWriter writer(rel, primary_key, plain);
    // The tail moves on before we commit: who sends after we answered lies behind us.
    const auto account = [&](HeapTuple tuple) {
        const BlockNumber block = ItemPointerGetBlockNumber(&tuple->t_self);
        if (block != last_block) page::MakeRoom(map, band, block);
        last_block = std::max(last_block == InvalidBlockNumber ? 0 : last_block, block);
        page::TouchOnCommit(map, head.priority, block, bound);
    };
    if (count == 1) {
        head.msg_id = first_id;
        HeapTuple tuple = FormRow(RelationGetDescr(rel), head, messages[0]);
        writer.Insert(tuple, HEAP_INSERT_SKIP_FSM);
        account(tuple);
        heap_freetuple(tuple);
    } else {
        auto** tuples =
            static_cast<HeapTuple*>(MemoryContextAllocHuge(CurrentMemoryContext, count * sizeof(HeapTuple)));
        for (int i = 0; i < count; i++) {
            head.msg_id = first_id + i;
            tuples[i] = FormRow(RelationGetDescr(rel), head, messages[i]);
        }
        writer.InsertMany(tuples, count, HEAP_INSERT_SKIP_FSM);
        for (int i = 0; i < count; i++) account(tuples[i]);
    }
    page::AdvanceTail(map, last_block);
    return first_id;
}

}  // namespace pgqueue::queue
