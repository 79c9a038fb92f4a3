// Values: MVCC rows, read as a snapshot sees them and written as an UPDATE or INSERT would.
#pragma once

#include "pgqueue/kv/cells.hpp"

namespace pgqueue::kv {

struct Entry {
    int64 version = 0;
    TimestampTz expires_at = 0;  // infinity: never
    char type = 0;               // ValueType, or kCounter
    Datum value = 0;             // a copy, perhaps still in the TOAST table; a counter's: int8
};

inline Entry EntryOf(const Counter& counter) {
    return {0, counter.expires_at, kCounter, Int64GetDatum(counter.number)};
}

// Reads keys as one statement: what its snapshot sees of keys that have not expired, and counters as they are now (see
// ReadCounter). The table of values is open with an AccessShareLock. Hits and misses are counted at the end.
class Reader {
public:
    Reader(const Table& values, Snapshot snapshot);
    ~Reader();
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    // want_value: else Entry.value is not set.
    std::optional<Entry> Get(const Key& key, bool want_value);

private:
    std::optional<Entry> GetCounter(const Key& key);

    const Table& values_;
    Snapshot snapshot_;
    TimestampTz now_;
    std::optional<Table> cells_;  // opened for the first key without a value
    int64 hits_ = 0;
    int64 misses_ = 0;
};

// An entry's value for clients, as text, perhaps with a short header. Fetches it from the TOAST table.
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

// Raises serialization_failure: a transaction with one snapshot can't change what was changed since.
[[noreturn]] void RaiseConcurrentChange();

// Whether there is a value, or may be one once a running transaction has ended.
enum class Presence { kNone, kLive, kUndecided, kDeletedByUs };
Presence LookForValue(const Table& values, const Key& key);

}  // namespace pgqueue::kv
