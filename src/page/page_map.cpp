#include "pgqueue/page/map_slots.hpp"
#include "pgqueue/pg/worker_table.hpp"
#include "pgqueue/settings.hpp"

namespace pgqueue::page {
namespace detail {

Map* map;
uint32* buckets;
Slot* slots;

static_assert(std::is_trivially_destructible_v<Slot> && std::is_standard_layout_v<Slot>);
static_assert(std::is_trivially_destructible_v<Node> && std::is_standard_layout_v<Node>);

uint32 BucketOf(const SegmentKey& key) {
    const uint32 words[] = {static_cast<uint32>(key.database), static_cast<uint32>(key.relation),
                            static_cast<uint32>(key.file), static_cast<uint32>(key.kind)};
    uint32 hash = 2166136261u;
    for (uint32 word : words) {
        hash = (hash ^ word) * 0x85ebca6bu;
        hash ^= hash >> 15;
    }
    return hash % map->bucket_count;
}

uint32 FindSlot(const SegmentKey& key) {  // map lock held
    for (uint32 i = buckets[BucketOf(key)]; i != kNone; i = slots[i].next)
        if (slots[i].key == key) return i;
    return kNone;
}

}  // namespace detail

using namespace detail;

namespace {

Node* nodes;

constexpr int kFanoutBits = 6;
constexpr int kMaxLevel = 6;             // 64^6 pages are more than a relation can have
constexpr int kForeign = kMaxLevel + 1;  // of a range that belongs to other parts, too
constexpr int kBoundShift = 22;
constexpr uint64 kCountMask = (uint64{1} << kBoundShift) - 1;

// A word: the bound in the upper 42 bits, a count of its changes in the lower 22.
Bound BoundIn(uint64 word) { return word >> kBoundShift; }
uint64 Successor(uint64 word, Bound bound) { return (bound << kBoundShift) | ((word + 1) & kCountMask); }
uint64 InitialWord(Bound bound, uint32 count = 0) { return bound << kBoundShift | (count & kCountMask); }

// A start in one word: the line pointer (10 bits), the change count of the page's word to which it belongs (22 bits),
// and the low 32 bits of its due, at most kStartReach after the look that left it. Without a line pointer: none.
uint64 StartWord(uint64 word, Start start) {
    return uint64{start.off} << 54 | (word & kCountMask) << 32 | (start.due & 0xffffffff);
}

int NodeCount() { return static_cast<int>(static_cast<Size>(settings::page_map_size_kb) * 1024 / sizeof(Node)); }
int BucketCount() { return settings::max_segments * 2; }

BlockNumber SpanOf(int level) {  // pages under one entry of a node at `level`; a leaf is level 1
    return BlockNumber{1} << (kFanoutBits * (level - 1));
}
uint64 CoverOf(int level) { return uint64{1} << (kFanoutBits * level); }

uint32 AllocateNode() {
    SpinLockAcquire(&map->pool_lock);
    const uint32 node = map->free_node;
    if (node != kNone) map->free_node = static_cast<uint32>(pg_atomic_read_u64(&nodes[node].below[0]));
    SpinLockRelease(&map->pool_lock);
    if (node == kNone) pg_atomic_fetch_add_u64(&map->no_node, 1);
    return node;
}

void FreeTree(uint32 node, int level) {  // slot's exclusive lock held
    if (node == kNone) return;
    if (level > 1)
        for (auto& child : nodes[node].below) FreeTree(static_cast<uint32>(pg_atomic_read_u64(&child)), level - 1);
    SpinLockAcquire(&map->pool_lock);
    pg_atomic_write_u64(&nodes[node].below[0], map->free_node);
    map->free_node = node;
    SpinLockRelease(&map->pool_lock);
}

// A leaf's starts must not be valid: kNone is none, since no line pointer is 0. The words' counts start somewhere else
// each time: a word of a node that was here before, loaded then, must not pass for one of this node.
void FillNode(uint32 node, Bound bound) {
    const uint32 count = pg_atomic_fetch_add_u32(&map->first_count, 0x9e3779b9);
    for (int i = 0; i < kFanout; i++) {
        pg_atomic_write_u64(&nodes[node].word[i], InitialWord(bound, count));
        pg_atomic_write_u64(&nodes[node].below[i], kNone);
    }
}

void InitBand(Band* band, int32 priority, Bound bound) {
    band->priority = priority;
    band->level = 1;
    band->root = kNone;
    pg_atomic_write_u64(&band->root_word, InitialWord(bound));
}

// The unknown pages of a new map: [0, blocks). Pages past the end start at kNever, so that nobody looks for them; where
// the pool has no node for the boundary the range stays coarse.
void MarkUnknown(Band* band, BlockNumber blocks) {
    if (blocks == 0) return;
    pg_atomic_write_u64(&band->root_word, InitialWord(kUnknown));
    while (CoverOf(band->level) < blocks) band->level++;
    pg_atomic_uint64* link = nullptr;
    BlockNumber last = blocks - 1;
    for (int level = band->level; level >= 1; level--) {
        const uint32 node = AllocateNode();
        if (node == kNone) return;
        FillNode(node, kNever);
        const int index = last / SpanOf(level);
        for (int i = 0; i <= index; i++) {
            pg_atomic_uint64* word = &nodes[node].word[i];
            pg_atomic_write_u64(word, Successor(pg_atomic_read_u64(word), kUnknown));
        }
        if (link == nullptr)
            band->root = node;
        else
            pg_atomic_write_u64(link, node);
        link = &nodes[node].below[index];
        last %= SpanOf(level);
    }
}

// Grows the tree until it covers `block`. Slot's exclusive lock held. Never fails: without a node for the new root the
// whole tree is coarse.
void Grow(Band* band, BlockNumber block) {
    while (CoverOf(band->level) <= block) {
        const Bound bound = BoundIn(pg_atomic_read_u64(&band->root_word));
        if (band->root == kNone && bound == kNever) {
            band->level++;
            continue;
        }
        const uint32 node = AllocateNode();
        if (node != kNone) {
            FillNode(node, kNever);
            pg_atomic_write_u64(&nodes[node].word[0], Successor(pg_atomic_read_u64(&nodes[node].word[0]), bound));
            pg_atomic_write_u64(&nodes[node].below[0], band->root);
            band->root = node;
        } else if (band->root != kNone) {
            FreeTree(band->root, band->level);  // coarse from now on; the root's word is a bound for all of it
            band->root = kNone;
        }
        band->level++;
    }
}

// Installs the nodes down to `block`'s leaf. Slot's exclusive lock held. False: the pool is empty.
bool InstallPath(Band* band, BlockNumber block) {
    Grow(band, block);
    if (band->root == kNone) {
        const uint32 node = AllocateNode();
        if (node == kNone) return false;
        FillNode(node, BoundIn(pg_atomic_read_u64(&band->root_word)));
        band->root = node;
    }
    uint32 node = band->root;
    for (int level = band->level; level > 1; level--) {
        const int index = block / SpanOf(level);
        block %= SpanOf(level);
        auto child = static_cast<uint32>(pg_atomic_read_u64(&nodes[node].below[index]));
        if (child == kNone) {
            child = AllocateNode();
            if (child == kNone) return false;
            FillNode(child, BoundIn(pg_atomic_read_u64(&nodes[node].word[index])));
            pg_atomic_write_u64(&nodes[node].below[index], child);
        }
        node = child;
    }
    return true;
}

// The words from the root to a page's leaf, as deep as nodes exist.
struct Path {
    pg_atomic_uint64* word[kMaxLevel + 1];
    uint32 below[kMaxLevel + 1];        // the node whose minimum the word is
    int depth = 0;                      // entries used
    bool leaf = false;                  // the last one is the page's own
    pg_atomic_uint64* start = nullptr;  // with a leaf
};

// Slot's lock held. A block past the tree's cover has the root's word only (Grow was not reached: coarse).
Path PathTo(Band* band, BlockNumber block) {
    Path path;
    path.word[0] = &band->root_word;
    path.below[0] = band->root;
    path.depth = 1;
    if (block >= CoverOf(band->level)) return path;
    uint32 node = band->root;
    for (int level = band->level; node != kNone && level >= 1; level--) {
        const int index = block / SpanOf(level);
        const uint32 leaf = node;
        block %= SpanOf(level);
        path.word[path.depth] = &nodes[node].word[index];
        path.below[path.depth] = level > 1 ? static_cast<uint32>(pg_atomic_read_u64(&nodes[node].below[index])) : kNone;
        node = path.below[path.depth];
        path.depth++;
        if (level == 1) {
            path.leaf = true;
            path.start = &nodes[leaf].below[index];
        }
    }
    return path;
}

// Returns the bound that stood there.
Bound LowerWord(pg_atomic_uint64* word, Bound bound) {
    uint64 old = pg_atomic_read_u64(word);
    while (!pg_atomic_compare_exchange_u64(word, &old, Successor(old, std::min(BoundIn(old), bound)))) {
    }
    return BoundIn(old);
}

Bound MinimumOf(uint32 node) {
    Bound least = kNever;
    for (auto& word : nodes[node].word) least = std::min(least, BoundIn(pg_atomic_read_u64(&word)));
    return least;
}

// Raises a word to the minimum of the node below it. The word is loaded before the children are read, so a lowering in
// between makes the exchange fail; then the minimum is taken again. False: it was no lower than its children.
bool RaiseWord(pg_atomic_uint64* word, uint32 below) {
    uint64 old = pg_atomic_read_u64(word);
    for (;;) {
        pg_read_barrier();
        const Bound least = MinimumOf(below);
        if (least <= BoundIn(old)) return false;
        if (pg_atomic_compare_exchange_u64(word, &old, Successor(old, least))) return true;
    }
}

// After the path's last word was raised from `was`. A word above that is lower still belongs to another entry.
void RaiseAbove(const Path& path, Bound was) {
    for (int i = path.depth - 2; i >= 0; i--) {
        if (BoundIn(pg_atomic_read_u64(path.word[i])) < was) return;
        if (path.below[i] == kNone || !RaiseWord(path.word[i], path.below[i])) return;
    }
}

// Blocks [from, ...) of one node, in order. True: found.
bool FindInNode(uint32 node, int level, uint64 start, BlockNumber from, Bound now, Range* range) {
    const uint64 span = SpanOf(level);
    for (uint64 i = from > start ? (from - start) / span : 0; i < kFanout; i++) {
        pg_atomic_uint64* word = &nodes[node].word[i];
        const uint64 value = pg_atomic_read_u64(word);
        if (BoundIn(value) > now) continue;
        const uint64 first = start + i * span;
        const uint32 child = level > 1 ? static_cast<uint32>(pg_atomic_read_u64(&nodes[node].below[i])) : kNone;
        if (child == kNone) {
            const uint64 end = std::min<uint64>(first + span, MaxBlockNumber);
            *range = {static_cast<BlockNumber>(first), static_cast<BlockNumber>(end), level - 1, value};
            return true;
        }
        if (FindInNode(child, level - 1, first, from, now, range)) return true;
        if (from <= first) RaiseWord(word, child);  // all of it was looked at: nothing is due any more
    }
    return false;
}

// Where a chunk of pages stands in a band's tree: its node of level 2; or, where the tree ends above it, the one word
// that stands for all of it; or the single leaf of a tree of one level.
struct ChunkPlace {
    uint32 node = kNone;
    uint64 word = 0;
    bool leaf_only = false;  // `node` is a leaf
};

// Slot's lock held.
ChunkPlace PlaceOfChunk(Band* band, uint32 chunk) {
    uint64 block = uint64{chunk} * kChunkLeaves * kLeafPages;
    uint64 word = pg_atomic_read_u64(&band->root_word);
    // Nothing lies behind what the tree covers. Without nodes the root's word may stand for more than that.
    if (band->root == kNone) return {kNone, word, false};
    if (block >= CoverOf(band->level)) return {kNone, InitialWord(kNever), false};
    uint32 node = band->root;
    if (band->level == 1) return {node, word, true};
    for (int level = band->level; level > 2; level--) {
        const int index = static_cast<int>(block / SpanOf(level));
        block %= SpanOf(level);
        word = pg_atomic_read_u64(&nodes[node].word[index]);
        node = static_cast<uint32>(pg_atomic_read_u64(&nodes[node].below[index]));
        if (node == kNone || BoundIn(word) == kNever) return {kNone, word, false};
    }
    return {node, word, false};
}

void AddPages(uint64 word, uint64 pages, Bound now, LeafPages* pages_of) {
    if (BoundIn(word) <= now)
        pages_of->due |= pages;
    else if (BoundIn(word) != kNever)
        pages_of->later |= pages;
}

void AddLeaf(uint32 leaf, Bound now, LeafPages* pages_of) {
    for (int i = 0; i < kFanout; i++) AddPages(pg_atomic_read_u64(&nodes[leaf].word[i]), uint64{1} << i, now, pages_of);
}

// The band that serves a priority: its own, or the nearest where the table is full. Slot's lock held.
int NearestBand(const Slot* slot, int32 priority) {
    int best = 0;
    int64 best_distance = std::numeric_limits<int64>::max();
    for (int i = 0; i < slot->band_count; i++) {
        const int64 distance = std::abs(int64{slot->bands[i].priority} - priority);
        if (distance < best_distance) {
            best = i;
            best_distance = distance;
        }
    }
    return best;
}

// As NearestBand, but while there is room a priority without a band of its own counts as unknown and goes to the
// default band, whose reader makes the band when it meets the row.
int BandOf(const Slot* slot, int32 priority) {
    if (slot->bands[0].priority == priority) return 0;
    const int nearest = NearestBand(slot, priority);
    if (slot->bands[nearest].priority == priority || slot->band_count == kMaxBands) return nearest;
    return 0;
}

// Lowers [first, last], pages of the whole, in the priority's tree. Slot's lock held. False: the tree must grow first,
// which takes the exclusive lock.
bool LowerIn(Slot* slot, int32 priority, BlockNumber first, BlockNumber last, Bound bound, Above above) {
    Band* band = &slot->bands[BandOf(slot, priority)];
    if (CoverOf(band->level) <= last) return false;
    for (uint64 block = first; block <= last; block++) {
        const Path path = PathTo(band, static_cast<BlockNumber>(block));
        // From the leaf up. The leaf's count must step; a word above that is as low already needs no step if the one
        // below it was, too: whoever lowered that one did the rest, or, with kSoon, is about to.
        bool low = above == Above::kSoon;
        for (int i = path.depth - 1; i >= 0; i--) {
            if (low && path.leaf && i < path.depth - 1 && BoundIn(pg_atomic_read_u64(path.word[i])) <= bound) continue;
            low = LowerWord(path.word[i], bound) <= bound && low;
        }
        // One word stands for all pages of a coarse range.
        if (path.depth == 1) break;
        if (!path.leaf) block |= SpanOf(band->level - path.depth + 2) - 1;
    }
    return true;
}

void GrowAndLower(Slot* slot, int32 priority, BlockNumber first, BlockNumber last, Bound bound) {
    Grow(&slot->bands[BandOf(slot, priority)], last);
    LowerIn(slot, priority, first, last, bound, Above::kNow);
}

// Both locks held exclusively.
void ResetSlot(Slot* slot) {
    for (int i = 0; i < slot->band_count; i++) {
        FreeTree(slot->bands[i].root, slot->bands[i].level);
        slot->bands[i].root = kNone;
    }
    slot->band_count = 0;
}

// Pages that a part may have, and the highest number of parts in a row, before the map is made anew: few levels of
// nodes are what it is for.
constexpr int kLeastPartBits = 18;
constexpr int kMostPartBits = 25;
static_assert(kMostPages == BlockNumber{1} << kMostPartBits);
static_assert(uint64{2 * kMostSpan} << kMostPartBits <= uint64{1} << 32);

Part* FindPart(Slot* slot, uint32 number) {
    for (Part& part : slot->parts)
        if (part.file != 0 && part.number == number) return &part;
    return nullptr;
}

// Where the part stands in the whole, if it can.
std::optional<BlockNumber> BaseOf(const Slot* slot, uint32 number) {
    if (number < slot->first) return std::nullopt;
    const uint64 base = uint64{number - slot->first} << slot->part_bits;
    if (base > 0 && base + (uint64{1} << slot->part_bits) > MaxBlockNumber) return std::nullopt;
    return static_cast<BlockNumber>(base);
}

// An entry for a part that has none. Null: the map must be made anew for it.
Part* PlaceForPart(Slot* slot, uint32 number, BlockNumber blocks) {
    if (FindPart(slot, number) != nullptr) return nullptr;  // it has another file by now
    if (!BaseOf(slot, number) || uint64{blocks} >= uint64{1} << slot->part_bits) return nullptr;
    Part* place = nullptr;
    uint32 lowest = number;
    for (Part& part : slot->parts) {
        if (part.file != 0) lowest = std::min(lowest, part.number);
        if (place != nullptr && place->file == 0) continue;
        if (place == nullptr || part.file == 0 || part.number < place->number) place = &part;
    }
    // Those that it began with have gone.
    return lowest - slot->first >= kMostSpan ? nullptr : place;
}

void Unlink(uint32 index) {  // map lock held exclusively
    for (uint32* link = &buckets[BucketOf(slots[index].key)]; *link != kNone; link = &slots[*link].next)
        if (*link == index) {
            *link = slots[index].next;
            return;
        }
}

// Takes the slot of a segment that was not used for a round of the clock hand, and frees its nodes. A segment with
// waiting readers stays. Map lock held exclusively. kNone: everything is in use.
uint32 EvictSlot(uint32 keep) {
    for (int tries = 0; tries < 2 * map->slot_count + 1; tries++) {
        const uint32 index = map->clock_hand;
        map->clock_hand = (map->clock_hand + 1) % map->slot_count;
        Slot* slot = &slots[index];
        if (!slot->used || index == keep) continue;
        if (pg_atomic_exchange_u32(&slot->recently_used, 0) != 0) continue;
        if (!proclist_is_empty(&slot->waiters.wakeup) || !proclist_is_empty(&slot->choosy.wakeup)) continue;
        if (!LWLockConditionalAcquire(&slot->lock, LW_EXCLUSIVE)) continue;
        Unlink(index);
        ResetSlot(slot);
        pg_atomic_fetch_add_u32(&slot->generation, 1);
        slot->used = false;
        LWLockRelease(&slot->lock);
        return index;
    }
    return kNone;
}

}  // namespace

Bound BoundOf(TimestampTz when) {
    if (when <= 0) return kUnknown;
    if (TIMESTAMP_IS_NOEND(when)) return kNever - 1;
    return std::min<uint64>(static_cast<uint64>(when) >> 10, kNever - 1);
}

TimestampTz WakeTime(Bound bound) { return static_cast<TimestampTz>((bound + 1) << 10); }

Size MapShmemSize() {
    Size size = MAXALIGN(sizeof(Map));
    size = add_size(size, MAXALIGN(mul_size(BucketCount(), sizeof(uint32))));
    size = add_size(size, MAXALIGN(mul_size(settings::max_segments, sizeof(Slot))));
    return add_size(size, mul_size(NodeCount(), sizeof(Node)));
}

void MapShmemInit() {
    bool found = false;
    char* base = static_cast<char*>(ShmemInitStruct("pgqueue page map", MapShmemSize(), &found));
    map = reinterpret_cast<Map*>(base);
    base += MAXALIGN(sizeof(Map));
    buckets = reinterpret_cast<uint32*>(base);
    base += MAXALIGN(BucketCount() * sizeof(uint32));
    slots = reinterpret_cast<Slot*>(base);
    base += MAXALIGN(settings::max_segments * sizeof(Slot));
    nodes = reinterpret_cast<Node*>(base);
    if (found) return;

    const int tranche = LWLockNewTrancheId();
    LWLockRegisterTranche(tranche, "pgqueue_page_map");
    LWLockInitialize(&map->lock, tranche);
    SpinLockInit(&map->pool_lock);
    map->slot_count = settings::max_segments;
    map->bucket_count = BucketCount();
    map->node_count = NodeCount();
    map->clock_hand = 0;
    pg_atomic_init_u32(&map->watching, 0);
    pg_atomic_init_u64(&map->released_max, 0);
    pg_atomic_init_u32(&map->first_count, 0);
    pg_atomic_init_u64(&map->no_slot, 0);
    pg_atomic_init_u64(&map->no_node, 0);
    for (int i = 0; i < map->bucket_count; i++) buckets[i] = kNone;
    map->free_slot = 0;
    for (int i = 0; i < map->slot_count; i++) {
        Slot* slot = &slots[i];
        LWLockInitialize(&slot->lock, tranche);
        slot->key = {};
        pg_atomic_init_u32(&slot->generation, 1);
        slot->next = i + 1 < map->slot_count ? i + 1 : kNone;
        slot->used = false;
        slot->band_count = 0;
        pg_atomic_init_u64(&slot->tail, kNoTail);
        pg_atomic_init_u32(&slot->recently_used, 0);
        slot->first = 0;
        slot->part_bits = kLeastPartBits;
        for (Part& part : slot->parts) {
            part = {};
            pg_atomic_init_u32(&part.survey_next, 0);
        }
        pg_atomic_init_u32(&slot->full_part, 0);
        pg_atomic_init_u64(&slot->released_until, 0);
        pg_atomic_init_u64(&slot->timer, kNoTimer);
        pg_atomic_init_u32(&slot->group_mode, static_cast<uint32>(GroupMode::kOff));
        pg_atomic_init_u32(&slot->watch, kUnwatched);
        ConditionVariableInit(&slot->waiters);
        ConditionVariableInit(&slot->choosy);
        for (Band& band : slot->bands) {
            pg_atomic_init_u64(&band.root_word, InitialWord(kNever));
            band.root = kNone;
            band.level = 1;
        }
    }
    map->free_node = map->node_count > 0 ? 0 : kNone;
    for (int i = 0; i < map->node_count; i++) {
        for (auto& word : nodes[i].word) pg_atomic_init_u64(&word, 0);
        for (auto& below : nodes[i].below) pg_atomic_init_u64(&below, kNone);
        pg_atomic_write_u64(&nodes[i].below[0], i + 1 < map->node_count ? i + 1 : kNone);
    }
}

namespace {

// Both locks held exclusively. `single`: there are no parts.
void InitSlot(Slot* slot, const SegmentKey& key, uint32 first, BlockNumber blocks, bool single) {
    slot->key = key;
    slot->first = first;
    slot->part_bits = single ? 32 : kLeastPartBits;
    while (!single && slot->part_bits < kMostPartBits && uint64{blocks} * 2 > uint64{1} << slot->part_bits)
        slot->part_bits++;
    for (Part& part : slot->parts) part.file = 0;
    slot->used = true;
    slot->band_count = 1;
    InitBand(&slot->bands[0], 0, kNever);
    pg_atomic_write_u64(&slot->tail, kNoTail);
    pg_atomic_write_u64(&slot->released_until, pg_atomic_read_u64(&map->released_max));
    pg_atomic_write_u64(&slot->timer, kNoTimer);
    pg_atomic_write_u32(&slot->group_mode, static_cast<uint32>(GroupMode::kOff));
    pg_atomic_write_u32(&slot->watch, kUnwatched);
    pg_atomic_write_u32(&slot->full_part, 0);
    slot->full_taken = 0;
    slot->tail_seen = kNoTail;
}

// Both locks held exclusively. The pages that exist are unknown.
void FillPart(Slot* slot, Part* part, uint32 number, compat::FileNumber file, uint64 stamp, BlockNumber blocks,
              bool survey) {
    part->file = file;
    part->number = number;
    part->stamp = stamp;
    pg_atomic_write_u32(&part->survey_next, 0);
    part->survey_end = survey ? blocks : 0;
    if (blocks == 0) return;
    Band* band = &slot->bands[0];
    const BlockNumber base = *BaseOf(slot, number);
    if (base == 0 && BoundIn(pg_atomic_read_u64(&band->root_word)) == kNever && band->root == kNone) {
        MarkUnknown(band, blocks);
    } else {
        // With nodes on the way to the last page no word stands for pages behind it.
        (void)InstallPath(band, base + blocks - 1);
        GrowAndLower(slot, 0, base, base + blocks - 1, kUnknown);
    }
    // What is out on them has no holds yet.
    pg_atomic_write_u32(&slot->group_mode, static_cast<uint32>(GroupMode::kOff));
}

}  // namespace

namespace {

[[noreturn]] void RaiseTooLong(Relation table) {
    ereport(ERROR,
            (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
             errmsg("table \"%s\" of a queue can't be larger than 256 GB", RelationGetRelationName(table)),
             errhint("The background worker goes on in a new table at pgqueue.segment_size, unless the table has "
                     "an index or a CHECK constraint of yours.")));
    pg_unreachable();
}

}  // namespace

SegmentRef AttachPart(const SegmentKey& key, uint32 number, Relation table, bool survey, uint64 stamp) {
    const compat::FileNumber file = compat::FileNumberOf(table);
    const auto fits = [&](uint32 index) {
        const Part* part = index != kNone ? FindPart(&slots[index], number) : nullptr;
        return part != nullptr && part->file == file && (stamp == 0 || part->stamp == stamp);
    };
    const auto handle = [&](uint32 index) {  // map lock held
        const Slot* slot = &slots[index];
        SegmentRef ref{key, number, index, pg_atomic_read_u32(const_cast<pg_atomic_uint32*>(&slot->generation))};
        if (number == 0) return ref;
        ref.base = *BaseOf(slot, number);
        ref.pages = BlockNumber{1} << slot->part_bits;
        return ref;
    };
    {
        LWLockAcquire(&map->lock, LW_SHARED);
        const uint32 index = FindSlot(key);
        SegmentRef ref;
        if (fits(index)) ref = handle(index);
        LWLockRelease(&map->lock);
        if (ref.generation != 0) return ref;
    }

    if (number != 0 && RelationGetNumberOfBlocks(table) >= kMostPages) RaiseTooLong(table);
    bool made = false;
    LWLockAcquire(&map->lock, LW_EXCLUSIVE);
    uint32 index = FindSlot(key);
    if (!fits(index)) {
        // The length is read under the map lock: a commit that finds no slot now has its rows on pages that the length
        // includes, and one that comes later finds the slot.
        // A slot that exists is locked before: its users may lower it until then.
        const bool fresh = index == kNone;
        if (!fresh) LWLockAcquire(&slots[index].lock, LW_EXCLUSIVE);
        const BlockNumber blocks = RelationGetNumberOfBlocks(table);
        if (fresh && map->free_slot != kNone) {
            index = map->free_slot;
            map->free_slot = slots[index].next;
        } else if (fresh) {
            index = EvictSlot(kNone);
            pg_atomic_fetch_add_u64(&map->no_slot, 1);
        }
        if (index == kNone) {
            LWLockRelease(&map->lock);
            ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED), errmsg("too many queues are in use at once"),
                            errhint("Raise \"pgqueue.max_segments\" and restart the server.")));
        }
        Slot* slot = &slots[index];
        if (fresh) LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
        Part* part = fresh ? nullptr : PlaceForPart(slot, number, blocks);
        made = part == nullptr;
        if (made && !fresh) {
            ResetSlot(slot);
            pg_atomic_fetch_add_u32(&slot->generation, 1);
        }
        if (made) {
            InitSlot(slot, key, number, blocks, number == 0);
            part = &slot->parts[0];
        }
        FillPart(slot, part, number, file, stamp, blocks, survey);
        if (fresh) {
            slot->next = buckets[BucketOf(key)];
            buckets[BucketOf(key)] = index;
        }
        LWLockRelease(&slot->lock);
    }
    Touch(&slots[index]);
    const SegmentRef ref = handle(index);
    LWLockRelease(&map->lock);
    // It may stand for a segment that was watched in another slot, or under another file.
    if (made && pg_atomic_read_u32(&map->watching) != 0) pg::WakeWorker(key.database, pg::kMapsChanged);
    return ref;
}

SegmentRef Attach(Relation table, bool survey, uint64 stamp) {
    return AttachPart({MyDatabaseId, RelationGetRelid(table), compat::FileNumberOf(table)}, 0, table, survey, stamp);
}

void DetachPart(const SegmentKey& key, uint32 number) {
    LWLockAcquire(&map->lock, LW_EXCLUSIVE);
    const uint32 index = FindSlot(key);
    if (index != kNone) {
        LWLockAcquire(&slots[index].lock, LW_EXCLUSIVE);
        if (Part* part = FindPart(&slots[index], number)) {
            part->file = 0;
            const uint64 tail = pg_atomic_read_u64(&slots[index].tail) >> 32;
            if (tail >> slots[index].part_bits == number - slots[index].first)
                pg_atomic_write_u64(&slots[index].tail, kNoTail);
        }
        LWLockRelease(&slots[index].lock);
    }
    LWLockRelease(&map->lock);
}

void Widen(const SegmentRef& ref, Relation table) {
    if (ref.pages >= kMostPages) RaiseTooLong(table);
    LWLockAcquire(&map->lock, LW_EXCLUSIVE);
    Slot* slot = &slots[ref.slot];
    LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
    // Whoever attaches it next finds a part too long for it, and makes it anew.
    if (pg_atomic_read_u32(&slot->generation) == ref.generation) {
        for (Part& part : slot->parts) part.file = 0;
        pg_atomic_fetch_add_u32(&slot->generation, 1);
    }
    LWLockRelease(&slot->lock);
    LWLockRelease(&map->lock);
}

MapShortages Shortages() { return {pg_atomic_read_u64(&map->no_slot), pg_atomic_read_u64(&map->no_node)}; }

SegmentRef FindMap(const SegmentKey& key, uint32 number, Relation table, uint64 stamp) {
    SegmentRef ref{key, number};
    LWLockAcquire(&map->lock, LW_SHARED);
    const uint32 index = FindSlot(key);
    const Part* part = index != kNone ? FindPart(&slots[index], number) : nullptr;
    if (part != nullptr && part->file == compat::FileNumberOf(table) && part->stamp == stamp) {
        ref.slot = index;
        ref.generation = pg_atomic_read_u32(&slots[index].generation);
        ref.base = *BaseOf(&slots[index], number);
    }
    LWLockRelease(&map->lock);
    return ref;
}

bool TakeSurvey(const SegmentRef& ref, BlockNumber count, BlockNumber* first, BlockNumber* end) {
    const SharedSlot slot(ref);
    Part* part = slot ? FindPart(&slots[ref.slot], ref.part) : nullptr;
    if (part == nullptr) return false;
    uint32 from = pg_atomic_read_u32(&part->survey_next);
    uint32 to = 0;
    do {
        if (from >= part->survey_end) return false;
        to = static_cast<uint32>(std::min<uint64>(uint64{from} + count, part->survey_end));
    } while (!pg_atomic_compare_exchange_u32(&part->survey_next, &from, to));
    *first = from;
    *end = to;
    return true;
}

bool IsCurrent(const SegmentRef& ref) {
    return ref.generation != 0 && pg_atomic_read_u32(&slots[ref.slot].generation) == ref.generation;
}

void KeepInUse(const SegmentRef& ref) {
    if (IsCurrent(ref)) Touch(&slots[ref.slot]);
}

bool DueBands(const SegmentRef& ref, Bound now, BandList* bands) {
    bands->clear();
    const SharedSlot slot(ref);
    if (!slot) return false;
    Touch(&slots[ref.slot]);
    for (int i = 0; i < slot->band_count; i++)
        if (BoundIn(pg_atomic_read_u64(&slot->bands[i].root_word)) <= now)
            bands->push_back({i, slot->bands[i].priority});
    std::sort(bands->begin(), bands->end(),
              [](const BandInfo& a, const BandInfo& b) { return a.priority > b.priority; });
    return true;
}

int BandFor(const SegmentRef& ref, int32 priority) {
    if (priority == 0) return 0;
    {
        const SharedSlot slot(ref);
        if (!slot) return 0;
        const int band = NearestBand(&slots[ref.slot], priority);
        if (slot->bands[band].priority == priority || slot->band_count == kMaxBands) return band;
    }
    Slot* slot = &slots[ref.slot];
    LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
    int band = 0;
    if (pg_atomic_read_u32(&slot->generation) == ref.generation) {
        band = NearestBand(slot, priority);
        if (slot->bands[band].priority != priority && slot->band_count < kMaxBands) {
            band = slot->band_count++;
            InitBand(&slot->bands[band], priority, kNever);
        }
    }
    LWLockRelease(&slot->lock);
    return band;
}

Find FindDue(const SegmentRef& ref, int band_index, BlockNumber from, Bound now, Range* range) {
    const SharedSlot slot(ref);
    if (!slot) return Find::kStale;
    if (band_index >= slot->band_count) return Find::kNothing;
    Band* band = &slot->bands[band_index];
    const uint64 value = pg_atomic_read_u64(&band->root_word);
    if (BoundIn(value) > now) return Find::kNothing;
    const BlockNumber place = ref.base + from;
    if (band->root == kNone) {
        if (from != 0) return Find::kNothing;
        const uint64 end = std::min<uint64>(CoverOf(kMaxLevel), MaxBlockNumber);
        *range = {0, static_cast<BlockNumber>(end), kMaxLevel, value};
    } else if (!FindInNode(band->root, band->level, 0, place, now, range)) {
        if (place == 0) RaiseWord(&band->root_word, band->root);
        return Find::kNothing;
    }
    if (ref.part == 0) return Find::kFound;
    // What is in the part of it.
    if (range->start - ref.base >= ref.pages && range->start > ref.base) return Find::kNothing;
    const BlockNumber start = std::max(range->start, ref.base) - ref.base;
    const BlockNumber end = std::min(range->end - ref.base, ref.pages);
    if (range->level > 0 && end - start != range->end - range->start) range->level = kForeign;
    range->start = start;
    range->end = end;
    return Find::kFound;
}

std::optional<PageLook> BeginLook(const SegmentRef& ref, int band, BlockNumber block, Bound now) {
    const SharedSlot slot(ref);
    if (!slot || band >= slot->band_count) return std::nullopt;
    const Path path = PathTo(&slot->bands[band], ref.base + block);
    if (!path.leaf) return std::nullopt;
    PageLook look{pg_atomic_read_u64(path.word[path.depth - 1]), {}};
    const uint64 start = pg_atomic_read_u64(path.start);
    const auto ahead = static_cast<int32>(static_cast<uint32>(start) - static_cast<uint32>(now));
    if (start >> 54 != 0 && (start >> 32 & kCountMask) == (look.word & kCountMask) && ahead > 0)
        look.start = {static_cast<OffsetNumber>(start >> 54), now + ahead};
    return look;
}

void LeaveStart(const SegmentRef& ref, int band, BlockNumber block, uint64 word, Start start) {
    const SharedSlot slot(ref);
    if (!slot || band >= slot->band_count) return;
    const Path path = PathTo(&slot->bands[band], ref.base + block);
    if (path.leaf) pg_atomic_write_u64(path.start, StartWord(word, start));
}

std::optional<uint64> Publish(const SegmentRef& ref, int band, BlockNumber block, uint64 word, Bound bound) {
    if (BoundIn(word) == bound) return word;
    const SharedSlot slot(ref);
    if (!slot || band >= slot->band_count) return std::nullopt;
    const Path path = PathTo(&slot->bands[band], ref.base + block);
    if (!path.leaf) return std::nullopt;
    const Bound was = BoundIn(word);
    const uint64 successor = Successor(word, bound);
    if (!pg_atomic_compare_exchange_u64(path.word[path.depth - 1], &word, successor)) return std::nullopt;
    if (bound > was)
        RaiseAbove(path, was);
    else
        for (int i = path.depth - 2; i >= 0; i--) LowerWord(path.word[i], bound);
    return successor;
}

void PublishRange(const SegmentRef& ref, int band_index, const Range& range, Bound bound) {
    const SharedSlot slot(ref);
    if (!slot || band_index >= slot->band_count || range.level == kForeign) return;
    Band* band = &slot->bands[band_index];
    const Path path = PathTo(band, ref.base + range.start);
    // The node may have been made, or the tree grown, since: then finer words took over.
    const int depth = range.level == kMaxLevel ? 0 : band->level - range.level;
    if (depth < 0 || depth != path.depth - 1 || path.below[depth] != kNone) return;
    if (range.level == kMaxLevel && band->root != kNone) return;
    uint64 word = range.word;
    const Bound was = BoundIn(word);
    if (bound <= was) return;
    if (!pg_atomic_compare_exchange_u64(path.word[depth], &word, Successor(word, bound))) return;
    RaiseAbove(path, was);
}

void MakeRoom(const SegmentRef& ref, int band, BlockNumber block) {
    {
        const SharedSlot slot(ref);
        if (!slot || band >= slot->band_count || PathTo(&slot->bands[band], ref.base + block).leaf) return;
    }
    for (int tries = 0; tries < 8; tries++) {
        Slot* slot = &slots[ref.slot];
        LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
        const bool current = pg_atomic_read_u32(&slot->generation) == ref.generation;
        const bool done = !current || band >= slot->band_count || InstallPath(&slot->bands[band], ref.base + block);
        LWLockRelease(&slot->lock);
        if (done) return;

        LWLockAcquire(&map->lock, LW_EXCLUSIVE);
        const uint32 evicted = EvictSlot(ref.slot);
        if (evicted != kNone) {
            slots[evicted].next = map->free_slot;
            map->free_slot = evicted;
        }
        LWLockRelease(&map->lock);
        if (evicted == kNone) return;
    }
}

void Lower(const SegmentRef& ref, int32 priority, BlockNumber first, BlockNumber last, Bound bound, Above above) {
    {
        const SharedSlot slot(ref);
        if (slot && LowerIn(&slots[ref.slot], priority, ref.base + first, ref.base + last, bound, above)) return;
    }
    // The tree must grow, or the slot was evicted since. A new map of the segment may have been made after our rows
    // were written, but before they were committed, and a reader of it may have looked already.
    LWLockAcquire(&map->lock, LW_SHARED);
    const uint32 index = FindSlot(ref.key);
    if (index != kNone) {
        LWLockAcquire(&slots[index].lock, LW_EXCLUSIVE);
        if (const auto base = BaseOf(&slots[index], ref.part))
            GrowAndLower(&slots[index], priority, *base + first, *base + last, bound);
        LWLockRelease(&slots[index].lock);
    }
    LWLockRelease(&map->lock);
}

void LowerAllBands(const SegmentRef& ref, BlockNumber first, BlockNumber last, Bound bound) {
    const SharedSlot slot(ref);
    if (!slot) return;  // a new map is unknown, and its readers make holds anew
    for (int i = 0; i < slot->band_count; i++) {
        const uint64 cover = CoverOf(slot->bands[i].level);
        const uint64 from = uint64{ref.base} + first;
        const auto end = static_cast<BlockNumber>(std::min<uint64>(uint64{ref.base} + last, cover - 1));
        if (from < cover)
            LowerIn(&slots[ref.slot], slot->bands[i].priority, static_cast<BlockNumber>(from), end, bound, Above::kNow);
    }
}

GroupMode GroupModeOf(const SegmentRef& ref) {
    if (!IsCurrent(ref)) return GroupMode::kOff;
    return static_cast<GroupMode>(pg_atomic_read_u32(&slots[ref.slot].group_mode));
}

void SetGroupMode(const SegmentRef& ref, GroupMode mode) {
    const SharedSlot slot(ref);
    if (!slot) return;
    auto survey = static_cast<uint32>(GroupMode::kSurvey);
    if (mode != GroupMode::kReady)
        pg_atomic_write_u32(&slot->group_mode, static_cast<uint32>(mode));
    else
        pg_atomic_compare_exchange_u32(&slot->group_mode, &survey, static_cast<uint32>(mode));
}

Bound NextDue(const SegmentRef& ref) {
    const SharedSlot slot(ref);
    if (!slot) return kUnknown;
    Bound least = kNever;
    for (int i = 0; i < slot->band_count; i++)
        least = std::min(least, BoundIn(pg_atomic_read_u64(&slot->bands[i].root_word)));
    return least;
}

int BandCount(const SegmentRef& ref) {
    const SharedSlot slot(ref);
    return slot ? slot->band_count : 1;
}

static_assert(kLeafPages == kFanout && kChunkLeaves == kFanout);
static_assert((1 << kLeastPartBits) % (kLeafPages * kChunkLeaves) == 0);
constexpr uint32 kChunkPages = kLeafPages * kChunkLeaves;

bool FindLeaves(const SegmentRef& ref, uint32 chunk, uint64* leaves) {
    *leaves = 0;
    const SharedSlot slot(ref);
    if (!slot) return false;
    for (int i = 0; i < slot->band_count; i++) {
        const ChunkPlace place = PlaceOfChunk(&slot->bands[i], chunk + ref.base / kChunkPages);
        if (BoundIn(place.word) == kNever) continue;
        if (place.node == kNone) *leaves = ~uint64{0};
        if (place.node == kNone) continue;
        if (place.leaf_only) *leaves |= 1;
        for (int g = 0; g < kFanout && !place.leaf_only; g++)
            if (BoundIn(pg_atomic_read_u64(&nodes[place.node].word[g])) != kNever) *leaves |= uint64{1} << g;
    }
    return true;
}

bool ReadLeaves(const SegmentRef& ref, uint32 chunk, uint64 leaves, Bound now, LeafPages* out) {
    constexpr uint64 kAll = ~uint64{0};
    for (int g = 0; g < kChunkLeaves; g++) out[g] = {};
    const SharedSlot slot(ref);
    if (!slot) return false;
    for (int i = 0; i < slot->band_count; i++) {
        const ChunkPlace place = PlaceOfChunk(&slot->bands[i], chunk + ref.base / kChunkPages);
        for (int g = 0; g < kFanout; g++) {
            if ((leaves >> g & 1) == 0) continue;
            if (place.node == kNone) {
                AddPages(place.word, kAll, now, &out[g]);
            } else if (place.leaf_only) {
                if (g == 0) AddLeaf(place.node, now, &out[g]);
            } else {
                const auto leaf = static_cast<uint32>(pg_atomic_read_u64(&nodes[place.node].below[g]));
                if (leaf == kNone)
                    AddPages(pg_atomic_read_u64(&nodes[place.node].word[g]), kAll, now, &out[g]);
                else
                    AddLeaf(leaf, now, &out[g]);
            }
        }
    }
    for (int g = 0; g < kChunkLeaves; g++) out[g].later &= ~out[g].due;
    return true;
}

}  // namespace pgqueue::page
