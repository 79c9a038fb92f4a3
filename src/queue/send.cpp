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
        if (!BlockExists(opened, space.block)) {
            page::ForgetTail(map);
            continue;
        }
        RelationSetTargetBlock(rel, space.block);
        return space.count;
    }
}

// Appends a varlena value to a row's data as heap_fill_tuple does: short ones with a one-byte header, unaligned; others
// as they are, aligned unless their header is short already. Returns the end. A null `data` only measures.
Size AppendValue(char* data, Size at, Datum value) {
    const auto* source = reinterpret_cast<const struct varlena*>(DatumGetPointer(value));
    if (VARATT_IS_SHORT(source) || VARATT_IS_EXTERNAL(source)) {
        if (data != nullptr) memcpy(data + at, source, VARSIZE_ANY(source));
        return at + VARSIZE_ANY(source);
    }
    if (VARATT_CAN_MAKE_SHORT(source)) {
        const Size length = VARATT_CONVERTED_SHORT_SIZE(source);
        if (data != nullptr) {
            SET_VARSIZE_SHORT(data + at, length);
            memcpy(data + at + 1, VARDATA(source), length - 1);
        }
        return at + length;
    }
    const Size start = INTALIGN(at);
    if (data != nullptr) {
        memset(data + at, 0, start - at);
        memcpy(data + start, source, VARSIZE(source));
    }
    return start + VARSIZE(source);
}

// How many columns a row must have: those behind the last one that isn't NULL are left out, as in rows that are older
// than a column. Where a column that came later has a value for such rows, all are stored.
int ColumnsOf(TupleDesc desc, const OutgoingMessage& message) {
    if (desc->constr != nullptr && desc->constr->missing != nullptr) return desc->natts;
    return message.headers_null ? kMessage : kHeaders;
}

// heap_form_tuple for this one layout, at a tenth of its cost: it walks the columns twice for what is a memcpy here.
HeapTuple FormRow(TupleDesc desc, const RowHead& head, const OutgoingMessage& message) {
    const int columns = ColumnsOf(desc, message);
    const bool has_null = columns > kHeaders || message.message_null;
    const Size header = MAXALIGN(SizeofHeapTupleHeader + (has_null ? BITMAPLEN(columns) : 0));
    Size length = sizeof(RowHead);
    if (!message.message_null) length = AppendValue(nullptr, length, message.message);
    if (!message.headers_null) length = AppendValue(nullptr, length, message.headers);
    if (length > MaxAllocSize / 2)
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("message is too long")));

    auto* tuple = static_cast<HeapTuple>(palloc(HEAPTUPLESIZE + header + length));
    memset(tuple, 0, HEAPTUPLESIZE + header);
    tuple->t_len = static_cast<uint32>(header + length);
    ItemPointerSetInvalid(&tuple->t_self);
    tuple->t_tableOid = InvalidOid;
    tuple->t_data = reinterpret_cast<HeapTupleHeader>(reinterpret_cast<char*>(tuple) + HEAPTUPLESIZE);
    HeapTupleHeader row = tuple->t_data;
    HeapTupleHeaderSetDatumLength(row, tuple->t_len);
    HeapTupleHeaderSetTypeId(row, desc->tdtypeid);
    HeapTupleHeaderSetTypMod(row, desc->tdtypmod);
    ItemPointerSetInvalid(&row->t_ctid);
    HeapTupleHeaderSetNatts(row, columns);
    row->t_hoff = static_cast<uint8>(header);
    static_assert(kMessage == 8 && kHeaders == 9);
    if (has_null) {
        row->t_infomask = HEAP_HASNULL;
        row->t_bits[0] = static_cast<bits8>(0x7f | (message.message_null ? 0 : 0x80));
        if (columns > kMessage) row->t_bits[1] = static_cast<bits8>(message.headers_null ? 0 : 0x01);
    }

    char* data = reinterpret_cast<char*>(row) + header;
    memcpy(data, &head, sizeof(head));
    Size at = sizeof(RowHead);
    for (const auto& [value, null] :
         {std::pair(message.message, message.message_null), std::pair(message.headers, message.headers_null)}) {
        if (null) continue;
        row->t_infomask |= HEAP_HASVARWIDTH;
        if (VARATT_IS_EXTERNAL(DatumGetPointer(value))) row->t_infomask |= HEAP_HASEXTERNAL;
        at = AppendValue(data, at, value);
    }
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
