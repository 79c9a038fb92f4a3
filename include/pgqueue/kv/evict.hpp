// Keeping a store within its max_entries.
#pragma once

#include "pgqueue/kv/find.hpp"

namespace pgqueue::kv {

// Before a new key is stored in a store with max_entries: deletes entries until there is room for it, as a part of the
// transaction. Those go first that expire soonest; those that never expire go last, and of them what was written
// longest ago. Not what was read longest ago: then every read would be a write. In a table of more than a few pages the
// choice is made among some pages picked at random. Rows that others have in hand are passed by, so the bound is a
// rough one.
void Evict(const Table& values);

}  // namespace pgqueue::kv
