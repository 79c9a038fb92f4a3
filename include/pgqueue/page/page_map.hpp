// The page map: where a reader should look, and when.
//
// For each heap page of a table, and for each priority band, shared memory keeps a lower bound: the earliest time at
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
// A queue has one map for all its segments: each is a *part*, whose pages stand in the map behind those of the parts
// with lower numbers. A handle is of one part, and its pages are counted from 0; Whole() makes one of it in whose pages
// the parts follow one another, with gaps. Everything else (bands, waiters, groups) belongs to the map as a whole. A
// store's tables have maps of their own, of one part.
//
// Locks: map lock (find, create and evict segments) before a slot's lock before the node pool's spinlock. A slot's lock
// is held shared while its trees are used and exclusively to change their shape. All of them may be taken under a
// buffer content lock and inside transaction callbacks: nothing here allocates memory or raises an error, but for
// Attach and MakeRoom.
#pragma once

#include "pgqueue/pg/compat.hpp"
#include "pgqueue/pg/memory.hpp"

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

// What the bounds of a map mean. A relation may have one of each.
enum class MapKind : uint32 {
    kDeliverable,
    kExpiry,  // the earliest expiry of a message
};

struct SegmentKey {
    Oid database;
    Oid relation;             // a queue's parent
    compat::FileNumber file;  // 0 where there are parts: each has its own
    MapKind kind = MapKind::kDeliverable;
    bool operator==(const SegmentKey&) const = default;
};

// A backend's handle on a part of a map. A handle whose slot was given to another map is stale: lookups through it
// answer so, and lowering finds the map's new slot by the key.
struct SegmentRef {
    SegmentKey key{};
    uint32 part = 0;  // number; 0: the whole, or all that there is
    uint32 slot = 0;
    uint32 generation = 0;               // 0: never attached
    BlockNumber base = 0;                // of the part in the whole
    BlockNumber pages = MaxBlockNumber;  // that the part may have

    bool operator==(const SegmentRef&) const = default;
};

inline SegmentRef Whole(SegmentRef ref) {
    ref.part = 0;
    ref.base = 0;
    ref.pages = MaxBlockNumber;
    return ref;
}

inline constexpr int kMostParts = 16;    // of a map, at one time
inline constexpr uint32 kMostSpan = 64;  // between the lowest and the highest of their numbers, at least one more
inline constexpr BlockNumber kMostPages = BlockNumber{1} << 25;  // of a part

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

// Finds or creates the map of that key, and the part in it; a new one starts unknown for every page that the table has.
// The caller holds a lock on the table. May raise (reading its length). `survey`: the rows have priorities, so the
// pages that exist are to be looked at before the order of reading can be right; see TakeSurvey. `stamp` stands for the
// state of the table's triggers: rows may have come while they were disabled, so a map that was filled under another
// one starts anew. 0: any will do. So does one whose part has another file by now: its rows lie elsewhere.
SegmentRef AttachPart(const SegmentKey& key, uint32 number, Relation table, bool survey, uint64 stamp);
// The same for a table with a map of its own.
SegmentRef Attach(Relation table, bool survey, uint64 stamp);
// The part is gone: its number will not come again.
void DetachPart(const SegmentKey& key, uint32 number);
// The table has outgrown `pages`: its map is made anew, with more room, at the next Attach. Raises
// program_limit_exceeded where there can't be more.
void Widen(const SegmentRef& ref, Relation table);
// How often, since the server's start, a segment lost its map because there were too few, and how often a node was
// wanted and there was none.
struct MapShortages {
    uint64 maps;
    uint64 nodes;
};
MapShortages Shortages();
// The part's map if there is one that fits, else a handle that was never attached. For those who only count: it makes
// no map, and turns nobody's out.
SegmentRef FindMap(const SegmentKey& key, uint32 number, Relation table, uint64 stamp);
// Hands out the next pages of the part that nobody has looked at since it was attached, at most `count`. False: none
// are left.
bool TakeSurvey(const SegmentRef& ref, BlockNumber count, BlockNumber* first, BlockNumber* end);
bool IsCurrent(const SegmentRef& ref);
// For a long look at pages that have no words of their own: maps of others are evicted before this one.
void KeepInUse(const SegmentRef& ref);

// The bands that may have something at `now`, highest priority first. False: stale.
bool DueBands(const SegmentRef& ref, Bound now, BandList* bands);
// The band of a priority; makes one if there is room, else the nearest band serves both. 0 where stale.
int BandFor(const SegmentRef& ref, int32 priority);

// The first page or coarse range at or after `from` whose bound has come.
Find FindDue(const SegmentRef& ref, int band, BlockNumber from, Bound now, Range* range);
// Replaces `word`, as loaded before the look, by `bound`; does nothing if it changed since. Returns the word that
// stands for this look, if it does.
std::optional<uint64> Publish(const SegmentRef& ref, int band, BlockNumber block, uint64 word, Bound bound);
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

// When a lowered page can be found. kNow: at the return. kSoon, which spares the words that all pages share: where
// somebody else is lowering the same page at this moment, it may be he who makes it findable, after our return. Nothing
// may depend on the order then.
enum class Above { kSoon, kNow };

// Lowers pages first..last of a part, for rows of that priority. Finds the map's new slot where the handle is stale.
// Safe in callbacks.
void Lower(const SegmentRef& ref, int32 priority, BlockNumber first, BlockNumber last, Bound bound,
           Above above = Above::kSoon);
// The same in every band's tree, at once. Pages that the handle's map doesn't cover are looked at anyway.
void LowerAllBands(const SegmentRef& ref, BlockNumber first, BlockNumber last, Bound bound);
// The earliest bound of the segment, over all bands.
Bound NextDue(const SegmentRef& ref);

// Whether holds of groups are kept for this segment (see groups.hpp), and whether all that should be there are. A new
// map says kOff.
enum class GroupMode : uint32 { kOff, kSurvey, kReady };
GroupMode GroupModeOf(const SegmentRef& ref);              // kOff where stale
void SetGroupMode(const SegmentRef& ref, GroupMode mode);  // kReady: only if it is kSurvey still

// What the map says of many pages at once, over all bands: in leaves of 64 pages, 64 leaves to a chunk. A page is `due`
// if its bound has come or is unknown, `later` if it has a bound that hasn't come; the others hold no message.
inline constexpr int kLeafPages = 64;
inline constexpr int kChunkLeaves = 64;
struct LeafPages {
    uint64 due = 0;  // a bit for each page, the first is the lowest
    uint64 later = 0;
};
// The leaves of the chunk in which there may be such a page. False: stale.
bool FindLeaves(const SegmentRef& ref, uint32 chunk, uint64* leaves);
// Fills those of out[0..63] that are in `leaves`. False: stale.
bool ReadLeaves(const SegmentRef& ref, uint32 chunk, uint64 leaves, Bound now, LeafPages* out);
int BandCount(const SegmentRef& ref);

// The shared tail: the page to which senders append, with the room that is left on it and the pages behind it that the
// table was extended by already. Senders reserve room before they insert, so that they don't all find the page full at
// once and extend the table by a page each. A reservation is a hint too: if the room turns out to be gone, heap_insert
// finds some.
inline constexpr int kEmptyPageRoom = BLCKSZ - SizeOfPageHeaderData;
struct TailSpace {
    BlockNumber block = InvalidBlockNumber;
    int ahead = 0;        // pages behind it that the table is thought to have
    int count = 0;        // rows that fit; 0: the table must be extended behind `block`, or the tail is unknown
    bool passed = false;  // the tail is in a later part
};
// Reserves room on one page for as many of the rows as fit, at least one. Sizes in bytes as heap rows take.
TailSpace ReserveTail(const SegmentRef& ref, const uint16* sizes, int count);
// The tail as it stands. InvalidBlockNumber where unknown, or in another part.
BlockNumber Tail(const SegmentRef& ref);
// Moves the tail to `block`, which was just added to the table and is empty, with `ahead` more behind it; or, with
// `block` in use, to a page on which nothing is known to be free. Never moves it back.
void MoveTail(const SegmentRef& ref, BlockNumber block, int room, int ahead);
// Forgets the tail: it turned out to lie beyond the table's end.
void ForgetTail(const SegmentRef& ref);

// Until when released leases may be noted for this segment (see released_leases.hpp).
void ExtendReleasedUntil(const SegmentRef& ref, TimestampTz until);
TimestampTz ReleasedUntil(const SegmentRef& ref);

// The part is as long as it should become: tells the database's worker (pg::kSegmentFull), once for each part.
void AskForSegment(const SegmentRef& ref);
// Those maps of the database that have asked since the last call, or ever (`all`): their relations.
pg::Vector<Oid> TakeFullMaps(Oid database, bool all);
// And those of queues to which nothing was sent since the last call, with more than a few pages in the newest segment.
// *others: there are some to which something was.
pg::Vector<Oid> FindIdleMaps(Oid database, bool* others);
inline constexpr BlockNumber kFewPages = 16;

// Waiting readers. The variable's slot is not evicted while somebody is on its list.
// Choosy ones, who may pass by what they are woken for, have one of their own.
ConditionVariable* WaitVariable(const SegmentRef& ref, bool choosy);
// Wakes up to `count` waiting readers (kEverybody: all), and all choosy ones. Safe in callbacks.
inline constexpr int kEverybody = std::numeric_limits<int>::max();
void Wake(const SegmentRef& ref, int count);
// Wakes one waiting reader for another that leaves the list: nothing has happened that the worker should know.
void PassOn(const SegmentRef& ref);

// A watched segment tells its database's worker (pg::kQueueNews) when its readers are woken: once, until it is watched
// anew, which is to be done before the look. A hint that is lost with the segment's slot; but where anything is watched
// at all, the worker is told of every new map (pg::kMapsChanged).
void Watch(const SegmentRef& ref);
void Unwatch(const SegmentRef& ref);
bool HasNews(const SegmentRef& ref);  // also where the handle is stale
// One waiter at a time keeps the segment's timer; the others sleep until woken. Claims it for `due` if nobody watches
// an instant as early as that.
bool ClaimTimer(const SegmentRef& ref, TimestampTz due, TimestampTz now);  // takes over an instant that has passed
void ReleaseTimer(const SegmentRef& ref, TimestampTz due);

}  // namespace pgqueue::page
