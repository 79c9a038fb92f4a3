// How keys lie in a store's two tables.
//
// kv.s_<store>, the values: MVCC rows, but for `expires_at`, which kv.touch changes in place.
// kv.c_<store>, the cells (counters, rate limits, locks): a row for each, changed in place, frozen from the start.
// Both begin with fixed-width NOT NULL columns, so their places are constants, and the key follows.
#pragma once

#include "pgqueue/pg/heap_row.hpp"

namespace pgqueue::kv {

enum ValueType : char { kText = 't', kJson = 'j', kBytes = 'b' };
enum CellKind : char { kCounter = 'c', kRateLimit = 'r', kLock = 'l' };

struct ValueHead {
    int64 version;
    TimestampTz expires_at;  // infinity: never
    char type;               // ValueType
};
inline constexpr Size kValueHeadBytes = offsetof(ValueHead, type) + 1;

struct CellHead {
    int64 number;            // a counter's value; a lock's token; a rate limit's clock: nanoseconds since 2000
    TimestampTz expires_at;  // gone from then on; infinity: never; -infinity: a lock that was given back
    char kind;               // CellKind
};
inline constexpr Size kCellHeadBytes = offsetof(CellHead, kind) + 1;
static_assert(kValueHeadBytes == 17 && kCellHeadBytes == 17);

// Attribute numbers.
enum ValueAttribute : AttrNumber { kVersion = 1, kExpiresAt, kType, kKey, kTextValue, kJsonValue, kBytesValue };
inline constexpr int kValueColumns = kBytesValue;
enum CellAttribute : AttrNumber { kNumber = 1, kCellExpiresAt, kKind, kCellKey, kOwner };
inline constexpr int kCellColumns = kOwner;
static_assert(static_cast<int>(kCellKey) == static_cast<int>(kKey));

inline constexpr int kMaxKeyBytes = 1024;

// When what begins now ends: `ttl` seconds, or kNever.
inline constexpr double kNever = -1;
inline TimestampTz ExpiryOf(double ttl, TimestampTz now) {
    return ttl < 0 ? DT_NOEND : now + static_cast<int64>(ttl * USECS_PER_SEC);
}

inline ValueHead* ValueHeadOf(HeapTupleHeader row) { return reinterpret_cast<ValueHead*>(pg::DataOf(row)); }
inline CellHead* CellHeadOf(HeapTupleHeader row) { return reinterpret_cast<CellHead*>(pg::DataOf(row)); }

// The key of a row of either table; nothing where the row doesn't have the leading columns at their places: it was
// stored under another definition of the table.
std::optional<std::string_view> KeyOf(const HeapTupleData* tuple);

// The value's varlena, as it lies on the page. Raises data_corrupted where the row's type says otherwise.
struct varlena* ValueOf(Relation rel, const HeapTupleData* tuple);
// A cell's owner (NAMEDATALEN bytes): where a lock has it.
char* OwnerIn(Relation rel, const HeapTupleData* tuple);

// A key as an argument gives it: 1 to 1,024 bytes.
struct Key {
    Datum datum;  // text
    std::string_view bytes;
};
Key KeyFrom(Datum text);

}  // namespace pgqueue::kv
