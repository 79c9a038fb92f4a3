#include "pgqueue/page/groups.hpp"

#include "pgqueue/settings.hpp"

namespace pgqueue::page {
namespace {

constexpr int kPartitions = 64;
constexpr uint32 kNone = 0xffffffff;

struct Hold {
    HoldKey key;
    TimestampTz until;
    uint32 next;  // of the group, in the order in which they came; or of the free ones
};

// Exists while it has holds, or while pages wait whose bounds were put off on its account.
struct Group {
    SegmentRef ref;
    GroupHash hash;
    TimestampTz until;  // the latest end of its holds, if there are any
    int32 at_until;     // holds that end then
    HoldKey lowest;     // of its holds, and of some that were
    HoldKey highest;
    uint32 first;  // hold
    uint32 last;
    BlockNumber waiting_first;  // InvalidBlockNumber: none waits
    BlockNumber waiting_last;
    TimestampTz waiting_until;  // by then their bounds have come
    bool sure;                  // a row waits on waiting_first
    bool joined;                // a hold came to others by HoldGroup; until the group is free
    uint32 scan;                // of the last one who looks where the first row waits; see BeginScan
    BlockNumber noted_since;    // the first page that was noted since then; InvalidBlockNumber: none
    uint32 next;                // in its bucket, or of the free ones
};

struct Partition {
    LWLock lock;  // guards all that is the partition's
    uint32 free_group;
    uint32 scans;  // numbers for BeginScan
};

struct HoldPool {
    slock_t mutex;
    uint32 free;
};

Partition* partitions;
HoldPool* pool;
uint32* buckets;
Group* groups;
Hold* holds;
pg_atomic_uint32* committing_count;
// By place in the array of processes: the transaction's id and the highest one of its subtransactions; 0: not in
// between.
pg_atomic_uint64* committing;

static_assert(std::is_trivially_destructible_v<Group> && std::is_standard_layout_v<Group>);
static_assert(std::is_trivially_destructible_v<Partition> && std::is_standard_layout_v<Partition>);

int PerPartition() { return std::max(16, settings::group_holds / kPartitions); }
int Total() { return kPartitions * PerPartition(); }

uint32 AllocateHold() {
    SpinLockAcquire(&pool->mutex);
    const uint32 index = pool->free;
    if (index != kNone) pool->free = holds[index].next;
    SpinLockRelease(&pool->mutex);
    return index;
}

// A chain of holds, from first to last.
void FreeHoldChain(uint32 first, uint32 last) {
    SpinLockAcquire(&pool->mutex);
    holds[last].next = pool->free;
    pool->free = first;
    SpinLockRelease(&pool->mutex);
}

uint64 Mixed(const SegmentKey& key, GroupHash hash) {
    uint64 mixed = hash ^ (uint64{static_cast<uint32>(key.relation)} << 32 | key.file);
    mixed = (mixed ^ key.database) * 0x9e3779b97f4a7c15u;
    return mixed ^ mixed >> 32;
}

uint32* BucketOf(uint64 mixed) {
    return &buckets[mixed % kPartitions * PerPartition() + mixed / kPartitions % PerPartition()];
}

// A group's partition and bucket, with the partition's lock held while it lives. Nothing raises meanwhile.
class Locked {
public:
    Locked(const SegmentRef& ref, GroupHash hash) : ref_(Whole(ref)), hash_(hash) {
        const uint64 mixed = Mixed(ref.key, hash);
        number_ = static_cast<int>(mixed % kPartitions);
        bucket_ = BucketOf(mixed);
        partition_ = &partitions[number_];
        LWLockAcquire(&partition_->lock, LW_EXCLUSIVE);
    }
    ~Locked() { LWLockRelease(&partition_->lock); }
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;

    Group* Find() {
        for (uint32 i = *bucket_; i != kNone; i = groups[i].next) {
            Group* group = &groups[i];
            if (group->hash != hash_ || group->ref.key != ref_.key) continue;
            if (group->ref != ref_ && IsCurrent(ref_)) Renew(group);
            return group;
        }
        return nullptr;
    }

    // The same, without what has run out.
    Group* FindAt(TimestampTz now) {
        Group* group = Find();
        if (group == nullptr) return nullptr;
        if (group->first != kNone && group->until <= now) {
            FreeHolds(group);
            return LowerWaiting(group, group->until) ? nullptr : group;
        }
        if (group->first == kNone && group->waiting_until <= now) {
            Free(group);
            return nullptr;
        }
        return group;
    }

    // Finds or makes it. Null: no room.
    Group* Make() {
        Group* group = Find();
        if (group != nullptr) return group;
        if (partition_->free_group == kNone) Sweep(number_, nullptr);
        const uint32 index = partition_->free_group;
        if (index == kNone) return nullptr;
        group = &groups[index];
        partition_->free_group = group->next;
        *group = Group{};
        group->ref = ref_;
        group->hash = hash_;
        group->first = group->last = kNone;
        group->waiting_first = group->waiting_last = InvalidBlockNumber;
        group->noted_since = InvalidBlockNumber;
        group->next = *bucket_;
        *bucket_ = index;
        return group;
    }

    uint32 NextScan() { return ++partition_->scans; }

    bool Add(Group* group, HoldKey key, TimestampTz until) {
        uint32 index = AllocateHold();
        if (index == kNone) {
            SweepAll();
            index = AllocateHold();
        }
        if (index == kNone) {
            if (group->first == kNone && group->waiting_first == InvalidBlockNumber) Free(group);
            return false;
        }
        holds[index] = {key, until, kNone};
        if (group->first == kNone) {
            group->first = index;
            group->until = until;
            group->at_until = 0;
            group->joined = false;
            group->lowest = group->highest = key;
        } else {
            holds[group->last].next = index;
        }
        group->last = index;
        Widen(group, key);
        Count(group, until);
        return true;
    }

    static void Widen(Group* group, HoldKey key) {
        group->lowest = std::min(group->lowest, key);
        group->highest = std::max(group->highest, key);
    }

    // Spares a walk over many where the key can't be among them: most are asked for rows that nobody has had.
    static bool MayHave(const Group* group, HoldKey key) { return key >= group->lowest && key <= group->highest; }

    Hold* FindHold(Group* group, HoldKey key) {
        if (!MayHave(group, key)) return nullptr;
        for (uint32 i = group->first; i != kNone; i = holds[i].next)
            if (holds[i].key == key) return &holds[i];
        return nullptr;
    }

    bool IsOnly(const Group* group, HoldKey key) const {
        return group->first == group->last && holds[group->first].key == key;
    }

    void Move(Group* group, Hold* hold, TimestampTz until) {
        if (hold->until == until) return;
        const TimestampTz was = hold->until;
        const TimestampTz group_was = group->until;
        hold->until = until;
        if (until >= group->until)
            Count(group, until);
        else if (was == group->until && --group->at_until == 0)
            Recount(group);
        LowerWaiting(group, group_was);
    }

    void Remove(Group* group, HoldKey key) {
        if (!MayHave(group, key)) return;
        uint32 before = kNone;
        for (uint32 i = group->first; i != kNone; before = i, i = holds[i].next) {
            if (holds[i].key != key) continue;
            (before == kNone ? group->first : holds[before].next) = holds[i].next;
            if (group->last == i) group->last = before;
            const TimestampTz until = holds[i].until;
            FreeHoldChain(i, i);
            if (group->first != kNone && until == group->until && --group->at_until == 0) Recount(group);
            return;
        }
    }

    // After a change of the holds, which ended at `was` before: what waits is due when they end. True: nothing is left
    // of the group.
    bool LowerWaiting(Group* group, TimestampTz was) {
        const bool free = group->first == kNone;
        const bool waits = group->waiting_first != InvalidBlockNumber;
        if (waits && (free || group->until < was))
            LowerAllBands(group->ref, group->waiting_first, group->sure ? group->waiting_first : group->waiting_last,
                          free ? kUnknown : BoundOf(group->until));
        const bool done = free && (!waits || !group->sure || group->waiting_first == group->waiting_last);
        if (done) Free(group);
        return done;
    }

    static void FreeHolds(Group* group) {
        if (group->first != kNone) FreeHoldChain(group->first, group->last);
        group->first = group->last = kNone;
    }

    void Free(Group* group) { Free(partition_, group); }

    static void Free(Partition* partition, Group* group) {
        FreeHolds(group);
        const auto index = static_cast<uint32>(group - groups);
        uint32* link = BucketOf(Mixed(group->ref.key, group->hash));
        while (*link != index) link = &groups[*link].next;
        *link = group->next;
        group->next = partition->free_group;
        group->hash = 0;
        partition->free_group = index;
    }

private:
    // The map is a new one, in which every page was unknown and may have another place. Who has put pages off in it
    // says so again.
    void Renew(Group* group) {
        group->ref = ref_;
        group->waiting_first = group->waiting_last = group->noted_since = InvalidBlockNumber;
        group->waiting_until = 0;
        group->sure = false;
        group->scan = 0;
    }

    static void Count(Group* group, TimestampTz until) {
        if (until > group->until) {
            group->until = until;
            group->at_until = 0;
        }
        if (until == group->until) group->at_until++;
    }

    static void Recount(Group* group) {
        group->until = holds[group->first].until;
        group->at_until = 0;
        for (uint32 i = group->first; i != kNone; i = holds[i].next) Count(group, holds[i].until);
    }

    // Frees what has run out, and what only remembers pages. The partition is locked.
    static void Sweep(int number, const Group* keep) {
        const TimestampTz now = GetCurrentTimestamp();
        for (int i = 0; i < PerPartition(); i++) {
            Group* group = &groups[number * PerPartition() + i];
            if (group->hash == 0 || group == keep) continue;
            if (group->first != kNone && group->until > now) continue;
            if (group->waiting_first != InvalidBlockNumber)
                LowerAllBands(group->ref, group->waiting_first, group->waiting_last, kUnknown);
            Free(&partitions[number], group);
        }
    }

    // The same in all partitions that nobody has locked: we hold one, and must not wait for another.
    void SweepAll() {
        for (int i = 0; i < kPartitions; i++) {
            if (i == number_) {
                Sweep(i, Find());
            } else if (LWLockConditionalAcquire(&partitions[i].lock, LW_EXCLUSIVE)) {
                Sweep(i, nullptr);
                LWLockRelease(&partitions[i].lock);
            }
        }
    }

    const SegmentRef ref_;
    GroupHash hash_;
    int number_;
    uint32* bucket_;
    Partition* partition_;
};

bool IsHeld(const Group* group) { return group != nullptr && group->first != kNone; }

GroupAnswer Wait(Group* group, BlockNumber block, TimestampTz again) {
    if (group->waiting_first == InvalidBlockNumber || block <= group->waiting_first) {
        group->waiting_first = block;
        group->sure = true;
    }
    if (group->waiting_last == InvalidBlockNumber || block > group->waiting_last) group->waiting_last = block;
    group->noted_since = std::min(group->noted_since, block);
    const TimestampTz until = std::min(group->until, again);
    group->waiting_until = std::max(group->waiting_until, until);
    return {GroupAnswer::kWait, until};
}

// Whether rows of the group may wait on pages before this one.
bool WaitsBefore(const Group* group, BlockNumber block) {
    return group != nullptr && group->waiting_first != InvalidBlockNumber && group->waiting_first < block;
}

}  // namespace

GroupHash HashGroup(const char* key, std::size_t length) {
    return hash_bytes_extended(reinterpret_cast<const unsigned char*>(key), static_cast<int>(length), 0) | 1;
}

GroupAnswer TakeGroup(const SegmentRef& ref, GroupHash hash, HoldKey own, HoldKey key, TimestampTz until, bool strict,
                      BlockNumber block, TimestampTz now, TimestampTz again) {
    Locked locked(ref, hash);
    Group* group = locked.FindAt(now);
    if (IsHeld(group)) locked.Remove(group, own);
    // One of a look that an error broke off.
    if (IsHeld(group) && key != own) locked.Remove(group, key);
    if (IsHeld(group)) return Wait(group, block, again);
    if (strict && WaitsBefore(group, block)) return {GroupAnswer::kEarlier, 0};
    if (group == nullptr) group = locked.Make();
    if (group == nullptr || !locked.Add(group, key, until)) return {GroupAnswer::kFull, 0};
    return {GroupAnswer::kMine, until};
}

GroupAnswer AskGroup(const SegmentRef& ref, GroupHash hash, HoldKey own, bool deliverable, BlockNumber block,
                     TimestampTz now, TimestampTz again) {
    Locked locked(ref, hash);
    Group* group = locked.FindAt(now);
    if (!IsHeld(group) || locked.IsOnly(group, own)) return {};
    if (deliverable) {
        // Or whoever looks for the first row that waits would take this one for one that is out, and pass by its page.
        const TimestampTz was = group->until;
        locked.Remove(group, own);
        locked.LowerWaiting(group, was);
    }
    return Wait(group, block, again);
}

GroupAnswer KeepGroup(const SegmentRef& ref, GroupHash hash, HoldKey key, TimestampTz until, bool soft,
                      BlockNumber block, TimestampTz now, TimestampTz again) {
    Locked locked(ref, hash);
    Group* group = locked.FindAt(now);
    if (IsHeld(group)) {
        Hold* own = locked.FindHold(group, key);
        if (own == nullptr) return Wait(group, block, again);
        if (soft) {
            if (own->until <= now) locked.Move(group, own, until);
            // Whoever has the row may have lowered its page before this look, and drops the hold after it: then the
            // group must not be free with this page put off.
            const TimestampTz ends = own->until;
            (void)Wait(group, block, again);
            return {GroupAnswer::kMine, ends};
        }
        locked.Move(group, own, until);
        return {GroupAnswer::kMine, until};
    }
    if (group == nullptr) group = locked.Make();
    if (group == nullptr || !locked.Add(group, key, until)) return {GroupAnswer::kFull, 0};
    return {GroupAnswer::kMine, until};
}

bool TakeMore(const SegmentRef& ref, GroupHash hash, HoldKey ours, HoldKey own, HoldKey key, TimestampTz until,
              bool strict, BlockNumber block) {
    Locked locked(ref, hash);
    Group* group = locked.Find();
    if (!IsHeld(group) || group->joined || (strict && WaitsBefore(group, block))) return false;
    // It may have ended while the caller was about it, and then the group may be another's by now.
    if (holds[group->last].key != ours && locked.FindHold(group, ours) == nullptr) return false;
    if (!locked.Add(group, key, until)) return false;
    if (key != own) locked.Remove(group, own);
    return true;
}

bool HoldGroup(const SegmentRef& ref, GroupHash hash, HoldKey key, TimestampTz until) {
    Locked locked(ref, hash);
    Group* group = locked.Make();
    if (group == nullptr) return false;
    Hold* hold = locked.FindHold(group, key);
    if (hold == nullptr) {
        const bool joins = IsHeld(group);
        if (!locked.Add(group, key, until)) return false;
        group->joined = joins;
        return true;
    }
    locked.Move(group, hold, until);
    return true;
}

bool IsJoined(const SegmentRef& ref, GroupHash hash) {
    Locked locked(ref, hash);
    const Group* group = locked.Find();
    return IsHeld(group) && group->joined;
}

bool HasHold(const SegmentRef& ref, GroupHash hash, HoldKey key, TimestampTz now) {
    Locked locked(ref, hash);
    Group* group = locked.Find();
    const Hold* hold = group != nullptr ? locked.FindHold(group, key) : nullptr;
    return hold != nullptr && hold->until > now;
}

void RenameHold(const SegmentRef& ref, GroupHash hash, HoldKey from, HoldKey to) {
    Locked locked(ref, hash);
    Group* group = locked.Find();
    Hold* hold = group != nullptr ? locked.FindHold(group, from) : nullptr;
    if (hold == nullptr) return;
    hold->key = to;
    Locked::Widen(group, to);
}

void MoveHold(const SegmentRef& ref, GroupHash hash, HoldKey key, TimestampTz until) {
    Locked locked(ref, hash);
    Group* group = locked.Find();
    Hold* hold = group != nullptr ? locked.FindHold(group, key) : nullptr;
    if (hold == nullptr) return;
    locked.Move(group, hold, until);
}

void DropHold(const SegmentRef& ref, GroupHash hash, HoldKey key) {
    Locked locked(ref, hash);
    Group* group = locked.Find();
    if (!IsHeld(group)) return;
    const TimestampTz was = group->until;
    locked.Remove(group, key);
    locked.LowerWaiting(group, was);
}

std::optional<WaitingScan> BeginScan(const SegmentRef& ref, GroupHash hash) {
    Locked locked(ref, hash);
    Group* group = locked.Find();
    if (group == nullptr || group->waiting_first == InvalidBlockNumber) return std::nullopt;
    group->noted_since = InvalidBlockNumber;
    return WaitingScan{group->scan = locked.NextScan(), group->waiting_first, group->waiting_last};
}

void EndScan(const SegmentRef& ref, GroupHash hash, const WaitingScan& scan, BlockNumber first, bool sure) {
    Locked locked(ref, hash);
    Group* group = locked.Find();
    if (group == nullptr || group->waiting_first == InvalidBlockNumber || group->scan != scan.number) return;
    if (first > scan.last) first = InvalidBlockNumber;
    if (group->noted_since <= first) {
        first = group->noted_since;
        sure = true;
    }
    group->waiting_first = first;
    group->sure = sure;
    if (first == InvalidBlockNumber) group->waiting_last = InvalidBlockNumber;
    if (!IsHeld(group)) locked.LowerWaiting(group, group->until);
}

void BeginCommit() {
    TransactionId xid = GetTopTransactionIdIfAny();
    if (!TransactionIdIsValid(xid)) return;
    TransactionId last = xid;
    TransactionId* children = nullptr;
    const int count = xactGetCommittedChildren(&children);
    if (count > 0) last = children[count - 1];  // in order
    pg_atomic_write_u64(&committing[MyProc - ProcGlobal->allProcs], uint64{last} << 32 | xid);
    pg_atomic_fetch_add_u32(committing_count, 1);
}

void EndCommit() {
    pg_atomic_uint64* mine = &committing[MyProc - ProcGlobal->allProcs];
    if (pg_atomic_read_u64(mine) == 0) return;
    pg_memory_barrier();  // after the pages were lowered
    pg_atomic_write_u64(mine, 0);
    pg_atomic_fetch_sub_u32(committing_count, 1);
}

namespace {

bool IsCommitting(TransactionId xid) {
    if (pg_atomic_read_u32(committing_count) == 0) return false;
    for (int i = 0; i < MaxBackends; i++) {
        const uint64 range = pg_atomic_read_u64(&committing[i]);
        if (range == 0) continue;
        if (TransactionIdFollowsOrEquals(xid, static_cast<TransactionId>(range)) &&
            TransactionIdPrecedesOrEquals(xid, static_cast<TransactionId>(range >> 32)))
            return true;
    }
    return false;
}

}  // namespace

bool MayAppear(TransactionId xid) {
    return TransactionIdIsNormal(xid) &&
           (IsCommitting(xid) || BackendXidGetPid(SubTransGetTopmostTransaction(xid)) == 0);
}

Size GroupsShmemSize() {
    Size size = MAXALIGN(kPartitions * sizeof(Partition));
    size = add_size(size, MAXALIGN(sizeof(HoldPool)));
    size = add_size(size, MAXALIGN(mul_size(Total(), sizeof(uint32))));
    size = add_size(size, MAXALIGN(mul_size(Total(), sizeof(Group))));
    size = add_size(size, MAXALIGN(mul_size(Total(), sizeof(Hold))));
    size = add_size(size, MAXALIGN(sizeof(pg_atomic_uint32)));
    return add_size(size, mul_size(MaxBackends, sizeof(pg_atomic_uint64)));
}

void GroupsShmemInit() {
    bool found = false;
    char* base = static_cast<char*>(ShmemInitStruct("pgqueue groups", GroupsShmemSize(), &found));
    const auto take = [&](Size bytes) {
        char* taken = base;
        base += MAXALIGN(bytes);
        return taken;
    };
    partitions = reinterpret_cast<Partition*>(take(kPartitions * sizeof(Partition)));
    pool = reinterpret_cast<HoldPool*>(take(sizeof(HoldPool)));
    buckets = reinterpret_cast<uint32*>(take(Total() * sizeof(uint32)));
    groups = reinterpret_cast<Group*>(take(Total() * sizeof(Group)));
    holds = reinterpret_cast<Hold*>(take(Total() * sizeof(Hold)));
    committing_count = reinterpret_cast<pg_atomic_uint32*>(take(sizeof(pg_atomic_uint32)));
    committing = reinterpret_cast<pg_atomic_uint64*>(base);
    if (found) return;
    const int tranche = LWLockNewTrancheId();
    LWLockRegisterTranche(tranche, "pgqueue_groups");
    const int each = PerPartition();
    for (int p = 0; p < kPartitions; p++) {
        LWLockInitialize(&partitions[p].lock, tranche);
        partitions[p].scans = 0;
        partitions[p].free_group = p * each;
        for (int i = p * each; i < (p + 1) * each; i++) {
            buckets[i] = kNone;
            groups[i] = {};
            groups[i].next = i + 1 < (p + 1) * each ? i + 1 : kNone;
            holds[i].next = i + 1 < Total() ? i + 1 : kNone;
        }
    }
    SpinLockInit(&pool->mutex);
    pool->free = 0;
    pg_atomic_init_u32(committing_count, 0);
    for (int i = 0; i < MaxBackends; i++) pg_atomic_init_u64(&committing[i], 0);
}

}  // namespace pgqueue::page
