#include "pgqueue/page/page_map.hpp"

#include "pgqueue/settings.hpp"

namespace pgqueue::page {
namespace {

constexpr int kFanout = 64;
constexpr int kFanoutBits = 6;
constexpr int kMaxLevel = 6;  // 64^6 pages are more than a relation can have
constexpr int kBoundShift = 22;
constexpr uint64 kCountMask = (uint64{1} << kBoundShift) - 1;
constexpr uint32 kNone = 0xffffffff;

// A word: the bound in the upper 42 bits, a count of its changes in the lower 22.
Bound BoundIn(uint64 word) { return word >> kBoundShift; }
uint64 Successor(uint64 word, Bound bound) { return (bound << kBoundShift) | ((word + 1) & kCountMask); }
uint64 InitialWord(Bound bound, uint32 count = 0) { return bound << kBoundShift | (count & kCountMask); }

// A start in one word: the line pointer (10 bits), the change count of the page's word to which it belongs (22 bits),
// and the low 32 bits of its due, at most kStartReach after the look that left it. Without a line pointer: none.
uint64 StartWord(uint64 word, Start start) {
    return uint64{start.off} << 54 | (word & kCountMask) << 32 | (start.due & 0xffffffff);
}

// The tail in one word: the block, the pages added behind it (16 bits), the room left on it (16 bits).
uint64 TailWord(BlockNumber block, int room, int ahead) {
    return uint64{block} << 32 | static_cast<uint64>(ahead) << 16 | static_cast<uint64>(room);
}
BlockNumber TailBlock(uint64 word) { return static_cast<BlockNumber>(word >> 32); }
int TailAhead(uint64 word) { return static_cast<int>(word >> 16 & 0xffff); }
int TailRoom(uint64 word) { return static_cast<int>(word & 0xffff); }

// One level of the tree: words of 64 pages, or of 64 nodes below.
struct Node {
    pg_atomic_uint64 word[kFanout];
    // An inner node's children: node index or kNone, changed only under the slot's exclusive lock. A leaf's pages: the
    // start of the next look, see StartWord; written under the page's exclusive content lock.
    pg_atomic_uint64 below[kFanout];
};

// The tree of one priority. Everything but `root_word` changes only under the slot's exclusive lock.
struct Band {
    int32 priority;
    int32 level;  // the tree covers 64^level pages
    uint32 root;  // node index or kNone
    pg_atomic_uint64 root_word;
};

struct Slot {
    LWLock lock;
    uint64 stamp;                     // map lock; see Attach
    SegmentKey key;                   // map lock; stable under the slot's lock
    pg_atomic_uint32 generation;      // steps by one with every new owner; written under both locks
    uint32 next;                      // hash chain or free list; map lock
    bool used;                        // map lock
    int32 band_count;                 // slot lock
    pg_atomic_uint64 tail;            // see TailWord
    pg_atomic_uint32 recently_used;   // for the eviction's clock hand
    pg_atomic_uint64 survey_next;     // see TakeSurvey
    BlockNumber survey_end;           // slot lock
    pg_atomic_uint64 released_until;  // TimestampTz; only grows
    pg_atomic_uint64 timer;           // TimestampTz that a waiter watches, or kNoTimer
    ConditionVariable waiters;
    ConditionVariable choosy;
    Band bands[kMaxBands];
};

struct Map {
    LWLock lock;  // the hash table, the slots' keys, the free list
    slock_t pool_lock;
    int32 slot_count;
    int32 bucket_count;
    int32 node_count;
    uint32 free_slot;               // map lock
    uint32 clock_hand;              // map lock
    uint32 free_node;               // pool_lock; chained through child[0]
    pg_atomic_uint32 first_count;   // see FillNode
    pg_atomic_uint64 released_max;  // the latest released_until of any slot, evicted ones included
};

constexpr uint64 kNoTimer = std::numeric_limits<uint64>::max();

Map* map;
uint32* buckets;
Slot* slots;
Node* nodes;

static_assert(std::is_trivially_destructible_v<Slot> && std::is_standard_layout_v<Slot>);
static_assert(std::is_trivially_destructible_v<Node> && std::is_standard_layout_v<Node>);

int NodeCount() { return static_cast<int>(static_cast<Size>(settings::page_map_size_kb) * 1024 / sizeof(Node)); }
int BucketCount() { return settings::max_segments * 2; }

BlockNumber SpanOf(int level) {  // pages under one entry of a node at `level`; a leaf is level 1
    return BlockNumber{1} << (kFanoutBits * (level - 1));
}
uint64 CoverOf(int level) { return uint64{1} << (kFanoutBits * level); }

uint32 BucketOf(const SegmentKey& key) {
    const uint32 words[] = {static_cast<uint32>(key.database), static_cast<uint32>(key.relation),
                            static_cast<uint32>(key.file)};
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

uint32 AllocateNode() {
    SpinLockAcquire(&map->pool_lock);
    const uint32 node = map->free_node;
    if (node != kNone) map->free_node = static_cast<uint32>(pg_atomic_read_u64(&nodes[node].below[0]));
    SpinLockRelease(&map->pool_lock);
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

// Holds a slot's lock shared for as long as it lives; nothing raises in that time.
class SharedSlot {
public:
    explicit SharedSlot(const SegmentRef& ref) : slot_(&slots[ref.slot]) {
        if (ref.generation == 0) return;
        LWLockAcquire(&slot_->lock, LW_SHARED);
        valid_ = pg_atomic_read_u32(&slot_->generation) == ref.generation;
        if (!valid_) LWLockRelease(&slot_->lock);
    }
    ~SharedSlot() {
        if (valid_) LWLockRelease(&slot_->lock);
    }
    SharedSlot(const SharedSlot&) = delete;
    SharedSlot& operator=(const SharedSlot&) = delete;
    explicit operator bool() const { return valid_; }
    Slot* operator->() const { return slot_; }

private:
    Slot* slot_;
    bool valid_ = false;
};

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

// Lowers [first, last] in the priority's tree. Slot's lock held. False: the tree must grow first, which takes the
// exclusive lock.
bool LowerIn(Slot* slot, int32 priority, BlockNumber first, BlockNumber last, Bound bound) {
    Band* band = &slot->bands[BandOf(slot, priority)];
    if (CoverOf(band->level) <= last) return false;
    for (uint64 block = first; block <= last; block++) {
        const Path path = PathTo(band, static_cast<BlockNumber>(block));
        // From the leaf up. The leaf's count must step; a word above that is as low already needs no step if the one
        // below it was, too: whoever lowered that one does or did the rest.
        bool low = true;
        for (int i = path.depth - 1; i >= 0; i--) {
            if (low && path.leaf && i < path.depth - 1 && BoundIn(pg_atomic_read_u64(path.word[i])) <= bound) continue;
            low = LowerWord(path.word[i], bound) <= bound && low;
        }
    }
    return true;
}

void GrowAndLower(Slot* slot, int32 priority, BlockNumber first, BlockNumber last, Bound bound) {
    Grow(&slot->bands[BandOf(slot, priority)], last);
    LowerIn(slot, priority, first, last, bound);
}

// Both locks held exclusively.
void ResetSlot(Slot* slot) {
    for (int i = 0; i < slot->band_count; i++) {
        FreeTree(slot->bands[i].root, slot->bands[i].level);
        slot->bands[i].root = kNone;
    }
    slot->band_count = 0;
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

void Touch(Slot* slot) {
    if (pg_atomic_read_u32(&slot->recently_used) == 0) pg_atomic_write_u32(&slot->recently_used, 1);
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
    pg_atomic_init_u64(&map->released_max, 0);
    pg_atomic_init_u32(&map->first_count, 0);
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
        pg_atomic_init_u64(&slot->tail, TailWord(InvalidBlockNumber, 0, 0));
        pg_atomic_init_u32(&slot->recently_used, 0);
        pg_atomic_init_u64(&slot->survey_next, 0);
        slot->survey_end = 0;
        pg_atomic_init_u64(&slot->released_until, 0);
        pg_atomic_init_u64(&slot->timer, kNoTimer);
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

SegmentRef Attach(Relation segment, bool survey, uint64 stamp) {
    const SegmentKey key{MyDatabaseId, RelationGetRelid(segment), compat::FileNumberOf(segment)};
    const auto fits = [&](uint32 index) { return index != kNone && (stamp == 0 || slots[index].stamp == stamp); };
    LWLockAcquire(&map->lock, LW_SHARED);
    uint32 index = FindSlot(key);
    uint32 generation = fits(index) ? pg_atomic_read_u32(&slots[index].generation) : 0;
    LWLockRelease(&map->lock);
    if (generation != 0) return {key, index, generation};

    LWLockAcquire(&map->lock, LW_EXCLUSIVE);
    index = FindSlot(key);
    if (!fits(index)) {
        // The length is read under the map lock: a commit that finds no slot now has its rows on pages that the length
        // includes, and one that comes later finds the slot.
        // A slot that exists is locked before: its users may lower it until then.
        const bool fresh = index == kNone;
        if (!fresh) LWLockAcquire(&slots[index].lock, LW_EXCLUSIVE);
        const BlockNumber blocks = RelationGetNumberOfBlocks(segment);
        if (fresh && map->free_slot != kNone) {
            index = map->free_slot;
            map->free_slot = slots[index].next;
        } else if (fresh) {
            index = EvictSlot(kNone);
        }
        if (index == kNone) {
            LWLockRelease(&map->lock);
            ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED), errmsg("too many queues are in use at once"),
                            errhint("Raise \"pgqueue.max_segments\" and restart the server.")));
        }
        Slot* slot = &slots[index];
        if (fresh) {
            LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
        } else {
            ResetSlot(slot);
            pg_atomic_fetch_add_u32(&slot->generation, 1);
        }
        slot->key = key;
        slot->stamp = stamp;
        slot->used = true;
        slot->band_count = 1;
        InitBand(&slot->bands[0], 0, kNever);
        MarkUnknown(&slot->bands[0], blocks);
        pg_atomic_write_u64(&slot->tail, TailWord(InvalidBlockNumber, 0, 0));
        pg_atomic_write_u64(&slot->survey_next, 0);
        slot->survey_end = survey ? blocks : 0;
        pg_atomic_write_u64(&slot->released_until, pg_atomic_read_u64(&map->released_max));
        pg_atomic_write_u64(&slot->timer, kNoTimer);
        if (fresh) {
            slot->next = buckets[BucketOf(key)];
            buckets[BucketOf(key)] = index;
        }
        LWLockRelease(&slot->lock);
    }
    Touch(&slots[index]);
    generation = pg_atomic_read_u32(&slots[index].generation);
    LWLockRelease(&map->lock);
    return {key, index, generation};
}

bool TakeSurvey(const SegmentRef& ref, BlockNumber count, BlockNumber* first, BlockNumber* end) {
    const SharedSlot slot(ref);
    if (!slot || pg_atomic_read_u64(&slot->survey_next) >= slot->survey_end) return false;
    const uint64 from = pg_atomic_fetch_add_u64(&slot->survey_next, count);
    if (from >= slot->survey_end) return false;
    *first = static_cast<BlockNumber>(from);
    *end = static_cast<BlockNumber>(std::min<uint64>(from + count, slot->survey_end));
    return true;
}

bool IsCurrent(const SegmentRef& ref) {
    return ref.generation != 0 && pg_atomic_read_u32(&slots[ref.slot].generation) == ref.generation;
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
    if (band->root == kNone) {
        if (from != 0) return Find::kNothing;
        const uint64 end = std::min<uint64>(CoverOf(kMaxLevel), MaxBlockNumber);
        *range = {0, static_cast<BlockNumber>(end), kMaxLevel, value};
        return Find::kFound;
    }
    if (FindInNode(band->root, band->level, 0, from, now, range)) return Find::kFound;
    if (from == 0) RaiseWord(&band->root_word, band->root);
    return Find::kNothing;
}

std::optional<PageLook> BeginLook(const SegmentRef& ref, int band, BlockNumber block, Bound now) {
    const SharedSlot slot(ref);
    if (!slot || band >= slot->band_count) return std::nullopt;
    const Path path = PathTo(&slot->bands[band], block);
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
    const Path path = PathTo(&slot->bands[band], block);
    if (path.leaf) pg_atomic_write_u64(path.start, StartWord(word, start));
}

void Publish(const SegmentRef& ref, int band, BlockNumber block, uint64 word, Bound bound) {
    if (BoundIn(word) == bound) return;
    const SharedSlot slot(ref);
    if (!slot || band >= slot->band_count) return;
    const Path path = PathTo(&slot->bands[band], block);
    if (!path.leaf) return;
    const Bound was = BoundIn(word);
    if (!pg_atomic_compare_exchange_u64(path.word[path.depth - 1], &word, Successor(word, bound))) return;
    if (bound > was)
        RaiseAbove(path, was);
    else
        for (int i = path.depth - 2; i >= 0; i--) LowerWord(path.word[i], bound);
}

void PublishRange(const SegmentRef& ref, int band_index, const Range& range, Bound bound) {
    const SharedSlot slot(ref);
    if (!slot || band_index >= slot->band_count) return;
    Band* band = &slot->bands[band_index];
    const Path path = PathTo(band, range.start);
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
        if (!slot || band >= slot->band_count || PathTo(&slot->bands[band], block).leaf) return;
    }
    for (int tries = 0; tries < 8; tries++) {
        Slot* slot = &slots[ref.slot];
        LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
        const bool current = pg_atomic_read_u32(&slot->generation) == ref.generation;
        const bool done = !current || band >= slot->band_count || InstallPath(&slot->bands[band], block);
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

void Lower(const SegmentRef& ref, int32 priority, BlockNumber first, BlockNumber last, Bound bound) {
    {
        const SharedSlot slot(ref);
        if (slot && LowerIn(&slots[ref.slot], priority, first, last, bound)) return;
    }
    // The tree must grow, or the slot was evicted since. A new map of the segment may have been made after our rows
    // were written, but before they were committed, and a reader of it may have looked already.
    LWLockAcquire(&map->lock, LW_SHARED);
    const uint32 index = FindSlot(ref.key);
    if (index != kNone) {
        LWLockAcquire(&slots[index].lock, LW_EXCLUSIVE);
        GrowAndLower(&slots[index], priority, first, last, bound);
        LWLockRelease(&slots[index].lock);
    }
    LWLockRelease(&map->lock);
}

Bound NextDue(const SegmentRef& ref) {
    const SharedSlot slot(ref);
    if (!slot) return kUnknown;
    Bound least = kNever;
    for (int i = 0; i < slot->band_count; i++)
        least = std::min(least, BoundIn(pg_atomic_read_u64(&slot->bands[i].root_word)));
    return least;
}

TailSpace ReserveTail(const SegmentRef& ref, const uint16* sizes, int count) {
    const SharedSlot slot(ref);
    if (!slot) return {};
    Touch(&slots[ref.slot]);
    uint64 word = pg_atomic_read_u64(&slot->tail);
    for (;;) {
        BlockNumber block = TailBlock(word);
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
        if (pg_atomic_compare_exchange_u64(&slot->tail, &word, TailWord(block, std::max(0, room - used), ahead)))
            return {block, ahead, fit};
    }
}

BlockNumber Tail(const SegmentRef& ref) {
    const SharedSlot slot(ref);
    return slot ? TailBlock(pg_atomic_read_u64(&slot->tail)) : InvalidBlockNumber;
}

void MoveTail(const SegmentRef& ref, BlockNumber block, int room, int ahead) {
    const SharedSlot slot(ref);
    if (!slot) return;
    uint64 word = pg_atomic_read_u64(&slot->tail);
    while (TailBlock(word) == InvalidBlockNumber || TailBlock(word) < block)
        if (pg_atomic_compare_exchange_u64(&slot->tail, &word, TailWord(block, room, ahead))) return;
}

void ForgetTail(const SegmentRef& ref) {
    const SharedSlot slot(ref);
    if (slot) pg_atomic_write_u64(&slot->tail, TailWord(InvalidBlockNumber, 0, 0));
}

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

void Wake(const SegmentRef& ref, int count) {
    uint32 index = ref.slot;
    if (!IsCurrent(ref)) {
        LWLockAcquire(&map->lock, LW_SHARED);
        index = FindSlot(ref.key);
        LWLockRelease(&map->lock);
        if (index == kNone) return;
    }
    ConditionVariable* waiters = &slots[index].waiters;
    pg_memory_barrier();  // pairs with the waiter's: it enters the list, then looks at the map
    if (count == kEverybody && !proclist_is_empty(&waiters->wakeup)) ConditionVariableBroadcast(waiters);
    for (int i = 0; count != kEverybody && i < count && !proclist_is_empty(&waiters->wakeup); i++)
        ConditionVariableSignal(waiters);
    if (!proclist_is_empty(&slots[index].choosy.wakeup)) ConditionVariableBroadcast(&slots[index].choosy);
}

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
