#include "pgqueue/queue/redrive.hpp"

#include "pgqueue/pg/progress.hpp"
#include "pgqueue/queue/dead_letters.hpp"
#include "pgqueue/queue/row_state.hpp"
#include "pgqueue/queue/send.hpp"

namespace pgqueue::queue {
namespace {

constexpr int kBatch = 1000;  // messages sent to one queue at a time

// Messages on their way to one queue, in order. The rows lie in the batch's memory.
struct Batch {
    NameData name;
    pg::Vector<OutgoingMessage> messages;
    int32 priority;  // all the same; 0 in a fifo queue
    bool fifo;
};

struct Letter {
    HeapTuple row;
    NameData target;
    Jsonb* headers;  // without the dead letter's; null: none
};

class Redriver {
public:
    Redriver(const OpenedQueue& from, const char* target, int64 qty)
        : from_(from), rel_(from.segment), target_(target), qty_(qty), acker_(from, nullptr),
          memory_(AllocSetContextCreate(CurrentMemoryContext, "pgqueue redrive", ALLOCSET_DEFAULT_SIZES)) {}

    int64 Run() {
        const MemoryContext caller = MemoryContextSwitchTo(memory_);
        if (target_ != nullptr) CheckTarget(target_);
        pg::ProgressOnTable(RelationGetRelid(rel_), RelationGetNumberOfBlocks(rel_));
        for (BlockNumber block = 0; moved_ < qty_ && page::BlockExists(rel_, block); block++) {
            CHECK_FOR_INTERRUPTS();
            pg::ProgressOnPage(block);
            const Buffer buffer = ReadBuffer(rel_, block);  // pinned: no place is given to another row
            for (const Letter& letter : LettersOn(buffer)) {
                if (moved_ == qty_) break;
                if (Take(letter.row)) Add(letter);
            }
            ReleaseBuffer(buffer);
            // Between two pages nothing is kept but what waits in the batches.
            if (waiting_ >= kBatch) SendAll();
        }
        SendAll();
        MemoryContextSwitchTo(caller);
        MemoryContextDelete(memory_);
        return moved_;
    }

private:
    // Before anything is moved there: a better hint than Open's.
    void CheckTarget(const char* name) const {
        if (strcmp(name, from_.queue->name) == 0)
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                            errmsg("messages can't be redriven from queue \"%s\" to itself", name)));
        if (QueueExists(name)) return;
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("queue \"%s\" does not exist", name),
                        target_ == nullptr
                            ? errhint("Messages of queue \"%s\" came from it. Create it again, or name another one: "
                                      "queue.redrive('%s', queue_name => ...).",
                                      from_.queue->name, from_.queue->name)
                            : errhint("Create it with queue.create('%s').", name)));
    }

    // Copies of the page's messages that are to be moved and that nobody has out.
    pg::Vector<Letter> LettersOn(Buffer buffer) {
        pg::Vector<HeapTuple> rows;
        const page::SegmentRef& map = MapOf(from_);
        const TimestampTz now = GetCurrentTimestamp();
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
        HeapTupleData tuple;
        for (OffsetNumber off = FirstOffsetNumber; off <= last; off = OffsetNumberNext(off)) {
            if (StateOf(rel_, buffer, off, &tuple) != RowState::kLive) continue;
            const RowHead* head = HeadOf(tuple.t_data);
            if (head->receipt != 0 && EffectiveVt(map, head, tuple.t_self, now) > now) continue;
            if (ExpiryOf(&tuple, RelationGetDescr(rel_)) <= now) continue;
            rows.push_back(heap_copytuple(&tuple));
        }
        LockBuffer(buffer, BUFFER_LOCK_UNLOCK);

        // Headers may have to be fetched from the TOAST table: not under the page's lock.
        pg::Vector<Letter> letters;
        for (HeapTuple row : rows) {
            bool null = false;
            const Datum datum = heap_getattr(row, kHeaders, RelationGetDescr(rel_), &null);
            const Jsonb* headers = null ? nullptr : DatumGetJsonbP(datum);
            if (headers != nullptr && !JB_ROOT_IS_OBJECT(headers)) headers = nullptr;
            const char* origin = target_ != nullptr ? target_ : OriginOf(headers);
            if (origin == nullptr) continue;
            Letter letter{row, {}, WithoutDeadLetter(headers)};
            strlcpy(NameStr(letter.target), origin, NAMEDATALEN);
            letters.push_back(letter);
        }
        return letters;
    }

    // Deletes the row, unless somebody has it by now. Its lock keeps readers away between the check and the delete.
    bool Take(HeapTuple row) {
        HeapTupleData tuple{};
        tuple.t_self = row->t_self;
        TM_FailureData failure;
        Buffer buffer = InvalidBuffer;
        const TM_Result result = heap_lock_tuple(rel_, &tuple, GetCurrentCommandId(true), LockTupleExclusive,
                                                 LockWaitSkip, false, &buffer, &failure);
        const RowHead* seen = HeadOf(row->t_data);
        bool same = result == TM_Ok;
        if (same) {
            LockBuffer(buffer, BUFFER_LOCK_SHARE);
            const RowHead* head = HeadOf(page::RowAt(buffer, row->t_self));
            same = head->msg_id == seen->msg_id && head->receipt == seen->receipt && head->vt == seen->vt;
            LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
        }
        ReleaseBuffer(buffer);
        return same && acker_.DeleteLocked(seen->msg_id, row->t_self);
    }

    void Add(const Letter& letter) {
        Batch* batch = BatchFor(NameStr(letter.target), HeadOf(letter.row->t_data)->priority);
        const TupleDesc desc = RelationGetDescr(rel_);
        OutgoingMessage message{};
        message.message = heap_getattr(letter.row, kMessage, desc, &message.message_null);
        message.headers_null = letter.headers == nullptr;
        if (letter.headers != nullptr) message.headers = JsonbPGetDatum(letter.headers);
        bool null = false;
        const Datum group = heap_getattr(letter.row, kGroupKey, desc, &null);
        if (!null) message.group_key = DatumGetTextPP(group);
        batch->messages.push_back(message);
        moved_++;
        waiting_++;
    }

    Batch* BatchFor(const char* name, int32 priority) {
        for (Batch& batch : batches_)
            if ((batch.fifo || batch.priority == priority) && strcmp(NameStr(batch.name), name) == 0) return &batch;
        CheckName(name);
        CheckTarget(name);
        const OpenedQueue target = Open(name, ACL_INSERT, RowExclusiveLock);
        Batch batch{};
        strlcpy(NameStr(batch.name), name, NAMEDATALEN);
        batch.fifo = target.queue->fifo;
        batch.priority = batch.fifo ? 0 : priority;
        Close(target);
        batches_.push_back(batch);
        return &batches_.back();
    }

    void SendAll() {
        for (const Batch& batch : batches_) {
            const OpenedQueue target = Open(NameStr(batch.name), ACL_INSERT, RowExclusiveLock);
            SendOptions options;
            options.delay = 0;
            options.priority = batch.priority;
            Send(target, batch.messages.data(), static_cast<int>(batch.messages.size()), options);
            Close(target);
            pg::ProgressAddRows(static_cast<int64>(batch.messages.size()));
        }
        pg::Vector<Batch>().swap(batches_);
        waiting_ = 0;
        MemoryContextReset(memory_);
    }

    const OpenedQueue& from_;
    Relation rel_;
    const char* target_;  // null: as the headers say
    int64 qty_;
    Acker acker_;
    MemoryContext memory_;  // of the rows and batches, emptied when all are sent
    pg::Vector<Batch> batches_;
    int64 moved_ = 0;
    int waiting_ = 0;
};

}  // namespace

int64 Redrive(const char* dead_letter, const char* target, int64 qty) {
    const pg::Progress progress(pg::Work::kRedrive);
    const OpenedQueue from = Open(dead_letter, ACL_SELECT | ACL_DELETE, RowExclusiveLock);
    pg::ProgressPhase("moving messages");
    pg::ProgressTables(from.queue->segment_count);
    int64 moved = 0;
    ForSegments(from, RowExclusiveLock, [&](const OpenedQueue& segment) {
        moved += Redriver(segment, target, qty - moved).Run();
        return moved == qty;
    });
    Close(from);
    return moved;
}

}  // namespace pgqueue::queue
