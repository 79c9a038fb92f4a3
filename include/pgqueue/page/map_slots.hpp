// The page map's shared memory, for the files that make it up: page_map.cpp (the trees), map_tail.cpp, map_waiters.cpp.
#pragma once

#include "pgqueue/page/page_map.hpp"

namespace pgqueue::page::detail {

constexpr int kFanout = 64;
constexpr uint32 kNone = 0xffffffff;

// One level of the tree: words of 64 pages, or of 64 nodes below.
struct Node {
    pg_atomic_uint64 word[kFanout];
    // An inner node's children: node index or kNone, changed only under the slot's exclusive lock. A leaf's pages: the
    // start of the next look, see StartWord; written under the page's exclusive content lock.
    pg_atomic_uint64 below[kFanout];
};

// What a slot's segment is to the database's worker: nothing; to be told of; or it has been told and not looked yet.
enum WatchState : uint32 { kUnwatched, kWatched, kNews };

// The tree of one priority. Everything but `root_word` changes only under the slot's exclusive lock.
struct Band {
    int32 priority;
    int32 level;  // the tree covers 64^level pages
    uint32 root;  // node index or kNone
    pg_atomic_uint64 root_word;
};

// A table whose pages the map covers, from (number - first) << part_bits on.
struct Part {
    compat::FileNumber file;  // 0: the entry is free
    uint32 number;
    uint64 stamp;                  // see Attach
    pg_atomic_uint32 survey_next;  // see TakeSurvey
    BlockNumber survey_end;
};

struct Slot {
    LWLock lock;
    SegmentKey key;  // map lock; stable under the slot's lock
    uint32 first;    // written under both locks, as all of the parts
    int32 part_bits;
    Part parts[kMostParts];
    pg_atomic_uint32 generation;      // steps by one with every new owner; written under both locks
    uint32 next;                      // hash chain or free list; map lock
    bool used;                        // map lock
    int32 band_count;                 // slot lock
    pg_atomic_uint64 tail;            // see TailWord
    pg_atomic_uint32 recently_used;   // for the eviction's clock hand
    pg_atomic_uint64 released_until;  // TimestampTz; only grows
    pg_atomic_uint64 timer;           // TimestampTz that a waiter watches, or kNoTimer
    pg_atomic_uint32 group_mode;      // GroupMode
    pg_atomic_uint32 watch;           // WatchState
    pg_atomic_uint32 full_part;       // number of the part that AskForSegment named last
    uint32 full_taken;                // the same, of TakeFullMaps; the worker's
    uint64 tail_seen;                 // of FindIdleMaps; the worker's
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
    pg_atomic_uint64 no_slot;       // times a segment had to give its map up to another one, since the server's start
    pg_atomic_uint64 no_node;       // times a node was wanted and none was free
    pg_atomic_uint32 watching;      // some segment was watched once
    pg_atomic_uint64 released_max;  // the latest released_until of any slot, evicted ones included
};

constexpr uint64 kNoTimer = std::numeric_limits<uint64>::max();
constexpr uint64 kNoTail = uint64{InvalidBlockNumber} << 32;

extern Map* map;
extern uint32* buckets;
extern Slot* slots;

uint32 FindSlot(const SegmentKey& key);  // map lock held

inline void Touch(Slot* slot) {
    if (pg_atomic_read_u32(&slot->recently_used) == 0) pg_atomic_write_u32(&slot->recently_used, 1);
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

}  // namespace pgqueue::page::detail
