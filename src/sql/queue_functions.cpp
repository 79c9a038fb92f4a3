// The SQL-callable surface of the queues: unpack arguments, call the engine, pack the result.
#include "pgqueue/pg/function.hpp"
#include "pgqueue/queue/ack.hpp"
#include "pgqueue/queue/admin.hpp"
#include "pgqueue/queue/read.hpp"
#include "pgqueue/queue/row.hpp"
#include "pgqueue/queue/send.hpp"
#include "pgqueue/queue/wait.hpp"
#include "pgqueue/sql/args.hpp"
#include "pgqueue/sql/result_set.hpp"

namespace pgqueue::sql {
namespace {

using namespace pgqueue::queue;

// Turns rows into queue.message.
class MessageSink : public RowSink {
public:
    explicit MessageSink(FunctionCallInfo fcinfo) : result_(fcinfo, 10) {}

    void Take(Relation segment, HeapTuple tuple) override {
        const TupleDesc desc = RelationGetDescr(segment);  // of this look: a waiting read closes the table in between
        const RowHead* head = HeadOf(tuple->t_data);
        bool nulls[10] = {};
        Datum values[10] = {Int64GetDatum(head->msg_id),
                            Int32GetDatum(head->read_ct),
                            TimestampTzGetDatum(head->enqueued_at),
                            TimestampTzGetDatum(head->last_read_at),
                            TimestampTzGetDatum(head->vt),
                            0,
                            0,
                            Int32GetDatum(head->priority),
                            0,
                            Int64GetDatum(head->receipt)};
        nulls[3] = TIMESTAMP_IS_NOBEGIN(head->last_read_at);
        nulls[9] = head->receipt == 0;
        values[5] = Attribute(tuple, desc, kMessage, 5, &nulls[5]);
        values[6] = Attribute(tuple, desc, kHeaders, 6, &nulls[6]);
        values[8] = Attribute(tuple, desc, kGroupKey, 8, &nulls[8]);
        result_.Add(values, nulls);
        for (const int i : {5, 6, 8})
            if (fetched_[i] != nullptr) pfree(fetched_[i]);
    }

private:
    // A value that stays whole after the row is gone: fetched from the TOAST table if it lies there.
    Datum Attribute(HeapTuple tuple, TupleDesc desc, int attribute, int column, bool* null) {
        const Datum value = heap_getattr(tuple, attribute, desc, null);
        fetched_[column] = nullptr;
        if (*null || !VARATT_IS_EXTERNAL(DatumGetPointer(value))) return value;
        fetched_[column] = detoast_external_attr(reinterpret_cast<struct varlena*>(DatumGetPointer(value)));
        return PointerGetDatum(fetched_[column]);
    }

    ResultSet result_;
    struct varlena* fetched_[10] = {};
};

// Acks each row as it comes: pop.
class PopSink : public RowSink {
public:
    PopSink(RowSink* next, Acker* acker) : next_(next), acker_(acker) {}
    void Take(Relation segment, HeapTuple tuple) override {
        if (acker_->DeleteRead(tuple)) next_->Take(segment, tuple);  // else somebody else has it by now
    }

private:
    RowSink* next_;
    Acker* acker_;
};

// Headers are an object or NULL.
void CheckHeaders(Datum headers, bool null) {
    if (null || JB_ROOT_IS_OBJECT(DatumGetJsonbP(headers))) return;
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("headers must be a JSON object")));
}

SendOptions SendOptionsOf(const Args& args) {
    SendOptions options;
    options.delay = args.Seconds(3, "delay");
    if (!args.IsNull(4)) {
        if (options.delay)
            ereport(ERROR,
                    (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("delay and deliver_at exclude each other")));
        options.deliver_at = DatumGetTimestampTz(args.Raw(4));
        if (TIMESTAMP_NOT_FINITE(*options.deliver_at) ||
            *options.deliver_at > GetCurrentTimestamp() + static_cast<int64>(kMaxSeconds * USECS_PER_SEC))
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("deliver_at is out of range"),
                            errhint("It is an instant at most ten years ahead.")));
    }
    options.priority = args.Priority(5);
    return options;
}

OpenedQueue OpenFor(const Args& args, AclMode privileges, LOCKMODE lock) {
    return Open(args.Text(0, "queue_name"), privileges, lock);
}

MessageId MessageIdOf(const Args& args, int id, int receipt) {
    return {args.Int(id, "msg_id"), args.OptionalInt(receipt)};
}

pg::Vector<MessageId> MessageIdsOf(const Args& args, int ids_arg, int receipts_arg) {
    Datum* ids = nullptr;
    int count = 0;
    args.Array(ids_arg, "msg_ids", INT8OID, &ids, nullptr, &count);
    Datum* receipts = nullptr;
    if (!args.IsNull(receipts_arg)) {
        int receipt_count = 0;
        args.Array(receipts_arg, "receipts", INT8OID, &receipts, nullptr, &receipt_count);
        if (receipt_count != count)
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                            errmsg("receipts must be as many as msg_ids: %d, not %d", count, receipt_count)));
    }
    pg::Vector<MessageId> result(count);
    for (int i = 0; i < count; i++) {
        result[i].msg_id = DatumGetInt64(ids[i]);
        if (receipts != nullptr) result[i].receipt = DatumGetInt64(receipts[i]);
    }
    return result;
}

// The archive, open for writing; null where the queue is only to be deleted from.
Relation ArchiveOf(const OpenedQueue& opened) {
    if (!OidIsValid(opened.queue->archive))
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("queue \"%s\" has no archive table", opened.queue->name),
                 errhint("Call queue.create with the queue's settings: it makes one.")));
    Relation archive = table_open(opened.queue->archive, RowExclusiveLock);
    // Its CHECKs and index expressions are its owner's code, which runs as whoever archives.
    if (archive->rd_rel->relowner != opened.queue->owner)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("table \"%s\" belongs to another role than the queue", RelationGetRelationName(archive)),
                        errhint("Drop or rename it, or ALTER TABLE ... OWNER TO the queue's.")));
    const TupleDesc desc = RelationGetDescr(archive);
    const TupleDesc from = RelationGetDescr(opened.segment);
    bool good = archive->rd_rel->relkind == RELKIND_RELATION && archive->rd_rel->relam == HEAP_TABLE_AM_OID &&
                archive->rd_rules == nullptr && desc->natts >= kArchiveColumns &&
                TupleDescAttr(desc, kArchivedAt - 1)->atttypid == TIMESTAMPTZOID;
    for (int i = 0; good && i < kQueueColumns; i++)
        good = TupleDescAttr(desc, i)->atttypid == TupleDescAttr(from, i)->atttypid &&
               !TupleDescAttr(desc, i)->attisdropped;
    if (!good)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("table \"%s\" can't be used as an archive: its leading columns are not the queue's",
                               RelationGetRelationName(archive))));
    return archive;
}

Datum AckOne(FunctionCallInfo fcinfo, bool archive, const char* function) {
    const Args args(fcinfo);
    PreventWrite(function);
    const MessageId id = MessageIdOf(args, 1, 2);
    const OpenedQueue opened = OpenFor(args, ACL_DELETE, RowExclusiveLock);
    Relation into = archive ? ArchiveOf(opened) : nullptr;
    bool done = false;
    Acker(opened, into).Run(&id, 1, &done);
    if (into != nullptr) table_close(into, NoLock);
    Close(opened);
    PG_RETURN_BOOL(done);
}

Datum AckBatch(FunctionCallInfo fcinfo, bool archive, const char* function) {
    const Args args(fcinfo);
    PreventWrite(function);
    const pg::Vector<MessageId> ids = MessageIdsOf(args, 1, 2);
    const OpenedQueue opened = OpenFor(args, ACL_DELETE, RowExclusiveLock);
    ResultSet result(fcinfo, 1);
    const int count = static_cast<int>(ids.size());
    if (count > 0) {
        Relation into = archive ? ArchiveOf(opened) : nullptr;
        pg::Vector<bool> done(count);
        Acker(opened, into).Run(ids.data(), count, done.data());
        for (int i = 0; i < count; i++) {
            Datum value = Int64GetDatum(ids[i].msg_id);
            bool null = false;
            if (done[i]) result.Add(&value, &null);
        }
        if (into != nullptr) table_close(into, NoLock);
    }
    Close(opened);
    PG_RETURN_NULL();
}

// Not supported yet; the defaults are those of the function's signature.
void RefuseLaterSettings(const Args& args, int fifo) {
    if (args.Bool(fifo, false)) args.NotYet(fifo, "fifo");
    args.NotYet(fifo + 1, "max_attempts");
    args.NotYet(fifo + 2, "dead_letter");
    if (args.Float(fifo + 3, 0) != 0) args.NotYet(fifo + 3, "backoff");
    if (args.Float(fifo + 4, 3600) != 3600) args.NotYet(fifo + 4, "backoff_max");
    args.NotYet(fifo + 5, "message_ttl");
    args.NotYet(fifo + 6, "archive_retention");
}

}  // namespace
}  // namespace pgqueue::sql

using namespace pgqueue;
using namespace pgqueue::sql;

PGQUEUE_FUNCTION(pgqueue_create) {
    const Args args(fcinfo);
    const char* name = args.Text(0, "queue_name");
    PreventWrite("queue.create()");
    RefuseLaterSettings(args, 4);
    PG_RETURN_BOOL(Create(name, {args.Seconds(1, "vt", 30), args.Seconds(2, "delay", 0), args.Bool(3, false)}));
}

PGQUEUE_FUNCTION(pgqueue_drop) {
    const Args args(fcinfo);
    const char* name = args.Text(0, "queue_name");
    PreventWrite("queue.drop()");
    PG_RETURN_BOOL(Drop(name));
}

PGQUEUE_FUNCTION(pgqueue_purge) {
    const Args args(fcinfo);
    const char* name = args.Text(0, "queue_name");
    PreventWrite("queue.purge()");
    PG_RETURN_INT64(Purge(name));
}

PGQUEUE_FUNCTION(pgqueue_pause) {
    const Args args(fcinfo);
    const char* name = args.Text(0, "queue_name");
    PreventWrite("queue.pause()");
    PG_RETURN_BOOL(SetPaused(name, true));
}

PGQUEUE_FUNCTION(pgqueue_resume) {
    const Args args(fcinfo);
    const char* name = args.Text(0, "queue_name");
    PreventWrite("queue.resume()");
    PG_RETURN_BOOL(SetPaused(name, false));
}

PGQUEUE_FUNCTION(pgqueue_grant) {
    const Args args(fcinfo);
    const char* name = args.Text(0, "queue_name");
    args.Require(1, "role");
    PreventWrite("queue.grant()");
    GrantOrRevoke(Grant::kGrant, name, NameStr(*DatumGetName(args.Raw(1))), args.Text(2, "privilege"));
    PG_RETURN_VOID();
}

PGQUEUE_FUNCTION(pgqueue_revoke) {
    const Args args(fcinfo);
    const char* name = args.Text(0, "queue_name");
    args.Require(1, "role");
    PreventWrite("queue.revoke()");
    GrantOrRevoke(Grant::kRevoke, name, NameStr(*DatumGetName(args.Raw(1))), args.Text(2, "privilege"));
    PG_RETURN_VOID();
}

PGQUEUE_FUNCTION(pgqueue_send) {
    const Args args(fcinfo);
    PreventWrite("queue.send()");
    args.NotYet(6, "group_key");
    args.NotYet(7, "dedup_key");
    args.NotYet(8, "ttl");
    const SendOptions options = SendOptionsOf(args);
    const OutgoingMessage message{args.Raw(1), args.IsNull(1), args.Raw(2), args.IsNull(2)};
    CheckHeaders(message.headers, message.headers_null);
    const OpenedQueue opened = OpenFor(args, ACL_INSERT, RowExclusiveLock);
    const int64 id = Send(opened, &message, 1, options);
    Close(opened);
    PG_RETURN_INT64(id);
}

PGQUEUE_FUNCTION(pgqueue_send_batch) {
    const Args args(fcinfo);
    PreventWrite("queue.send_batch()");
    args.NotYet(6, "group_keys");
    args.NotYet(7, "dedup_keys");
    args.NotYet(8, "ttl");
    const SendOptions options = SendOptionsOf(args);
    Datum* messages = nullptr;
    bool* message_nulls = nullptr;
    int count = 0;
    args.Array(1, "messages", JSONBOID, &messages, &message_nulls, &count);
    Datum* headers = nullptr;
    bool* header_nulls = nullptr;
    if (!args.IsNull(2)) {
        int header_count = 0;
        args.Array(2, "headers", JSONBOID, &headers, &header_nulls, &header_count);
        if (header_count != count)
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                            errmsg("headers must be as many as messages: %d, not %d", count, header_count)));
        for (int i = 0; i < count; i++) CheckHeaders(headers[i], header_nulls[i]);
    }
    const OpenedQueue opened = OpenFor(args, ACL_INSERT, RowExclusiveLock);
    ResultSet result(fcinfo, 1);
    if (count > 0) {
        pg::Vector<OutgoingMessage> outgoing(count);
        for (int i = 0; i < count; i++)
            outgoing[i] = {messages[i], message_nulls[i], headers != nullptr ? headers[i] : 0,
                           headers == nullptr || header_nulls[i]};
        const int64 first = Send(opened, outgoing.data(), count, options);
        for (int i = 0; i < count; i++) {
            Datum value = Int64GetDatum(first + i);
            bool null = false;
            result.Add(&value, &null);
        }
    }
    Close(opened);
    PG_RETURN_NULL();
}

PGQUEUE_FUNCTION(pgqueue_read) {
    const Args args(fcinfo);
    PreventWrite("queue.read()");
    const char* name = args.Text(0, "queue_name");
    const auto vt = args.Seconds(1, "vt");
    const double wait = args.Wait(3, " CALL queue.wait doesn't.");
    if (args.Bool(5, false)) args.NotYet(5, "grouped");
    ReadOptions options;
    options.qty = args.Quantity(2);
    options.filter = args.IsNull(4) ? nullptr : DatumGetJsonbP(args.Raw(4));

    OpenedQueue opened = Open(name, ACL_SELECT | ACL_UPDATE, RowExclusiveLock);
    MessageSink sink(fcinfo);
    options.vt = vt.value_or(opened.queue->vt);
    if (wait == 0) {
        Read(opened, options, &sink);
        Close(opened);
        PG_RETURN_NULL();
    }
    Waiter waiter(wait, options.filter != nullptr);
    for (;;) {
        waiter.Enter(MapOf(opened));
        const ReadResult result = Read(opened, options, &sink);
        if (result.count > 0) {
            Close(opened);
            break;
        }
        const bool paused = opened.queue->paused;
        Close(opened, RowExclusiveLock);  // a sleeper must not hold up VACUUM FULL and the like
        if (!waiter.Sleep(paused)) break;
        CHECK_FOR_INTERRUPTS();
        opened = Open(name, ACL_SELECT | ACL_UPDATE, RowExclusiveLock);
        options.vt = vt.value_or(opened.queue->vt);
    }
    PG_RETURN_NULL();
}

PGQUEUE_FUNCTION(pgqueue_pop) {
    const Args args(fcinfo);
    PreventWrite("queue.pop()");
    ReadOptions options;
    options.qty = args.Quantity(1);
    options.vt = 30;  // held only until this statement's delete
    const OpenedQueue opened = OpenFor(args, ACL_SELECT | ACL_UPDATE | ACL_DELETE, RowExclusiveLock);
    MessageSink messages(fcinfo);
    Acker acker(opened, nullptr);
    PopSink sink(&messages, &acker);
    Read(opened, options, &sink);
    Close(opened);
    PG_RETURN_NULL();
}

PGQUEUE_FUNCTION(pgqueue_peek) {
    const Args args(fcinfo);
    PreventCommandDuringRecovery("queue.peek()");
    ReadOptions options;
    options.qty = args.Quantity(1);
    options.lease = false;
    const OpenedQueue opened = OpenFor(args, ACL_SELECT, AccessShareLock);
    MessageSink sink(fcinfo);
    Read(opened, options, &sink);
    Close(opened, AccessShareLock);
    PG_RETURN_NULL();
}

PGQUEUE_FUNCTION(pgqueue_delete) { return AckOne(fcinfo, false, "queue.delete()"); }
PGQUEUE_FUNCTION(pgqueue_archive) { return AckOne(fcinfo, true, "queue.archive()"); }
PGQUEUE_FUNCTION(pgqueue_delete_batch) { return AckBatch(fcinfo, false, "queue.delete_batch()"); }
PGQUEUE_FUNCTION(pgqueue_archive_batch) { return AckBatch(fcinfo, true, "queue.archive_batch()"); }

PGQUEUE_FUNCTION(pgqueue_set_vt) {
    const Args args(fcinfo);
    PreventWrite("queue.set_vt()");
    const MessageId id = MessageIdOf(args, 1, 3);
    TimestampTz vt = 0;
    if (!args.IsNull(4)) {
        if (!args.IsNull(2))
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("vt and visible_at exclude each other"),
                            errhint("Pass NULL for vt.")));
        vt = DatumGetTimestampTz(args.Raw(4));
        if (TIMESTAMP_NOT_FINITE(vt))
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("visible_at must be finite")));
    } else {
        args.Require(2, "vt");
        vt = GetCurrentTimestamp() + static_cast<int64>(*args.Seconds(2, "vt") * USECS_PER_SEC);
    }
    const OpenedQueue opened = OpenFor(args, ACL_SELECT | ACL_UPDATE, RowExclusiveLock);
    MessageSink sink(fcinfo);
    SetVt(opened, id, vt, false, &sink);
    Close(opened);
    PG_RETURN_NULL();
}

PGQUEUE_FUNCTION(pgqueue_set_vt_batch) {
    const Args args(fcinfo);
    PreventWrite("queue.set_vt_batch()");
    const pg::Vector<MessageId> ids = MessageIdsOf(args, 1, 3);
    args.Require(2, "vt");
    const TimestampTz vt = GetCurrentTimestamp() + static_cast<int64>(*args.Seconds(2, "vt") * USECS_PER_SEC);
    const OpenedQueue opened = OpenFor(args, ACL_SELECT | ACL_UPDATE, RowExclusiveLock);
    MessageSink sink(fcinfo);
    for (const MessageId& id : ids) {
        CHECK_FOR_INTERRUPTS();
        SetVt(opened, id, vt, false, &sink);
    }
    Close(opened);
    PG_RETURN_NULL();
}

PGQUEUE_FUNCTION(pgqueue_nack) {
    const Args args(fcinfo);
    PreventWrite("queue.nack()");
    args.NotYet(4, "error");
    const MessageId id = MessageIdOf(args, 1, 2);
    const TimestampTz vt = GetCurrentTimestamp() + static_cast<int64>(args.Seconds(3, "delay", 0) * USECS_PER_SEC);
    const OpenedQueue opened = OpenFor(args, ACL_UPDATE, RowExclusiveLock);
    const bool done = SetVt(opened, id, vt, true, nullptr);
    Close(opened);
    PG_RETURN_BOOL(done);
}

// CALL queue.wait: until a read would answer, with no snapshot held while it sleeps.
PGQUEUE_FUNCTION(pgqueue_wait) {
    const Args args(fcinfo);
    const auto* context = fcinfo->context;
    if (context == nullptr || !IsA(context, CallContext) || castNode(CallContext, const_cast<Node*>(context))->atomic)
        ereport(
            ERROR,
            (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
             errmsg("queue.wait can't run inside a transaction block or a function"),
             errhint("It ends the transaction to wait without a snapshot. Use queue.read(..., wait => ...) there.")));
    PreventCommandDuringRecovery("queue.wait()");
    const char* name = pstrdup(args.Text(0, "queue_name"));
    Waiter waiter(args.Seconds(1, "seconds", 20), false);
    if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
    ReadOptions options;
    options.lease = false;
    for (;;) {
        const OpenedQueue opened = Open(name, ACL_SELECT | ACL_UPDATE, AccessShareLock);
        waiter.Enter(MapOf(opened));
        const bool paused = opened.queue->paused;
        const bool found = !paused && Read(opened, options, nullptr).count > 0;
        Close(opened, AccessShareLock);
        if (found) break;
        SPI_commit();
        if (!waiter.Sleep(paused)) break;
        CHECK_FOR_INTERRUPTS();
    }
    waiter.Leave();
    SPI_finish();
    PG_RETURN_VOID();
}

PGQUEUE_FUNCTION(pgqueue_alter) {
    const Args args(fcinfo);
    const char* name = args.Text(0, "queue_name");
    PreventWrite("queue.alter()");
    args.NotYet(3, "fifo");
    args.NotYet(4, "max_attempts");
    args.NotYet(5, "dead_letter");
    args.NotYet(6, "backoff");
    args.NotYet(7, "backoff_max");
    args.NotYet(8, "message_ttl");
    args.NotYet(9, "archive_retention");
    args.NotYet(10, "reset");
    PG_RETURN_BOOL(Alter(name, args.Seconds(1, "vt"), args.Seconds(2, "delay")));
}
