#include "pgqueue/queue/queue.hpp"

#include "pgqueue/page/inplace.hpp"
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/queue/row.hpp"

namespace pgqueue::queue {
namespace {

constexpr AttrNumber kSettingsName = 6;
pg::NameCache<Queue> cache;

// The leading columns of queue.settings, fixed-width and NOT NULL: `prioritized` changes in place.
struct Settings {
    double vt;
    double delay;
    bool paused;
    bool prioritized;
};

[[noreturn]] void RaiseUnknown(Queue* queue) {
    char name[NAMEDATALEN];
    strlcpy(name, queue->name, NAMEDATALEN);
    cache.Forget(queue);
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("queue \"%s\" does not exist", name),
                    errhint("Create it with queue.create('%s').", name)));
    pg_unreachable();
}

template <class Use>
bool WithSettings(const char* name, LOCKMODE lock, Use use) {
    return pg::WithRowOf(pg::ExtensionRelation(kSchema, "settings"), kSettingsName, name, lock, use);
}

std::optional<Settings> ReadSettings(const char* name) {
    std::optional<Settings> settings;
    WithSettings(name, AccessShareLock, [&](Relation, HeapTuple tuple) {
        Settings read;
        memcpy(&read, reinterpret_cast<char*>(tuple->t_data) + tuple->t_data->t_hoff, sizeof(read));
        settings = read;
    });
    return settings;
}

[[noreturn]] void RaiseLayout(Relation rel, const char* what, const char* hint) {
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                    errmsg("table \"%s\" can't be used as a queue: %s", RelationGetRelationName(rel), what),
                    errhint("%s", hint)));
    pg_unreachable();
}

struct Column {
    const char* name;
    Oid type;
    bool not_null;
};
constexpr std::array<Column, kQueueColumns> kColumns = {{{"msg_id", INT8OID, true},
                                                         {"enqueued_at", TIMESTAMPTZOID, true},
                                                         {"vt", TIMESTAMPTZOID, true},
                                                         {"last_read_at", TIMESTAMPTZOID, true},
                                                         {"receipt", INT8OID, true},
                                                         {"read_ct", INT4OID, true},
                                                         {"priority", INT4OID, true},
                                                         {"message", JSONBOID, false},
                                                         {"headers", JSONBOID, false},
                                                         {"group_key", TEXTOID, false}}};

void CheckColumns(Relation rel) {
    const TupleDesc desc = RelationGetDescr(rel);
    constexpr const char* kHint =
        "Restore the columns that queue.create makes, in their order; add others behind them.";
    if (desc->natts < kQueueColumns) RaiseLayout(rel, "columns are missing", kHint);
    for (int i = 0; i < kQueueColumns; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(desc, i);
        if (attribute->attisdropped || attribute->atthasmissing || attribute->atttypid != kColumns[i].type ||
            strcmp(NameStr(attribute->attname), kColumns[i].name) != 0 ||
            (kColumns[i].not_null && !attribute->attnotnull) || attribute->attgenerated != '\0')
            RaiseLayout(rel, psprintf("column %d is not the plain column \"%s\"", i + 1, kColumns[i].name), kHint);
    }
    for (int i = kQueueColumns; i < desc->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(desc, i);
        if (attribute->attisdropped) continue;
        if (attribute->attnotnull)
            RaiseLayout(rel, psprintf("column \"%s\" is NOT NULL", NameStr(attribute->attname)),
                        "queue.send leaves columns that it doesn't know NULL: drop the constraint.");
        if (attribute->atthasdef && attribute->attgenerated == '\0')
            RaiseLayout(rel, psprintf("column \"%s\" has a default", NameStr(attribute->attname)),
                        "queue.send leaves columns that it doesn't know NULL: drop the default.");
        if (attribute->attgenerated != '\0')
            RaiseLayout(rel, psprintf("column \"%s\" is generated", NameStr(attribute->attname)),
                        "A lease changes rows in place and would not compute it: drop the column.");
    }
}

// An index on a column that changes in place would silently lie.
void CheckIndexes(Relation rel, Queue* queue) {
    List* indexes = RelationGetIndexList(rel);
    queue->primary_key = compat::PrimaryKeyOf(rel);
    if (!OidIsValid(queue->primary_key))
        RaiseLayout(rel, "it has no primary key",
                    psprintf("ALTER TABLE %s.%s ADD PRIMARY KEY (msg_id);", kSchema,
                             quote_identifier(RelationGetRelationName(rel))));
    ListCell* cell = nullptr;
    foreach (cell, indexes) {
        Relation index = index_open(lfirst_oid(cell), AccessShareLock);
        const Form_pg_index form = index->rd_index;
        const bool primary = lfirst_oid(cell) == queue->primary_key;
        if (primary && (form->indnatts != 1 || form->indkey.values[0] != kMsgId || !form->indimmediate))
            RaiseLayout(rel, "its primary key is not msg_id alone", "Make msg_id the primary key, not deferrable.");
        Bitmapset* columns = nullptr;  // offset as pull_varattnos does
        for (int i = 0; i < form->indnatts; i++)
            columns = bms_add_member(columns, form->indkey.values[i] - FirstLowInvalidHeapAttributeNumber);
        pull_varattnos(reinterpret_cast<Node*>(RelationGetIndexPredicate(index)), 1, &columns);
        pull_varattnos(reinterpret_cast<Node*>(RelationGetIndexExpressions(index)), 1, &columns);
        for (int attribute = kVt; attribute <= kReadCt; attribute++)
            if (bms_is_member(attribute - FirstLowInvalidHeapAttributeNumber, columns))
                RaiseLayout(rel,
                            psprintf("index \"%s\" covers column \"%s\", which changes in place",
                                     RelationGetRelationName(index), kColumns[attribute - 1].name),
                            psprintf("DROP INDEX %s.%s;", kSchema, quote_identifier(RelationGetRelationName(index))));
        index_close(index, AccessShareLock);
    }
    queue->plain_indexes = list_length(indexes) == 1;
    list_free(indexes);
}

// Our sends and acks don't fire triggers, so a trigger for them (a foreign key's too) would be passed by silently.
void CheckTriggers(Relation rel) {
    const Oid schema = get_namespace_oid(kSchema, false);
    // A copy: lookups below may rebuild the relation's entry.
    const TriggerDesc* triggers = CopyTriggerDesc(rel->trigdesc);
    bool before_update = false;
    bool after_row = false;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; i++) {
        const Trigger* trigger = &triggers->triggers[i];
        const bool ours = get_func_namespace(trigger->tgfoid) == schema;
        if (ours) {
            if (trigger->tgenabled != TRIGGER_FIRES_ALWAYS) continue;
            if (TRIGGER_FOR_UPDATE(trigger->tgtype) && TRIGGER_FOR_BEFORE(trigger->tgtype)) before_update = true;
            if (TRIGGER_FOR_INSERT(trigger->tgtype) && TRIGGER_FOR_AFTER(trigger->tgtype)) after_row = true;
        } else if (TRIGGER_FOR_INSERT(trigger->tgtype) || TRIGGER_FOR_DELETE(trigger->tgtype)) {
            RaiseLayout(rel, psprintf("trigger \"%s\" would not fire for queue.send and queue.delete", trigger->tgname),
                        "Drop the trigger or the foreign key.");
        }
    }
    if (!before_update || !after_row)
        RaiseLayout(rel, "its own triggers are missing or not ENABLE ALWAYS",
                    "Call queue.create with the queue's settings: it puts them back.");
}

void CheckLayout(Relation rel, Queue* queue) {
    if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relam != HEAP_TABLE_AM_OID)
        RaiseLayout(rel, "it is not a plain heap table", "Use ALTER TABLE ... SET ACCESS METHOD heap.");
    if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
        RaiseLayout(rel, "it is temporary", "Create it with queue.create.");
    if (rel->rd_rel->relrowsecurity)
        RaiseLayout(rel, "it has row-level security, which the queue's functions can't honour",
                    "ALTER TABLE ... DISABLE ROW LEVEL SECURITY, and use GRANT.");
    if (rel->rd_rules != nullptr)
        RaiseLayout(rel, "it has rules, which the queue's functions would pass by", "Drop the rules.");
    CheckColumns(rel);
    CheckIndexes(rel, queue);
    CheckTriggers(rel);
    const TupleConstr* constraints = RelationGetDescr(rel)->constr;
    if (constraints != nullptr && constraints->num_check > 0) queue->plain_indexes = false;
}

struct ParentFacts {
    Oid owner;
    bool row_security;
};

ParentFacts FactsOf(Queue* queue) {
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(queue->parent));
    if (!HeapTupleIsValid(tuple)) RaiseUnknown(queue);
    const auto* form = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
    const ParentFacts facts{form->relowner, form->relrowsecurity};
    ReleaseSysCache(tuple);
    return facts;
}

// Fills the entry from the catalogs; the segment is not locked yet.
void Load(Queue* queue) {
    char name[NAMEDATALEN];
    ParentName(queue->name, name);
    queue->parent = pg::RelationIn(kSchema, name);
    if (!OidIsValid(queue->parent)) RaiseUnknown(queue);
    const auto settings = ReadSettings(queue->name);
    if (!settings)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                        errmsg("queue \"%s\" does not exist, though a table of its name does", queue->name),
                        errhint("queue.create('%s') takes the table over as it is.", queue->name)));
    const pg::Vector<Oid> segments = SegmentsOf(queue->parent, queue->name);
    queue->segment = segments.empty() ? InvalidOid : segments.back();
    if (!OidIsValid(queue->segment))
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("queue \"%s\" has no segment", queue->name),
                        errhint("Call queue.create('%s', ...) with the queue's settings: it makes one.", queue->name)));
    SequenceName(queue->name, name);
    queue->sequence = pg::RelationIn(kSchema, name);
    ArchiveName(queue->name, name);
    queue->archive = pg::RelationIn(kSchema, name);
    if (!OidIsValid(queue->sequence))
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("queue \"%s\" has no id sequence", queue->name),
                        errhint("Call queue.create('%s', ...) with the queue's settings: it makes one.", queue->name)));
    if (Relation sequence = try_relation_open(queue->sequence, AccessShareLock)) {
        // ALTER TABLE ... SET UNLOGGED takes it along.
        if (sequence->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
            ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                            errmsg("the id sequence of queue \"%s\" is unlogged: ids would start again after a crash",
                                   queue->name),
                            errhint("ALTER SEQUENCE %s.%s SET LOGGED;", kSchema,
                                    quote_identifier(RelationGetRelationName(sequence)))));
        queue->sequence_file = compat::FileNumberOf(sequence);
        relation_close(sequence, AccessShareLock);
    }
    queue->vt = settings->vt;
    queue->delay = settings->delay;
    queue->paused = settings->paused;
    queue->prioritized = settings->prioritized;
    queue->acl_role = InvalidOid;
    for (const Oid relation : {queue->parent, queue->segment, queue->sequence, queue->archive})
        cache.DependOn(queue, relation);

    // No lock on the parent: this transaction may hold the segment's already, and DDL takes the parent's first.
    const ParentFacts parent = FactsOf(queue);
    if (parent.row_security)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("table \"q_%s\" can't be used as a queue: it has row-level security, which the queue's "
                               "functions can't honour",
                               queue->name),
                        errhint("ALTER TABLE ... DISABLE ROW LEVEL SECURITY, and use GRANT.")));
    queue->owner = parent.owner;
    if (Relation segment = try_relation_open(queue->segment, AccessShareLock)) {
        if (segment->rd_rel->relowner != parent.owner)
            RaiseLayout(segment, "it belongs to another role than its parent",
                        "ALTER TABLE ... OWNER TO the parent's.");
        CheckLayout(segment, queue);
        queue->trigger_stamp = pg::TriggerStamp(queue->segment);
        queue->map = {};
        relation_close(segment, AccessShareLock);
    }
}

void CheckPrivileges(Queue* queue, AclMode wanted) {
    const Oid role = GetUserId();
    if (queue->acl_role != role) {
        constexpr AclMode kAll = ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE;
        queue->acl = pg_class_aclmask(queue->parent, role, kAll, ACLMASK_ALL);
        queue->acl_role = role;
    }
    if ((queue->acl & wanted) == wanted) return;
    const AclMode missing = wanted & ~queue->acl;
    const char* privilege = missing & ACL_INSERT ? "send" : missing & (ACL_UPDATE | ACL_DELETE) ? "consume" : "monitor";
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied for queue %s", queue->name),
                    errhint("The owner can allow it: queue.grant('%s', '%s', '%s').", queue->name,
                            GetUserNameFromId(role, true), privilege)));
}

}  // namespace

void ParentName(const char* queue, char* out) { snprintf(out, NAMEDATALEN, "q_%.48s", queue); }
void SegmentName(const char* queue, int number, char* out) { snprintf(out, NAMEDATALEN, "q_%.48s#%d", queue, number); }
void ArchiveName(const char* queue, char* out) { snprintf(out, NAMEDATALEN, "a_%.48s", queue); }
void SequenceName(const char* queue, char* out) { snprintf(out, NAMEDATALEN, "q_%.48s#ids", queue); }

pg::Vector<Oid> SegmentsOf(Oid parent, const char* queue) {
    char prefix[NAMEDATALEN];
    ParentName(queue, prefix);
    strlcat(prefix, "#", NAMEDATALEN);
    const Oid schema = get_namespace_oid(kSchema, false);
    pg::Vector<std::pair<long, Oid>> found;
    List* children = find_inheritance_children(parent, NoLock);
    ListCell* cell = nullptr;
    foreach (cell, children) {
        const Oid child = lfirst_oid(cell);
        const char* name = get_rel_name(child);
        if (name == nullptr || get_rel_namespace(child) != schema || get_rel_relkind(child) != RELKIND_RELATION)
            continue;
        if (strncmp(name, prefix, strlen(prefix)) != 0) continue;
        char* end = nullptr;
        const long number = strtol(name + strlen(prefix), &end, 10);
        if (number > 0 && *end == '\0') found.push_back({number, child});
    }
    list_free(children);
    std::sort(found.begin(), found.end());
    pg::Vector<Oid> segments;
    for (const auto& [number, child] : found) segments.push_back(child);
    return segments;
}

void CheckName(const char* name) {
    const std::size_t length = strlen(name);
    bool good = length >= 1 && length <= kMaxNameBytes;
    for (std::size_t i = 0; good && i < length; i++) {
        const char c = name[i];
        good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
               c == '.';
    }
    if (good) return;
    ereport(ERROR, (errcode(ERRCODE_INVALID_NAME), errmsg("invalid queue name: \"%s\"", name),
                    errhint("A queue name is 1 to %d ASCII letters, digits, \"_\", \"-\" and \".\".", kMaxNameBytes)));
}

OpenedQueue Open(const char* name, AclMode privileges, LOCKMODE lock) {
    if (cache.Last() == nullptr || strcmp(cache.Last()->name, name) != 0) CheckName(name);
    Queue* queue = cache.Find(name);
    for (;;) {
        cache.Validate(queue, Load);
        CheckPrivileges(queue, privileges);
        const Oid segment = queue->segment;
        LockRelationOid(segment, lock);
        if (!cache.Holds(queue)) {
            UnlockRelationOid(segment, lock);
            continue;
        }
        Relation rel = RelationIdGetRelation(segment);
        if (rel == nullptr) {
            UnlockRelationOid(segment, lock);
            queue->valid = false;
            continue;
        }
        return {queue, rel};
    }
}

void Close(const OpenedQueue& opened, LOCKMODE lock) { relation_close(opened.segment, lock); }

const page::SegmentRef& MapOf(const OpenedQueue& opened) {
    page::SegmentRef& map = opened.queue->map;
    if (unlikely(!page::IsCurrent(map) || map.key.relation != RelationGetRelid(opened.segment) ||
                 map.key.file != compat::FileNumberOf(opened.segment)))
        map = page::Attach(opened.segment, opened.queue->prioritized, opened.queue->trigger_stamp);
    return map;
}

// In place, at once and not undone by rollback: otherwise every sender of a first priority would wait for the others'
// transactions.
void MarkPrioritized(Queue* queue) {
    page::RequireInPlaceAllowed();
    WithSettings(queue->name, RowExclusiveLock, [](Relation rel, HeapTuple found) {
        page::InPlaceWriter writer(1);
        Buffer buffer = ReadBuffer(rel, ItemPointerGetBlockNumber(&found->t_self));
        LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
        HeapTupleData tuple = *found;
        const ItemId item = PageGetItemId(BufferGetPage(buffer), ItemPointerGetOffsetNumber(&found->t_self));
        tuple.t_data = reinterpret_cast<HeapTupleHeader>(PageGetItem(BufferGetPage(buffer), item));
        auto* settings = reinterpret_cast<Settings*>(reinterpret_cast<char*>(tuple.t_data) + tuple.t_data->t_hoff);
        const bool yes = true;
        writer.Set(&settings->prioritized, &yes, sizeof(yes));
        writer.Apply(rel, buffer);
        UnlockReleaseBuffer(buffer);
    });
    queue->prioritized = true;
    // Others learn of it; where the parent is gone meanwhile there is nothing to learn.
    if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(queue->parent))) CacheInvalidateRelcacheByRelid(queue->parent);
}

}  // namespace pgqueue::queue
