// Locks with an end and a fencing token, for work outside the database.
//
// A lock is granted, renewed and given back in place, whatever becomes of the transaction, and on disk before the
// caller hears of it: a crash never grants it twice. Tokens are serial numbers: they only grow.
#pragma once

#include "pgqueue/kv/cells.hpp"

namespace pgqueue::kv {

// Tries for `wait` seconds to become the holder for `ttl` seconds, and returns the token, or nothing where somebody
// else holds it. `owner`: up to NAMEDATALEN - 1 bytes, for people to look at. Needs UPDATE. No lock on the table is
// held while it sleeps.
std::optional<int64> Acquire(std::string_view store, const Key& name, double ttl, const char* owner, double wait);

// False: the token isn't the holder's, or its time is over. The cells are open with a RowExclusiveLock.
bool Renew(const Table& cells, const Key& name, int64 token, double ttl);
bool GiveBack(const Table& cells, const Key& name, int64 token);
bool Holds(const Table& cells, const Key& name, int64 token);

Size LockShmemSize();
void LockShmemInit();

}  // namespace pgqueue::kv
