#include "pgqueue/kv/store_stats.hpp"

namespace pgqueue::kv {
namespace {

constexpr int kSlots = 4096;
constexpr int kProbes = 32;
constexpr int64 kLeastChanges = 1000;  // between two counts

struct Slot {
    pg_atomic_uint64 owner;  // 0: free
    std::array<pg_atomic_uint64, kCounts> counts;
    pg_atomic_uint64 entries;  // of a bounded store
    pg_atomic_uint64 changes;  // of `entries` that may be made before it is counted again; 0: count
};
static_assert(std::is_trivially_destructible_v<Slot> && std::is_standard_layout_v<Slot>);

Slot* slots;
LWLock* lock;  // guards who owns which slot

Slot* SlotOf(const StatsRef& ref) {
    Slot* slot = &slots[ref.slot];
    return ref.owner != 0 && pg_atomic_read_u64(&slot->owner) == ref.owner ? slot : nullptr;
}

uint64 Total(Slot* slot) {
    uint64 total = 0;
    for (auto& count : slot->counts) total += pg_atomic_read_u64(&count);
    return total;
}

void Clear(Slot* slot) {
    for (auto& count : slot->counts) pg_atomic_write_u64(&count, 0);
    pg_atomic_write_u64(&slot->entries, 0);
    pg_atomic_write_u64(&slot->changes, 0);
}

}  // namespace

StatsRef AttachStats(Oid table) {
    const uint64 owner = uint64{MyDatabaseId} << 32 | table;
    LWLockAcquire(lock, LW_EXCLUSIVE);
    // The one with the least to lose gives way.
    uint32 chosen = 0;
    uint64 least = PG_UINT64_MAX;
    for (int i = 0; i < kProbes; i++) {
        const auto place = static_cast<uint32>((owner * 0x9e3779b97f4a7c15u >> 40) + i) % kSlots;
        const uint64 other = pg_atomic_read_u64(&slots[place].owner);
        if (other == owner) {
            LWLockRelease(lock);
            return {owner, place};
        }
        const uint64 loss = other == 0 ? 0 : 1 + Total(&slots[place]);
        if (loss < least) {
            least = loss;
            chosen = place;
        }
    }
    pg_atomic_write_u64(&slots[chosen].owner, 0);
    Clear(&slots[chosen]);
    pg_atomic_write_u64(&slots[chosen].owner, owner);
    LWLockRelease(lock);
    return {owner, chosen};
}

void Add(const StatsRef& ref, Statistic what, int64 n) {
    if (n == 0) return;
    if (Slot* slot = SlotOf(ref)) pg_atomic_fetch_add_u64(&slot->counts[static_cast<int>(what)], n);
}

int64 Read(const StatsRef& ref, Statistic what) {
    Slot* slot = SlotOf(ref);
    return slot != nullptr ? static_cast<int64>(pg_atomic_read_u64(&slot->counts[static_cast<int>(what)])) : 0;
}

std::optional<int64> KnownEntries(const StatsRef& ref) {
    Slot* slot = SlotOf(ref);
    if (slot == nullptr || pg_atomic_read_u64(&slot->changes) == 0) return std::nullopt;
    return static_cast<int64>(pg_atomic_read_u64(&slot->entries));
}

void SetEntries(const StatsRef& ref, int64 entries) {
    Slot* slot = SlotOf(ref);
    if (slot == nullptr) return;
    pg_atomic_write_u64(&slot->entries, entries);
    pg_atomic_write_u64(&slot->changes, std::max(kLeastChanges, entries / 10));
}

void AddEntries(const StatsRef& ref, int64 n) {
    Slot* slot = SlotOf(ref);
    if (slot == nullptr) return;
    pg_atomic_fetch_add_u64(&slot->entries, n);
    uint64 left = pg_atomic_read_u64(&slot->changes);
    while (left > 0 && !pg_atomic_compare_exchange_u64(&slot->changes, &left, left - 1)) {
    }
}

void ForgetEntries(const StatsRef& ref) {
    if (Slot* slot = SlotOf(ref)) pg_atomic_write_u64(&slot->changes, 0);
}

Size StatsShmemSize() { return add_size(mul_size(kSlots, sizeof(Slot)), MAXALIGN(sizeof(LWLock))); }

void StatsShmemInit() {
    bool found = false;
    char* base = static_cast<char*>(ShmemInitStruct("pgqueue store statistics", StatsShmemSize(), &found));
    lock = reinterpret_cast<LWLock*>(base);
    slots = reinterpret_cast<Slot*>(base + MAXALIGN(sizeof(LWLock)));
    if (found) return;
    const int tranche = LWLockNewTrancheId();
    LWLockRegisterTranche(tranche, "pgqueue_store_stats");
    LWLockInitialize(lock, tranche);
    for (int i = 0; i < kSlots; i++) {
        pg_atomic_init_u64(&slots[i].owner, 0);
        for (auto& count : slots[i].counts) pg_atomic_init_u64(&count, 0);
        pg_atomic_init_u64(&slots[i].entries, 0);
        pg_atomic_init_u64(&slots[i].changes, 0);
    }
}

}  // namespace pgqueue::kv
