#include "pgqueue/page/serials.hpp"

#include "pgqueue/page/inplace.hpp"
#include "pgqueue/pg/catalog.hpp"

namespace pgqueue::page {
namespace {

struct Source {
    const char* schema;
    const char* sequence;
};
constexpr std::array<Source, kSerialKinds> kSources = {{{"queue", "receipts"}, {"kv", "versions"}}};

constexpr int64 kRange = 1 << 20;  // numbers per flushed advance
// Skipped when a pool opens its first range after a start: a standby that was promoted may not have seen the primary's
// last advances, and numbers out of them may be in somebody's hands.
constexpr int64 kLeap = 64 * kRange;
constexpr int kPools = 1024;  // databases that keep a range at one time

struct Pool {
    LWLock refill;  // held while the sequence is advanced; the sequence's relation lock comes before it
    slock_t mutex;  // guards the fields below
    Oid database;
    Oid sequence;
    int64 next;
    int64 end;
};
static_assert(std::is_trivially_destructible_v<Pool> && std::is_standard_layout_v<Pool>);

struct Pools {
    LWLock owners;  // guards who owns which pool
    Pool pool[kPools];
};
Pools* pools;  // one for each kind

// This backend's, all found again when the extension is dropped and created.
struct Mine {
    Pool* pool;
    Oid sequence;
};
std::array<Mine, kSerialKinds> mine;

void ForgetSequences(Datum, Oid relation) {
    for (Mine& my : mine)
        if (relation == InvalidOid || relation == my.sequence) my.sequence = InvalidOid;
}

// Takes `take` numbers if the pool has at least `need`.
std::optional<int64> Draw(const Mine& my, int64 need, int64 take) {
    Pool* pool = my.pool;
    std::optional<int64> first;
    SpinLockAcquire(&pool->mutex);
    if (pool->sequence == my.sequence && pool->database == MyDatabaseId && pool->end - pool->next >= need) {
        first = pool->next;
        pool->next += take;
    }
    SpinLockRelease(&pool->mutex);
    return first;
}

// The database's pool; *leap says that it is its first one since the server's start. Where more databases are busy than
// there are pools, some share one and take turns, without a leap at each turn: numbers are skipped.
Pool* FindPool(Pools* of, bool* leap) {
    Pool* pool = nullptr;
    *leap = false;
    LWLockAcquire(&of->owners, LW_EXCLUSIVE);
    for (int i = 0; i < kPools && pool == nullptr; i++) {
        Pool* place = &of->pool[(MyDatabaseId + i) % kPools];
        if (place->database == MyDatabaseId || !OidIsValid(place->database)) pool = place;
    }
    if (pool != nullptr && !OidIsValid(pool->database)) {
        *leap = true;
        SpinLockAcquire(&pool->mutex);
        pool->database = MyDatabaseId;
        SpinLockRelease(&pool->mutex);
    }
    LWLockRelease(&of->owners);
    return pool != nullptr ? pool : &of->pool[MyDatabaseId % kPools];
}

}  // namespace

int64 AdvanceSequence(Relation sequence, int64 count, int64 limit, bool flush) {
    InPlaceWriter writer(1);
    Buffer buffer = ReadBuffer(sequence, 0);
    LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
    Page page = BufferGetPage(buffer);
    auto* tuple = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, PageGetItemId(page, FirstOffsetNumber)));
    auto* data = reinterpret_cast<Form_pg_sequence_data>(reinterpret_cast<char*>(tuple) + tuple->t_hoff);
    const int64 last = data->is_called ? data->last_value : data->last_value - 1;
    if (last > limit - count) {
        UnlockReleaseBuffer(buffer);
        ereport(ERROR, (errcode(ERRCODE_SEQUENCE_GENERATOR_LIMIT_EXCEEDED),
                        errmsg("sequence \"%s\" has reached its end", RelationGetRelationName(sequence))));
    }
    // log_cnt 0 makes a nextval() of the server's log anew: a value that it logged ahead may be behind ours.
    FormData_pg_sequence_data after{};
    after.last_value = last + count;
    after.log_cnt = 0;
    after.is_called = true;
    static_assert(offsetof(FormData_pg_sequence_data, is_called) == 16);
    writer.Set(data, &after, offsetof(FormData_pg_sequence_data, is_called) + sizeof(bool));
    const XLogRecPtr end = writer.Apply(sequence, buffer);
    UnlockReleaseBuffer(buffer);
    if (flush && !XLogRecPtrIsInvalid(end)) XLogFlush(end);
    return last + 1;
}

bool StockSerials(Serial kind, int64 count, int64 floor) {
    Mine& my = mine[static_cast<int>(kind)];
    const auto stocked = [&] {
        const auto next = Draw(my, count, 0);
        return next && *next > floor;
    };
    if (OidIsValid(my.sequence) && stocked()) return true;

    static bool registered = false;
    if (!registered) CacheRegisterRelcacheCallback(ForgetSequences, 0);
    registered = true;
    const Source& source = kSources[static_cast<int>(kind)];
    const Oid oid = pg::ExtensionRelation(source.schema, source.sequence);
    RequireInPlaceAllowed();
    Relation sequence = relation_open(oid, RowExclusiveLock);
    bool leap = false;
    my = {FindPool(&pools[static_cast<int>(kind)], &leap), oid};
    LWLockAcquire(&my.pool->refill, LW_EXCLUSIVE);
    // Others may have emptied the stock, or the floor may lie ahead; only the latter calls for more than a range.
    const auto next = Draw(my, count, 0);
    const bool hopeless = next && *next <= floor && floor > kHighestFloor;
    if (!hopeless && !stocked()) {
        const int64 range = std::max(kRange, count);
        int64 skip = leap || my.pool->sequence != oid ? kLeap : 0;
        int64 first = AdvanceSequence(sequence, skip + range, kSerialLimit, true) + skip;
        if (first <= floor && floor <= kHighestFloor) {
            skip = floor - first;
            first = AdvanceSequence(sequence, skip + range, kSerialLimit, true) + skip;
        }
        SpinLockAcquire(&my.pool->mutex);
        my.pool->database = MyDatabaseId;
        my.pool->sequence = oid;
        my.pool->next = first;
        my.pool->end = first + range;
        SpinLockRelease(&my.pool->mutex);
    }
    const bool above = stocked() || floor <= kHighestFloor;
    LWLockRelease(&my.pool->refill);
    relation_close(sequence, NoLock);
    return above;
}

std::optional<int64> DrawSerials(Serial kind, int64 count) {
    const Mine& my = mine[static_cast<int>(kind)];
    if (my.pool == nullptr) return std::nullopt;
    return Draw(my, count, count);
}

std::optional<int64> NextSerial(Serial kind, int64 floor) {
    while (StockSerials(kind, 1, floor)) {
        const auto number = DrawSerials(kind, 1);
        if (number && *number > floor) return number;
    }
    return std::nullopt;
}

Size SerialsShmemSize() { return mul_size(kSerialKinds, sizeof(Pools)); }

void SerialsShmemInit() {
    bool found = false;
    pools = static_cast<Pools*>(ShmemInitStruct("pgqueue serials", SerialsShmemSize(), &found));
    if (found) return;
    const int tranche = LWLockNewTrancheId();
    LWLockRegisterTranche(tranche, "pgqueue_serials");
    for (int kind = 0; kind < kSerialKinds; kind++) {
        LWLockInitialize(&pools[kind].owners, tranche);
        for (Pool& pool : pools[kind].pool) {
            LWLockInitialize(&pool.refill, tranche);
            SpinLockInit(&pool.mutex);
            pool.database = pool.sequence = InvalidOid;
            pool.next = pool.end = 0;
        }
    }
}

}  // namespace pgqueue::page
