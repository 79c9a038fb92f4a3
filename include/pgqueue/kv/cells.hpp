// Cells: counters, rate limits and locks. A cell is a row that changes in place: at once, for everybody, never waiting
// for another's transaction, and not undone by rollback.
//
// A cell's row is frozen in place as soon as its index entry is there, so from then on it is visible to all, and before
// that an error or a crash leaves an ordinary dead row. There is at most one row of a cell that isn't dead for good.
#pragma once

#include "pgqueue/kv/find.hpp"
#include "pgqueue/page/durability.hpp"

namespace pgqueue::kv {

// Makes the row; under its KeyLock, with no row there. `owner`: NAMEDATALEN bytes, for locks. Returns the end of its
// WAL record.
struct NewCell {
    CellKind kind;
    int64 number;
    TimestampTz expires_at;
    const char* owner;
};
XLogRecPtr CreateCell(const Table& cells, const Key& key, const NewCell& cell);

// Writes number and end into a cell whose page is locked exclusively, and the owner where it isn't nullptr. An expired
// cell that somebody (a purge) or we ourselves are deleting is taken back: `keep`. Lowers the map.
XLogRecPtr WriteCell(const Table& cells, const Located& cell, int64 number, TimestampTz expires_at, const char* owner,
                     bool keep);

// Deletes a cell as a row, when the transaction commits; waits for others that are deleting it. False: it is gone.
bool DeleteCell(const Table& cells, const ItemPointerData& tid);

struct Counter {
    int64 number;
    TimestampTz expires_at;
    ItemPointerData tid;
};
// A counter as it is now. Where it was deleted, or replaced by a value, since the snapshot: as it was then, so that a
// key is never missing for a reader who sees neither. nullptr: only one that lives at this moment.
std::optional<Counter> ReadCounter(const Table& cells, const Key& key, Snapshot snapshot);
bool TouchCounter(const Table& cells, const Key& key, double ttl);

// A value of the key has been stored by our transaction, so nobody makes a counter any more: deletes the one that
// lives.
void ReplaceCounter(const Table& cells, const Key& key);

// A counter has come by other means than Incr (COPY), in the row at `tid` of our transaction's: deletes it again where
// there is a value, which hides it. Raises as Incr where that is not decided.
void YieldToValue(const Table& cells, const Key& key, const ItemPointerData& tid);

// Adds to a counter and returns the sum. A new one starts at 0 and ends after `ttl` seconds (nothing: the store's
// default). Raises datatype_mismatch for a key with a value, lock_not_available for one that is being given a value by
// a transaction that is still open, numeric_value_out_of_range on overflow. The cells are open with a RowExclusiveLock.
int64 Incr(const Table& cells, const Key& key, int64 delta, std::optional<double> ttl);

}  // namespace pgqueue::kv
