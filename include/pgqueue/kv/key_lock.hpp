// A lock on a key's name, held for the instant in which the key comes into being.
//
// Whoever makes a value's or a cell's row for a key looks for others and makes it under this lock, so that there are
// never two, and a value never lives beside a counter of its name. Nothing is waited for under it but pages: no
// transaction, no row, no second key. It is a heavyweight lock of a class that the server itself doesn't use, so a
// waiter can be cancelled, and an error releases it.
#pragma once

#include "pgqueue/kv/row.hpp"
#include "pgqueue/kv/store.hpp"

namespace pgqueue::kv {

enum class Namespace : char { kKeys = 'k', kRateLimits = 'r', kLocks = 'l' };

class KeyLock {
public:
    KeyLock(const Store* store, Namespace space, const Key& key);
    ~KeyLock() { Release(); }
    KeyLock(const KeyLock&) = delete;
    KeyLock& operator=(const KeyLock&) = delete;
    void Release();

private:
    LOCKTAG tag_{};
    bool held_ = true;
};

}  // namespace pgqueue::kv
