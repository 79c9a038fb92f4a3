#include "pgqueue/page/durability.hpp"

namespace pgqueue::page {
namespace {

constexpr int64 kAnnounceEvery = 5000;  // microseconds

pg_atomic_uint64* announced;  // when a change was last left to COMMIT to announce

// Whether COMMIT is to tell the WAL writer of this change. Of a burst only one in a few milliseconds does. What comes
// after the last one is written with the next full page of WAL, or at the latest when the server next notes its running
// transactions (every 15 seconds where wal_level is replica or higher).
bool Announce() {
    const auto now = static_cast<uint64>(GetCurrentTimestamp());
    uint64 last = pg_atomic_read_u64(announced);
    if (now - last < kAnnounceEvery) return false;
    return pg_atomic_compare_exchange_u64(announced, &last, now);
}

}  // namespace

DurableChange::DurableChange() : before_(XactLastRecEnd) {}

void DurableChange::Settle(XLogRecPtr end, Durability wanted) const {
    if (XLogRecPtrIsInvalid(end)) return;
    const bool flush = wanted == Durability::kFlushed ||
                       (wanted == Durability::kAsCommit && synchronous_commit > SYNCHRONOUS_COMMIT_OFF);
    if (flush) {
        XLogFlush(end);
        HOLD_INTERRUPTS();
        SyncRepWaitForLSN(end, false);
        RESUME_INTERRUPTS();
    }
    // A transaction that has written nothing else has nothing to do at COMMIT.
    if (flush || !Announce()) XactLastRecEnd = before_;
}

Size DurabilityShmemSize() { return sizeof(pg_atomic_uint64); }

void DurabilityShmemInit() {
    bool found = false;
    announced = static_cast<pg_atomic_uint64*>(ShmemInitStruct("pgqueue durability", DurabilityShmemSize(), &found));
    if (!found) pg_atomic_init_u64(announced, 0);
}

}  // namespace pgqueue::page
