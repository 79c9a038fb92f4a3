// A lock on a key's name, held for the instant in which the key comes into being.
//
// Whoever makes a row for a key looks for others and makes it under this lock, so that there are never two. Nothing is
// waited for under it but pages: no transaction, no row, no second key. It is a heavyweight lock of a class that the
// server itself doesn't use, so a waiter can be cancelled, and an error releases it.
//
// The survey of a queue's groups (queue/grouping.cpp) takes it, too; it may wait for a segment's lock under it.
#pragma once

#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::page {

class KeyLock {
public:
    // `space`: names of one relation that have nothing to do with each other.
    KeyLock(Oid relation, char space, std::string_view name);
    ~KeyLock() { Release(); }
    KeyLock(const KeyLock&) = delete;
    KeyLock& operator=(const KeyLock&) = delete;
    void Release();

private:
    LOCKTAG tag_{};
    bool held_ = true;
};

}  // namespace pgqueue::page
