#include "pgqueue/queue/topics.hpp"

#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/function.hpp"
#include "pgqueue/pg/run_as.hpp"
#include "pgqueue/pg/triggers.hpp"
#include "pgqueue/queue/binding_trie.hpp"

namespace pgqueue::queue {
namespace {

constexpr const char* kTable = "bindings";
constexpr AttrNumber kPattern = 1;  // columns of queue.bindings
constexpr AttrNumber kQueueName = 2;
constexpr const char* kTopicKey = "topic";

enum class Kind { kPattern, kTopic };

void CheckTopic(std::string_view text, Kind kind) {
    const char* what = kind == Kind::kPattern ? "pattern" : "topic";
    const char* hint = nullptr;
    if (text.empty() || text.size() > kMaxTopicBytes)
        hint = psprintf("It is 1 to %d bytes long, not %zu.", kMaxTopicBytes, text.size());
    std::size_t length = 0;  // of the word
    bool wild = false;
    for (std::size_t i = 0; i <= text.size() && hint == nullptr; i++) {
        const char c = i < text.size() ? text[i] : '.';
        if (c != '.') {
            length++;
            wild |= c == '*' || c == '#';
            continue;
        }
        if (length == 0)
            hint = "Its words are split by single dots, and none is empty.";
        else if (wild && kind == Kind::kTopic)
            hint = "Wildcards (\"*\", \"#\") are for the patterns that queues are bound to.";
        else if (wild && length > 1)
            hint = "A wildcard (\"*\", \"#\") is a word of its own.";
        length = 0;
        wild = false;
    }
    if (hint == nullptr) return;
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("invalid %s: \"%.*s\"", what,
                           pg_mbcliplen(text.data(), static_cast<int>(text.size()), kMaxTopicBytes), text.data()),
                    errhint("%s", hint)));
}

// What this backend has read of queue.bindings.
struct Cache {
    MemoryContext context;  // of the trie
    BindingTrie* trie;
    Oid table;       // that it was made from
    uint64 changes;  // that it is made from, all of them, if they are still as many
};
Cache cache;
Oid watched = InvalidOid;  // the table
uint64 changes = 0;        // of it, as far as they are known
bool watching;

void OnRelcacheInvalidation(Datum, Oid relation) {
    if (relation == InvalidOid || relation == watched) changes++;
}

std::string_view Kept(Datum value) {
    text* packed = DatumGetTextPP(value);
    const Size length = VARSIZE_ANY_EXHDR(packed);
    auto* copy = static_cast<char*>(palloc(length + 1));
    memcpy(copy, VARDATA_ANY(packed), length);
    copy[length] = '\0';
    return {copy, length};
}

// Makes a trie in the current memory context.
BindingTrie* ReadBindings(Relation rel) {
    struct Row {
        std::string_view pattern;
        std::string_view queue;
    };
    pg::Vector<Row> rows;
    Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
    TableScanDesc scan = table_beginscan(rel, snapshot, 0, nullptr);
    TupleTableSlot* slot = table_slot_create(rel, nullptr);
    while (table_scan_getnextslot(scan, ForwardScanDirection, slot)) {
        CHECK_FOR_INTERRUPTS();
        bool null = false;
        const std::string_view queue = Kept(slot_getattr(slot, kQueueName, &null));
        // Whatever somebody may have put there: no queue has such a name.
        if (queue.empty() || queue.size() > kMaxNameBytes) continue;
        rows.push_back({Kept(slot_getattr(slot, kPattern, &null)), queue});
    }
    ExecDropSingleTupleTableSlot(slot);
    table_endscan(scan);
    UnregisterSnapshot(snapshot);

    std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.queue < b.queue; });
    pg::Vector<const char*> queues;
    pg::Vector<Binding> bindings;
    bindings.reserve(rows.size());
    for (const Row& row : rows) {
        if (queues.empty() || row.queue != queues.back()) queues.push_back(row.queue.data());
        bindings.push_back({row.pattern, static_cast<uint32>(queues.size() - 1)});
    }
    void* room = palloc(sizeof(BindingTrie));
    return new (room) BindingTrie(std::move(bindings), std::move(queues));
}

// The trie of all bindings that are committed, and of our own.
BindingTrie* CurrentTrie() {
    if (!watching) {
        CacheRegisterRelcacheCallback(OnRelcacheInvalidation, 0);
        watching = true;
    }
    const Oid table = pg::ExtensionRelation(kSchema, kTable);
    Relation rel = table_open(table, AccessShareLock);
    AcceptInvalidationMessages();
    if (cache.trie == nullptr || cache.table != table || cache.changes != changes || debug_discard_caches > 0) {
        watched = table;
        // Changes that come to be known while we read may or may not be in what we have read: counted before.
        const uint64 before = changes;
        MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pgqueue bindings", ALLOCSET_DEFAULT_SIZES);
        MemoryContext old = MemoryContextSwitchTo(context);
        BindingTrie* trie = ReadBindings(rel);
        MemoryContextSwitchTo(old);
        MemoryContextSetParent(context, TopMemoryContext);
        if (cache.context != nullptr) MemoryContextDelete(cache.context);
        cache = {context, trie, table, before};
    }
    table_close(rel, AccessShareLock);
    return cache.trie;
}

// The headers with the topic, unless they have one.
Datum WithTopic(const OutgoingMessage& message, JsonbValue* topic) {
    JsonbParseState* state = nullptr;
    JsonbValue key{};
    key.type = jbvString;
    key.val.string.val = const_cast<char*>(kTopicKey);
    key.val.string.len = static_cast<int>(strlen(kTopicKey));
    Jsonb* headers = message.headers_null ? nullptr : DatumGetJsonbP(message.headers);
    if (headers != nullptr && findJsonbValueFromContainer(&headers->root, JB_FOBJECT, &key) != nullptr)
        return JsonbPGetDatum(headers);
    (void)pushJsonbValue(&state, WJB_BEGIN_OBJECT, nullptr);
    (void)pushJsonbValue(&state, WJB_KEY, &key);
    (void)pushJsonbValue(&state, WJB_VALUE, topic);
    Datum added = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, nullptr)));
    if (headers == nullptr) return added;
    return DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(headers), added);
}

int64 SendCopies(const OpenedQueue& opened, const OutgoingMessage* messages, int count, const SendOptions& options) {
    const Oid owner = opened.queue->owner;
    if (SegmentOf(opened).plain_indexes || owner == GetUserId()) return Send(opened, messages, count, options);
    // CHECKs and index expressions are its owner's code, who isn't the one that publishes.
    const pg::RunAs as(owner, SECURITY_RESTRICTED_OPERATION);
    return Send(opened, messages, count, options);
}

Datum TextOf(std::string_view text) {
    return PointerGetDatum(cstring_to_text_with_len(text.data(), static_cast<int>(text.size())));
}

bool Change(const char* sql, std::string_view pattern, const char* queue) {
    Oid types[] = {TEXTOID, TEXTOID};
    Datum values[] = {TextOf(pattern), CStringGetTextDatum(queue)};
    const pg::RunAs as(pg::ExtensionOwner());
    pg::Spi spi;
    return spi.Run(sql, 2, types, values) > 0;
}

// The parent table, locked against DROP until the transaction ends; the caller may send to the queue, or owns it.
void RequireSender(const char* queue) {
    CheckName(queue);
    char name[NAMEDATALEN];
    ParentName(queue, name);
    const Oid parent = pg::LockedRelationIn(kSchema, name);
    if (!OidIsValid(parent))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("queue \"%s\" does not exist", queue),
                        errhint("Create it with queue.create('%s').", queue)));
    if (pg_class_aclcheck(parent, GetUserId(), ACL_INSERT) == ACLCHECK_OK || compat::OwnsRelation(parent, GetUserId()))
        return;
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied for queue %s", queue),
                    errhint("The owner can allow it: queue.grant('%s', '%s', 'send').", queue,
                            GetUserNameFromId(GetUserId(), true))));
}

}  // namespace

bool Bind(std::string_view pattern, const char* queue) {
    CheckTopic(pattern, Kind::kPattern);
    RequireSender(queue);                             // and locked: a DROP comes before it, or sees the binding
    Close(Open(queue, ACL_INSERT, AccessShareLock));  // it is a queue that can be sent to
    return Change("INSERT INTO queue.bindings (pattern, queue_name) VALUES ($1, $2) ON CONFLICT DO NOTHING", pattern,
                  queue);
}

bool Unbind(std::string_view pattern, const char* queue) {
    CheckTopic(pattern, Kind::kPattern);
    RequireSender(queue);
    return Change("DELETE FROM queue.bindings WHERE pattern = $1 AND queue_name = $2", pattern, queue);
}

pg::Vector<Copies> Publish(std::string_view topic, OutgoingMessage* messages, int count, std::optional<double> delay) {
    CheckTopic(topic, Kind::kTopic);
    if (count == 0) return {};
    BindingTrie* trie = CurrentTrie();
    pg::Vector<uint32> queues;
    trie->Match(topic, &queues);
    pg::Vector<Copies> copies;
    if (queues.empty()) return copies;
    // Copied: the trie may be built anew, by a function of an index expression, say.
    for (const uint32 queue : queues) copies.push_back({pstrdup(trie->QueueName(queue)), 0});

    JsonbValue name{};
    name.type = jbvString;
    name.val.string.val = const_cast<char*>(topic.data());
    name.val.string.len = static_cast<int>(topic.size());
    for (int i = 0; i < count; i++) {
        messages[i].headers = WithTopic(messages[i], &name);
        messages[i].headers_null = false;
        // Fetched once, not once for each copy.
        if (!messages[i].message_null && VARATT_IS_EXTERNAL(DatumGetPointer(messages[i].message)))
            messages[i].message = PointerGetDatum(
                detoast_external_attr(reinterpret_cast<struct varlena*>(DatumGetPointer(messages[i].message))));
    }
    SendOptions options;
    options.delay = delay;
    std::size_t sent = 0;
    for (const Copies& copy : copies) {
        CHECK_FOR_INTERRUPTS();
        const auto opened = OpenIfThere(copy.queue, 0, RowExclusiveLock);
        if (!opened) continue;
        const int64 first = SendCopies(*opened, messages, count, options);
        Close(*opened);
        copies[sent++] = {copy.queue, first};
    }
    copies.resize(sent);
    return copies;
}

}  // namespace pgqueue::queue

using namespace pgqueue;

// AFTER INSERT OR UPDATE OR DELETE on queue.bindings: all sessions read them anew, however they have changed.
PGQUEUE_FUNCTION(pgqueue_on_bindings) {
    TriggerData* data =
        pg::RowTrigger(fcinfo, queue::kSchema, [](TriggerEvent event) { return TRIGGER_FIRED_AFTER(event); });
    if (data == nullptr || RelationGetRelid(data->tg_relation) != pg::RelationIn(queue::kSchema, queue::kTable))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("this trigger is only for the table queue.bindings")));
    CacheInvalidateRelcache(data->tg_relation);
    return PointerGetDatum(nullptr);
}
