#include "pgqueue/queue/numbers.hpp"

#include "pgqueue/page/inplace.hpp"
#include "pgqueue/settings.hpp"

namespace pgqueue::queue {
namespace {

constexpr int64 kIdRange = 32;            // ids per advance; as many may be skipped at a restart
constexpr int64 kReceiptRange = 1 << 20;  // receipts per flushed advance
// Skipped when a pool opens its first range after a start: a standby that was promoted may not have seen the primary's
// last advances, and receipts out of them may be in somebody's hands.
constexpr int64 kReceiptLeap = 64 * kReceiptRange;
constexpr int64 kReceiptLimit = int64{1} << 53;
constexpr int kReceiptPools = 1024;  // databases that keep a range at one time

struct Pool {
    LWLock refill;  // held while the sequence is advanced; the sequence's relation lock comes before it
    slock_t mutex;  // guards the fields below
    Oid database;
    Oid sequence;  // of receipts: its oid; of ids: its file, which a rolled-back RESTART takes back
    int64 next;
    int64 end;
};
static_assert(std::is_trivially_destructible_v<Pool> && std::is_standard_layout_v<Pool>);

Pool* receipt_pools;  // the first one's lock guards who owns the others
Pool* id_pools;       // one per slot of the page map

// Advances a sequence by `count` as one change in place, and returns the first number. `flush`: it is on disk when this
// returns. The sequence is open already: no catalog is looked at under a pool's LWLock, since its lock may have to be
// waited for.
int64 Advance(Relation rel, int64 count, int64 limit, bool flush) {
    page::InPlaceWriter writer(1);
    Buffer buffer = ReadBuffer(rel, 0);
    LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
    Page page = BufferGetPage(buffer);
    auto* tuple = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, PageGetItemId(page, FirstOffsetNumber)));
    auto* data = reinterpret_cast<Form_pg_sequence_data>(reinterpret_cast<char*>(tuple) + tuple->t_hoff);
    const int64 last = data->is_called ? data->last_value : data->last_value - 1;
    if (last > limit - count) {
        UnlockReleaseBuffer(buffer);
        ereport(ERROR, (errcode(ERRCODE_SEQUENCE_GENERATOR_LIMIT_EXCEEDED),
                        errmsg("sequence \"%s\" has reached its end", RelationGetRelationName(rel))));
    }
    // log_cnt 0 makes a nextval() of the server's log anew: a value that it logged ahead may be behind ours.
    FormData_pg_sequence_data after{};
    after.last_value = last + count;
    after.log_cnt = 0;
    after.is_called = true;
    static_assert(offsetof(FormData_pg_sequence_data, is_called) == 16);
    writer.Set(data, &after, offsetof(FormData_pg_sequence_data, is_called) + sizeof(bool));
    const XLogRecPtr end = writer.Apply(rel, buffer);
    UnlockReleaseBuffer(buffer);
    if (flush && !XLogRecPtrIsInvalid(end)) XLogFlush(end);
    return last + 1;
}

bool Owns(const Pool* pool, Oid sequence) { return pool->sequence == sequence && pool->database == MyDatabaseId; }

// Takes `take` numbers if the pool has at least `need`.
std::optional<int64> Draw(Pool* pool, Oid sequence, int64 need, int64 take) {
    std::optional<int64> first;
    SpinLockAcquire(&pool->mutex);
    if (Owns(pool, sequence) && pool->end - pool->next >= need) {
        first = pool->next;
        pool->next += take;
    }
    SpinLockRelease(&pool->mutex);
    return first;
}

void InitPool(Pool* pool, int tranche) {
    LWLockInitialize(&pool->refill, tranche);
    SpinLockInit(&pool->mutex);
    pool->database = pool->sequence = InvalidOid;
    pool->next = pool->end = 0;
}

// This backend's, both found again when the extension is dropped and created.
Pool* receipt_pool;
Oid receipt_sequence;

void ForgetReceiptSequence(Datum, Oid relation) {
    if (relation == InvalidOid || relation == receipt_sequence) receipt_sequence = InvalidOid;
}

// The database's pool; *leap says that it is its first one since the server's start. Where more databases are busy than
// there are pools, some share one and take turns, without a leap at each turn: numbers are skipped.
Pool* FindReceiptPool(bool* leap) {
    Pool* pool = nullptr;
    *leap = false;
    LWLockAcquire(&receipt_pools[0].refill, LW_EXCLUSIVE);
    for (int i = 0; i < kReceiptPools && pool == nullptr; i++) {
        Pool* place = &receipt_pools[1 + (MyDatabaseId + i) % kReceiptPools];
        if (place->database == MyDatabaseId || !OidIsValid(place->database)) pool = place;
    }
    if (pool != nullptr && !OidIsValid(pool->database)) {
        *leap = true;
        SpinLockAcquire(&pool->mutex);
        pool->database = MyDatabaseId;
        SpinLockRelease(&pool->mutex);
    }
    LWLockRelease(&receipt_pools[0].refill);
    return pool != nullptr ? pool : &receipt_pools[1 + MyDatabaseId % kReceiptPools];
}

}  // namespace

Size NumbersShmemSize() { return mul_size(add_size(1 + kReceiptPools, settings::max_segments), sizeof(Pool)); }

void NumbersShmemInit() {
    bool found = false;
    receipt_pools = static_cast<Pool*>(ShmemInitStruct("pgqueue numbers", NumbersShmemSize(), &found));
    id_pools = receipt_pools + 1 + kReceiptPools;
    if (found) return;
    const int tranche = LWLockNewTrancheId();
    LWLockRegisterTranche(tranche, "pgqueue_numbers");
    for (int i = 0; i < 1 + kReceiptPools + settings::max_segments; i++) InitPool(&receipt_pools[i], tranche);
}

int64 DrawIds(const Queue* queue, const page::SegmentRef& map, int64 count) {
    Pool* pool = &id_pools[map.slot];
    const Oid file = queue->sequence_file;
    if (const auto first = Draw(pool, file, count, count)) return *first;

    // The relation is opened before the LWLock is taken: a wait for its lock must stay visible to the deadlock
    // detector.
    page::RequireInPlaceAllowed();
    Relation rel = relation_open(queue->sequence, RowExclusiveLock);
    LWLockAcquire(&pool->refill, LW_EXCLUSIVE);
    auto first = Draw(pool, file, count, count);
    if (!first) {
        SpinLockAcquire(&pool->mutex);
        int64 left = Owns(pool, file) ? pool->end - pool->next : 0;
        SpinLockRelease(&pool->mutex);
        const int64 advance = std::max(kIdRange, count - left);
        const int64 from = Advance(rel, advance, PG_INT64_MAX, false);
        SpinLockAcquire(&pool->mutex);
        // Where the new range continues the old one nothing is skipped. Others may have drawn from the old one
        // meanwhile.
        if (!Owns(pool, file) || pool->end != from) {
            pool->database = MyDatabaseId;
            pool->sequence = file;
            pool->next = from;
        }
        pool->end = from + advance;
        if (pool->end - pool->next >= count) {
            first = pool->next;
            pool->next += count;
        }
        SpinLockRelease(&pool->mutex);
    }
    LWLockRelease(&pool->refill);
    relation_close(rel, NoLock);
    return first ? *first : DrawIds(queue, map, count);
}

void StockReceipts(int64 count, int64 floor) {
    // One row must not use up the numbers of the whole database.
    if (floor > kReceiptLimit / 2)
        ereport(ERROR,
                (errcode(ERRCODE_DATA_EXCEPTION), errmsg("a message's receipt is out of range: " INT64_FORMAT, floor),
                 errhint("No queue of this library wrote it. Delete the message.")));
    const auto stocked = [&] {
        const auto next = Draw(receipt_pool, receipt_sequence, count, 0);
        return next && *next > floor;
    };
    if (OidIsValid(receipt_sequence) && stocked()) return;

    static bool registered = false;
    if (!registered) CacheRegisterRelcacheCallback(ForgetReceiptSequence, 0);
    registered = true;
    const Oid sequence = ExtensionRelation("receipts");
    page::RequireInPlaceAllowed();
    Relation rel = relation_open(sequence, RowExclusiveLock);
    bool leap = false;
    receipt_pool = FindReceiptPool(&leap);
    receipt_sequence = sequence;
    LWLockAcquire(&receipt_pool->refill, LW_EXCLUSIVE);
    if (!stocked()) {
        const int64 range = std::max(kReceiptRange, count);
        int64 skip = leap || receipt_pool->sequence != sequence ? kReceiptLeap : 0;
        int64 first = Advance(rel, skip + range, kReceiptLimit, true) + skip;
        if (first <= floor) {
            skip = floor - first;
            first = Advance(rel, skip + range, kReceiptLimit, true) + skip;
        }
        SpinLockAcquire(&receipt_pool->mutex);
        receipt_pool->database = MyDatabaseId;
        receipt_pool->sequence = sequence;
        receipt_pool->next = first;
        receipt_pool->end = first + range;
        SpinLockRelease(&receipt_pool->mutex);
    }
    LWLockRelease(&receipt_pool->refill);
    relation_close(rel, NoLock);
}

std::optional<int64> DrawReceipts(int64 count) {
    if (receipt_pool == nullptr) return std::nullopt;
    return Draw(receipt_pool, receipt_sequence, count, count);
}

}  // namespace pgqueue::queue
