#include "pgqueue/queue/handler_slots.hpp"

#include "pgqueue/pg/lwlock.hpp"
#include "pgqueue/pg/worker_process.hpp"
#include "pgqueue/pg/worker_table.hpp"
#include "pgqueue/settings.hpp"

namespace pgqueue::queue {
namespace {

struct Entry {
    Oid database;  // InvalidOid: free
    Oid role;
    char queue[NAMEDATALEN];
    HandlerState state;
    uint32 failures;
    int64 processed;
    int64 failed;
    int64 lost;
    TimestampTz last_error_at;
    char last_error[kHandlerErrorBytes];
};

enum class SlotState : int { kFree, kStarting, kRunning };

struct Slot {
    SlotState state;
    uint32 generation;  // whoever comes for another one isn't meant
    Oid database;
    Oid role;
    int entry;  // -1: it was freed, or is another queue's by now
    char queue[NAMEDATALEN];
    int pid;
    Latch* latch;
    bool stop;
    pg_atomic_uint32 busy;
};

struct Shared {
    LWLock lock;  // guards all but the slots' `busy`
    Slot slots[FLEXIBLE_ARRAY_MEMBER];
};
static_assert(std::is_trivially_destructible_v<Shared> && std::is_standard_layout_v<Shared>);
static_assert(std::is_trivially_destructible_v<Entry> && std::is_standard_layout_v<Entry>);

Shared* shared;
Entry* entries;

int Slots() { return max_worker_processes; }

// The server's handles of the processes that this worker has started, by slot, with the generation that they are of.
struct Handle {
    BackgroundWorkerHandle* handle;
    uint32 generation;
};
Handle* handles;

template <class Use>
void ForEachSlot(Use use) {  // lock held
    for (int i = 0; i < Slots(); i++)
        if (shared->slots[i].state != SlotState::kFree) use(&shared->slots[i]);
}

void Free(Slot* slot) {  // lock held
    slot->state = SlotState::kFree;
    slot->generation++;
    slot->latch = nullptr;
    slot->pid = 0;
}

void Stop(Slot* slot) {  // lock held
    slot->stop = true;
    if (slot->state == SlotState::kStarting)
        Free(slot);
    else if (slot->latch != nullptr)
        SetLatch(slot->latch);
}

void SetError(Entry* entry, const char* text) {  // lock held
    const int length = pg_mbcliplen(text, static_cast<int>(strlen(text)), kHandlerErrorBytes - 1);
    memcpy(entry->last_error, text, length);
    entry->last_error[length] = '\0';
    entry->last_error_at = GetCurrentTimestamp();
}

void FreeEntry(int entry) {  // lock held
    entries[entry].database = InvalidOid;
    ForEachSlot([=](Slot* slot) {
        if (slot->entry != entry) return;
        slot->entry = -1;
        Stop(slot);
    });
}

}  // namespace

int Entries() { return settings::max_handlers; }

Size HandlersShmemSize() {
    return add_size(add_size(offsetof(Shared, slots), mul_size(sizeof(Slot), Slots())),
                    add_size(MAXIMUM_ALIGNOF, mul_size(sizeof(Entry), Entries())));
}

void HandlersShmemInit() {
    bool found = false;
    shared = static_cast<Shared*>(ShmemInitStruct("pgqueue handlers", HandlersShmemSize(), &found));
    entries = reinterpret_cast<Entry*>(MAXALIGN(reinterpret_cast<uintptr_t>(shared->slots + Slots())));
    if (found) return;
    memset(static_cast<void*>(shared), 0, HandlersShmemSize());
    const int tranche = LWLockNewTrancheId();
    LWLockRegisterTranche(tranche, "pgqueue_handlers");
    LWLockInitialize(&shared->lock, tranche);
    for (int i = 0; i < Slots(); i++) pg_atomic_init_u32(&shared->slots[i].busy, 0);
}

int GiveEntry(const char* queue, Oid role) {
    const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    int place = -1;
    for (int i = 0; i < Entries(); i++) {
        Entry& entry = entries[i];
        if (entry.database == MyDatabaseId && strcmp(entry.queue, queue) == 0) {
            entry.role = role;
            return i;
        }
        if (place < 0 && !OidIsValid(entry.database)) place = i;
    }
    if (place < 0) return -1;
    entries[place] = {};
    entries[place].database = MyDatabaseId;
    entries[place].role = role;
    strlcpy(entries[place].queue, queue, NAMEDATALEN);
    return place;
}

void KeepEntries(const pg::TopVector<int>& kept) {
    const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    for (int i = 0; i < Entries(); i++)
        if (entries[i].database == MyDatabaseId && std::find(kept.begin(), kept.end(), i) == kept.end()) FreeEntry(i);
}

void DisownHandlers(Oid database) {
    const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    for (int i = 0; i < Entries(); i++)
        if (entries[i].database == database) FreeEntry(i);
}

Oid DatabaseOf(int entry) {
    const pg::LWLockGuard lock(&shared->lock, LW_SHARED);
    return entries[entry].database;
}

HandlerCounts CountProcesses(int entry) {
    const pg::LWLockGuard lock(&shared->lock, LW_SHARED);
    HandlerCounts counts{0, 0, entries[entry].failures};
    ForEachSlot([&](Slot* slot) {
        if (slot->entry != entry) return;
        counts.processes++;
        if (!slot->stop && pg_atomic_read_u32(&slot->busy) == 0) counts.idle++;
    });
    return counts;
}

void SetState(int entry, HandlerState state) {
    const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    entries[entry].state = state;
}

void NoteError(int entry, const char* text) {
    const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    SetError(&entries[entry], text);
}

bool StartProcess(int entry, Oid role) {
    if (handles == nullptr)
        handles = static_cast<Handle*>(MemoryContextAllocZero(TopMemoryContext, sizeof(Handle) * Slots()));
    int place = -1;
    uint32 generation = 0;
    {
        const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
        for (int i = 0; i < Slots() && place < 0; i++)
            if (shared->slots[i].state == SlotState::kFree) place = i;
        if (place < 0) return false;
        Slot& slot = shared->slots[place];
        slot.state = SlotState::kStarting;
        generation = ++slot.generation;
        slot.database = MyDatabaseId;
        slot.role = role;
        slot.entry = entry;
        memcpy(slot.queue, entries[entry].queue, NAMEDATALEN);
        slot.pid = 0;
        slot.latch = nullptr;
        slot.stop = false;
        pg_atomic_write_u32(&slot.busy, 0);
    }
    Handle& mine = handles[place];
    if (mine.handle != nullptr) pfree(std::exchange(mine.handle, nullptr));
    const pg::WorkerSpec spec{"pgqueue handler", "pgqueue_handler", place, &generation, sizeof(generation)};
    const MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
    const bool started = pg::StartWorker(spec, &mine.handle);
    MemoryContextSwitchTo(caller);
    mine.generation = generation;
    if (started) return true;
    mine.handle = nullptr;
    const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    if (shared->slots[place].generation == generation) Free(&shared->slots[place]);
    return false;
}

void CollectLost() {
    for (int i = 0; handles != nullptr && i < Slots(); i++) {
        Handle& mine = handles[i];
        if (mine.handle == nullptr) continue;
        pid_t pid = 0;
        if (GetBackgroundWorkerPid(mine.handle, &pid) != BGWH_STOPPED) continue;
        pfree(std::exchange(mine.handle, nullptr));
        const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
        Slot& slot = shared->slots[i];
        if (slot.generation == mine.generation && slot.state != SlotState::kFree) Free(&slot);
    }
}

void StopProcesses(int entry) {
    const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    ForEachSlot([=](Slot* slot) {
        if (slot->database == MyDatabaseId && (entry < 0 || slot->entry == entry)) Stop(slot);
    });
}

void TerminateProcesses() {
    const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    ForEachSlot([](Slot* slot) {
        if (slot->database != MyDatabaseId) return;
        const int pid = slot->pid;
        Stop(slot);
        if (pid != 0) kill(pid, SIGTERM);
    });
}

// The process' side

bool ClaimProcess(int i, uint32 generation, HandlerOrder* order) {
    const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    Slot& slot = shared->slots[i];
    if (slot.generation != generation || slot.state != SlotState::kStarting) return false;
    slot.state = SlotState::kRunning;
    slot.pid = MyProcPid;
    slot.latch = MyLatch;
    order->database = slot.database;
    order->role = slot.role;
    memcpy(order->queue, slot.queue, NAMEDATALEN);
    return true;
}

bool MustStop(int i) {
    const pg::LWLockGuard lock(&shared->lock, LW_SHARED);
    return shared->slots[i].stop;
}

void SetBusy(int i, bool busy) { pg_atomic_write_u32(&shared->slots[i].busy, busy ? 1 : 0); }

void LeaveProcess(int i, const char* error, bool terminated) {
    Oid database = InvalidOid;
    {
        const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
        Slot& slot = shared->slots[i];
        database = slot.database;
        // Terminated as it was told, it has not failed. Otherwise it has: a function that terminates its own process
        // must not be started again at once, again and again.
        if (terminated && slot.stop) error = nullptr;
        if (error != nullptr && slot.entry >= 0) {
            entries[slot.entry].failures++;
            if (*error != '\0') SetError(&entries[slot.entry], error);
        }
        Free(&slot);
    }
    pg::WakeWorker(database, pg::kQueueNews);
}

void CountMessages(int i, const MessageCounts& counts, const char* error) {
    const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    const Slot& slot = shared->slots[i];
    if (slot.entry < 0) return;
    Entry& entry = entries[slot.entry];
    entry.processed += counts.processed;
    entry.failed += counts.failed;
    entry.lost += counts.lost;
    entry.failures = 0;
    if (error != nullptr) SetError(&entry, error);
}

bool ReadEntry(int i, HandlerReport* report) {
    const pg::LWLockGuard lock(&shared->lock, LW_SHARED);
    const Entry& entry = entries[i];
    if (entry.database != MyDatabaseId) return false;
    *report = {};
    memcpy(report->queue, entry.queue, NAMEDATALEN);
    report->role = entry.role;
    report->state = entry.state;
    report->failures = entry.failures;
    report->processed = entry.processed;
    report->failed = entry.failed;
    report->lost = entry.lost;
    report->last_error_at = entry.last_error_at;
    memcpy(report->last_error, entry.last_error, kHandlerErrorBytes);
    ForEachSlot([=](Slot* slot) {
        if (slot->entry != i) return;
        report->processes++;
        if (pg_atomic_read_u32(&slot->busy) != 0) report->busy++;
    });
    return true;
}

}  // namespace pgqueue::queue
