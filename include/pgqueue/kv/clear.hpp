// Emptying a store.
#pragma once

#include "pgqueue/kv/find.hpp"

namespace pgqueue::kv {

// Deletes the entries (values, counters, rate limits; not locks) and returns how many keys lived. Goes by the order of
// the keys, a value before the counter of its name, as kv.mset and kv.delete_batch do, so that none of them waits for
// another in a circle. Keys that come meanwhile stay. A transaction with one snapshot deletes what that sees, as a
// DELETE does, and raises serialization_failure where a value was changed since. Both tables are open with a
// RowExclusiveLock.
int64 Clear(const Table& values, const Table& cells);

}  // namespace pgqueue::kv
