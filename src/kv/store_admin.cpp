#include "pgqueue/kv/store_admin.hpp"

#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/run_as.hpp"

namespace pgqueue::kv {
namespace {

struct Names {
    char values[NAMEDATALEN];
    char cells[NAMEDATALEN];
    char view[NAMEDATALEN];
};

Names NamesOf(const char* store) {
    Names names;
    ValuesName(store, names.values);
    CellsName(store, names.cells);
    ViewName(store, names.view);
    return names;
}

const char* Qualified(const char* relation) { return psprintf("%s.%s", kSchema, quote_identifier(relation)); }

bool IsDefault(const char* store) { return strcmp(store, kDefaultStore) == 0; }

// The table of values, or InvalidOid.
Oid LockedStore(const Names& names) { return pg::LockedRelationIn(kSchema, names.values); }

Oid OwnedStore(const char* name, const Names& names) {
    CheckStoreName(name);
    const Oid table = LockedStore(names);
    if (!OidIsValid(table))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("store \"%s\" does not exist", name),
                        errhint("Create it with kv.create_store('%s').", name)));
    if (!compat::OwnsRelation(table, GetUserId()))
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("must be owner of store %s", name)));
    return table;
}

// What is taken over must be the store's owner's: constraints and defaults of somebody else's table are that one's
// code.
void RequireTable(const char* relation, Oid owner, char kind) {
    const Oid oid = pg::RelationIn(kSchema, relation);
    if (!OidIsValid(oid)) return;
    if (get_rel_relkind(oid) != kind)
        ereport(ERROR,
                (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is there already and is something else", relation),
                 errhint("Drop or rename it.")));
    if (pg::OwnerOf(oid) != owner)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("\"%s\" is there already and belongs to another role", relation),
                        errhint("Drop or rename it, or ALTER ... OWNER TO the store's owner.")));
}

// The same for its columns.
void RequireColumns(const char* relation, Part part) {
    const Oid oid = pg::RelationIn(kSchema, relation);
    if (!OidIsValid(oid)) return;
    Relation rel = table_open(oid, AccessShareLock);
    if (const char* fault = FaultOfColumns(rel, part))
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("\"%s\" is there already and is no table of a store: %s", relation, fault),
                        errhint("Drop or rename it, or give it the columns that kv.create_store makes.")));
    table_close(rel, NoLock);
}

constexpr const char* kValueColumns =
    "version bigint NOT NULL, expires_at timestamptz NOT NULL, type \"char\" NOT NULL, "
    "key text COLLATE \"C\" NOT NULL, value text, value_json jsonb, value_bytes bytea, PRIMARY KEY (key), "
    "CONSTRAINT pgqueue_key CHECK (octet_length(key) BETWEEN 1 AND 1024), "
    "CONSTRAINT pgqueue_value CHECK (type IN ('t', 'j', 'b') AND (type = 't') = (value IS NOT NULL) "
    "AND (type = 'j') = (value_json IS NOT NULL) AND (type = 'b') = (value_bytes IS NOT NULL))";

constexpr const char* kCellColumns =
    "number bigint NOT NULL, expires_at timestamptz NOT NULL, kind \"char\" NOT NULL, "
    "key text COLLATE \"C\" NOT NULL, owner name, PRIMARY KEY (kind, key), "
    "CONSTRAINT pgqueue_key CHECK (octet_length(key) BETWEEN 1 AND 1024), "
    "CONSTRAINT pgqueue_owner CHECK (kind IN ('c', 'r', 'l') AND (kind = 'l') = (owner IS NOT NULL))";

constexpr int kOwnTriggers = 2;

// What the functions see, for people and for joins.
constexpr const char* kView =
    "CREATE VIEW %s WITH (security_invoker = true) AS "
    "SELECT key, CASE type WHEN 't' THEN value WHEN 'j' THEN value_json::text ELSE value_bytes::text END AS value, "
    "CASE type WHEN 't' THEN 'text' WHEN 'j' THEN 'json' ELSE 'bytes' END AS type, version, "
    "nullif(expires_at, 'infinity') AS expires_at FROM %s WHERE expires_at > clock_timestamp() "
    "UNION ALL SELECT key, number::text, 'counter', NULL, nullif(expires_at, 'infinity') FROM %s "
    "WHERE kind = 'c' AND expires_at > clock_timestamp()";

// Makes what is missing of the store's relations, as the extension's owner. Returns whether anything was.
class Maker {
public:
    Maker(pg::Spi* spi, const Names& names, bool unlogged, Oid owner)
        : spi_(spi), names_(names), unlogged_(unlogged ? "UNLOGGED" : ""), owner_(owner) {}

    bool Run() {
        // Before anything is made, which belongs to the extension's owner at first.
        RequireTable(names_.values, owner_, RELKIND_RELATION);
        RequireTable(names_.cells, owner_, RELKIND_RELATION);
        RequireTable(names_.view, owner_, RELKIND_VIEW);
        RequireColumns(names_.values, Part::kValues);
        RequireColumns(names_.cells, Part::kCells);
        MakeTable(names_.values, kValueColumns);
        MakeTable(names_.cells, kCellColumns);
        if (!OidIsValid(pg::RelationIn(kSchema, names_.view))) {
            spi_->Run(psprintf(kView, Qualified(names_.view), Qualified(names_.values), Qualified(names_.cells)));
            HandOver(names_.view);
        }
        return made_;
    }

private:
    void MakeTable(const char* name, const char* columns) {
        const char* table = Qualified(name);
        const bool exists = OidIsValid(pg::RelationIn(kSchema, name));
        if (!exists) {
            spi_->Run(psprintf("CREATE %s TABLE %s (%s) USING heap", unlogged_, table, columns));
            // A key is never compressed or moved away, so that it can be compared on the page.
            spi_->Run(psprintf("ALTER TABLE %s ALTER key SET STORAGE MAIN", table));
        }
        if (pg::OwnTriggersOf(pg::RelationIn(kSchema, name)) != kOwnTriggers) {
            MakeTrigger(table, "pgqueue_write", "BEFORE", "on_write");
            MakeTrigger(table, "pgqueue_change", "AFTER", "on_change");
            made_ = true;
        }
        if (!exists) HandOver(name);
    }
    void MakeTrigger(const char* table, const char* name, const char* when, const char* function) {
        spi_->Run(psprintf("CREATE OR REPLACE TRIGGER %s %s INSERT OR UPDATE ON %s FOR EACH ROW "
                           "EXECUTE FUNCTION %s.%s()",
                           name, when, table, kSchema, function));
        spi_->Run(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", table, name));
    }
    void HandOver(const char* relation) {
        made_ = true;
        spi_->Run(psprintf("ALTER TABLE %s OWNER TO %s", Qualified(relation),
                           quote_identifier(GetUserNameFromId(owner_, false))));
    }

    pg::Spi* spi_;
    const Names& names_;
    const char* unlogged_;
    Oid owner_;
    bool made_ = false;
};

}  // namespace

bool CreateStore(const char* name, const StoreSettings& settings) {
    CheckStoreName(name);
    const Names names = NamesOf(name);
    const Oid role = GetUserId();
    const Oid extension_owner = pg::ExtensionOwner();
    if (OidIsValid(LockedStore(names))) {
        (void)OwnedStore(name, names);
    } else if (!compat::MayCreateIn(MyDatabaseId, role)) {
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied to create a store"),
                        errhint("Creating a store needs CREATE on the database: GRANT CREATE ON DATABASE %s TO %s;",
                                quote_identifier(get_database_name(MyDatabaseId)),
                                quote_identifier(GetUserNameFromId(role, false)))));
    }

    const pg::RunAs as(extension_owner);
    pg::Spi spi;
    std::array<Oid, 3> types = {TEXTOID, FLOAT8OID, INT8OID};
    std::array<Datum, 3> arguments = {CStringGetTextDatum(name), Float8GetDatum(settings.default_ttl),
                                      Int64GetDatum(settings.max_entries)};
    const auto run = [&](const char* sql) { return spi.Run(sql, 3, types.data(), arguments.data()); };
    // Two sessions that create one store meet here: the second waits for the first to end.
    // The extension's own store has a row only once its settings are changed, so that a restore finds none in its way.
    const bool inserted =
        !IsDefault(name) && run("INSERT INTO kv.settings (store, default_ttl, max_entries) VALUES ($1, $2, $3) "
                                "ON CONFLICT DO NOTHING") == 1;
    AcceptInvalidationMessages();
    const Oid table = LockedStore(names);
    if (OidIsValid(table) && !compat::OwnsRelation(table, role))
        ereport(ERROR, (errcode(ERRCODE_DUPLICATE_TABLE), errmsg("store \"%s\" already exists", name)));
    if (!inserted) {
        if (!OidIsValid(table)) {
            // Left over from tables that were dropped by hand.
            run("UPDATE kv.settings SET default_ttl = $2, max_entries = $3, created_at = clock_timestamp() "
                "WHERE store = $1");
        } else if (run("SELECT FROM (SELECT default_ttl, max_entries FROM kv.settings WHERE store = $1 UNION ALL "
                       "SELECT 0, 0 LIMIT 1) AS s WHERE default_ttl = $2 AND max_entries = $3") != 1 ||
                   (get_rel_persistence(table) == RELPERSISTENCE_UNLOGGED) != settings.unlogged) {
            ereport(ERROR,
                    (errcode(ERRCODE_DUPLICATE_TABLE), errmsg("store \"%s\" already exists with other settings", name),
                     errhint("See kv.stores for its settings, and change them with kv.alter_store.")));
        }
    }
    // Tables that are taken over keep their persistence.
    const bool unlogged = OidIsValid(table) ? get_rel_persistence(table) == RELPERSISTENCE_UNLOGGED : settings.unlogged;
    const bool made = Maker(&spi, names, unlogged, OidIsValid(table) ? pg::OwnerOf(table) : role).Run();
    CommandCounterIncrement();
    CacheInvalidateRelcacheByRelid(pg::RelationIn(kSchema, names.values));
    return inserted || made;
}

bool AlterStore(const char* name, std::optional<double> default_ttl, std::optional<int64> max_entries) {
    (void)OwnedStore(name, NamesOf(name));
    const pg::RunAs as(pg::ExtensionOwner());
    pg::Spi spi;
    std::array<Oid, 3> types = {TEXTOID, FLOAT8OID, INT8OID};
    std::array<Datum, 3> arguments = {CStringGetTextDatum(name), Float8GetDatum(default_ttl.value_or(-1)),
                                      Int64GetDatum(max_entries.value_or(-1))};
    const auto run = [&](const char* sql) { return spi.Run(sql, 3, types.data(), arguments.data()); };
    if (IsDefault(name))
        run("INSERT INTO kv.settings (store, default_ttl, max_entries) VALUES ($1, 0, 0) "
            "ON CONFLICT DO NOTHING");
    return run("UPDATE kv.settings SET default_ttl = CASE WHEN $2 < 0 THEN default_ttl ELSE $2 END, "
               "max_entries = CASE WHEN $3 < 0 THEN max_entries ELSE $3 END WHERE store = $1 "
               "AND ($2 >= 0 AND default_ttl <> $2 OR $3 >= 0 AND max_entries <> $3)") > 0;
}

bool DropStore(const char* name) {
    CheckStoreName(name);
    const Names names = NamesOf(name);
    if (!OidIsValid(LockedStore(names))) return false;
    (void)OwnedStore(name, names);
    if (IsDefault(name))
        ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
                        errmsg("the store \"default\" is a part of the extension"),
                        errhint("kv.clear('default') empties it.")));
    {
        pg::Spi spi;  // as the caller: the server checks each of them
        if (OidIsValid(pg::RelationIn(kSchema, names.view))) spi.Run(psprintf("DROP VIEW %s", Qualified(names.view)));
        const char* cells =
            OidIsValid(pg::RelationIn(kSchema, names.cells)) ? psprintf(", %s", Qualified(names.cells)) : "";
        spi.Run(psprintf("DROP TABLE %s%s", Qualified(names.values), cells));
    }
    const pg::RunAs as(pg::ExtensionOwner());
    pg::Spi spi;
    Oid types[] = {TEXTOID};
    Datum arguments[] = {CStringGetTextDatum(name)};
    spi.Run("DELETE FROM kv.settings WHERE store = $1", 1, types, arguments);
    return true;
}

void GrantOnStore(bool grant, const char* name, const char* role, const char* privilege) {
    const Names names = NamesOf(name);
    pg::LockAgainstGrants(OwnedStore(name, names));
    const bool read = strcmp(privilege, "read") == 0;
    if (!read && strcmp(privilege, "write") != 0)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unrecognized privilege: \"%s\"", privilege),
                        errhint("It is \"read\" or \"write\".")));
    const char* grantee = pg::Grantee(role);
    const char* verb = grant ? "GRANT" : "REVOKE";
    const char* to = grant ? "TO" : "FROM";
    pg::Spi spi;  // as the caller
    if (read)
        spi.Run(psprintf("%s SELECT ON %s, %s, %s %s %s", verb, Qualified(names.values), Qualified(names.cells),
                         Qualified(names.view), to, grantee));
    else
        spi.Run(psprintf("%s INSERT, UPDATE, DELETE ON %s %s %s", verb, Qualified(names.values), to, grantee));
}

pg::Vector<const char*> StoreNames() {
    pg::Vector<const char*> stores = {kDefaultStore};
    Relation rel = table_open(pg::ExtensionRelation(kSchema, "settings"), AccessShareLock);
    Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
    SysScanDesc scan = systable_beginscan(rel, compat::PrimaryKeyOf(rel), true, snapshot, 0, nullptr);
    while (HeapTuple tuple = systable_getnext(scan)) {
        bool null = false;
        const char* store = TextDatumGetCString(heap_getattr(tuple, kSettingsName, RelationGetDescr(rel), &null));
        if (!IsDefault(store)) stores.push_back(store);
    }
    systable_endscan(scan);
    UnregisterSnapshot(snapshot);
    table_close(rel, AccessShareLock);
    return stores;
}

}  // namespace pgqueue::kv
