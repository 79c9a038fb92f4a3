#include "pgqueue/queue/numbers.hpp"

#include "pgqueue/page/inplace.hpp"

namespace pgqueue::queue {
namespace {

constexpr int64 kReceiptRange = 1 << 20;  // receipts per flushed advance of the sequence
// Skipped when a pool opens its first range after a start: a standby that was promoted may not have seen the primary's
// last advances, and receipts out of them may be in somebody's hands.
constexpr int64 kReceiptLeap = 64 * kReceiptRange;
constexpr int64 kReceiptLimit = int64{1} << 53;
constexpr int kPools = 64;  // databases that keep a range at one time

// A database's open range of receipts. Where more databases are busy than there are pools, one loses the rest of its
// range: numbers are skipped, never repeated.
struct Pool {
    LWLock refill;  // held while the sequence is advanced
    slock_t mutex;  // guards the fields below
    Oid database;
    int64 next;
    int64 end;
};

Pool* pools;

// Advances a sequence by `count` as one change in place, and returns its value before. `flush`: the advance is on disk
// when this returns.
int64 Advance(Oid sequence, int64 count, int64 limit, bool flush) {
    page::RequireInPlaceAllowed();
    Relation rel = relation_open(sequence, RowExclusiveLock);
    page::InPlaceWriter writer(1);
    Buffer buffer = ReadBuffer(rel, 0);
    LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
    Page page = BufferGetPage(buffer);
    auto* tuple = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, PageGetItemId(page, FirstOffsetNumber)));
    auto* data = reinterpret_cast<Form_pg_sequence_data>(reinterpret_cast<char*>(tuple) + tuple->t_hoff);
    const int64 first = data->is_called ? data->last_value + 1 : data->last_value;
    if (first > limit - count) {
        UnlockReleaseBuffer(buffer);
        ereport(ERROR, (errcode(ERRCODE_SEQUENCE_GENERATOR_LIMIT_EXCEEDED),
                        errmsg("sequence \"%s\" has reached its end", RelationGetRelationName(rel))));
    }
    // log_cnt 0 makes a nextval() of the server's log anew: a value that it logged ahead may be behind ours.
    FormData_pg_sequence_data after{};
    after.last_value = first + count - 1;
    after.log_cnt = 0;
    after.is_called = true;
    static_assert(offsetof(FormData_pg_sequence_data, is_called) == 16);
    writer.Set(data, &after, offsetof(FormData_pg_sequence_data, is_called) + sizeof(bool));
    const XLogRecPtr end = writer.Apply(rel, buffer);
    UnlockReleaseBuffer(buffer);
    relation_close(rel, NoLock);
    if (flush && !XLogRecPtrIsInvalid(end)) XLogFlush(end);
    return first;
}

Pool* MyPool() { return &pools[MyDatabaseId % kPools]; }

bool HasStock(Pool* pool, int64 count) {
    SpinLockAcquire(&pool->mutex);
    const bool enough = pool->database == MyDatabaseId && pool->end - pool->next >= count;
    SpinLockRelease(&pool->mutex);
    return enough;
}

}  // namespace

Size ReceiptShmemSize() { return kPools * sizeof(Pool); }

void ReceiptShmemInit() {
    bool found = false;
    pools = static_cast<Pool*>(ShmemInitStruct("pgqueue receipts", ReceiptShmemSize(), &found));
    if (found) return;
    const int tranche = LWLockNewTrancheId();
    LWLockRegisterTranche(tranche, "pgqueue_receipts");
    for (int i = 0; i < kPools; i++) {
        LWLockInitialize(&pools[i].refill, tranche);
        SpinLockInit(&pools[i].mutex);
        pools[i].database = InvalidOid;
        pools[i].next = pools[i].end = 0;
    }
}

int64 DrawIds(const Queue* queue, int64 count) { return Advance(queue->sequence, count, PG_INT64_MAX, false); }

void StockReceipts(int64 count) {
    Pool* pool = MyPool();
    if (HasStock(pool, count)) return;

    // The relation's lock is taken before the LWLock: a wait for it must stay visible to the deadlock detector.
    const Oid sequence = ExtensionRelation("receipts");
    LockRelationOid(sequence, RowExclusiveLock);
    LWLockAcquire(&pool->refill, LW_EXCLUSIVE);
    if (!HasStock(pool, count)) {
        const int64 range = std::max(kReceiptRange, count);
        const int64 leap = pool->database == MyDatabaseId ? 0 : kReceiptLeap;
        const int64 first = Advance(sequence, leap + range, kReceiptLimit, true) + leap;
        SpinLockAcquire(&pool->mutex);
        pool->database = MyDatabaseId;
        pool->next = first;
        pool->end = first + range;
        SpinLockRelease(&pool->mutex);
    }
    LWLockRelease(&pool->refill);
}

std::optional<int64> DrawReceipts(int64 count) {
    Pool* pool = MyPool();
    std::optional<int64> first;
    SpinLockAcquire(&pool->mutex);
    if (pool->database == MyDatabaseId && pool->end - pool->next >= count) {
        first = pool->next;
        pool->next += count;
    }
    SpinLockRelease(&pool->mutex);
    return first;
}

}  // namespace pgqueue::queue
