// An LWLock for a scope. An error's abort releases it as any other.
#pragma once

#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::pg {

class LWLockGuard {
public:
    LWLockGuard(LWLock* lock, LWLockMode mode) : lock_(lock) { LWLockAcquire(lock_, mode); }
    ~LWLockGuard() { LWLockRelease(lock_); }
    LWLockGuard(const LWLockGuard&) = delete;
    LWLockGuard& operator=(const LWLockGuard&) = delete;

private:
    LWLock* lock_;
};

}  // namespace pgqueue::pg
