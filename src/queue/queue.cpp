#include "pgqueue/queue/queue.hpp"

#include "pgqueue/page/inplace.hpp"
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/queue/row.hpp"

namespace pgqueue::queue {
namespace {

// Columns of queue.settings.
constexpr AttrNumber kSettingsName = 16;
constexpr AttrNumber kSettingsDeadLetter = 17;
pg::NameCache<Queue> cache;

// The leading columns of queue.settings, fixed-width and NOT NULL: `prioritized`, `expiring` and the totals
// change in place.
struct SettingsHead {
    double vt;
    double delay;
    bool paused;
    bool prioritized;
    bool expiring;
    bool fifo;
    int64 max_attempts;
    double backoff;
    double backoff_max;
    double message_ttl;
    double archive_retention;
    double notify_throttle;
    int64 dead_total;
    int64 expired_total;
    TimestampTz created_at;
};

struct Settings {
    SettingsHead head;
    char dead_letter[NAMEDATALEN];
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
    WithSettings(name, AccessShareLock, [&](Relation rel, HeapTuple tuple) {
        Settings read{};
        memcpy(&read.head, reinterpret_cast<char*>(tuple->t_data) + tuple->t_data->t_hoff, sizeof(read.head));
        bool null = false;
        const Datum dead_letter = heap_getattr(tuple, kSettingsDeadLetter, RelationGetDescr(rel), &null);
        if (!null) text_to_cstring_buffer(DatumGetTextPP(dead_letter), read.dead_letter, NAMEDATALEN);
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
                                                         {"group_key", TEXTOID, false},
                                                         {"dedup_key", TEXTOID, false},
                                                         {"expires_at", TIMESTAMPTZOID, false}}};

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
void CheckIndexes(Relation rel, Segment* segment) {
    List* indexes = RelationGetIndexList(rel);
    segment->primary_key = compat::PrimaryKeyOf(rel);
    if (!OidIsValid(segment->primary_key))
        RaiseLayout(rel, "it has no primary key",
                    psprintf("ALTER TABLE %s.%s ADD PRIMARY KEY (msg_id);", kSchema,
                             quote_identifier(RelationGetRelationName(rel))));
    ListCell* cell = nullptr;
    foreach (cell, indexes) {
        Relation index = index_open(lfirst_oid(cell), AccessShareLock);
        const Form_pg_index form = index->rd_index;
        const bool primary = lfirst_oid(cell) == segment->primary_key;
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
    segment->plain_indexes = list_length(indexes) == 1;
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

void CheckLayout(Relation rel, Segment* segment) {
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
    CheckIndexes(rel, segment);
    CheckTriggers(rel);
    const TupleConstr* constraints = RelationGetDescr(rel)->constr;
    if (constraints != nullptr && constraints->num_check > 0) segment->plain_indexes = false;
}

struct ParentFacts {
    Oid owner;
    bool row_security;
};

// Nothing: it is gone meanwhile.
std::optional<ParentFacts> FactsOf(const Queue* queue) {
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(queue->parent));
    if (!HeapTupleIsValid(tuple)) return std::nullopt;
    const auto* form = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
    const ParentFacts facts{form->relowner, form->relrowsecurity};
    ReleaseSysCache(tuple);
    return facts;
}

// Whether the queue was dropped, and perhaps made anew, while Load read: what is missing then is no defect. We have no
// lock yet, so a name that was looked up before the drop may meet catalogs from after it. A commit is visible a moment
// before its invalidations are sent, but it keeps its locks until then: whoever dropped the parent is waited for.
bool WasReplaced(const Queue* queue) {
    LockRelationOid(queue->parent, AccessShareLock);
    UnlockRelationOid(queue->parent, AccessShareLock);
    char name[NAMEDATALEN];
    ParentName(queue->name, name);
    return pg::RelationIn(kSchema, name) != queue->parent;
}

// Fills the entry from the catalogs; the segment is not locked yet. Answers whether there is such a queue; raises
// undefined_table where there is none, unless `may_be_gone`.
bool Load(Queue* queue, bool may_be_gone) {
    char name[NAMEDATALEN];
    ParentName(queue->name, name);
    queue->parent = pg::RelationIn(kSchema, name);
    if (!OidIsValid(queue->parent)) {
        if (may_be_gone) return false;
        RaiseUnknown(queue);
    }
    const auto settings = ReadSettings(queue->name);
    if (!settings && WasReplaced(queue)) return Load(queue, may_be_gone);
    if (!settings && may_be_gone) return false;
    if (!settings)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                        errmsg("queue \"%s\" does not exist, though a table of its name does", queue->name),
                        errhint("queue.create('%s') takes the table over as it is.", queue->name)));
    const pg::Vector<SegmentTable> segments = NumberedSegmentsOf(queue->parent, queue->name);
    if (segments.empty() && WasReplaced(queue)) return Load(queue, may_be_gone);
    if (segments.empty())
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("queue \"%s\" has no segment", queue->name),
                        errhint("Call queue.create('%s', ...) with the queue's settings: it makes one.", queue->name)));
    if (segments.size() > kMostSegments)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("queue \"%s\" has %zu segments, and can't have more than %d", queue->name,
                               segments.size(), kMostSegments),
                        errhint("Move the messages of some to another, and drop those.")));
    if (segments.back().number - segments.front().number >= page::kMostSpan)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("the numbers of the segments of queue \"%s\" are too far apart: %u and %u", queue->name,
                               segments.front().number, segments.back().number),
                        errhint("Rename them, in their order: no two may differ by %u or more.", page::kMostSpan)));
    SequenceName(queue->name, name);
    queue->sequence = pg::RelationIn(kSchema, name);
    ArchiveName(queue->name, name);
    queue->archive = pg::RelationIn(kSchema, name);
    queue->archive_part = InvalidOid;
    if (!OidIsValid(queue->sequence) && WasReplaced(queue)) return Load(queue, may_be_gone);
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
    const SettingsHead& head = settings->head;
    queue->vt = head.vt;
    queue->delay = head.delay;
    queue->paused = head.paused;
    queue->prioritized = head.prioritized;
    queue->expiring = head.expiring;
    queue->fifo = head.fifo;
    queue->max_attempts = static_cast<int32>(head.max_attempts);
    queue->backoff = head.backoff;
    queue->backoff_max = head.backoff_max;
    queue->message_ttl = head.message_ttl;
    queue->archive_retention = head.archive_retention;
    queue->notify_throttle = head.notify_throttle;
    queue->created_at = head.created_at;
    strlcpy(queue->dead_letter, settings->dead_letter, NAMEDATALEN);
    queue->acl_role = InvalidOid;
    for (const Oid relation : {queue->parent, queue->sequence, queue->archive}) cache.DependOn(queue, relation);
    for (const SegmentTable& segment : segments) cache.DependOn(queue, segment.table);

    // No lock on the parent: this transaction may hold the segment's already, and DDL takes the parent's first.
    const auto parent = FactsOf(queue);
    if (!parent && WasReplaced(queue)) return Load(queue, may_be_gone);
    if (!parent) RaiseUnknown(queue);
    if (parent->row_security)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("table \"q_%s\" can't be used as a queue: it has row-level security, which the queue's "
                               "functions can't honour",
                               queue->name),
                        errhint("ALTER TABLE ... DISABLE ROW LEVEL SECURITY, and use GRANT.")));
    queue->owner = parent->owner;
    queue->segment_count = 0;
    for (const SegmentTable& table : segments) {
        // One that is gone by now has sent an invalidation.
        Relation rel = try_relation_open(table.table, AccessShareLock);
        if (rel == nullptr) continue;
        if (rel->rd_rel->relowner != parent->owner)
            RaiseLayout(rel, "it belongs to another role than its parent", "ALTER TABLE ... OWNER TO the parent's.");
        Segment segment{};
        segment.table = table.table;
        segment.number = table.number;
        CheckLayout(rel, &segment);
        segment.trigger_stamp = pg::TriggerStamp(table.table);
        relation_close(rel, AccessShareLock);
        queue->segments[queue->segment_count++] = segment;
    }
    if (queue->segment_count > 0) return true;
    (void)WasReplaced(queue);
    return Load(queue, may_be_gone);
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

// Nothing, if `may_be_gone`, where there is no such queue.
std::optional<OpenedQueue> TryOpen(const char* name, AclMode privileges, LOCKMODE lock, bool may_be_gone) {
    if (cache.Last() == nullptr || strcmp(cache.Last()->name, name) != 0) CheckName(name);
    Queue* queue = cache.Find(name);
    for (;;) {
        bool gone = false;
        cache.Validate(queue, [&](Queue* entry) { gone = !Load(entry, may_be_gone); });
        if (gone) {
            cache.Forget(queue);
            return std::nullopt;
        }
        CheckPrivileges(queue, privileges);
        // A send that begins after the first one into a new segment has ended must find that, too: the lock makes us
        // hear of it, unless we have had it for long.
        AcceptInvalidationMessages();
        if (!cache.Holds(queue)) continue;
        if (auto opened = TryOpenSegment(queue, queue->Newest().number, lock)) return opened;
    }
}

}  // namespace

void ParentName(const char* queue, char* out) { snprintf(out, NAMEDATALEN, "q_%.48s", queue); }
void SegmentName(const char* queue, int number, char* out) { snprintf(out, NAMEDATALEN, "q_%.48s#%d", queue, number); }
void ArchiveName(const char* queue, char* out) { snprintf(out, NAMEDATALEN, "a_%.48s", queue); }
void ArchivePartName(const char* queue, int number, char* out) {
    snprintf(out, NAMEDATALEN, "a_%.48s#%d", queue, number);
}
void SequenceName(const char* queue, char* out) { snprintf(out, NAMEDATALEN, "q_%.48s#ids", queue); }

namespace {

// Of a name such as "q_orders#12", with that prefix.
bool ParseNumbered(const char* prefix, const char* table, char* queue, uint32* number) {
    const char* end = strchr(table, '#');
    if (strncmp(table, prefix, 2) != 0 || end == nullptr || end - table - 2 > kMaxNameBytes) return false;
    if (end[1] < '1' || end[1] > '9') return false;
    char* rest = nullptr;
    const uint64 read = strtoull(end + 1, &rest, 10);
    if (*rest != '\0' || read > PG_INT32_MAX) return false;
    strlcpy(queue, table + 2, end - table - 1);
    *number = static_cast<uint32>(read);
    return true;
}

// The parent's children with the queue's name, in the order of their numbers.
pg::Vector<SegmentTable> NumberedChildrenOf(Oid parent, const char* prefix, const char* queue) {
    const Oid schema = get_namespace_oid(kSchema, false);
    pg::Vector<SegmentTable> found;
    if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(parent))) return {};  // dropped meanwhile
    List* children = find_inheritance_children(parent, NoLock);
    ListCell* cell = nullptr;
    foreach (cell, children) {
        const Oid child = lfirst_oid(cell);
        const char* name = get_rel_name(child);
        if (name == nullptr || get_rel_namespace(child) != schema || get_rel_relkind(child) != RELKIND_RELATION)
            continue;
        char of[NAMEDATALEN];
        uint32 number = 0;
        if (ParseNumbered(prefix, name, of, &number) && strcmp(of, queue) == 0) found.push_back({child, number});
    }
    list_free(children);
    std::sort(found.begin(), found.end(),
              [](const SegmentTable& a, const SegmentTable& b) { return a.number < b.number; });
    return found;
}

}  // namespace

bool ParseSegmentName(const char* table, char* queue, uint32* number) {
    return ParseNumbered("q_", table, queue, number);
}

pg::Vector<SegmentTable> NumberedSegmentsOf(Oid parent, const char* queue) {
    return NumberedChildrenOf(parent, "q_", queue);
}

pg::Vector<SegmentTable> ArchivePartsOf(Oid archive, const char* queue) {
    return NumberedChildrenOf(archive, "a_", queue);
}

pg::Vector<Oid> SegmentsOf(Oid parent, const char* queue) {
    pg::Vector<Oid> segments;
    for (const SegmentTable& segment : NumberedSegmentsOf(parent, queue)) segments.push_back(segment.table);
    return segments;
}

pg::Vector<Oid> TablesOf(Oid parent, const char* queue) {
    pg::Vector<Oid> tables = SegmentsOf(parent, queue);
    tables.insert(tables.begin(), parent);
    return tables;
}

namespace {

bool LockWithParts(Oid table, pg::Vector<Oid>* locked) {
    if (!ConditionalLockRelationOid(table, AccessShareLock)) return false;
    locked->push_back(table);
    Relation rel = RelationIdGetRelation(table);
    if (rel == nullptr) return true;  // dropped meanwhile: whoever opens it says so
    const Oid toast = rel->rd_rel->reltoastrelid;
    List* indexes = RelationGetIndexList(rel);
    RelationClose(rel);
    bool good = true;
    ListCell* cell = nullptr;
    foreach (cell, indexes) {
        good = good && ConditionalLockRelationOid(lfirst_oid(cell), AccessShareLock);
        if (good) locked->push_back(lfirst_oid(cell));
    }
    list_free(indexes);
    return good && (!OidIsValid(toast) || LockWithParts(toast, locked));
}

}  // namespace

bool LockAtOnce(const pg::Vector<Oid>& tables, pg::Vector<Oid>* locked) {
    for (const Oid table : tables) {
        if (LockWithParts(table, locked)) continue;
        UnlockAll(*locked);
        locked->clear();
        return false;
    }
    return true;
}

void UnlockAll(const pg::Vector<Oid>& locked) {
    for (const Oid relation : locked) UnlockRelationOid(relation, AccessShareLock);
}

std::optional<TimestampTz> CreatedAt(const char* queue) {
    const auto settings = ReadSettings(queue);
    return settings ? std::optional(settings->head.created_at) : std::nullopt;
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
    return *TryOpen(name, privileges, lock, false);
}

std::optional<OpenedQueue> OpenIfThere(const char* name, AclMode privileges, LOCKMODE lock) {
    return TryOpen(name, privileges, lock, true);
}

void Close(const OpenedQueue& opened, LOCKMODE lock) {
    relation_close(opened.segment, lock);
    if (lock != NoLock && OidIsValid(opened.parent)) UnlockRelationOid(opened.parent, AccessShareLock);
}

// DDL on the parent locks the parent, then the segments one by one. A transaction that has one segment and comes to
// another would meet it half-way, unless it has a lock on the parent from the beginning; the weakest will do. With one
// segment there is no other, and it needs no second lock; nor may it ask for the parent's later, when there are more.
std::optional<OpenedQueue> TryOpenSegment(Queue* queue, uint32 number, LOCKMODE lock) {
    const Segment* segment = FindSegment(queue, number);
    if (segment == nullptr) return std::nullopt;
    const Oid table = segment->table;
    const LocalTransactionId now = compat::LocalTransaction();
    const bool alone = queue->segment_count == 1 || queue->alone_in == now;
    const Oid parent = alone ? InvalidOid : queue->parent;
    if (!alone) LockRelationOid(parent, AccessShareLock);
    LockRelationOid(table, lock);
    Relation rel = cache.Holds(queue) ? RelationIdGetRelation(table) : nullptr;
    if (rel != nullptr) {
        if (alone) queue->alone_in = now;
        return OpenedQueue{queue, rel, number, parent};
    }
    UnlockRelationOid(table, lock);
    if (!alone) UnlockRelationOid(parent, AccessShareLock);
    queue->valid = false;
    return std::nullopt;
}

void Refresh(Queue* queue) {
    AcceptInvalidationMessages();
    cache.Validate(queue, [](Queue* entry) { (void)Load(entry, false); });
}

bool IsValid(const Queue* queue) { return cache.Holds(queue); }

Segment* FindSegment(Queue* queue, uint32 number) {
    for (int i = queue->segment_count - 1; i >= 0; i--)
        if (queue->segments[i].number == number) return &queue->segments[i];
    return nullptr;
}

Segment& SegmentOf(const OpenedQueue& opened) {
    Segment* segment = FindSegment(opened.queue, opened.number);
    if (segment == nullptr)  // its lock keeps it
        elog(ERROR, "segment %u of queue \"%s\" is gone", opened.number, opened.queue->name);
    return *segment;
}

page::SegmentKey MapKey(Oid parent, page::MapKind kind) { return {MyDatabaseId, parent, 0, kind}; }

namespace {

const page::SegmentRef& AttachedMap(const OpenedQueue& opened, page::SegmentRef Segment::*which, page::MapKind kind) {
    Segment& segment = SegmentOf(opened);
    const compat::FileNumber file = compat::FileNumberOf(opened.segment);
    if (unlikely(segment.file != file)) segment.map = segment.expiry_map = {};
    segment.file = file;
    if (unlikely(!page::IsCurrent(segment.*which)))
        segment.*which =
            page::AttachPart(MapKey(opened.queue->parent, kind), opened.number, opened.segment,
                             kind == page::MapKind::kDeliverable && opened.queue->prioritized, segment.trigger_stamp);
    return segment.*which;
}

}  // namespace

const page::SegmentRef& MapOf(const OpenedQueue& opened) {
    return AttachedMap(opened, &Segment::map, page::MapKind::kDeliverable);
}

const page::SegmentRef& ExpiryMapOf(const OpenedQueue& opened) {
    return AttachedMap(opened, &Segment::expiry_map, page::MapKind::kExpiry);
}

std::optional<page::SegmentRef> MapOfTable(Relation segment, page::MapKind kind) {
    char name[NAMEDATALEN];
    uint32 number = 0;
    if (RelationGetNamespace(segment) != get_namespace_oid(kSchema, true) ||
        !ParseSegmentName(RelationGetRelationName(segment), name, &number))
        return std::nullopt;
    char parent[NAMEDATALEN];
    ParentName(name, parent);
    const Oid oid = pg::RelationIn(kSchema, parent);
    if (!OidIsValid(oid)) return std::nullopt;
    return page::AttachPart(MapKey(oid, kind), number, segment, kind == page::MapKind::kDeliverable, 0);
}

namespace {

// Calls change(head, writer) with the page of the queue's settings locked, and writes what it notes: in place, at once
// and not undone by rollback. Otherwise every sender of a first priority would wait for the others' transactions.
template <class Change>
void ChangeInPlace(const char* queue, Change change) {
    page::RequireInPlaceAllowed();
    WithSettings(queue, RowExclusiveLock, [&](Relation rel, HeapTuple found) {
        page::InPlaceWriter writer(2);
        Buffer buffer = ReadBuffer(rel, ItemPointerGetBlockNumber(&found->t_self));
        LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
        HeapTupleData tuple = *found;
        const ItemId item = PageGetItemId(BufferGetPage(buffer), ItemPointerGetOffsetNumber(&found->t_self));
        tuple.t_data = reinterpret_cast<HeapTupleHeader>(PageGetItem(BufferGetPage(buffer), item));
        auto* settings = reinterpret_cast<SettingsHead*>(reinterpret_cast<char*>(tuple.t_data) + tuple.t_data->t_hoff);
        change(settings, &writer);
        writer.Apply(rel, buffer);
        UnlockReleaseBuffer(buffer);
    });
}

void Mark(const char* queue, bool SettingsHead::*flag) {
    const bool yes = true;
    ChangeInPlace(queue, [&](SettingsHead* settings, page::InPlaceWriter* writer) {
        writer->Set(&(settings->*flag), &yes, sizeof(yes));
    });
    // Others learn of it; where the parent is gone meanwhile there is nothing to learn.
    char name[NAMEDATALEN];
    ParentName(queue, name);
    const Oid parent = pg::RelationIn(kSchema, name);
    if (OidIsValid(parent)) CacheInvalidateRelcacheByRelid(parent);
}

}  // namespace

void NoteArchivePart(Queue* queue, Oid table) {
    cache.DependOn(queue, table);
    queue->archive_part = table;
}

bool QueueExists(const char* name) {
    char parent[NAMEDATALEN];
    ParentName(name, parent);
    return OidIsValid(pg::RelationIn(kSchema, parent)) &&
           WithSettings(name, AccessShareLock, [](Relation, HeapTuple) {});
}

void AddTotals(const char* queue, int64 dead, int64 expired) {
    int64 totals[2];
    ChangeInPlace(queue, [&](SettingsHead* settings, page::InPlaceWriter* writer) {
        static_assert(offsetof(SettingsHead, expired_total) == offsetof(SettingsHead, dead_total) + sizeof(int64));
        totals[0] = settings->dead_total + dead;
        totals[1] = settings->expired_total + expired;
        writer->Set(&settings->dead_total, totals, sizeof(totals));
    });
}

void MarkPrioritized(Queue* queue) {
    Mark(queue->name, &SettingsHead::prioritized);
    queue->prioritized = true;
}

void MarkExpiring(Queue* queue) {
    Mark(queue->name, &SettingsHead::expiring);
    queue->expiring = true;
}

void MarkExpiring(const char* queue) { Mark(queue, &SettingsHead::expiring); }

}  // namespace pgqueue::queue
