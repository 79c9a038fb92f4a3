#include "pgqueue/page/transaction.hpp"

#include "pgqueue/pg/memory.hpp"

namespace pgqueue::page {
namespace {

// A run of pages. Neighbours coalesce, and beyond kMaxTouches runs of one segment are joined: a page that is looked at
// for nothing costs little.
struct Touch {
    SegmentRef ref;
    int32 priority;
    BlockNumber first;
    BlockNumber last;
    Bound bound;
    int rows;
    bool wake_all;
    bool grouped;
    int level;  // on abort: the savepoint depth to which it belongs now
};

struct Held {
    SegmentRef ref;
    int32 priority;
    LeaseKey lease;
    TimestampTz free_at;
    int64 pause;             // microseconds after a rollback
    TimestampTz expires_at;  // the row's: it keeps its group waiting no longer
    GroupHash group;
    int level;  // the savepoint depth to which it belongs now
};

struct Dropped {
    SegmentRef ref;
    BlockNumber block;
    GroupHash group;
    HoldKey key;
    int level;  // the savepoint depth to which it belongs now
};

constexpr std::size_t kMaxTouches = 4096;
constexpr int kMaxWakes = 16;

struct State {
    pg::TopVector<Touch> touches;  // on commit
    pg::TopVector<Touch> deletes;  // on abort
    pg::TopVector<Held> held;
    pg::TopVector<Dropped> dropped;  // on commit
    SegmentRef waiting;
    TimestampTz timer;
};

State* state;

bool SameTarget(const Touch& a, const Touch& b) {
    return a.ref.key == b.ref.key && a.ref.part == b.ref.part && a.priority == b.priority && a.level == b.level &&
           !a.wake_all && !b.wake_all;
}

void Join(Touch* into, const Touch& from) {
    into->first = std::min(into->first, from.first);
    into->last = std::max(into->last, from.last);
    into->bound = std::min(into->bound, from.bound);
    into->rows += from.rows;
    into->grouped |= from.grouped;
}

// Joins each run with the one before it, where both are of one segment and priority.
void JoinPairs(pg::TopVector<Touch>* touches) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < touches->size(); i++) {
        const bool pair = i + 1 < touches->size() && SameTarget((*touches)[i], (*touches)[i + 1]);
        Touch joined = (*touches)[i];
        if (pair) Join(&joined, (*touches)[++i]);
        (*touches)[kept++] = joined;
    }
    touches->resize(kept);
}

// Halves the runs or, where neighbours have little in common, joins all of each segment and priority.
void Coarsen(pg::TopVector<Touch>* touches) {
    const std::size_t before = touches->size();
    JoinPairs(touches);
    if (touches->size() <= before * 3 / 4) return;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < touches->size(); i++) {
        std::size_t j = 0;
        while (j < kept && !SameTarget((*touches)[j], (*touches)[i])) j++;
        if (j < kept)
            Join(&(*touches)[j], (*touches)[i]);
        else
            (*touches)[kept++] = (*touches)[i];
    }
    touches->resize(kept);
}

// Whether a page can join the run without making another page's bound much earlier than it is: that page would be
// looked at for nothing.
bool Continues(const Touch& run, const Touch& page) {
    constexpr Bound kNear = 64;  // ticks
    if (run.first == run.last && page.first == run.first) return true;
    if (page.first >= run.first && page.first <= run.last) return page.bound >= run.bound;
    const bool beside = uint64{page.first} + 1 == run.first || page.first == uint64{run.last} + 1;
    return beside && std::max(page.bound, run.bound) - std::min(page.bound, run.bound) <= kNear;
}

void Reserve(pg::TopVector<Touch>* touches, int n) {
    if (touches->size() + n > kMaxTouches) Coarsen(touches);
    if (touches->capacity() < touches->size() + n) touches->reserve(2 * (touches->size() + n));
}

void Note(pg::TopVector<Touch>* touches, const Touch& touch) {
    if (!touches->empty()) {
        Touch& last = touches->back();
        if (SameTarget(last, touch) && Continues(last, touch)) {
            Join(&last, touch);
            last.ref = touch.ref;
            return;
        }
    }
    Assert(touches->size() < touches->capacity());
    touches->push_back(touch);
}

// Of pages with rows of groups others must know before they hear that the rows are there, or their group is free.
Above AboveFor(bool grouped) { return grouped ? Above::kNow : Above::kSoon; }

void LowerTouched(const Touch& touch) {
    if (!touch.wake_all)
        Lower(touch.ref, touch.priority, touch.first, touch.last, touch.bound, AboveFor(touch.grouped));
}

void WakeFor(const Touch& touch) { Wake(touch.ref, touch.wake_all ? kEverybody : std::min(touch.rows, kMaxWakes)); }

void Apply(const Touch& touch) {
    LowerTouched(touch);
    WakeFor(touch);
}

// Before a commit: see BeginCommit.
void PrepareGroups() {
    bool begun = false;
    for (const Touch& touch : state->touches) {
        if (!touch.grouped) continue;
        if (!begun) BeginCommit();
        begun = true;
        Lower(touch.ref, touch.priority, touch.first, touch.last, kUnknown, Above::kNow);
    }
}

void GiveBack(const Held& held) {
    const TimestampTz now = GetCurrentTimestamp();
    const TimestampTz free_at = std::max(held.free_at, std::min(now + held.pause, held.expires_at));
    if (held.lease.vt <= now && free_at <= now) return;
    NoteReleased(held.lease, free_at);
    // The note before the hints: a reader that follows them finds it.
    ExtendReleasedUntil(held.ref, std::max(held.lease.vt, free_at));
    const BlockNumber block = ItemPointerGetBlockNumberNoCheck(&held.lease.tid);
    Lower(held.ref, held.priority, block, block, BoundOf(free_at), AboveFor(held.group != 0));
    if (held.group != 0) {
        // After the page was lowered: whoever finds the group free finds this row.
        if (free_at > now)
            MoveHold(held.ref, held.group, held.lease.receipt, free_at);
        else
            DropHold(held.ref, held.group, held.lease.receipt);
    }
    Wake(held.ref, 1);
}

void PassOnWait() {
    if (state->waiting.generation == 0) return;
    const SegmentRef ref = state->waiting;
    state->waiting = {};
    if (state->timer != 0) ReleaseTimer(ref, state->timer);
    PassOn(ref);
}

// The vectors keep a modest capacity; one huge transaction must not hold its memory for ever. Shrinking an empty vector
// frees and allocates nothing.
template <class V>
void Forget(V* vector) {
    vector->clear();
    if (vector->capacity() > 65536) vector->shrink_to_fit();
}

void OnTransactionEnd(XactEvent event, void*) {
    switch (event) {
        case XACT_EVENT_PRE_COMMIT:
            PrepareGroups();
            return;
        case XACT_EVENT_COMMIT:
            for (const Touch& touch : state->touches) LowerTouched(touch);
            EndCommit();
            for (const Dropped& drop : state->dropped) DropHold(drop.ref, drop.group, drop.key);
            for (const Touch& touch : state->touches) WakeFor(touch);
            for (const Dropped& drop : state->dropped) Wake(drop.ref, 1);
            break;
        case XACT_EVENT_PREPARE:
            // Readers find the rows in progress and look again until COMMIT PREPARED, which runs no callback of ours.
            // So they do with rows that it has deleted, until ROLLBACK PREPARED. The leases stay until they run out.
            for (const Touch& touch : state->touches) Apply(touch);
            for (const Touch& touch : state->deletes) Apply(touch);
            // Whoever looks at the page finds the row in hand, and keeps the group waiting for as long as it is.
            for (const Dropped& drop : state->dropped) {
                LowerAllBands(drop.ref, drop.block, drop.block, kUnknown);
                DropHold(drop.ref, drop.group, drop.key);
            }
            break;
        case XACT_EVENT_ABORT:
            EndCommit();
            for (const Held& held : state->held) GiveBack(held);
            for (const Touch& touch : state->deletes) Apply(touch);
            PassOnWait();
            break;
        default:
            return;
    }
    Forget(&state->touches);
    Forget(&state->deletes);
    Forget(&state->held);
    Forget(&state->dropped);
}

// What belongs to the savepoint moves up when it is released; when it is rolled back, it is undone and forgotten.
template <class T>
void EndLevel(pg::TopVector<T>* items, int level, bool aborted, void (*undo)(const T&)) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < items->size(); i++) {
        T& item = (*items)[i];
        if (item.level >= level) {
            if (aborted) {
                undo(item);
                continue;
            }
            item.level = level - 1;
        }
        if (kept != i) (*items)[kept] = item;
        kept++;
    }
    items->resize(kept);
}

void OnSavepointEnd(SubXactEvent event, SubTransactionId, SubTransactionId, void*) {
    if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB) return;
    if (event == SUBXACT_EVENT_ABORT_SUB) PassOnWait();
    const int level = GetCurrentTransactionNestLevel();
    const bool aborted = event == SUBXACT_EVENT_ABORT_SUB;
    EndLevel(&state->held, level, aborted, GiveBack);
    EndLevel(&state->deletes, level, aborted, Apply);
    EndLevel(
        &state->dropped, level, aborted, +[](const Dropped&) {});
}

Held* FindHeld(const LeaseKey& lease) {
    for (Held& held : state->held)
        if (held.lease.receipt == lease.receipt && held.lease.segment == lease.segment) return &held;
    return nullptr;
}

}  // namespace

void InitTransactions() {
    state = new (MemoryContextAlloc(TopMemoryContext, sizeof(State))) State();
    RegisterXactCallback(OnTransactionEnd, nullptr);
    RegisterSubXactCallback(OnSavepointEnd, nullptr);
}

void ReserveTouches(int n) {
    Reserve(&state->touches, n);
    Reserve(&state->deletes, n);
}

void ReserveDrops(int n) {
    auto& dropped = state->dropped;
    if (dropped.capacity() < dropped.size() + n) dropped.reserve(2 * (dropped.size() + n));
}

void ReserveLeases(int n) {
    auto& held = state->held;
    if (held.capacity() < held.size() + n) held.reserve(2 * (held.size() + n));
}

void TouchOnCommit(const SegmentRef& ref, int32 priority, BlockNumber block, Bound bound, bool grouped) {
    Note(&state->touches, {ref, priority, block, block, bound, 1, false, grouped, 0});
}

void TouchOnAbort(const SegmentRef& ref, int32 priority, BlockNumber block, Bound bound) {
    Note(&state->deletes, {ref, priority, block, block, bound, 1, false, false, GetCurrentTransactionNestLevel()});
}

void DropHoldOnCommit(const SegmentRef& ref, BlockNumber block, GroupHash group, HoldKey key) {
    Assert(state->dropped.size() < state->dropped.capacity());
    state->dropped.push_back({ref, block, group, key, GetCurrentTransactionNestLevel()});
}

void ShowOwnTouches(const SegmentRef& ref) {
    for (const Touch& touch : state->touches)
        if (!touch.wake_all && touch.ref.key == ref.key)
            Lower(touch.ref, touch.priority, touch.first, touch.last, touch.bound);
}

void WakeAllOnCommit(const SegmentRef& ref) {
    ReserveTouches(1);
    state->touches.push_back({ref, 0, 0, 0, kNever, 1, true, false, 0});
}

void HoldLease(const SegmentRef& ref, int32 priority, const LeaseKey& lease, TimestampTz free_at, int64 pause,
               GroupHash group, TimestampTz expires_at) {
    Assert(state->held.size() < state->held.capacity());
    state->held.push_back({ref, priority, lease, free_at, pause, expires_at, group, GetCurrentTransactionNestLevel()});
}

bool MoveHeldLease(const LeaseKey& lease, TimestampTz vt) {
    Held* held = FindHeld(lease);
    if (held != nullptr) held->lease.vt = vt;
    return held != nullptr;
}

void DropHeldLease(const LeaseKey& lease) {
    if (Held* held = FindHeld(lease)) {
        *held = state->held.back();
        state->held.pop_back();
    }
}

void KeepHeldLeases(const int64* receipts, int count) {
    auto& held = state->held;
    const auto kept = std::remove_if(held.begin(), held.end(), [=](const Held& lease) {
        return std::binary_search(receipts, receipts + count, lease.lease.receipt);
    });
    held.erase(kept, held.end());
}

void RegisterWait(const SegmentRef& ref, TimestampTz timer) {
    state->waiting = ref;
    state->timer = timer;
}

void UnregisterWait() { state->waiting = {}; }

}  // namespace pgqueue::page
