#include "pgqueue/page/map_slots.hpp"
#include "pgqueue/pg/worker_table.hpp"

namespace pgqueue::page {

using namespace detail;

void ExtendReleasedUntil(const SegmentRef& ref, TimestampTz until) {
    LWLockAcquire(&map->lock, LW_SHARED);
    const uint32 index = FindSlot(ref.key);
    if (index != kNone) {
        uint64 old = pg_atomic_read_u64(&slots[index].released_until);
        while (old < static_cast<uint64>(until) &&
               !pg_atomic_compare_exchange_u64(&slots[index].released_until, &old, until)) {
        }
    }
    uint64 most = pg_atomic_read_u64(&map->released_max);
    while (most < static_cast<uint64>(until) && !pg_atomic_compare_exchange_u64(&map->released_max, &most, until)) {
    }
    LWLockRelease(&map->lock);
}

TimestampTz ReleasedUntil(const SegmentRef& ref) {
    return static_cast<TimestampTz>(pg_atomic_read_u64(&slots[ref.slot].released_until));
}

ConditionVariable* WaitVariable(const SegmentRef& ref, bool choosy) {
    return choosy ? &slots[ref.slot].choosy : &slots[ref.slot].waiters;
}

namespace {

// The segment's slot as it is now, or kNone. Safe in callbacks.
uint32 SlotNow(const SegmentRef& ref) {
    if (IsCurrent(ref)) return ref.slot;
    LWLockAcquire(&map->lock, LW_SHARED);
    const uint32 index = FindSlot(ref.key);
    LWLockRelease(&map->lock);
    return index;
}

void WakeReaders(Slot* slot, int count) {
    ConditionVariable* waiters = &slot->waiters;
    pg_memory_barrier();  // pairs with the waiter's: it enters the list, then looks at the map
    if (count == kEverybody && !proclist_is_empty(&waiters->wakeup)) ConditionVariableBroadcast(waiters);
    for (int i = 0; count != kEverybody && i < count && !proclist_is_empty(&waiters->wakeup); i++)
        ConditionVariableSignal(waiters);
    if (!proclist_is_empty(&slot->choosy.wakeup)) ConditionVariableBroadcast(&slot->choosy);
}

}  // namespace

void Wake(const SegmentRef& ref, int count) {
    const uint32 index = SlotNow(ref);
    if (index == kNone) return;
    Slot* slot = &slots[index];
    WakeReaders(slot, count);
    uint32 state = kWatched;
    if (unlikely(pg_atomic_read_u32(&slot->watch) == kWatched) &&
        pg_atomic_compare_exchange_u32(&slot->watch, &state, kNews))
        pg::WakeWorker(ref.key.database, pg::kQueueNews);
}

void PassOn(const SegmentRef& ref) {
    const uint32 index = SlotNow(ref);
    if (index != kNone) WakeReaders(&slots[index], 1);
}

void Watch(const SegmentRef& ref) {
    if (!IsCurrent(ref)) return;
    pg_atomic_write_u32(&map->watching, 1);
    pg_atomic_write_u32(&slots[ref.slot].watch, kWatched);
    pg_memory_barrier();  // pairs with Wake's, as a waiter's does
}

void Unwatch(const SegmentRef& ref) {
    if (IsCurrent(ref)) pg_atomic_write_u32(&slots[ref.slot].watch, kUnwatched);
}

bool HasNews(const SegmentRef& ref) { return !IsCurrent(ref) || pg_atomic_read_u32(&slots[ref.slot].watch) == kNews; }

bool ClaimTimer(const SegmentRef& ref, TimestampTz due, TimestampTz now) {
    if (!IsCurrent(ref)) return true;  // nobody keeps that one's
    pg_atomic_uint64* timer = &slots[ref.slot].timer;
    uint64 old = pg_atomic_read_u64(timer);
    while (old > static_cast<uint64>(due) || old <= static_cast<uint64>(now))
        if (pg_atomic_compare_exchange_u64(timer, &old, due)) return true;
    return false;
}

void ReleaseTimer(const SegmentRef& ref, TimestampTz due) {
    if (!IsCurrent(ref)) return;
    uint64 old = due;
    pg_atomic_compare_exchange_u64(&slots[ref.slot].timer, &old, kNoTimer);
}

}  // namespace pgqueue::page
