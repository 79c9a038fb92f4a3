#include "pgqueue/kv/store.hpp"

#include "pgqueue/kv/row.hpp"
#include "pgqueue/pg/catalog.hpp"

namespace pgqueue::kv {
namespace {

pg::NameCache<Store> cache;

// The leading columns of kv.settings, fixed-width and NOT NULL.
struct Settings {
    double default_ttl;
    int64 max_entries;
};

[[noreturn]] void RaiseUnknown(Store* store) {
    char name[NAMEDATALEN];
    strlcpy(name, store->name, NAMEDATALEN);
    cache.Forget(store);
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("store \"%s\" does not exist", name),
                    errhint("Create it with kv.create_store('%s').", name)));
    pg_unreachable();
}

[[noreturn]] void RaiseUnsettled(Store* store) {
    store->valid = false;
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                    errmsg("store \"%s\" does not exist, though a table of its name does", store->name),
                    errhint("kv.create_store('%s') takes the table over as it is.", store->name)));
    pg_unreachable();
}

[[noreturn]] void RaiseLayout(Relation rel, const char* what, const char* hint) {
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                    errmsg("table \"%s\" can't be used as a store: %s", RelationGetRelationName(rel), what),
                    errhint("%s", hint)));
    pg_unreachable();
}

struct ColumnRule {
    const char* name;
    Oid type;
    bool not_null;
};
constexpr std::array<ColumnRule, kValueColumns> kValueRules = {{{"version", INT8OID, true},
                                                                {"expires_at", TIMESTAMPTZOID, true},
                                                                {"type", CHAROID, true},
                                                                {"key", TEXTOID, true},
                                                                {"value", TEXTOID, false},
                                                                {"value_json", JSONBOID, false},
                                                                {"value_bytes", BYTEAOID, false}}};
constexpr std::array<ColumnRule, kCellColumns> kCellRules = {{{"number", INT8OID, true},
                                                              {"expires_at", TIMESTAMPTZOID, true},
                                                              {"kind", CHAROID, true},
                                                              {"key", TEXTOID, true},
                                                              {"owner", NAMEOID, false}}};

const char* FaultOf(Relation rel, const ColumnRule* rules, int count) {
    const TupleDesc desc = RelationGetDescr(rel);
    if (desc->natts < count) return "columns are missing";
    for (int i = 0; i < desc->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(desc, i);
        if (i >= count) {
            if (attribute->attisdropped) continue;
            return psprintf("column \"%s\" is not one of a store's", NameStr(attribute->attname));
        }
        if (attribute->attisdropped || attribute->atthasmissing || attribute->atttypid != rules[i].type ||
            strcmp(NameStr(attribute->attname), rules[i].name) != 0 || (rules[i].not_null && !attribute->attnotnull) ||
            attribute->attgenerated != '\0')
            return psprintf("column %d is not the plain column \"%s\"", i + 1, rules[i].name);
        if (i == kKey - 1 && (attribute->attcollation != C_COLLATION_OID ||
                              (attribute->attstorage != TYPSTORAGE_MAIN && attribute->attstorage != TYPSTORAGE_PLAIN)))
            return "its key is not COLLATE \"C\" with STORAGE MAIN";
    }
    return nullptr;
}

// The one index, which finds keys. Others would have to be kept up (and one on expires_at would silently lie).
Oid CheckIndex(Relation rel, const AttrNumber* columns, int count) {
    List* indexes = RelationGetIndexList(rel);
    const Oid found = list_length(indexes) == 1 ? linitial_oid(indexes) : InvalidOid;
    if (list_length(indexes) > 1)
        RaiseLayout(rel, "it has further indexes",
                    "Keep what you search by in a table of your own, and index it there: DROP INDEX.");
    bool good = OidIsValid(found);
    if (good) {
        Relation index = index_open(found, AccessShareLock);
        const Form_pg_index form = index->rd_index;
        good = form->indisunique && form->indimmediate && form->indisvalid && form->indnkeyatts == count &&
               form->indnatts == count && index->rd_rel->relam == BTREE_AM_OID &&
               RelationGetIndexPredicate(index) == NIL;
        for (int i = 0; good && i < count; i++)
            good = form->indkey.values[i] == columns[i] &&
                   (columns[i] != kKey || index->rd_indcollation[i] == C_COLLATION_OID);
        index_close(index, AccessShareLock);
    }
    if (!good)
        RaiseLayout(rel, "its unique index on the key is missing or another one",
                    psprintf("ALTER TABLE %s.%s ADD PRIMARY KEY (%s);", kSchema,
                             quote_identifier(RelationGetRelationName(rel)), count == 1 ? "key" : "kind, key"));
    list_free(indexes);
    return found;
}

// Our writes don't fire triggers, so a trigger for them (a foreign key's too) would be passed by silently.
void CheckTriggers(Relation rel) {
    const Oid schema = get_namespace_oid(kSchema, false);
    const TriggerDesc* triggers = CopyTriggerDesc(rel->trigdesc);
    bool before = false;
    bool after = false;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; i++) {
        const Trigger* trigger = &triggers->triggers[i];
        if (get_func_namespace(trigger->tgfoid) != schema)
            RaiseLayout(rel, psprintf("trigger \"%s\" would not fire for kv.set", trigger->tgname),
                        "Drop the trigger or the foreign key.");
        if (trigger->tgenabled != TRIGGER_FIRES_ALWAYS) continue;
        if (TRIGGER_FOR_BEFORE(trigger->tgtype)) before = true;
        if (TRIGGER_FOR_AFTER(trigger->tgtype)) after = true;
    }
    if (!before || !after)
        RaiseLayout(rel, "its own triggers are missing or not ENABLE ALWAYS",
                    "Call kv.create_store with the store's settings: it puts them back.");
}

// Ours hold by themselves; others would be passed by.
void CheckConstraints(Relation rel) {
    const TupleConstr* constraints = RelationGetDescr(rel)->constr;
    for (int i = 0; constraints != nullptr && i < constraints->num_check; i++)
        if (strncmp(constraints->check[i].ccname, "pgqueue_", 8) != 0)
            RaiseLayout(rel, psprintf("constraint \"%s\" would not be checked by kv.set", constraints->check[i].ccname),
                        "Drop the constraint.");
}

void CheckLayout(Relation rel, Part part, Half* half) {
    if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relam != HEAP_TABLE_AM_OID)
        RaiseLayout(rel, "it is not a plain heap table", "Use ALTER TABLE ... SET ACCESS METHOD heap.");
    if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
        RaiseLayout(rel, "it is temporary", "Create it with kv.create_store.");
    if (rel->rd_rel->relrowsecurity)
        RaiseLayout(rel, "it has row-level security, which the store's functions can't honour",
                    "ALTER TABLE ... DISABLE ROW LEVEL SECURITY, and use GRANT; or a store for each role.");
    if (rel->rd_rules != nullptr)
        RaiseLayout(rel, "it has rules, which the store's functions would pass by", "Drop the rules.");
    const bool has_children =
        rel->rd_rel->relhassubclass && find_inheritance_children(RelationGetRelid(rel), NoLock) != NIL;
    if (has_children || rel->rd_rel->relispartition)
        RaiseLayout(rel, "it is part of an inheritance tree", "ALTER TABLE ... NO INHERIT.");
    constexpr std::array<AttrNumber, 2> kCellIndex = {kKind, kCellKey};
    constexpr std::array<AttrNumber, 1> kValueIndex = {kKey};
    if (const char* fault = FaultOfColumns(rel, part))
        RaiseLayout(
            rel, fault,
            "Restore the columns that kv.create_store makes, in their order; keep others in a table of your own.");
    half->index = part == Part::kValues ? CheckIndex(rel, kValueIndex.data(), kValueIndex.size())
                                        : CheckIndex(rel, kCellIndex.data(), kCellIndex.size());
    CheckTriggers(rel);
    CheckConstraints(rel);
    half->trigger_stamp = pg::TriggerStamp(RelationGetRelid(rel));
    half->map = {};
}

void LoadHalf(Store* store, Part part, Half* half) {
    Relation rel = try_relation_open(half->table, AccessShareLock);
    if (rel == nullptr) return;  // gone meanwhile: the entry is invalid again
    CheckLayout(rel, part, half);
    if (part == Part::kCells && rel->rd_rel->relowner != pg::OwnerOf(store->values.table))
        RaiseLayout(rel, "it belongs to another role than the table of values",
                    "ALTER TABLE ... OWNER TO the other's.");
    relation_close(rel, AccessShareLock);
}

// Fills the entry from the catalogs; nothing is locked yet.
void Load(Store* store) {
    char name[NAMEDATALEN];
    ValuesName(store->name, name);
    store->values.table = pg::RelationIn(kSchema, name);
    if (!OidIsValid(store->values.table)) RaiseUnknown(store);
    CellsName(store->name, name);
    store->cells.table = pg::RelationIn(kSchema, name);
    std::optional<Settings> settings;
    pg::WithRowOf(pg::ExtensionRelation(kSchema, "settings"), kSettingsName, store->name, AccessShareLock,
                  [&](Relation, HeapTuple tuple) {
                      Settings read;
                      memcpy(&read, pg::DataOf(tuple->t_data), sizeof(read));
                      settings = read;
                  });
    store->settled = settings || strcmp(store->name, kDefaultStore) == 0;
    if (!OidIsValid(store->cells.table)) RaiseUnsettled(store);
    store->default_ttl = settings ? settings->default_ttl : 0;
    store->max_entries = settings ? settings->max_entries : 0;
    store->acl_role = InvalidOid;
    cache.DependOn(store, store->values.table);
    cache.DependOn(store, store->cells.table);
    LoadHalf(store, Part::kValues, &store->values);
    LoadHalf(store, Part::kCells, &store->cells);
    store->stats = AttachStats(store->values.table);
}

void CheckPrivileges(Store* store, AclMode wanted) {
    const Oid role = GetUserId();
    if (store->acl_role != role) {
        constexpr AclMode kAll = ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE;
        store->acl = pg_class_aclmask(store->values.table, role, kAll, ACLMASK_ALL);
        store->acl_role = role;
    }
    if ((store->acl & wanted) == wanted) return;
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied for store %s", store->name),
                    errhint("The owner can allow it: kv.grant('%s', '%s', '%s').", store->name,
                            GetUserNameFromId(role, true), wanted & ~store->acl & ACL_SELECT ? "read" : "write")));
}

Store* Find(std::string_view name) {
    Store* last = cache.Last();
    if (last != nullptr && name == last->name) return last;
    char buffer[NAMEDATALEN] = {};
    if (name.size() >= NAMEDATALEN) {
        CheckStoreName(pnstrdup(name.data(), name.size()));
        pg_unreachable();
    }
    memcpy(buffer, name.data(), name.size());
    CheckStoreName(buffer);
    return cache.Find(buffer);
}

// check: whether the store is one, as it is known by now.
template <class Check>
Table OpenPart(Store* store, Part part, LOCKMODE lock, Check check) {
    for (;;) {
        cache.Validate(store, Load);
        check(store);
        Half* half = part == Part::kValues ? &store->values : &store->cells;
        const Oid table = half->table;
        LockRelationOid(table, lock);
        Relation rel = cache.Holds(store) ? RelationIdGetRelation(table) : nullptr;
        if (rel != nullptr) return {store, half, rel};
        UnlockRelationOid(table, lock);
        store->valid = false;
    }
}

}  // namespace

void ValuesName(const char* store, char* out) { snprintf(out, NAMEDATALEN, "s_%.48s", store); }
void CellsName(const char* store, char* out) { snprintf(out, NAMEDATALEN, "c_%.48s", store); }
void ViewName(const char* store, char* out) { snprintf(out, NAMEDATALEN, "v_%.48s", store); }

void CheckStoreName(const char* name) {
    const std::size_t length = strlen(name);
    bool good = length >= 1 && length <= kMaxStoreNameBytes;
    for (std::size_t i = 0; good && i < length; i++) {
        const char c = name[i];
        good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
               c == '.';
    }
    if (good) return;
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_NAME), errmsg("invalid store name: \"%s\"", name),
             errhint("A store name is 1 to %d ASCII letters, digits, \"_\", \"-\" and \".\".", kMaxStoreNameBytes)));
}

const char* FaultOfColumns(Relation rel, Part part) {
    return part == Part::kValues ? FaultOf(rel, kValueRules.data(), kValueColumns)
                                 : FaultOf(rel, kCellRules.data(), kCellColumns);
}

Table OpenUnsettled(std::string_view name, Part part, LOCKMODE lock) {
    return OpenPart(Find(name), part, lock, [](Store*) {});
}

Table Open(std::string_view name, AclMode privileges, Part part, LOCKMODE lock) {
    return OpenPart(Find(name), part, lock, [&](Store* store) {
        if (unlikely(!store->settled)) RaiseUnsettled(store);
        CheckPrivileges(store, privileges);
    });
}

Table OpenOther(const Table& table, LOCKMODE lock) {
    Store* store = table.store;
    Half* half = table.half == &store->values ? &store->cells : &store->values;
    for (;;) {
        const Oid oid = half->table;
        LockRelationOid(oid, lock);
        Relation rel = cache.Holds(store) ? RelationIdGetRelation(oid) : nullptr;
        if (rel != nullptr) return {store, half, rel};
        // Changed while we waited for it. Our own table has not: we hold a lock on it.
        UnlockRelationOid(oid, lock);
        store->valid = false;
        cache.Validate(store, Load);
    }
}

void Close(const Table& table) { relation_close(table.rel, NoLock); }

void FlushReads(Store* store) {
    Add(store->stats, Statistic::kHits, store->reads.hits);
    Add(store->stats, Statistic::kMisses, store->reads.misses);
    store->reads = {};
}

void CountReads(Store* store, int64 hits, int64 misses, TimestampTz now) {
    PendingReads& reads = store->reads;
    reads.hits += hits;
    reads.misses += misses;
    if (reads.hits + reads.misses < kMostPending && now - reads.counted_at < kLongestPending && reads.counted_at <= now)
        return;
    static bool registered = false;
    if (!registered) before_shmem_exit([](int, Datum) { cache.ForEach(FlushReads); }, 0);
    registered = true;
    FlushReads(store);
    reads.counted_at = now;
}

const page::SegmentRef& MapOf(const Table& table) {
    page::SegmentRef& map = table.half->map;
    if (unlikely(!page::IsCurrent(map) || map.key.relation != RelationGetRelid(table.rel) ||
                 map.key.file != compat::FileNumberOf(table.rel)))
        map = page::Attach(table.rel, false, table.half->trigger_stamp);
    return map;
}

}  // namespace pgqueue::kv
