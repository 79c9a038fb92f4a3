#include "pgqueue/cron/run_slots.hpp"

#include "pgqueue/cron/job_run.hpp"
#include "pgqueue/pg/lwlock.hpp"
#include "pgqueue/pg/memory.hpp"
#include "pgqueue/pg/worker_table.hpp"
#include "pgqueue/settings.hpp"

namespace pgqueue::cron {
namespace {

struct Slot {
    RunState state;
    int scheduler;      // its process; 0 once the run is let go
    uint32 generation;  // of the run: whoever still has another one has been called off
    Oid home;
    Oid database;
    Oid role;
    int64 job;
    int64 run;
    double max_runtime;
    dsm_handle command;  // a segment that holds the command's text
    bool pinned;         // which is kept until the run is attached to it, or the slot is free
    int encoding;        // of the text
    int pid;
    Latch* latch;  // of the run's PGPROC, once it is there
    RunResult result;
};

struct Shared {
    LWLock lock;  // guards all of it
    bool wanted;  // a scheduler found no free slot
    uint64 freed;
    Slot slots[FLEXIBLE_ARRAY_MEMBER];
};
static_assert(std::is_trivially_destructible_v<Shared> && std::is_standard_layout_v<Shared>);

Shared* shared;

dsm_handle ShareCommand(const char* command) {
    const std::size_t size = strlen(command) + 1;
    dsm_segment* segment = dsm_create(size, 0);
    memcpy(dsm_segment_address(segment), command, size);
    const dsm_handle handle = dsm_segment_handle(segment);
    dsm_pin_segment(segment);
    dsm_detach(segment);
    return handle;
}

// With the lock held. What is returned is to be unpinned without it.
std::optional<dsm_handle> Release(Slot* slot) {
    const std::optional<dsm_handle> command = slot->pinned ? std::optional(slot->command) : std::nullopt;
    slot->pinned = false;
    slot->state = RunState::kFree;
    slot->scheduler = 0;
    slot->generation++;
    if (slot->latch != nullptr) SetLatch(std::exchange(slot->latch, nullptr));
    return command;
}

// With the lock held; null: none is free.
Slot* FreeSlot() {
    Slot* end = shared->slots + RunSlots();
    Slot* slot = std::find_if(shared->slots, end, [](const Slot& s) { return s.state == RunState::kFree; });
    return slot != end ? slot : nullptr;
}

int TakeSlot(const RunOrder& order) {
    const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    Slot* slot = FreeSlot();
    if (slot == nullptr) {
        shared->wanted = true;
        return -1;
    }
    const uint32 generation = slot->generation + 1;
    *slot = {};
    slot->state = RunState::kTaken;
    slot->generation = generation;
    slot->scheduler = MyProcPid;
    slot->home = MyDatabaseId;
    slot->database = order.database;
    slot->role = order.role;
    slot->job = order.job;
    slot->run = order.run;
    slot->max_runtime = order.max_runtime;
    slot->encoding = GetDatabaseEncoding();
    return static_cast<int>(slot - shared->slots);
}

void OnSchedulerExit(int, Datum) { CallOffAll(); }

}  // namespace

Size RunSlotsShmemSize() { return add_size(offsetof(Shared, slots), mul_size(sizeof(Slot), RunSlots())); }

void RunSlotsShmemInit() {
    bool found = false;
    shared = static_cast<Shared*>(ShmemInitStruct("pgqueue runs", RunSlotsShmemSize(), &found));
    if (found) return;
    const int tranche = LWLockNewTrancheId();
    LWLockRegisterTranche(tranche, "pgqueue_runs");
    memset(shared, 0, RunSlotsShmemSize());
    LWLockInitialize(&shared->lock, tranche);
}

int RunSlots() { return settings::cron_max_running; }

int PrepareRun(const RunOrder& order, BackgroundWorkerHandle** handle) {
    static bool calls_off_at_exit = false;
    if (!calls_off_at_exit) before_shmem_exit(OnSchedulerExit, 0);
    calls_off_at_exit = true;
    const int i = TakeSlot(order);
    if (i < 0) return -1;
    const dsm_handle command = ShareCommand(order.command);
    uint32 generation = 0;
    {
        const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
        Slot& slot = shared->slots[i];
        slot.command = command;
        slot.pinned = true;
        generation = slot.generation;
    }
    char name[BGW_MAXLEN];
    pg_snprintf(name, sizeof(name), "pgqueue cron job " INT64_FORMAT, order.job);
    const pg::WorkerSpec spec{name, "pgqueue_job_run", i, &generation, sizeof(generation)};
    if (pg::StartWorker(spec, handle)) return i;
    // Not a slot that has become free: who tried would try again at once.
    std::optional<dsm_handle> pinned;
    {
        const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
        pinned = Release(&shared->slots[i]);
    }
    if (pinned) dsm_unpin_segment(*pinned);
    return -1;
}

bool AssignRun(int i, int64 run) {
    const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    Slot& slot = shared->slots[i];
    // It may be over already, with a result that tells why its process could not come up.
    if (slot.scheduler != MyProcPid || slot.state == RunState::kFree) return false;
    slot.run = run;
    return true;
}

void LetGo(int i) {
    const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    Slot& slot = shared->slots[i];
    slot.scheduler = 0;
    if (slot.state == RunState::kTaken) slot.state = RunState::kGoing;
    if (slot.latch != nullptr) SetLatch(slot.latch);
}

void CallOffAll() {
    for (int i = 0; i < RunSlots(); i++) {
        bool mine = false;
        {
            const pg::LWLockGuard lock(&shared->lock, LW_SHARED);
            const Slot& slot = shared->slots[i];
            mine = slot.state != RunState::kFree && slot.scheduler == MyProcPid;
        }
        if (mine) FreeRunSlot(i);
    }
}

void DisownRuns(Oid home) {
    for (int i = 0; i < RunSlots(); i++) {
        const RunView run = ViewRun(i);
        if (run.state != RunState::kFree && run.home == home) FreeRunSlot(i);
    }
}

void FreeRunSlot(int i) {
    std::optional<dsm_handle> command;
    bool wanted = false;
    {
        const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
        command = Release(&shared->slots[i]);
        shared->freed++;
        wanted = std::exchange(shared->wanted, false);
    }
    if (command) dsm_unpin_segment(*command);
    // Or one that only looks from time to time could find all of them taken for ever, by jobs that are due each second.
    if (wanted) pg::WakeAllWorkers(pg::kRunEnded);
}

uint64 FreedRunSlots() {
    const pg::LWLockGuard lock(&shared->lock, LW_SHARED);
    return shared->freed;
}

RunView ViewRun(int i) {
    const pg::LWLockGuard lock(&shared->lock, LW_SHARED);
    const Slot& slot = shared->slots[i];
    return {slot.state, slot.home, slot.job, slot.run, slot.pid};
}

void ReadResult(int i, RunResult* result) {
    const pg::LWLockGuard lock(&shared->lock, LW_SHARED);
    *result = shared->slots[i].result;
}

// The run's side

bool ClaimRun(int i, uint32 generation, RunOrder* order) {
    dsm_handle command = 0;
    {
        const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
        Slot& slot = shared->slots[i];
        if (slot.generation != generation) return false;
        slot.pid = MyProcPid;
        slot.latch = MyLatch;
        *order = {slot.job, slot.run, slot.database, slot.role, slot.max_runtime, nullptr, slot.encoding};
        command = slot.command;
    }
    dsm_segment* segment = dsm_attach(command);
    if (segment == nullptr) return true;  // called off this moment
    dsm_pin_mapping(segment);
    order->command = static_cast<const char*>(dsm_segment_address(segment));
    bool pinned = false;
    {
        const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
        Slot& slot = shared->slots[i];
        pinned = slot.generation == generation && std::exchange(slot.pinned, false);
    }
    if (pinned) dsm_unpin_segment(command);
    return true;
}

bool MayGo(int i, uint32 generation) {
    for (;;) {
        {
            const pg::LWLockGuard lock(&shared->lock, LW_SHARED);
            const Slot& slot = shared->slots[i];
            if (slot.generation != generation) return false;
            if (slot.state == RunState::kGoing) return true;
        }
        pg::Sleep(10 * USECS_PER_SEC, "PgqueueRunStart");
    }
}

void Finish(int i, uint32 generation, const RunResult& result) {
    Oid home = InvalidOid;
    {
        const pg::LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
        Slot& slot = shared->slots[i];
        if (slot.generation != generation) return;
        home = slot.home;
        slot.latch = nullptr;
        slot.state = RunState::kFinished;
        slot.result = result;
        slot.result.pid = MyProcPid;
    }
    pg::WakeWorker(home, pg::kRunEnded);
}

}  // namespace pgqueue::cron
