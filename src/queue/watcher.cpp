#include "pgqueue/queue/watcher.hpp"

#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/run_as.hpp"
#include "pgqueue/pg/worker_table.hpp"
#include "pgqueue/queue/attachments.hpp"
#include "pgqueue/queue/handler_slots.hpp"
#include "pgqueue/queue/read.hpp"

// How it works. A queue with notifications or a handler is *watched*: its slot of the page map has a flag, and whoever
// wakes the queue's readers (at the commit of a send, at a nack, at a rollback) sees it, leaves "news" in its place and
// sets the worker's latch. That happens once, until the worker looks and watches anew; so however fast messages come,
// the worker is told as often as it wants to be. It is not told at all while a handler has all its processes: the last
// of them to go tells it. For what time brings (delays, leases) it asks the page map when to look.
//
// A look is a read that leases nothing, as a waiting session's.

namespace pgqueue::queue {
namespace {

constexpr TimestampTz kNeverAt = std::numeric_limits<TimestampTz>::max();
constexpr int64 kMilli = 1000;
constexpr int64 kLookAgain = 60 * USECS_PER_SEC;  // whatever nobody could tell
constexpr int64 kShortestPause = 10 * kMilli;     // between looks at a queue
constexpr int64 kBusyPause = 50 * kMilli;         // the same while a handler has some of its processes
constexpr int64 kLockedPause = USECS_PER_SEC;     // somebody has the queue's table locked
constexpr int64 kFirstFailure = 100 * kMilli;
constexpr int64 kLongestFailure = 60 * USECS_PER_SEC;
constexpr int64 kFirstSlotPause = 100 * kMilli;  // no background worker is free
constexpr int64 kLongestSlotPause = 5 * USECS_PER_SEC;
constexpr int64 kFirstRepeat = 250 * kMilli;  // of a notification, at least
constexpr int64 kLongestRepeat = 30 * USECS_PER_SEC;
constexpr int64 kMapsPause = USECS_PER_SEC;  // between looks at all queues because of new page maps
constexpr const char* kLockTimeout = "100";  // milliseconds

struct Watched {
    char name[NAMEDATALEN];
    bool kept;  // while the tables are read

    // As in the tables.
    double throttle;  // seconds; negative: no notifications
    char channel[NAMEDATALEN];
    bool paused;
    char handler[kHandlerBytes];  // empty: none
    char run_as[NAMEDATALEN];
    int concurrency;
    int64 batch;
    double vt;  // -1: the queue's

    page::SegmentRef map;
    bool armed;           // it tells us of news
    TimestampTz look_at;  // kNeverAt: when told
    TimestampTz not_before;
    int failures;  // of looks, in a row
    int64 cache_pause;

    bool fresh;  // something may have come since the last notification
    TimestampTz notify_after;
    TimestampTz repeat_at;
    int64 repeat_pause;

    int entry;  // of the handler; -1: none
    int processes;
    TimestampTz start_after;
    int64 slot_pause;

    bool Notifies() const { return throttle >= 0; }
    bool HasHandler() const { return handler[0] != '\0'; }
};

int64 Microseconds(double seconds) { return static_cast<int64>(seconds * static_cast<double>(USECS_PER_SEC)); }

int64 Pause(int failures, int64 first, int64 longest) {
    return std::min(first << std::clamp(failures - 1, 0, 20), longest);
}

class Watcher {
public:
    WatchResult Round(uint32 attention);
    void Forget() { reload_ = true; }

private:
    bool HasWork(TimestampTz now);
    void Load();
    void LoadOne(HeapTuple row, TupleDesc shape);
    void GiveEntries();
    void TryLook(Watched* queue);
    bool Look(Watched* queue);
    void AfterLook(Watched* queue, bool found);
    void Notify(Watched* queue, TimestampTz now);
    void StartMore(Watched* queue, TimestampTz now);

    pg::TopVector<Watched> queues_;
    pg::TopVector<int> entries_;
    bool reload_ = true;
    bool maps_changed_ = false;
    TimestampTz maps_at_ = 0;  // no look at all queues before
    bool no_slot_told_ = false;
    bool no_entry_told_ = false;
};

template <class T>
bool Assign(T* field, const T& value) {
    if (*field == value) return false;
    *field = value;
    return true;
}

bool Assign(char* field, const char* value, std::size_t size) {
    if (strcmp(field, value) == 0) return false;
    strlcpy(field, value, size);
    return true;
}

void Watcher::LoadOne(HeapTuple row, TupleDesc shape) {
    const auto string = [&](int column) -> const char* {
        bool null = false;
        const Datum value = SPI_getbinval(row, shape, column, &null);
        return null ? "" : TextDatumGetCString(value);
    };
    const auto raw = [&](int column, Datum missing) {
        bool null = false;
        const Datum value = SPI_getbinval(row, shape, column, &null);
        return null ? missing : value;
    };
    const char* name = string(1);
    auto place =
        std::find_if(queues_.begin(), queues_.end(), [=](const Watched& w) { return strcmp(w.name, name) == 0; });
    if (place == queues_.end()) {
        Watched queue{};
        strlcpy(queue.name, name, NAMEDATALEN);
        queue.entry = -1;
        queues_.push_back(queue);
        place = queues_.end() - 1;
    }
    Watched& queue = *place;
    queue.kept = true;
    queue.throttle = DatumGetFloat8(raw(2, Float8GetDatum(-1)));
    const char* channel = string(3);
    Assign(queue.channel, *channel != '\0' ? channel : psprintf("queue.%s", name), NAMEDATALEN);
    queue.paused = DatumGetBool(raw(4, BoolGetDatum(false)));
    bool other = Assign(queue.handler, string(5), kHandlerBytes);
    other |= Assign(&queue.batch, DatumGetInt64(raw(8, Int64GetDatum(1))));
    other |= Assign(queue.run_as, string(7), NAMEDATALEN);
    other |= Assign(&queue.vt, DatumGetFloat8(raw(9, Float8GetDatum(-1))));
    const int before = queue.concurrency;
    queue.concurrency = static_cast<int>(std::min(DatumGetInt64(raw(6, Int64GetDatum(1))), kMostProcesses));
    // Whatever is different takes effect with new processes; those that are there end after their message.
    if ((other || queue.concurrency < before) && queue.entry >= 0) StopProcesses(queue.entry);
    queue.look_at = queue.not_before = queue.start_after = 0;
    queue.failures = 0;
    queue.fresh = true;
}

// Every queue that is watched gets a look after this.
void Watcher::Load() {
    pg::Spi spi;
    const uint64 rows =
        spi.Run("SELECT s.queue_name, s.notify_throttle, s.notify_channel, s.paused, a.handler, a.concurrency, "
                "a.run_as, a.batch, a.vt FROM queue.settings s LEFT JOIN queue.attachments a "
                "ON a.queue_name = s.queue_name WHERE s.notify_throttle >= 0 OR a.queue_name IS NOT NULL");
    SPITupleTable* table = SPI_tuptable;
    for (Watched& queue : queues_) queue.kept = false;
    for (uint64 i = 0; i < rows; i++) LoadOne(table->vals[i], table->tupdesc);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < queues_.size(); i++) {
        if (queues_[i].kept)
            queues_[kept++] = queues_[i];
        else
            page::Unwatch(queues_[i].map);
    }
    queues_.resize(kept);
    reload_ = false;
}

void Watcher::GiveEntries() {
    // Twice where one gets none: it may have what another queue doesn't want any more, which is free after that.
    bool lacking = true;
    for (int round = 0; lacking && round < 2; round++) {
        lacking = false;
        entries_.clear();
        for (Watched& queue : queues_) {
            queue.entry = -1;
            if (!queue.HasHandler()) continue;
            queue.entry = GiveEntry(queue.name, get_role_oid(queue.run_as, true));
            if (queue.entry >= 0) {
                entries_.push_back(queue.entry);
                SetState(queue.entry, HandlerState::kReady);
                queue.processes = CountProcesses(queue.entry).processes;
                continue;
            }
            lacking = true;
            if (round > 0 && !std::exchange(no_entry_told_, true))
                ereport(LOG,
                        (errmsg("pgqueue: too many queues have a handler: that of queue \"%s\" is not run", queue.name),
                         errhint("Raise \"pgqueue.max_handlers\" and restart the server.")));
        }
        KeepEntries(entries_);
    }
}

bool Watcher::HasWork(TimestampTz now) {
    if (maps_changed_ && maps_at_ <= now) {
        maps_changed_ = false;
        maps_at_ = now + kMapsPause;
        for (Watched& queue : queues_) queue.look_at = std::min(queue.look_at, std::max(now, queue.not_before));
    }
    bool work = reload_;
    for (Watched& queue : queues_) {
        if (queue.armed && page::HasNews(queue.map)) {
            queue.armed = false;
            queue.fresh = true;
            queue.look_at = std::min(queue.look_at, std::max(now, queue.not_before));
        }
        if (queue.entry >= 0) {
            const int processes = CountProcesses(queue.entry).processes;
            if (processes < queue.processes) queue.look_at = now;
            queue.processes = processes;
        }
        work |= queue.look_at <= now;
    }
    return work;
}

// Locks the queue's tables, or raises at once: to wait for a hundred of them, each for as little as it may be, would
// keep all others from their looks. Answers what to unlock.
pg::Vector<Oid> LockTables(const char* queue) {
    char name[NAMEDATALEN];
    ParentName(queue, name);
    const Oid parent = pg::RelationIn(kSchema, name);
    pg::Vector<Oid> locked;
    if (!OidIsValid(parent)) return locked;  // Open says so
    if (!LockAtOnce(TablesOf(parent, queue), &locked))
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE), errmsg("queue \"%s\" is locked", queue)));
    return locked;
}

// Whether there is something to be had. In a subtransaction.
bool Watcher::Look(Watched* queue) {
    if (queue->entry >= 0 && queue->processes == 0) {  // that it is broken is to be seen before a message comes
        (void)get_role_oid(queue->run_as, false);
        (void)ResolveHandler(queue->handler);
    }
    const pg::Vector<Oid> locked = LockTables(queue->name);
    const OpenedQueue opened = Open(queue->name, 0, AccessShareLock);
    queue->map = MapOf(opened);
    const bool full = queue->entry >= 0 && CountProcesses(queue->entry).processes >= queue->concurrency;
    queue->armed = queue->Notifies() || !full;
    if (queue->armed)
        page::Watch(queue->map);
    else
        page::Unwatch(queue->map);
    // A commit that resumes a queue tells us before it tells the caches.
    const bool stale = opened.queue->paused && !queue->paused;
    queue->cache_pause = stale ? std::clamp(queue->cache_pause * 2, kShortestPause, USECS_PER_SEC) : 0;
    bool found = false;
    if (queue->armed && !opened.queue->paused && !queue->paused) {
        // Nothing of the owner's is run by that; but it is the owner's table.
        const pg::RunAs as(opened.queue->owner, SECURITY_RESTRICTED_OPERATION);
        ReadOptions options;
        options.lease = false;
        options.grouped = opened.queue->fifo;
        // Messages without attempts left are moved by whoever reads.
        const ReadResult result = Read(opened, options, nullptr);
        found = result.count > 0 || result.exhausted;
    }
    Close(opened, AccessShareLock);
    UnlockAll(locked);
    const TimestampTz now = GetCurrentTimestamp();
    if (found && queue->Notifies()) Notify(queue, now);
    if (found && queue->entry >= 0) StartMore(queue, now);
    return found;
}

void Watcher::Notify(Watched* queue, TimestampTz now) {
    if (now < queue->notify_after || !(queue->fresh || now >= queue->repeat_at)) return;
    const int64 first = std::max(Microseconds(queue->throttle), kFirstRepeat);
    queue->repeat_pause = queue->fresh ? first : std::min(queue->repeat_pause * 2, std::max(first, kLongestRepeat));
    queue->fresh = false;
    queue->notify_after = now + Microseconds(queue->throttle);
    queue->repeat_at = now + queue->repeat_pause;
    Async_Notify(queue->channel, queue->name);
}

// One more process, where none is free to take what was found: so there are as many as there is work for.
void Watcher::StartMore(Watched* queue, TimestampTz now) {
    const HandlerCounts counts = CountProcesses(queue->entry);
    queue->processes = counts.processes;
    if (counts.failures > 0 && counts.processes == 0 && queue->start_after == 0)
        queue->start_after = now + Pause(static_cast<int>(counts.failures), kFirstFailure, kLongestFailure);
    if (now < queue->start_after || counts.processes >= queue->concurrency || counts.idle > 0) return;
    queue->start_after = 0;
    const Oid role = get_role_oid(queue->run_as, false);
    if (StartProcess(queue->entry, role)) {
        queue->processes++;
        queue->slot_pause = 0;
        SetState(queue->entry, HandlerState::kReady);
        return;
    }
    queue->slot_pause = std::clamp(queue->slot_pause * 2, kFirstSlotPause, kLongestSlotPause);
    queue->start_after = now + queue->slot_pause;
    if (counts.processes > 0) return;
    SetState(queue->entry, HandlerState::kNoProcess);
    if (std::exchange(no_slot_told_, true)) return;
    ereport(LOG, (errmsg("pgqueue: no background worker is free for the handler of queue \"%s\"", queue->name),
                  errhint("Raise \"max_worker_processes\" and restart the server.")));
}

void Watcher::AfterLook(Watched* queue, bool found) {
    const TimestampTz now = GetCurrentTimestamp();
    if (std::exchange(queue->failures, 0) > 0 && queue->entry >= 0) SetState(queue->entry, HandlerState::kReady);
    TimestampTz next = now + kLookAgain;
    const bool all = queue->entry >= 0 && queue->processes >= queue->concurrency;
    const bool starts = queue->entry >= 0 && !all;
    queue->not_before = now + (starts && queue->processes == 0 ? 0 : kBusyPause);
    if (queue->Notifies() && !starts) queue->not_before = std::max(queue->not_before, queue->notify_after);
    if (queue->cache_pause > 0) next = std::min(next, now + queue->cache_pause);
    if (!found) {
        queue->fresh = true;
        const page::Bound due = queue->armed ? page::NextDue(queue->map) : page::kNever;
        if (due != page::kNever && !queue->paused)
            next = std::min(next, std::max(page::WakeTime(due), now + kShortestPause));
    } else {
        if (queue->Notifies()) next = std::min(next, queue->fresh ? queue->notify_after : queue->repeat_at);
        if (starts) next = std::min(next, std::max(now + kBusyPause, queue->start_after));
    }
    queue->look_at = next;
}

// A queue that can't be looked at, whatever its owner has made of it, keeps none from being looked at.
void Watcher::TryLook(Watched* queue) {
    const MemoryContext context = CurrentMemoryContext;
    ResourceOwner owner = CurrentResourceOwner;
    volatile bool found = false;
    volatile bool failed = false;
    BeginInternalSubTransaction(nullptr);
    MemoryContextSwitchTo(context);
    PG_TRY();
    {
        found = Look(queue);
        ReleaseCurrentSubTransaction();
    }
    PG_CATCH();
    {
        failed = true;
        MemoryContextSwitchTo(context);
        ErrorData* error = CopyErrorData();
        const bool locked = error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
        FlushErrorState();
        RollbackAndReleaseCurrentSubTransaction();
        queue->armed = false;
        const TimestampTz now = GetCurrentTimestamp();
        if (locked) {
            queue->look_at = now + kLockedPause;
        } else {
            queue->failures++;
            queue->look_at = now + Pause(queue->failures, USECS_PER_SEC, kLongestFailure);
            if (queue->entry >= 0) {
                SetState(queue->entry, HandlerState::kBroken);
                NoteError(queue->entry, error->message);
            }
            if (queue->failures == 1)
                ereport(LOG, (errmsg("pgqueue: queue \"%s\" can't be served: %s", queue->name, error->message)));
        }
        FreeErrorData(error);
    }
    PG_END_TRY();
    MemoryContextSwitchTo(context);
    CurrentResourceOwner = owner;
    if (!failed) AfterLook(queue, found);
}

WatchResult Watcher::Round(uint32 attention) {
    CollectLost();
    if ((attention & pg::kHandlersChanged) != 0) reload_ = true;
    if ((attention & pg::kMapsChanged) != 0) maps_changed_ = true;
    TimestampTz now = GetCurrentTimestamp();
    if ((attention & pg::kFunctionsChanged) != 0)
        for (Watched& queue : queues_)
            if (queue.HasHandler()) queue.look_at = now;
    const bool work = HasWork(now);
    if (work) {
        StartTransactionCommand();
        PushActiveSnapshot(GetTransactionSnapshot());
        if (pg::HoldExtensionForTask()) {
            if (reload_) {
                const pg::RunAs as(pg::ExtensionOwner());
                Load();
                GiveEntries();
            }
            (void)set_config_option("lock_timeout", kLockTimeout, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
                                    false);
            for (Watched& queue : queues_)
                if (queue.look_at <= now) TryLook(&queue);
        }
        PopActiveSnapshot();
        CommitTransactionCommand();
        now = GetCurrentTimestamp();
    }
    TimestampTz next = now + kLookAgain;
    for (const Watched& queue : queues_) next = std::min(next, queue.look_at);
    if (maps_changed_) next = std::min(next, maps_at_);
    return {next, work};
}

Watcher* watcher;

}  // namespace

WatchResult WatchQueues(uint32 attention) {
    if (watcher == nullptr) watcher = new (MemoryContextAllocZero(TopMemoryContext, sizeof(Watcher))) Watcher();
    return watcher->Round(attention);
}

void ForgetWatched() {
    if (watcher != nullptr) watcher->Forget();
}

void EndHandlers(bool at_once) {
    if (at_once)
        TerminateProcesses();
    else
        StopProcesses(-1);
}

}  // namespace pgqueue::queue
