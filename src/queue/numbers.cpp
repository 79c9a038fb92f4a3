#include "pgqueue/queue/numbers.hpp"

#include "pgqueue/page/inplace.hpp"
#include "pgqueue/page/serials.hpp"
#include "pgqueue/settings.hpp"

namespace pgqueue::queue {
namespace {

constexpr int64 kIdRange = 32;  // ids per advance; as many may be skipped at a restart

struct Pool {
    LWLock refill;  // held while the sequence is advanced; the sequence's relation lock comes before it
    slock_t mutex;  // guards the fields below
    Oid database;
    Oid sequence;       // its file, which a rolled-back RESTART takes back
    uint32 generation;  // of the map whose slot this is
    int64 next;
    int64 end;
};
static_assert(std::is_trivially_destructible_v<Pool> && std::is_standard_layout_v<Pool>);

Pool* pools;  // one per slot of the page map

bool Owns(const Pool* pool, Oid sequence) { return pool->sequence == sequence && pool->database == MyDatabaseId; }

// Takes the numbers if the pool has them. What it had before the queue's map was evicted doesn't count: later numbers
// may have been drawn in another slot meanwhile, and ids must rise.
std::optional<int64> Draw(Pool* pool, Oid sequence, uint32 generation, int64 count) {
    std::optional<int64> first;
    SpinLockAcquire(&pool->mutex);
    if (Owns(pool, sequence) && pool->generation == generation && pool->end - pool->next >= count) {
        first = pool->next;
        pool->next += count;
    }
    SpinLockRelease(&pool->mutex);
    return first;
}

}  // namespace

int64 DrawIds(const Queue* queue, const page::SegmentRef& map, int64 count) {
    Pool* pool = &pools[map.slot];
    const Oid file = queue->sequence_file;
    if (const auto first = Draw(pool, file, map.generation, count)) return *first;

    // The relation is opened before the LWLock is taken: a wait for its lock must stay visible to the deadlock
    // detector.
    page::RequireInPlaceAllowed();
    Relation rel = relation_open(queue->sequence, RowExclusiveLock);
    LWLockAcquire(&pool->refill, LW_EXCLUSIVE);
    auto first = Draw(pool, file, map.generation, count);
    if (!first) {
        SpinLockAcquire(&pool->mutex);
        int64 left = Owns(pool, file) ? pool->end - pool->next : 0;
        SpinLockRelease(&pool->mutex);
        const int64 advance = std::max(kIdRange, count - left);
        const int64 from = page::AdvanceSequence(rel, advance, PG_INT64_MAX, false);
        SpinLockAcquire(&pool->mutex);
        // Where the new range continues the old one nothing is skipped, and nobody can have drawn later numbers. Others
        // may have drawn from the old one meanwhile.
        if (!Owns(pool, file) || pool->end != from) {
            pool->database = MyDatabaseId;
            pool->sequence = file;
            pool->next = from;
        }
        pool->generation = map.generation;
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
    if (!page::StockSerials(page::Serial::kReceipts, count, floor))
        ereport(ERROR,
                (errcode(ERRCODE_DATA_EXCEPTION), errmsg("a message's receipt is out of range: " INT64_FORMAT, floor),
                 errhint("No queue of this library wrote it. Delete the message.")));
}

std::optional<int64> DrawReceipts(int64 count) { return page::DrawSerials(page::Serial::kReceipts, count); }

Size NumbersShmemSize() { return mul_size(settings::max_segments, sizeof(Pool)); }

void NumbersShmemInit() {
    bool found = false;
    pools = static_cast<Pool*>(ShmemInitStruct("pgqueue numbers", NumbersShmemSize(), &found));
    if (found) return;
    const int tranche = LWLockNewTrancheId();
    LWLockRegisterTranche(tranche, "pgqueue_numbers");
    for (int i = 0; i < settings::max_segments; i++) {
        LWLockInitialize(&pools[i].refill, tranche);
        SpinLockInit(&pools[i].mutex);
        pools[i].database = pools[i].sequence = InvalidOid;
        pools[i].generation = 0;
        pools[i].next = pools[i].end = 0;
    }
}

}  // namespace pgqueue::queue
