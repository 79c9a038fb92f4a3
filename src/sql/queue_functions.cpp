// The SQL-callable surface of the queues: unpack arguments, call the engine, pack the result.
#include "pgqueue/pg/function.hpp"
#include "pgqueue/queue/ack.hpp"
#include "pgqueue/queue/admin.hpp"
#include "pgqueue/queue/dedup.hpp"
#include "pgqueue/queue/message_values.hpp"
#include "pgqueue/queue/read.hpp"
#include "pgqueue/queue/row.hpp"
#include "pgqueue/queue/send.hpp"
#include "pgqueue/queue/wait.hpp"
#include "pgqueue/sql/args.hpp"
#include "pgqueue/sql/headers.hpp"
#include "pgqueue/sql/result_set.hpp"

namespace pgqueue::sql {
namespace {

using namespace pgqueue::queue;

// Turns rows into queue.message.
class MessageSink : public RowSink {
public:
    explicit MessageSink(FunctionCallInfo fcinfo) : result_(fcinfo, kMessageColumns) {}

    void Take(Relation segment, HeapTuple tuple) override {
        Datum values[kMessageColumns];
        bool nulls[kMessageColumns];
        struct varlena* fetched[kMessageColumns];
        // The shape is that of this look: a waiting read closes the table in between.
        MessageValues(tuple, RelationGetDescr(segment), values, nulls, fetched);
        result_.Add(values, nulls);
        for (struct varlena* value : fetched)
            if (value != nullptr) pfree(value);
    }

private:
    ResultSet result_;
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

std::optional<int64> MaxAttempts(const Args& args, int i) {
    const auto max_attempts = args.OptionalInt(i);
    if (max_attempts && (*max_attempts < 1 || *max_attempts > PG_INT32_MAX))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("max_attempts is out of range: " INT64_FORMAT, *max_attempts),
                        errhint("It is at least 1; leave it out for any number of attempts.")));
    return max_attempts;
}

std::optional<double> Ttl(const Args& args, int i, const char* name) {
    if (args.IsNull(i)) return std::nullopt;
    return args.PositiveSeconds(i, name);
}

const char* QueueName(const Args& args, int i) {
    if (args.IsNull(i)) return nullptr;
    const char* name = TextDatumGetCString(args.Raw(i));
    CheckName(name);
    return name;
}

// Group and deduplication keys: limited, so that they stay in the row.
text* Key(Datum value, bool null, const char* name) {
    if (null) return nullptr;
    text* key = DatumGetTextPP(value);
    const Size length = VARSIZE_ANY_EXHDR(key);
    if (length < 1 || length > kMaxKeyBytes)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("%s must be 1 to %d bytes long, not %zu", name, kMaxKeyBytes, length)));
    return key;
}

text* KeyArg(const Args& args, int i, const char* name) { return Key(args.Raw(i), args.IsNull(i), name); }

// One key for each message, or none at all; NULL elements are messages without one.
pg::Vector<text*> KeysArg(const Args& args, int i, const char* name, int messages) {
    pg::Vector<text*> keys(messages, nullptr);
    if (args.IsNull(i)) return keys;
    Datum* values = nullptr;
    bool* nulls = nullptr;
    int count = 0;
    args.Array(i, name, TEXTOID, &values, &nulls, &count);
    if (count != messages)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("%s must be as many as messages: %d, not %d", name, messages, count)));
    for (int k = 0; k < count; k++) keys[k] = Key(values[k], nulls[k], name);
    return keys;
}

void CheckPriority(const OpenedQueue& opened, const SendOptions& options) {
    if (options.priority == 0 || !opened.queue->fifo) return;
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("queue \"%s\" is a fifo queue, whose messages have no priority", opened.queue->name),
                    errhint("Leave the priority out, or send to a queue that isn't fifo.")));
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
    options.ttl = Ttl(args, 8, "ttl");
    return options;
}

// Makes dead letters of the messages that have no attempts left.
void MoveExhausted(const char* name) {
    const OpenedQueue opened = Open(name, ACL_SELECT | ACL_UPDATE, RowExclusiveLock);
    ReadOptions options;
    options.exhausted_only = true;
    options.grouped = opened.queue->fifo;
    PushActiveSnapshot(GetTransactionSnapshot());  // for TOAST: a procedure has none after a commit
    Read(opened, options, nullptr);
    PopActiveSnapshot();
    Close(opened);
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

Datum AckOne(FunctionCallInfo fcinfo, bool archive, const char* function) {
    const Args args(fcinfo);
    PreventWrite(function);
    const MessageId id = MessageIdOf(args, 1, 2);
    const OpenedQueue opened = OpenFor(args, ACL_DELETE, RowExclusiveLock);
    Relation into = archive ? OpenArchive(opened) : nullptr;
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
        Relation into = archive ? OpenArchive(opened) : nullptr;
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

}  // namespace
}  // namespace pgqueue::sql

using namespace pgqueue;
using namespace pgqueue::sql;

PGQUEUE_FUNCTION(pgqueue_create) {
    const Args args(fcinfo);
    const char* name = args.Text(0, "queue_name");
    PreventWrite("queue.create()");
    QueueSettings settings;
    settings.vt = args.Seconds(1, "vt", settings.vt);
    settings.delay = args.Seconds(2, "delay", settings.delay);
    settings.fifo = args.Bool(4, false);
    settings.max_attempts = MaxAttempts(args, 5).value_or(0);
    settings.dead_letter = QueueName(args, 6);
    settings.backoff = args.Seconds(7, "backoff", settings.backoff);
    settings.backoff_max = args.Seconds(8, "backoff_max", settings.backoff_max);
    settings.message_ttl = Ttl(args, 9, "message_ttl").value_or(kForever);
    settings.archive_retention = args.Seconds(10, "archive_retention").value_or(kForever);
    PG_RETURN_BOOL(Create(name, settings, args.Bool(3, false)));
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
    const SendOptions options = SendOptionsOf(args);
    const OutgoingMessage message{args.Raw(1),
                                  args.IsNull(1),
                                  args.Raw(2),
                                  args.IsNull(2),
                                  KeyArg(args, 6, "group_key"),
                                  KeyArg(args, 7, "dedup_key")};
    CheckHeaders(message.headers, message.headers_null);
    const OpenedQueue opened = OpenFor(args, ACL_INSERT, RowExclusiveLock);
    CheckPriority(opened, options);
    int64 id = 0;
    if (message.dedup_key == nullptr)
        id = Send(opened, &message, 1, options);
    else
        SendOnce(opened, &message, 1, options, &id);
    Close(opened);
    PG_RETURN_INT64(id);
}

PGQUEUE_FUNCTION(pgqueue_send_batch) {
    const Args args(fcinfo);
    PreventWrite("queue.send_batch()");
    const SendOptions options = SendOptionsOf(args);
    pg::Vector<OutgoingMessage> outgoing = MessagesArg(args, 1);
    const int count = static_cast<int>(outgoing.size());
    const pg::Vector<text*> group_keys = KeysArg(args, 6, "group_keys", count);
    const pg::Vector<text*> dedup_keys = KeysArg(args, 7, "dedup_keys", count);
    const OpenedQueue opened = OpenFor(args, ACL_INSERT, RowExclusiveLock);
    CheckPriority(opened, options);
    ResultSet result(fcinfo, 1);
    if (count > 0) {
        for (int i = 0; i < count; i++) {
            outgoing[i].group_key = group_keys[i];
            outgoing[i].dedup_key = dedup_keys[i];
        }
        pg::Vector<int64> ids;
        int64 first = 0;
        if (std::any_of(dedup_keys.begin(), dedup_keys.end(), [](const text* key) { return key != nullptr; })) {
            ids.resize(count);
            SendOnce(opened, outgoing.data(), count, options, ids.data());
        } else {
            first = Send(opened, outgoing.data(), count, options);
        }
        for (int i = 0; i < count; i++) {
            Datum value = Int64GetDatum(ids.empty() ? first + i : ids[i]);
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
    const std::optional<bool> grouped = args.IsNull(5) ? std::nullopt : std::optional(DatumGetBool(args.Raw(5)));
    ReadOptions options;
    options.qty = args.Quantity(2);
    options.filter = args.IsNull(4) ? nullptr : DatumGetJsonbP(args.Raw(4));

    OpenedQueue opened = Open(name, ACL_SELECT | ACL_UPDATE, RowExclusiveLock);
    MessageSink sink(fcinfo);
    options.vt = vt.value_or(opened.queue->vt);
    options.grouped = grouped.value_or(opened.queue->fifo);
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
        options.grouped = grouped.value_or(opened.queue->fifo);
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
    options.grouped = opened.queue->fifo;
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
    options.grouped = opened.queue->fifo;
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
    const MessageId id = MessageIdOf(args, 1, 2);
    const auto delay = args.Seconds(3, "delay");
    const text* error = args.IsNull(4) ? nullptr : DatumGetTextPP(args.Raw(4));
    const OpenedQueue opened = OpenFor(args, ACL_UPDATE, RowExclusiveLock);
    const bool done = Nack(opened, id, delay, error);
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
        options.grouped = opened.queue->fifo;
        const ReadResult result = paused ? ReadResult{} : Read(opened, options, nullptr);
        Close(opened, AccessShareLock);
        if (result.count > 0) break;
        // They would be due, and passed by, for ever.
        if (result.exhausted && !XactReadOnly) MoveExhausted(name);
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
    SettingsChange change;
    change.vt = args.Seconds(1, "vt");
    change.delay = args.Seconds(2, "delay");
    if (!args.IsNull(3)) change.fifo = DatumGetBool(args.Raw(3));
    change.max_attempts = MaxAttempts(args, 4);
    change.dead_letter = QueueName(args, 5);
    change.backoff = args.Seconds(6, "backoff");
    change.backoff_max = args.Seconds(7, "backoff_max");
    change.message_ttl = Ttl(args, 8, "message_ttl");
    change.archive_retention = args.Seconds(9, "archive_retention");
    if (!args.IsNull(10)) {
        Datum* names = nullptr;
        int count = 0;
        args.Array(10, "reset", TEXTOID, &names, nullptr, &count);
        for (int i = 0; i < count; i++) change.reset.push_back(TextDatumGetCString(names[i]));
    }
    PG_RETURN_BOOL(Alter(name, change));
}
