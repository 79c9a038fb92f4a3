// A store as a backend knows it: its tables, settings and privileges, cached by name and thrown away by the relation
// cache's invalidation messages. A change of a store's settings sends one for its table of values: kv.on_settings.
#pragma once

#include "pgqueue/kv/row.hpp"
#include "pgqueue/kv/store_stats.hpp"
#include "pgqueue/page/page_map.hpp"
#include "pgqueue/pg/name_cache.hpp"

namespace pgqueue::kv {

inline constexpr int kMaxStoreNameBytes = 48;
inline constexpr const char* kSchema = "kv";
inline constexpr const char* kDefaultStore = "default";  // comes with the extension
inline constexpr AttrNumber kSettingsName = 4;           // in kv.settings

enum class Part { kValues, kCells };

struct Half {
    Oid table;
    Oid index;             // unique: on key, or on kind and key
    uint64 trigger_stamp;  // see page::Attach
    page::SegmentRef map;  // the bound of a page is its earliest expiry
};

struct Store {
    char name[NAMEDATALEN];  // hash key
    bool valid;
    bool settled;  // it has its row in kv.settings: one that is being restored may not
    Half values;
    Half cells;
    double default_ttl;  // seconds; 0: none
    int64 max_entries;   // 0: unbounded
    StatsRef stats;
    PendingReads reads;
    Oid acl_role;  // whose privileges `acl` are
    AclMode acl;   // on the table of values; they stand for both

    bool Uses(Oid relation) const { return relation == values.table || relation == cells.table; }
};

// When an entry that is stored now ends: after its ttl, the store's default, or never.
inline TimestampTz NewExpiry(const Store* store, std::optional<double> ttl) {
    return ExpiryOf(ttl.value_or(store->default_ttl > 0 ? store->default_ttl : kNever), GetCurrentTimestamp());
}

// A store's table, opened and locked until the transaction ends.
struct Table {
    Store* store;
    Half* half;
    Relation rel;
};

// Checks the name's form; raises invalid_name.
void CheckStoreName(const char* name);

// What is wrong with the columns of a table of a store, for an error's text; nullptr: they are as they must be.
const char* FaultOfColumns(Relation rel, Part part);

// Opens a store's table for the current role, which needs all of `privileges` on its table of values. Raises
// undefined_table, insufficient_privilege, wrong_object_type. The result is valid until the next Open or invalidation.
Table Open(std::string_view store, AclMode privileges, Part part, LOCKMODE lock);
// The same for our triggers: for every role, and while the store's settings have not been restored.
Table OpenUnsettled(std::string_view store, Part part, LOCKMODE lock);
// Opens the other table of the same store.
Table OpenOther(const Table& table, LOCKMODE lock);
void Close(const Table& table);

// Counts reads that began at `now`; flush: all that this backend has not counted yet.
void CountReads(Store* store, int64 hits, int64 misses, TimestampTz now);
void FlushReads(Store* store);

// The map's handle, attached anew where the old one is stale.
const page::SegmentRef& MapOf(const Table& table);

// Names of a store's relations, all in the schema `kv`.
void ValuesName(const char* store, char* out);
void CellsName(const char* store, char* out);
void ViewName(const char* store, char* out);

}  // namespace pgqueue::kv
