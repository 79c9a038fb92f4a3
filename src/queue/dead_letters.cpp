#include "pgqueue/queue/dead_letters.hpp"

#include "pgqueue/pg/run_as.hpp"
#include "pgqueue/queue/failures.hpp"
#include "pgqueue/queue/queue_settings.hpp"
#include "pgqueue/queue/send.hpp"

namespace pgqueue::queue {
namespace {

constexpr const char* kHeader = "dead_letter";

JsonbValue StringValue(const char* string, int length) {
    JsonbValue value{};
    value.type = jbvString;
    value.val.string.val = const_cast<char*>(string);
    value.val.string.len = length;
    return value;
}

JsonbValue StringValue(const char* string) { return StringValue(string, static_cast<int>(strlen(string))); }

JsonbValue NumberValue(int64 number) {
    JsonbValue value{};
    value.type = jbvNumeric;
    value.val.numeric = int64_to_numeric(number);
    return value;
}

JsonbValue InstantValue(TimestampTz at) {
    return StringValue(JsonEncodeDateTime(nullptr, TimestampTzGetDatum(at), TIMESTAMPTZOID, nullptr));
}

// A jsonb object under construction.
class ObjectBuilder {
public:
    ObjectBuilder() { pushJsonbValue(&state_, WJB_BEGIN_OBJECT, nullptr); }

    void Add(const char* key, JsonbValue value) {
        Key(key);
        pushJsonbValue(&state_, WJB_VALUE, &value);
    }
    void Key(const char* key) {
        JsonbValue name = StringValue(key);
        pushJsonbValue(&state_, WJB_KEY, &name);
    }
    void BeginObject() { pushJsonbValue(&state_, WJB_BEGIN_OBJECT, nullptr); }
    void EndObject() { pushJsonbValue(&state_, WJB_END_OBJECT, nullptr); }
    Jsonb* End() { return JsonbValueToJsonb(pushJsonbValue(&state_, WJB_END_OBJECT, nullptr)); }

    // All pairs of an object but that of one key.
    void AddAllBut(const Jsonb* object, const char* left_out) {
        JsonbIterator* it = JsonbIteratorInit(&const_cast<Jsonb*>(object)->root);
        JsonbValue value;
        (void)JsonbIteratorNext(&it, &value, true);  // the object's begin
        while (JsonbIteratorNext(&it, &value, true) == WJB_KEY) {
            JsonbValue key = value;
            (void)JsonbIteratorNext(&it, &value, true);
            if (key.val.string.len == static_cast<int>(strlen(left_out)) &&
                memcmp(key.val.string.val, left_out, key.val.string.len) == 0)
                continue;
            pushJsonbValue(&state_, WJB_KEY, &key);
            pushJsonbValue(&state_, WJB_VALUE, &value);
        }
    }

private:
    JsonbParseState* state_ = nullptr;
};

Jsonb* HeadersOf(HeapTuple row, TupleDesc desc) {
    bool null = false;
    const Datum headers = heap_getattr(row, kHeaders, desc, &null);
    if (null) return nullptr;
    Jsonb* object = DatumGetJsonbP(headers);
    return JB_ROOT_IS_OBJECT(object) ? object : nullptr;  // a plain UPDATE may have put anything there
}

// The user's headers and what became of the message.
Jsonb* DeadHeaders(const Queue* queue, HeapTuple row, TupleDesc desc, const text* error) {
    const RowHead* head = HeadOf(row->t_data);
    ObjectBuilder builder;
    if (const Jsonb* headers = HeadersOf(row, desc)) builder.AddAllBut(headers, kHeader);
    builder.Key(kHeader);
    builder.BeginObject();
    builder.Add("queue", StringValue(queue->name));
    builder.Add("msg_id", NumberValue(head->msg_id));
    builder.Add("attempts", NumberValue(head->read_ct));
    builder.Add("reason", StringValue("max_attempts"));
    JsonbValue text_value{};
    text_value.type = jbvNull;
    if (error != nullptr) {
        const auto length = static_cast<int>(VARSIZE_ANY_EXHDR(error));
        text_value = StringValue(VARDATA_ANY(error), pg_mbcliplen(VARDATA_ANY(error), length, kMaxErrorBytes));
    }
    builder.Add("error", text_value);
    builder.Add("at", InstantValue(GetCurrentTimestamp()));
    builder.Add("enqueued_at", InstantValue(head->enqueued_at));
    builder.EndObject();
    return builder.End();
}

}  // namespace

bool DeadLetters::Move(HeapTuple leased, const text* error) {
    const RowHead* head = HeadOf(leased->t_data);
    const Queue* queue = from_.queue;
    const MemoryContext caller = MemoryContextSwitchTo(scratch_);
    const bool deleted = acker_.DeleteRead(leased);
    if (!deleted) {
        MemoryContextSwitchTo(caller);
        return false;
    }
    if (error == nullptr) error = NewestError(queue->name, head->msg_id);
    Jsonb* headers = DeadHeaders(queue, leased, RelationGetDescr(from_.segment), error);
    if (queue->dead_letter[0] != '\0' && QueueExists(queue->dead_letter)) {
        const OpenedQueue target = Open(queue->dead_letter, 0, RowExclusiveLock);
        Send(target, leased, headers);
        Close(target);
    } else {
        Archive(leased, headers);
    }
    moved_++;
    MemoryContextSwitchTo(caller);
    MemoryContextReset(scratch_);
    return true;
}

void DeadLetters::Send(const OpenedQueue& target, HeapTuple row, Jsonb* headers) {
    const TupleDesc desc = RelationGetDescr(from_.segment);
    OutgoingMessage message{};
    message.message = heap_getattr(row, kMessage, desc, &message.message_null);
    message.headers = JsonbPGetDatum(headers);
    bool null = false;
    const Datum group = heap_getattr(row, kGroupKey, desc, &null);
    if (!null) message.group_key = DatumGetTextPP(group);
    SendOptions options;
    options.delay = 0;
    options.ttl = kForever;
    options.priority = target.queue->fifo ? 0 : HeadOf(row->t_data)->priority;
    // CHECKs and index expressions are the target's owner's code.
    const Oid owner = target.queue->owner;
    std::optional<pg::RunAs> as;
    if (owner != GetUserId() && !SegmentOf(target).plain_indexes) as.emplace(owner, SECURITY_RESTRICTED_OPERATION);
    queue::Send(target, &message, 1, options);
}

void DeadLetters::Archive(HeapTuple row, Jsonb* headers) {
    Relation archive = OpenArchive(from_);
    {
        // CHECKs and index expressions are the queue's owner's code, and whoever reads hasn't asked for an insert.
        const Oid owner = from_.queue->owner;
        std::optional<pg::RunAs> as;
        if (owner != GetUserId()) as.emplace(owner, SECURITY_RESTRICTED_OPERATION);
        TableWriter writer(archive, InvalidOid, false);
        HeapTuple archived = ArchivedRow(from_.segment, archive, row, headers);
        writer.Insert(&archived, 1, 0);
        heap_freetuple(archived);
    }
    table_close(archive, NoLock);
}

void DeadLetters::Finish() {
    if (moved_ > 0) AddTotals(from_.queue->name, moved_, 0);
    MemoryContextDelete(scratch_);
}

const char* OriginOf(const Jsonb* headers) {
    if (headers == nullptr) return nullptr;
    auto* root = &const_cast<Jsonb*>(headers)->root;
    JsonbValue header{};
    JsonbValue queue{};
    if (getKeyJsonValueFromContainer(root, kHeader, static_cast<int>(strlen(kHeader)), &header) == nullptr ||
        header.type != jbvBinary || !JsonContainerIsObject(header.val.binary.data) ||
        getKeyJsonValueFromContainer(header.val.binary.data, "queue", 5, &queue) == nullptr ||
        queue.type != jbvString || queue.val.string.len > kMaxNameBytes)
        return nullptr;
    return pnstrdup(queue.val.string.val, queue.val.string.len);
}

Jsonb* WithoutDeadLetter(const Jsonb* headers) {
    if (headers == nullptr) return nullptr;
    ObjectBuilder builder;
    builder.AddAllBut(headers, kHeader);
    Jsonb* rest = builder.End();
    return JB_ROOT_COUNT(rest) > 0 ? rest : nullptr;
}

}  // namespace pgqueue::queue
