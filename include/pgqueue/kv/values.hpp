// Values: MVCC rows, read as a snapshot sees them and written as an UPDATE or INSERT would.
#pragma once

#include "pgqueue/kv/find.hpp"

namespace pgqueue::kv {

struct Entry {
    int64 version = 0;
    TimestampTz expires_at = 0;  // infinity: never
    char type = 0;               // ValueType, or kCounter
    Datum value = 0;             // a copy, perhaps still in the TOAST table; a counter's: int8
};

// What the snapshot sees of a key that has not expired, or its counter as it is now. Counts a hit or a miss.
// want_value: else Entry.value is not set. The table of values is open with an AccessShareLock.
std::optional<Entry> Get(const Table& values, const Key& key, Snapshot snapshot, bool want_value);

// An entry's value for clients, as text. Fetches it from the TOAST table.
Datum AsText(const Entry& entry);

struct NewValue {
    char type;
    Datum value;
};

enum class Mode { kAlways, kIfAbsent, kIfPresent };

struct SetOptions {
    Mode mode = Mode::kAlways;
    std::optional<int64> version;  // of the entry that is to be replaced; 0: there must be none
    std::optional<double> ttl;     // seconds, or kNever; nothing: the store's default
    bool keep_ttl = false;
};

// Stores a value and returns its version, or nothing where the mode or the version forbids it. `old`: receives what was
// there before (its type is 0 where nothing was). Waits for other transactions that change the key. Raises
// serialization_failure in a transaction with one snapshot whose key was changed since. The table of values is open
// with a RowExclusiveLock.
std::optional<int64> Set(const Table& values, const Key& key, const NewValue& value, const SetOptions& options,
                         Entry* old);

// Deletes a key, value or counter. False: there was none, or it has expired. Waits and raises as Set.
bool Delete(const Table& values, const Key& key, Entry* old);

// Gives a live key another end, in place: at once, and not undone by rollback. False: no such key.
bool Touch(const Table& values, const Key& key, double ttl);

// Whether there is a value, or may be one once a running transaction has ended.
enum class Presence { kNone, kLive, kUndecided };
Presence LookForValue(const Table& values, const Key& key);

}  // namespace pgqueue::kv
