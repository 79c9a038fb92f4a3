#include "pgqueue/cron/run_slots.hpp"

#include "pgqueue/cron/job_run.hpp"
#include "pgqueue/pg/memory.hpp"
#include "pgqueue/pg/worker_table.hpp"
#include "pgqueue/settings.hpp"

namespace pgqueue::cron {
namespace {

struct Slot {
    RunState state;
    bool called_off;
    int scheduler;  // its process; 0 once the run is let go
    uint32 generation;
    Oid home;
    Oid database;
    Oid role;
    int64 job;
    int64 run;
    double max_runtime;
    dsm_handle command;  // a segment that holds the command's text
    int encoding;        // of that
    int pid;
    Latch* latch;  // of the run's PGPROC, once it is there
    RunResult result;
};

struct Shared {
    LWLock lock;  // guards all slots
    Slot slots[FLEXIBLE_ARRAY_MEMBER];
};
static_assert(std::is_trivially_destructible_v<Shared> && std::is_standard_layout_v<Shared>);

Shared* shared;

class Lock {
public:
    explicit Lock(LWLockMode mode) { LWLockAcquire(&shared->lock, mode); }
    ~Lock() { LWLockRelease(&shared->lock); }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
};

// The command's segment lives as long as one of the two is attached. The scheduler's mapping is kept until the slot
// is free.
struct Mapped {
    int slot;
    dsm_segment* segment;
};
pg::TopVector<Mapped>* mapped;

dsm_handle ShareCommand(int slot, const char* command) {
    const std::size_t size = strlen(command) + 1;
    dsm_segment* segment = dsm_create(size, 0);
    memcpy(dsm_segment_address(segment), command, size);
    dsm_pin_mapping(segment);
    mapped->push_back({slot, segment});
    return dsm_segment_handle(segment);
}

void DropCommand(int slot) {
    if (mapped == nullptr) return;  // nothing was started by this process
    for (Mapped& m : *mapped)
        if (m.slot == slot) {
            dsm_detach(m.segment);
            m = mapped->back();
            mapped->pop_back();
            return;
        }
}

// Under the lock. A run that has begun goes on, and frees the slot at its end: nobody is told.
void Disown(Slot* slot) {
    slot->called_off = true;
    if (slot->latch != nullptr) {
        SetLatch(slot->latch);
        return;
    }
    slot->state = RunState::kFree;  // it finds another generation, if it comes at all
    slot->generation++;
}

// What this process has prepared and not let go.
void CallOffAll(int, Datum) {
    Lock lock(LW_EXCLUSIVE);
    for (int i = 0; i < RunSlots(); i++) {
        Slot& slot = shared->slots[i];
        if (slot.state == RunState::kTaken && slot.scheduler == MyProcPid) Disown(&slot);
    }
}

int TakeSlot(const RunOrder& order) {
    Lock lock(LW_EXCLUSIVE);
    for (int i = 0; i < RunSlots(); i++) {
        Slot& slot = shared->slots[i];
        if (slot.state != RunState::kFree) continue;
        const uint32 generation = slot.generation + 1;
        slot = {};
        slot.state = RunState::kTaken;
        slot.generation = generation;
        slot.scheduler = MyProcPid;
        slot.home = MyDatabaseId;
        slot.database = order.database;
        slot.role = order.role;
        slot.job = order.job;
        slot.run = order.run;
        slot.max_runtime = order.max_runtime;
        slot.encoding = GetDatabaseEncoding();
        return i;
    }
    return -1;
}

}  // namespace

Size RunSlotsShmemSize() { return add_size(offsetof(Shared, slots), mul_size(sizeof(Slot), RunSlots())); }

void RunSlotsShmemInit() {
    bool found = false;
    shared = static_cast<Shared*>(ShmemInitStruct("pgqueue runs", RunSlotsShmemSize(), &found));
    static const int tranche = LWLockNewTrancheId();
    LWLockRegisterTranche(tranche, "pgqueue runs");
    if (found) return;
    memset(shared, 0, RunSlotsShmemSize());
    LWLockInitialize(&shared->lock, tranche);
}

int RunSlots() { return settings::cron_max_running; }

int PrepareRun(const RunOrder& order, BackgroundWorkerHandle** handle) {
    if (mapped == nullptr) {
        mapped = new (MemoryContextAlloc(TopMemoryContext, sizeof(*mapped))) pg::TopVector<Mapped>();
        before_shmem_exit(CallOffAll, 0);
    }
    const int i = TakeSlot(order);
    if (i < 0) return -1;
    Slot& slot = shared->slots[i];
    slot.command = ShareCommand(i, order.command);
    char name[BGW_MAXLEN];
    pg_snprintf(name, sizeof(name), "pgqueue cron job " INT64_FORMAT, order.job);
    const pg::WorkerSpec spec{name, "pgqueue_job_run", i, &slot.generation, sizeof(slot.generation)};
    if (pg::StartWorker(spec, handle)) return i;
    FreeRunSlot(i);
    return -1;
}

void LetGo(int i) {
    Lock lock(LW_EXCLUSIVE);
    Slot& slot = shared->slots[i];
    slot.scheduler = 0;
    if (slot.state == RunState::kTaken) slot.state = RunState::kGoing;
    if (slot.latch != nullptr) SetLatch(slot.latch);
}

void CallOff(int i) {
    {
        Lock lock(LW_EXCLUSIVE);
        Disown(&shared->slots[i]);
    }
    DropCommand(i);
}

void CallOffPrepared() { CallOffAll(0, Datum{0}); }

void DisownRuns(Oid home, const pg::TopVector<int>& but) {
    const auto kept = [&](int slot) { return std::find(but.begin(), but.end(), slot) != but.end(); };
    {
        Lock lock(LW_EXCLUSIVE);
        for (int i = 0; i < RunSlots(); i++) {
            Slot& slot = shared->slots[i];
            if (slot.state != RunState::kFree && slot.home == home && !kept(i)) Disown(&slot);
        }
    }
    if (mapped == nullptr) return;
    for (std::size_t i = mapped->size(); i-- > 0;)
        if (!kept((*mapped)[i].slot)) DropCommand((*mapped)[i].slot);
}

void FreeRunSlot(int i) {
    {
        Lock lock(LW_EXCLUSIVE);
        shared->slots[i].state = RunState::kFree;
        shared->slots[i].generation++;
    }
    DropCommand(i);
}

RunView ViewRun(int i) {
    Lock lock(LW_SHARED);
    const Slot& slot = shared->slots[i];
    return {slot.called_off ? RunState::kFree : slot.state, slot.home, slot.job, slot.run, slot.pid};
}

void ReadResult(int i, RunResult* result) {
    Lock lock(LW_SHARED);
    *result = shared->slots[i].result;
}

// The run's side

bool ClaimRun(int i, uint32 generation, RunOrder* order) {
    dsm_handle command = 0;
    {
        Lock lock(LW_EXCLUSIVE);
        Slot& slot = shared->slots[i];
        if (slot.generation != generation || slot.state == RunState::kFree || slot.called_off) return false;
        slot.pid = MyProcPid;
        slot.latch = MyLatch;
        *order = {slot.job, slot.run, slot.database, slot.role, slot.max_runtime, nullptr, slot.encoding};
        command = slot.command;
    }
    // The segment is gone where the scheduler is.
    if (dsm_segment* segment = dsm_attach(command)) {
        dsm_pin_mapping(segment);
        order->command = static_cast<const char*>(dsm_segment_address(segment));
    }
    return true;
}

bool MayGo(int i, uint32 generation) {
    for (;;) {
        {
            Lock lock(LW_SHARED);
            const Slot& slot = shared->slots[i];
            if (slot.generation != generation || slot.called_off) return false;
            if (slot.state == RunState::kGoing) return true;
        }
        pg::Sleep(10 * USECS_PER_SEC, "PgqueueRunStart");
    }
}

void Finish(int i, uint32 generation, const RunResult& result) {
    Oid home = InvalidOid;
    {
        Lock lock(LW_EXCLUSIVE);
        Slot& slot = shared->slots[i];
        if (slot.generation != generation) return;
        home = slot.home;
        slot.latch = nullptr;
        if (slot.called_off) {
            slot.state = RunState::kFree;
            slot.generation++;
        } else {
            slot.state = RunState::kFinished;
            slot.result = result;
            slot.result.pid = MyProcPid;
        }
    }
    pg::WakeWorker(home, pg::kRunsChanged);
}

}  // namespace pgqueue::cron
