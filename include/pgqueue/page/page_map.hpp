// The page map: where a reader should look, and when.
//
// For each heap page of a segment, and for each priority band, shared memory keeps a lower bound: the earliest time at
// which the page may hold a deliverable row of that band. kUnknown says "look", kNever "nothing here". The bounds are
// hints: the truth is in the page. The one invariant is that a bound is never later than the truth; it may be earlier,
// which costs a wasted look.
//
// A bound lives in one atomic word together with a change count. A reader loads the word after it has locked the page,
// scans, and publishes by compare-and-swap before it unlocks. Whoever makes a row deliverable from outside (a commit,
// a released lease, an UPDATE) lowers the bound and steps the count, so a publish computed from an older look fails.
//
// Above the pages' words stands a radix tree of minima, fan-out 64: lowered from the leaf up, raised only by
// compare-and-swap on a word that was loaded before its children were read. Where a node is missing (memory is
// bounded by pgqueue.page_map_size), its parent's word stands for the whole range: coarser, never wrong.
//
// Locks: map lock (find, create and evict segments) before a slot's lock before the node pool's spinlock. A slot's lock
// is held shared while its trees are used and exclusively to change their shape. All of them may be taken under a
// buffer content lock and inside transaction callbacks: nothing here allocates memory or raises an error, but for
// Attach and MakeRoom.
#pragma once

#include "pgqueue/pg/compat.hpp"

namespace pgqueue::page {

// Time in ticks of 1,024 microseconds since 2000-01-01, in 42 bits: enough until 2142.
using Bound = uint64;
inline constexpr Bound kUnknown = 0;
inline constexpr Bound kNever = (uint64{1} << 42) - 1;

// Rounds down; what lies beyond the last tick becomes the last tick before kNever.
Bound BoundOf(TimestampTz when);
// The first instant of the tick after `bound`: when a sleeper may look.
TimestampTz WakeTime(Bound bound);

inline constexpr int kMaxBands = 16;

struct SegmentKey {
    Oid database;
    Oid relation;
    compat::FileNumber file;
    bool operator==(const SegmentKey&) const = default;
};

// A backend's handle on a segment's map. A handle whose slot was given to another segment is stale: lookups through it
// answer so, and lowering finds the segment's new slot by the key.
struct SegmentRef {
    SegmentKey key{};
    uint32 slot = 0;
    uint32 generation = 0;  // 0: never attached
};

enum class Find { kFound, kNothing, kStale };

// Pages [start, end). level 0: one page with a word of its own. Above: a coarse range, and `word` is its word, loaded
// before the caller looks at the first page.
struct Range {
    BlockNumber start = 0;
    BlockNumber end = 0;
    int level = 0;
    uint64 word = 0;
};

struct BandInfo {
    int band;
    int32 priority;
};
using BandList = boost::container::static_vector<BandInfo, kMaxBands>;

Size MapShmemSize();
void MapShmemInit();

// Finds or creates the segment's map; a new one starts unknown for every page that exists. The caller holds a lock on
// the relation. May raise (reading the relation's length). `survey`: the rows have priorities, so the pages that exist
// are to be looked at before the order of reading can be right; see TakeSurvey. `stamp` stands for the state of the
// table's triggers: rows may have come while they were disabled, so a map that was filled under another one starts
// anew. 0: any will do.
SegmentRef Attach(Relation segment, bool survey, uint64 stamp);
// Hands out the next pages that nobody has looked at since the map was made, at most `count`. False: none are left.
bool TakeSurvey(const SegmentRef& ref, BlockNumber count, BlockNumber* first, BlockNumber* end);
bool IsCurrent(const SegmentRef& ref);

// The bands that may have something at `now`, highest priority first. False: stale.
bool DueBands(const SegmentRef& ref, Bound now, BandList* bands);
// The band of a priority; makes one if there is room, else the nearest band serves both. 0 where stale.
int BandFor(const SegmentRef& ref, int32 priority);

// The first page or coarse range at or after `from` whose bound has come.
Find FindDue(const SegmentRef& ref, int band, BlockNumber from, Bound now, Range* range);
// Replaces `word`, as loaded before the look, by `bound`; does nothing if it changed since.
void Publish(const SegmentRef& ref, int band, BlockNumber block, uint64 word, Bound bound);
// The same for a coarse range that was scanned from its start to its end.
void PublishRange(const SegmentRef& ref, int band, const Range& range, Bound bound);
// Where a look at a page may begin: everything before `off` was not deliverable at an earlier look, nor will be before
// `due`.
struct Start {
    OffsetNumber off = FirstOffsetNumber;
    Bound due = kNever;
};
// The page's word and the start that goes with it; call with the page locked exclusively. A start is void once the word
// has changed or its due has come. Nothing where stale or coarse.
struct PageLook {
    uint64 word = 0;
    Start start;
};
inline constexpr Bound kStartReach = Bound{1} << 30;  // ticks; no start's due is farther ahead
std::optional<PageLook> BeginLook(const SegmentRef& ref, int band, BlockNumber block, Bound now);
// After a look that ended before the page's end: the next one may begin there. Call before the page is unlocked.
void LeaveStart(const SegmentRef& ref, int band, BlockNumber block, uint64 word, Start start);

// Makes the nodes for a page, evicting idle segments for room; where that fails the range stays coarse.
void MakeRoom(const SegmentRef& ref, int band, BlockNumber block);

// Lowers pages first..last, for rows of that priority. Finds the segment's new slot where the handle is stale. Safe in
// callbacks.
void Lower(const SegmentRef& ref, int32 priority, BlockNumber first, BlockNumber last, Bound bound);
// The earliest bound of the segment, over all bands.
Bound NextDue(const SegmentRef& ref);

// The shared tail: the page to which senders append, with the room that is left on it and the pages behind it that the
// table was extended by already. Senders reserve room before they insert, so that they don't all find the page full at
// once and extend the table by a page each. A reservation is a hint too: if the room turns out to be gone, heap_insert
// finds some.
inline constexpr int kEmptyPageRoom = BLCKSZ - SizeOfPageHeaderData;
struct TailSpace {
    BlockNumber block = InvalidBlockNumber;
    int ahead = 0;  // pages behind it that the table is thought to have
    int count = 0;  // rows that fit; 0: the table must be extended behind `block`, or the tail is unknown
};
// Reserves room on one page for as many of the rows as fit, at least one. Sizes in bytes as heap rows take.
TailSpace ReserveTail(const SegmentRef& ref, const uint16* sizes, int count);
// The tail as it stands. InvalidBlockNumber where unknown.
BlockNumber Tail(const SegmentRef& ref);
// Moves the tail to `block`, which was just added to the table and is empty, with `ahead` more behind it; or, with
// `block` in use, to a page on which nothing is known to be free. Never moves it back.
void MoveTail(const SegmentRef& ref, BlockNumber block, int room, int ahead);
// Forgets the tail: it turned out to lie beyond the table's end.
void ForgetTail(const SegmentRef& ref);

// Until when released leases may be noted for this segment (see released_leases.hpp).
void ExtendReleasedUntil(const SegmentRef& ref, TimestampTz until);
TimestampTz ReleasedUntil(const SegmentRef& ref);

// Waiting readers. The variable's slot is not evicted while somebody is on its list.
// Choosy ones, who may pass by what they are woken for, have one of their own.
ConditionVariable* WaitVariable(const SegmentRef& ref, bool choosy);
// Wakes up to `count` waiting readers (kEverybody: all), and all choosy ones. Safe in callbacks.
inline constexpr int kEverybody = std::numeric_limits<int>::max();
void Wake(const SegmentRef& ref, int count);
// One waiter at a time keeps the segment's timer; the others sleep until woken. Claims it for `due` if nobody watches
// an instant as early as that.
bool ClaimTimer(const SegmentRef& ref, TimestampTz due, TimestampTz now);  // takes over an instant that has passed
void ReleaseTimer(const SegmentRef& ref, TimestampTz due);

}  // namespace pgqueue::page
