// The SQL-callable surface of the stores' values: unpack arguments, call the engine, pack the result.
#include "pgqueue/kv/clear.hpp"
#include "pgqueue/kv/purge.hpp"
#include "pgqueue/kv/scan.hpp"
#include "pgqueue/kv/store_admin.hpp"
#include "pgqueue/kv/values.hpp"
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/function.hpp"
#include "pgqueue/pg/progress.hpp"
#include "pgqueue/pg/role.hpp"
#include "pgqueue/queue/queue.hpp"
#include "pgqueue/sql/kv_args.hpp"
#include "pgqueue/sql/result_set.hpp"

namespace pgqueue::sql {
namespace {

using namespace pgqueue::kv;

Mode ModeOf(const Args& args, int i) {
    if (args.IsNull(i)) return Mode::kAlways;
    const char* mode = args.Text(i, "mode");
    if (strcmp(mode, "always") == 0) return Mode::kAlways;
    if (strcmp(mode, "if_absent") == 0 || strcmp(mode, "nx") == 0) return Mode::kIfAbsent;
    if (strcmp(mode, "if_present") == 0 || strcmp(mode, "xx") == 0) return Mode::kIfPresent;
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unrecognized mode: \"%s\"", mode),
                    errhint("It is one of \"always\", \"if_absent\" (nx) and \"if_present\" (xx).")));
    pg_unreachable();
}

int64 BytesOf(const Table& table) {
    return DatumGetInt64(DirectFunctionCall1(pg_total_relation_size, ObjectIdGetDatum(RelationGetRelid(table.rel))));
}

Datum ValueArg(const Args& args, int i) {
    if (args.IsNull(i))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("value must not be null"),
                        errhint("kv.delete removes a key.")));
    return args.Raw(i);
}

// kv.set and its like: key, value, ttl, mode, keep_ttl, store.
bool SetOf(FunctionCallInfo fcinfo, ValueType type, const char* function) {
    const Args args(fcinfo);
    const Key key = KeyArg(args, 0);
    const NewValue value{type, ValueArg(args, 1)};
    SetOptions options;
    options.ttl = TtlArg(args, 2);
    options.mode = ModeOf(args, 3);
    options.keep_ttl = args.Bool(4, false);
    if (options.keep_ttl && options.ttl)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("ttl and keep_ttl exclude each other")));
    PreventWrite(function);
    const Table values = Open(StoreArg(args, 5), ACL_INSERT, Part::kValues, RowExclusiveLock);
    const bool stored = Set(values, key, value, options, nullptr).has_value();
    Close(values);
    return stored;
}

std::optional<Entry> EntryOf(const Args& args, int store, bool want_value) {
    const Key key = KeyArg(args, 0);
    const Table values = Open(StoreArg(args, store), ACL_SELECT, Part::kValues, AccessShareLock);
    auto entry = Reader(values, GetActiveSnapshot()).Get(key, want_value);
    Close(values);
    return entry;
}

// The value of an entry that must be of this type.
Datum Typed(const Entry& entry, ValueType type, const char* function) {
    if (entry.type == type) return PointerGetDatum(PG_DETOAST_DATUM(entry.value));
    const char* kind = entry.type == kText    ? "text"
                       : entry.type == kJson  ? "json"
                       : entry.type == kBytes ? "bytes"
                                              : "a counter";
    ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("%s can't answer: the value is %s", function, kind),
                    errhint("kv.get shows any value as text.")));
    pg_unreachable();
}

Datum ExpiryDatum(TimestampTz expires_at, bool* null) {
    *null = TIMESTAMP_IS_NOEND(expires_at);
    return TimestampTzGetDatum(expires_at);
}

class RowsOfScan : public ScanSink {
public:
    explicit RowsOfScan(FunctionCallInfo fcinfo) : result_(fcinfo, 3) {}
    void Take(std::string_view key, const Entry& entry) override {
        std::array<bool, 3> nulls = {};
        std::array<Datum, 3> values = {
            PointerGetDatum(cstring_to_text_with_len(key.data(), static_cast<int>(key.size()))), AsText(entry),
            ExpiryDatum(entry.expires_at, &nulls[2])};
        result_.Add(values.data(), nulls.data());
    }

private:
    ResultSet result_;
};

}  // namespace
}  // namespace pgqueue::sql

using namespace pgqueue;
using namespace pgqueue::kv;
using namespace pgqueue::sql;

PGQUEUE_FUNCTION(pgqueue_kv_create_store) {
    const Args args(fcinfo);
    const char* store = args.Text(0, "store");
    PreventWrite("kv.create_store()");
    StoreSettings settings;
    settings.unlogged = args.Bool(1, false);
    settings.default_ttl = DefaultTtlArg(args, 2).value_or(0);
    settings.max_entries = MaxEntriesArg(args, 3).value_or(0);
    PG_RETURN_BOOL(CreateStore(store, settings));
}

PGQUEUE_FUNCTION(pgqueue_kv_alter_store) {
    const Args args(fcinfo);
    const char* store = args.Text(0, "store");
    PreventWrite("kv.alter_store()");
    auto default_ttl = DefaultTtlArg(args, 1);
    auto max_entries = MaxEntriesArg(args, 2);
    if (!args.IsNull(3)) {
        Datum* names = nullptr;
        int count = 0;
        args.Array(3, "reset", TEXTOID, &names, nullptr, &count);
        for (int i = 0; i < count; i++) {
            const char* name = TextDatumGetCString(names[i]);
            if (strcmp(name, "default_ttl") == 0)
                default_ttl = 0;
            else if (strcmp(name, "max_entries") == 0)
                max_entries = 0;
            else
                ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unrecognized setting: \"%s\"", name),
                                errhint("It is \"default_ttl\" or \"max_entries\".")));
        }
    }
    PG_RETURN_BOOL(AlterStore(store, default_ttl, max_entries));
}

PGQUEUE_FUNCTION(pgqueue_kv_drop_store) {
    const Args args(fcinfo);
    const char* store = args.Text(0, "store");
    PreventWrite("kv.drop_store()");
    PG_RETURN_BOOL(DropStore(store));
}

PGQUEUE_FUNCTION(pgqueue_kv_grant) {
    const Args args(fcinfo);
    args.Require(1, "role");
    PreventWrite("kv.grant()");
    GrantOnStore(true, args.Text(0, "store"), NameStr(*DatumGetName(args.Raw(1))), args.Text(2, "privilege"));
    PG_RETURN_VOID();
}

PGQUEUE_FUNCTION(pgqueue_kv_revoke) {
    const Args args(fcinfo);
    args.Require(1, "role");
    PreventWrite("kv.revoke()");
    GrantOnStore(false, args.Text(0, "store"), NameStr(*DatumGetName(args.Raw(1))), args.Text(2, "privilege"));
    PG_RETURN_VOID();
}

PGQUEUE_FUNCTION(pgqueue_kv_clear) {
    const Args args(fcinfo);
    args.Require(0, "store");
    PreventWrite("kv.clear()");
    const Table values = Open(StoreArg(args, 0), ACL_DELETE, Part::kValues, RowExclusiveLock);
    const Table cells = OpenOther(values, RowExclusiveLock);
    const int64 cleared = Clear(values, cells);
    Close(cells);
    Close(values);
    PG_RETURN_INT64(cleared);
}

PGQUEUE_FUNCTION(pgqueue_kv_set) { PG_RETURN_BOOL(SetOf(fcinfo, kText, "kv.set()")); }
PGQUEUE_FUNCTION(pgqueue_kv_set_json) { PG_RETURN_BOOL(SetOf(fcinfo, kJson, "kv.set_json()")); }
PGQUEUE_FUNCTION(pgqueue_kv_set_bytes) { PG_RETURN_BOOL(SetOf(fcinfo, kBytes, "kv.set_bytes()")); }

PGQUEUE_FUNCTION(pgqueue_kv_get) {
    const auto entry = EntryOf(Args(fcinfo), 1, true);
    if (!entry) PG_RETURN_NULL();
    PG_RETURN_DATUM(AsText(*entry));
}

PGQUEUE_FUNCTION(pgqueue_kv_get_json) {
    const auto entry = EntryOf(Args(fcinfo), 1, true);
    if (!entry) PG_RETURN_NULL();
    PG_RETURN_DATUM(Typed(*entry, kJson, "kv.get_json"));
}

PGQUEUE_FUNCTION(pgqueue_kv_get_bytes) {
    const auto entry = EntryOf(Args(fcinfo), 1, true);
    if (!entry) PG_RETURN_NULL();
    PG_RETURN_DATUM(Typed(*entry, kBytes, "kv.get_bytes"));
}

PGQUEUE_FUNCTION(pgqueue_kv_get_entry) {
    const auto entry = EntryOf(Args(fcinfo), 1, true);
    ResultSet result(fcinfo, 3);
    if (!entry) return 0;
    std::array<bool, 3> nulls = {};
    nulls[1] = entry->type == kCounter;
    std::array<Datum, 3> values = {AsText(*entry), Int64GetDatum(entry->version),
                                   ExpiryDatum(entry->expires_at, &nulls[2])};
    result.Add(values.data(), nulls.data());
    return 0;
}

PGQUEUE_FUNCTION(pgqueue_kv_cas) {
    const Args args(fcinfo);
    const Key key = KeyArg(args, 0);
    const NewValue value{kText, ValueArg(args, 1)};
    SetOptions options;
    options.version = args.Int(2, "version");
    options.ttl = TtlArg(args, 3);
    PreventWrite("kv.cas()");
    const Table values = Open(StoreArg(args, 4), ACL_INSERT, Part::kValues, RowExclusiveLock);
    const auto version = Set(values, key, value, options, nullptr);
    Close(values);
    if (!version) PG_RETURN_NULL();
    PG_RETURN_INT64(*version);
}

PGQUEUE_FUNCTION(pgqueue_kv_mget) {
    const Args args(fcinfo);
    Datum* keys = nullptr;
    int count = 0;
    args.Array(0, "keys", TEXTOID, &keys, nullptr, &count);
    ResultSet result(fcinfo, 2);
    const Table table = Open(StoreArg(args, 1), ACL_SELECT, Part::kValues, AccessShareLock);
    auto reader = std::make_optional<Reader>(table, GetActiveSnapshot());
    for (int i = 0; i < count; i++) {
        CHECK_FOR_INTERRUPTS();
        const auto entry = reader->Get(KeyFrom(keys[i]), true);
        std::array<bool, 2> nulls = {false, !entry.has_value()};
        std::array<Datum, 2> values = {keys[i], entry ? AsText(*entry) : 0};
        result.Add(values.data(), nulls.data());
        if (entry && entry->type != kCounter) pfree(DatumGetPointer(entry->value));
    }
    reader.reset();
    Close(table);
    return 0;
}

PGQUEUE_FUNCTION(pgqueue_kv_mset) {
    const Args args(fcinfo);
    Datum* keys = nullptr;
    int count = 0;
    args.Array(0, "keys", TEXTOID, &keys, nullptr, &count);
    Datum* vals = nullptr;
    int val_count = 0;
    args.Array(1, "vals", TEXTOID, &vals, nullptr, &val_count);
    if (val_count != count)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("vals must be as many as keys: %d, not %d", count, val_count)));
    SetOptions options;
    options.ttl = TtlArg(args, 2);
    PreventWrite("kv.mset()");
    struct Pair {
        Key key;
        int place;
    };
    pg::Vector<Pair> pairs;
    pairs.reserve(count);
    for (int i = 0; i < count; i++) pairs.push_back({KeyFrom(keys[i]), i});
    // In the order of the keys, so that two that set the same ones don't wait for each other in a circle.
    std::sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) {
        const int order = a.key.bytes.compare(b.key.bytes);
        return order != 0 ? order < 0 : a.place < b.place;
    });
    const Table values = Open(StoreArg(args, 3), ACL_INSERT, Part::kValues, RowExclusiveLock);
    int64 stored = 0;
    for (int i = 0; i < count; i++) {
        CHECK_FOR_INTERRUPTS();
        if (i + 1 < count && pairs[i].key.bytes == pairs[i + 1].key.bytes) continue;  // the last one wins
        if (Set(values, pairs[i].key, {kText, vals[pairs[i].place]}, options, nullptr)) stored++;
    }
    Close(values);
    PG_RETURN_INT64(stored);
}

PGQUEUE_FUNCTION(pgqueue_kv_getset) {
    const Args args(fcinfo);
    const Key key = KeyArg(args, 0);
    const NewValue value{kText, ValueArg(args, 1)};
    SetOptions options;
    options.ttl = TtlArg(args, 2);
    PreventWrite("kv.getset()");
    const Table values = Open(StoreArg(args, 3), ACL_INSERT | ACL_SELECT, Part::kValues, RowExclusiveLock);
    Entry old;
    (void)Set(values, key, value, options, &old);
    const Datum text = old.type != 0 ? AsText(old) : 0;
    Close(values);
    if (old.type == 0) PG_RETURN_NULL();
    PG_RETURN_DATUM(text);
}

PGQUEUE_FUNCTION(pgqueue_kv_take) {
    const Args args(fcinfo);
    const Key key = KeyArg(args, 0);
    PreventWrite("kv.take()");
    const Table values = Open(StoreArg(args, 1), ACL_SELECT | ACL_DELETE, Part::kValues, RowExclusiveLock);
    Entry old;
    const bool taken = Delete(values, key, &old) && old.type != 0;
    const Datum text = taken ? AsText(old) : 0;
    Close(values);
    if (!taken) PG_RETURN_NULL();
    PG_RETURN_DATUM(text);
}

PGQUEUE_FUNCTION(pgqueue_kv_delete) {
    const Args args(fcinfo);
    const Key key = KeyArg(args, 0);
    PreventWrite("kv.delete()");
    const Table values = Open(StoreArg(args, 1), ACL_DELETE, Part::kValues, RowExclusiveLock);
    const bool deleted = Delete(values, key, nullptr);
    Close(values);
    PG_RETURN_BOOL(deleted);
}

PGQUEUE_FUNCTION(pgqueue_kv_delete_batch) {
    const Args args(fcinfo);
    Datum* datums = nullptr;
    int count = 0;
    args.Array(0, "keys", TEXTOID, &datums, nullptr, &count);
    PreventWrite("kv.delete_batch()");
    pg::Vector<Key> keys;
    keys.reserve(count);
    for (int i = 0; i < count; i++) keys.push_back(KeyFrom(datums[i]));
    std::sort(keys.begin(), keys.end(), [](const Key& a, const Key& b) { return a.bytes < b.bytes; });
    const Table values = Open(StoreArg(args, 1), ACL_DELETE, Part::kValues, RowExclusiveLock);
    int64 deleted = 0;
    for (const Key& key : keys) {
        CHECK_FOR_INTERRUPTS();
        if (Delete(values, key, nullptr)) deleted++;
    }
    Close(values);
    PG_RETURN_INT64(deleted);
}

PGQUEUE_FUNCTION(pgqueue_kv_exists) { PG_RETURN_BOOL(EntryOf(Args(fcinfo), 1, false).has_value()); }

PGQUEUE_FUNCTION(pgqueue_kv_ttl) {
    const auto entry = EntryOf(Args(fcinfo), 1, false);
    if (!entry) PG_RETURN_NULL();
    if (TIMESTAMP_IS_NOEND(entry->expires_at)) PG_RETURN_FLOAT8(-1);
    const int64 left = std::max<int64>(entry->expires_at - GetCurrentTimestamp(), 0);
    PG_RETURN_FLOAT8(static_cast<double>(left) / USECS_PER_SEC);
}

PGQUEUE_FUNCTION(pgqueue_kv_touch) {
    const Args args(fcinfo);
    const Key key = KeyArg(args, 0);
    args.Require(1, "ttl");
    const double ttl = *TtlArg(args, 1);
    PreventWrite("kv.touch()");
    const Table values = Open(StoreArg(args, 2), ACL_UPDATE, Part::kValues, RowExclusiveLock);
    const bool touched = Touch(values, key, ttl);
    Close(values);
    PG_RETURN_BOOL(touched);
}

PGQUEUE_FUNCTION(pgqueue_kv_scan) {
    const Args args(fcinfo);
    const auto bytes = [&](int i) { return args.IsNull(i) ? std::string_view() : BytesOf(args.Raw(i)); };
    const int64 qty = args.IsNull(2) ? 100 : args.Quantity(2);
    RowsOfScan rows(fcinfo);
    const Table values = Open(StoreArg(args, 3), ACL_SELECT, Part::kValues, AccessShareLock);
    const Table cells = OpenOther(values, AccessShareLock);
    kv::Scan(values, cells, bytes(0), args.IsNull(1) ? std::nullopt : std::optional(bytes(1)), qty, GetActiveSnapshot(),
             &rows);
    Close(cells);
    Close(values);
    return 0;
}

PGQUEUE_FUNCTION(pgqueue_kv_purge) {
    const Args args(fcinfo);
    PreventWrite("kv.purge()");
    const pg::Progress progress(pg::Work::kPurgeStores);
    pg::ProgressPhase("deleting expired keys");
    const auto purge = [](std::string_view store) {
        const Table values = Open(store, ACL_DELETE, Part::kValues, RowExclusiveLock);
        const Table cells = OpenOther(values, RowExclusiveLock);
        const int64 purged = Purge(values) + Purge(cells);
        Close(cells);
        Close(values);
        return purged;
    };
    if (!args.IsNull(0)) PG_RETURN_INT64(purge(StoreArg(args, 0)));
    int64 purged = 0;
    for (const char* store : StoreNames()) {
        const Oid table = ValuesTable(store);
        if (OidIsValid(table) && pg_class_aclcheck(table, GetUserId(), ACL_DELETE) == ACLCHECK_OK)
            purged += purge(store);
    }
    PG_RETURN_INT64(purged);
}

PGQUEUE_FUNCTION(pgqueue_kv_measure) {
    const Args args(fcinfo);
    args.Require(0, "store");
    ResultSet result(fcinfo, 7);
    // No row for a store that is gone, or that the role may not look at: the view shows the others.
    const Oid table = ValuesTable(StoreArg(args, 0));
    if (!OidIsValid(table) || !pg::MayMeasure(table)) return 0;
    const Table values = Open(StoreArg(args, 0), 0, Part::kValues, AccessShareLock);
    const Table cells = OpenOther(values, AccessShareLock);
    FlushReads(values.store);
    const Census of_values = TakeCensus(values);
    const Census of_cells = TakeCensus(cells);
    std::array<bool, 7> nulls = {};
    std::array<Datum, 7> row = {Int64GetDatum(of_values.entries + of_cells.entries),
                                Int64GetDatum(of_values.expired + of_cells.expired),
                                Int64GetDatum(BytesOf(values) + BytesOf(cells))};
    constexpr std::array<kv::Statistic, kCounts> kColumns = {Statistic::kHits, Statistic::kMisses, Statistic::kPurged,
                                                             Statistic::kPageVisits};
    for (std::size_t i = 0; i < kColumns.size(); i++)
        row[3 + i] = Int64GetDatum(Read(values.store->stats, kColumns[i]));
    result.Add(row.data(), nulls.data());
    Close(cells);
    Close(values);
    return 0;
}

// The figures of a store as monitoring wants them, from some pages where there are many, in a time that doesn't grow
// with the store. No row for a store that is gone, or that the role may not look at. Waits for nobody: all NULL where
// somebody has a table for himself.
PGQUEUE_FUNCTION(pgqueue_kv_glance) {
    constexpr int kColumns = 7;
    constexpr BlockNumber kPages = 64;
    const Args args(fcinfo);
    args.Require(0, "store");
    ResultSet result(fcinfo, kColumns);
    const std::string_view store = StoreArg(args, 0);
    char cells_name[NAMEDATALEN];
    kv::CellsName(pnstrdup(store.data(), store.size()), cells_name);
    const Oid values_table = ValuesTable(store);
    const Oid cells_table = pg::RelationIn(kv::kSchema, cells_name);
    if (!OidIsValid(values_table) || !OidIsValid(cells_table) || !pg::MayMeasure(values_table)) return 0;
    pg::Vector<Oid> tables;
    pg::Vector<Oid> locked;
    tables.push_back(values_table);
    tables.push_back(cells_table);
    if (!queue::LockAtOnce(tables, &locked)) {
        std::array<Datum, kColumns> none = {};
        std::array<bool, kColumns> all;
        all.fill(true);
        result.Add(none.data(), all.data());
        return 0;
    }

    const Table values = Open(store, 0, Part::kValues, AccessShareLock);
    const Table cells = OpenOther(values, AccessShareLock);
    FlushReads(values.store);
    // The file of an unlogged table isn't there on a standby.
    const bool readable = !RecoveryInProgress() || RelationNeedsWAL(values.rel);
    Census of_values;
    Census of_cells;
    if (readable) {
        of_values = SampleCensus(values, kPages);
        of_cells = SampleCensus(cells, kPages);
    }
    const StatsRef stats = values.store->stats;
    const Datum bytes = Int64GetDatum(BytesOf(values) + BytesOf(cells));
    std::array<bool, kColumns> nulls = {!readable, !readable, !readable};
    std::array<Datum, kColumns> row = {
        Int64GetDatum(of_values.entries + of_cells.entries), Int64GetDatum(of_values.expired + of_cells.expired),
        BoolGetDatum(of_values.exact && of_cells.exact),     bytes,
        Int64GetDatum(Read(stats, Statistic::kHits)),        Int64GetDatum(Read(stats, Statistic::kMisses)),
        Int64GetDatum(Read(stats, Statistic::kPurged))};
    result.Add(row.data(), nulls.data());
    relation_close(cells.rel, AccessShareLock);
    relation_close(values.rel, AccessShareLock);
    queue::UnlockAll(locked);
    return 0;
}
