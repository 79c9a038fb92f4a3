// A page::KeyLock on a key of a store. Whoever makes a value's or a cell's row looks and makes it under this lock, so
// that a value never lives beside a counter of its name.
#pragma once

#include "pgqueue/kv/row.hpp"
#include "pgqueue/kv/store.hpp"
#include "pgqueue/page/key_lock.hpp"

namespace pgqueue::kv {

enum class Namespace : char { kKeys = 'k', kRateLimits = 'r', kLocks = 'l' };

class KeyLock : public page::KeyLock {
public:
    KeyLock(const Store* store, Namespace space, const Key& key)
        : page::KeyLock(store->values.table, static_cast<char>(space), key.bytes) {}
};

}  // namespace pgqueue::kv
