#include "pgqueue/page/map_slots.hpp"
#include "pgqueue/pg/worker_table.hpp"

namespace pgqueue::page {

using namespace detail;

namespace {

// The tail in one word: the block, the pages added behind it (16 bits), the room left on it (16 bits).
uint64 TailWord(BlockNumber block, int room, int ahead) {
    return uint64{block} << 32 | static_cast<uint64>(ahead) << 16 | static_cast<uint64>(room);
}
BlockNumber TailBlock(uint64 word) { return static_cast<BlockNumber>(word >> 32); }
int TailAhead(uint64 word) { return static_cast<int>(word >> 16 & 0xffff); }
int TailRoom(uint64 word) { return static_cast<int>(word & 0xffff); }

// Its place in the part, or InvalidBlockNumber.
BlockNumber InPart(const SegmentRef& ref, BlockNumber block) {
    return block != InvalidBlockNumber && block >= ref.base && block - ref.base < ref.pages ? block - ref.base
                                                                                            : InvalidBlockNumber;
}

bool IsPassed(const SegmentRef& ref, BlockNumber tail) {
    return tail != InvalidBlockNumber && tail >= ref.base && tail - ref.base >= ref.pages;
}

}  // namespace

TailSpace ReserveTail(const SegmentRef& ref, const uint16* sizes, int count) {
    const SharedSlot slot(ref);
    if (!slot) return {};
    Touch(&slots[ref.slot]);
    uint64 word = pg_atomic_read_u64(&slot->tail);
    for (;;) {
        if (IsPassed(ref, TailBlock(word))) return {InvalidBlockNumber, 0, 0, true};
        BlockNumber block = InPart(ref, TailBlock(word));
        if (block == InvalidBlockNumber) return {};
        int room = TailRoom(word);
        int ahead = TailAhead(word);
        if (room < sizes[0]) {
            if (ahead == 0) return {block, 0, 0};
            block++;
            ahead--;
            room = kEmptyPageRoom;
        }
        // A row of its own page fits there whatever the arithmetic says.
        int fit = 1;
        int used = sizes[0];
        while (fit < count && used + sizes[fit] <= room) used += sizes[fit++];
        if (pg_atomic_compare_exchange_u64(&slot->tail, &word,
                                           TailWord(ref.base + block, std::max(0, room - used), ahead)))
            return {block, ahead, fit};
    }
}

BlockNumber Tail(const SegmentRef& ref) {
    const SharedSlot slot(ref);
    return slot ? InPart(ref, TailBlock(pg_atomic_read_u64(&slot->tail))) : InvalidBlockNumber;
}

void MoveTail(const SegmentRef& ref, BlockNumber block, int room, int ahead) {
    const SharedSlot slot(ref);
    if (!slot) return;
    uint64 word = pg_atomic_read_u64(&slot->tail);
    const BlockNumber place = ref.base + block;
    while (TailBlock(word) == InvalidBlockNumber || TailBlock(word) < place)
        if (pg_atomic_compare_exchange_u64(&slot->tail, &word, TailWord(place, room, ahead))) return;
}

void ForgetTail(const SegmentRef& ref) {
    const SharedSlot slot(ref);
    if (!slot) return;
    uint64 word = pg_atomic_read_u64(&slot->tail);
    while (InPart(ref, TailBlock(word)) != InvalidBlockNumber)
        if (pg_atomic_compare_exchange_u64(&slot->tail, &word, kNoTail)) return;
}

void AskForSegment(const SegmentRef& ref) {
    const SharedSlot slot(ref);
    if (!slot || pg_atomic_read_u32(&slot->full_part) >= ref.part) return;
    if (pg_atomic_exchange_u32(&slot->full_part, ref.part) < ref.part)
        pg::WakeWorker(ref.key.database, pg::kSegmentFull);
}

namespace {

// The relations of the database's maps for which use(slot) says so.
template <class Use>
pg::Vector<Oid> FindMaps(Oid database, Use use) {
    pg::Vector<Oid> relations;
    relations.reserve(map->slot_count);
    LWLockAcquire(&map->lock, LW_SHARED);
    for (int i = 0; i < map->slot_count; i++) {
        Slot* slot = &slots[i];
        if (slot->used && slot->key.database == database && use(slot)) relations.push_back(slot->key.relation);
    }
    LWLockRelease(&map->lock);
    return relations;
}

}  // namespace

pg::Vector<Oid> TakeFullMaps(Oid database, bool all) {
    return FindMaps(database, [=](Slot* slot) {
        const uint32 full = pg_atomic_read_u32(&slot->full_part);
        return std::exchange(slot->full_taken, full) != full || (all && full != 0);
    });
}

pg::Vector<Oid> FindIdleMaps(Oid database, bool* others) {
    *others = false;
    return FindMaps(database, [=](Slot* slot) {
        const uint64 tail = pg_atomic_read_u64(&slot->tail);
        const BlockNumber block = TailBlock(tail) & ((BlockNumber{1} << std::min(slot->part_bits, 31)) - 1);
        const bool idle = std::exchange(slot->tail_seen, tail) == tail;
        const bool counts =
            tail != kNoTail && block >= kFewPages && slot->key.file == 0 && slot->key.kind == MapKind::kDeliverable;
        *others |= counts && !idle;
        return counts && idle;
    });
}

}  // namespace pgqueue::page
