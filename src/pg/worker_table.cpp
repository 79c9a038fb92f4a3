#include "pgqueue/pg/worker_table.hpp"

#include "pgqueue/pg/lwlock.hpp"
#include "pgqueue/pg/memory.hpp"

namespace pgqueue::pg {
namespace {

constexpr int kBlocks = 64;
constexpr int kBlockPatience = 5;  // seconds: as long as the server itself waits for others to leave a database

struct Block {
    Oid database;
    int pid;  // of the session that blocks it; 0: free
};

struct Shared {
    LWLock lock;  // guards everything but the slots' attention
    Latch* launcher;
    int launcher_pid;
    Oid inbox[kInbox];
    int inbox_count;
    bool look_at_all;
    bool unblocked;
    Block blocks[kBlocks];
    WorkerSlot slots[FLEXIBLE_ARRAY_MEMBER];
};

Shared* shared;

struct AtCommit {
    uint32 attention;
    TopVector<Oid> databases;    // for the launcher
    TopVector<Oid> start_again;  // their workers
};
AtCommit* at_commit;
bool exit_unblocks = false;
bool blocks = false;  // in this transaction

bool IsAlive(const WorkerSlot& slot) {
    return slot.state == WorkerState::kStarting || slot.state == WorkerState::kRunning;
}

WorkerSlot* SlotOf(Oid database) {
    for (int i = 0; i < WorkerSlots(); i++)
        if (shared->slots[i].database == database && IsAlive(shared->slots[i])) return &shared->slots[i];
    return nullptr;
}

bool IsBlocked(Oid database) {
    return std::any_of(std::begin(shared->blocks), std::end(shared->blocks),
                       [=](const Block& block) { return block.pid != 0 && block.database == database; });
}

void SignalWorker(const WorkerSlot& slot) {
    if (slot.state == WorkerState::kRunning) kill(slot.pid, SIGTERM);
}

void AddOnce(TopVector<Oid>* list, Oid oid) {
    if (std::find(list->begin(), list->end(), oid) == list->end()) list->push_back(oid);
}

void Unblock() {
    blocks = false;
    const LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    for (Block& block : shared->blocks)
        if (block.pid == MyProcPid) block.pid = 0;
    shared->unblocked = true;
    if (shared->launcher != nullptr) SetLatch(shared->launcher);
}

void OnExit(int, Datum) { Unblock(); }

void NoLauncher(int, Datum) {
    const LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    if (shared->launcher_pid == MyProcPid) shared->launcher = nullptr;
}

void StartAgain(Oid database) {
    if (OidIsValid(database)) {
        WakeWorker(database, kStartAgain);
        return;
    }
    WakeAllWorkers(kStartAgain);
}

void OnTransactionEnd(XactEvent event, void*) {
    if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE) return;
    // Nothing is told at PREPARE: COMMIT PREPARED wakes the worker for everything.
    if (event == XACT_EVENT_COMMIT) {
        if (at_commit->attention != 0) WakeWorker(MyDatabaseId, at_commit->attention);
        for (Oid database : at_commit->databases) TellLauncher(database);
        for (Oid database : at_commit->start_again) StartAgain(database);
    }
    at_commit->attention = 0;
    at_commit->databases.clear();
    at_commit->start_again.clear();
    if (blocks) Unblock();
}

}  // namespace

Size WorkerTableShmemSize() {
    return add_size(offsetof(Shared, slots), mul_size(sizeof(WorkerSlot), max_worker_processes));
}

void WorkerTableShmemInit() {
    bool found = false;
    shared = static_cast<Shared*>(ShmemInitStruct("pgqueue workers", WorkerTableShmemSize(), &found));
    if (found) return;
    const int tranche = LWLockNewTrancheId();
    LWLockRegisterTranche(tranche, "pgqueue_workers");
    memset(shared, 0, WorkerTableShmemSize());
    LWLockInitialize(&shared->lock, tranche);
    for (int i = 0; i < WorkerSlots(); i++) pg_atomic_init_u32(&shared->slots[i].attention, 0);
}

void InitWorkerTable() {
    at_commit = new (MemoryContextAllocZero(TopMemoryContext, sizeof(AtCommit))) AtCommit();
    RegisterXactCallback(OnTransactionEnd, nullptr);
}

int WorkerSlots() { return max_worker_processes; }
LWLock* WorkerTableLock() { return &shared->lock; }
WorkerSlot* SlotAt(int slot) { return &shared->slots[slot]; }

void WakeWorker(Oid database, uint32 attention) {
    const LWLockGuard lock(&shared->lock, LW_SHARED);
    WorkerSlot* slot = SlotOf(database);
    if (slot == nullptr) return;
    pg_atomic_fetch_or_u32(&slot->attention, attention);
    if (slot->latch != nullptr) SetLatch(slot->latch);
}

void WakeAllWorkers(uint32 attention) {
    const LWLockGuard lock(&shared->lock, LW_SHARED);
    for (int i = 0; i < WorkerSlots(); i++) {
        WorkerSlot& slot = shared->slots[i];
        if (!IsAlive(slot)) continue;
        pg_atomic_fetch_or_u32(&slot.attention, attention);
        if (slot.latch != nullptr) SetLatch(slot.latch);
    }
}

void TellLauncher(Oid database) {
    const LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    if (database == InvalidOid || shared->inbox_count == kInbox)
        shared->look_at_all = true;
    else
        shared->inbox[shared->inbox_count++] = database;
    if (shared->launcher != nullptr) SetLatch(shared->launcher);
}

void WakeWorkerAtCommit(uint32 attention) { at_commit->attention |= attention; }

void TellLauncherAtCommit(Oid database) { AddOnce(&at_commit->databases, database); }
void StartAgainAtCommit(Oid database) { AddOnce(&at_commit->start_again, database); }

void BlockDatabase(Oid database) {
    if (!exit_unblocks) before_shmem_exit(OnExit, 0);
    exit_unblocks = blocks = true;
    {
        const LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
        for (Block& block : shared->blocks)
            if (block.pid == 0) {
                block = {database, MyProcPid};
                break;
            }
        const WorkerSlot* slot = SlotOf(database);
        if (slot != nullptr) SignalWorker(*slot);
    }
    const TimestampTz deadline = GetCurrentTimestamp() + kBlockPatience * USECS_PER_SEC;
    while (GetCurrentTimestamp() < deadline) {
        {
            const LWLockGuard lock(&shared->lock, LW_SHARED);
            if (SlotOf(database) == nullptr) return;
        }
        CHECK_FOR_INTERRUPTS();
        // Its going sets no latch of ours.
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 5, PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
    }
}

void BecomeLauncher() {
    const LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    shared->launcher = MyLatch;
    shared->launcher_pid = MyProcPid;
    shared->look_at_all = true;
    before_shmem_exit(NoLauncher, 0);
}

Inbox TakeInbox(Oid* databases, int* count) {
    const LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    std::copy_n(shared->inbox, shared->inbox_count, databases);
    *count = shared->inbox_count;
    shared->inbox_count = 0;
    return {std::exchange(shared->look_at_all, false), std::exchange(shared->unblocked, false)};
}

SlotView ViewSlot(int slot) {
    const LWLockGuard lock(&shared->lock, LW_SHARED);
    const WorkerSlot& s = shared->slots[slot];
    return {s.database, s.state, s.generation, s.verdict, s.given_at};
}

int GiveSlot(Oid database, uint32* generation) {
    const LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    if (IsBlocked(database) || SlotOf(database) != nullptr) return -1;
    // The one that it had before, where its errors are still to be seen.
    int place = -1;
    for (int i = 0; i < WorkerSlots(); i++) {
        if (shared->slots[i].state != WorkerState::kFree) continue;
        if (place < 0 || shared->slots[i].database == database) place = i;
    }
    if (place < 0) return -1;
    WorkerSlot& slot = shared->slots[place];
    if (slot.database != database) slot.report = {};
    slot.database = database;
    slot.state = WorkerState::kStarting;
    slot.generation++;
    slot.verdict = Verdict::kFailed;
    slot.pid = 0;
    slot.latch = nullptr;
    slot.given_at = GetCurrentTimestamp();
    *generation = slot.generation;
    return place;
}

void FreeSlot(int slot) {
    const LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    shared->slots[slot].state = WorkerState::kFree;
    shared->slots[slot].generation++;
}

void VoidVerdicts(Oid database) {
    const LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    for (int i = 0; i < WorkerSlots(); i++) {
        WorkerSlot& slot = shared->slots[i];
        if (slot.state == WorkerState::kExited && slot.verdict == Verdict::kNoExtension &&
            (database == InvalidOid || slot.database == database))
            slot.verdict = Verdict::kStopped;
    }
}

void StopWorker(int slot) {
    const LWLockGuard lock(&shared->lock, LW_SHARED);
    SignalWorker(shared->slots[slot]);
}

bool ClaimSlot(int slot, uint32 generation, Oid* database) {
    const LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    WorkerSlot& s = shared->slots[slot];
    if (s.state != WorkerState::kStarting || s.generation != generation || IsBlocked(s.database)) {
        if (s.state == WorkerState::kStarting && s.generation == generation) {
            s.state = WorkerState::kExited;
            s.verdict = Verdict::kStopped;
        }
        return false;
    }
    s.state = WorkerState::kRunning;
    s.pid = MyProcPid;
    s.latch = MyLatch;
    pg_atomic_write_u32(&s.attention, 0);
    const WorkerReport before = s.report;
    s.report = {};
    s.report.started_at = GetCurrentTimestamp();
    strlcpy(s.report.state, "starting", sizeof(s.report.state));
    s.report.errors = before.errors;
    s.report.last_error_at = before.last_error_at;
    memcpy(s.report.last_error, before.last_error, kReportBytes);
    *database = s.database;
    return true;
}

void LeaveSlot(int slot, Verdict verdict) {
    const LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    WorkerSlot& s = shared->slots[slot];
    // Told to look again since it has looked.
    if (verdict == Verdict::kNoExtension && (pg_atomic_read_u32(&s.attention) & kLookAround) != 0)
        verdict = Verdict::kStopped;
    s.state = WorkerState::kExited;
    s.verdict = verdict;
    s.latch = nullptr;
    if (shared->launcher != nullptr) SetLatch(shared->launcher);
}

uint32 TakeAttention(int slot) { return pg_atomic_exchange_u32(&shared->slots[slot].attention, 0); }

bool ReadSlot(int slot, Oid* database, int* pid, WorkerReport* report) {
    const LWLockGuard lock(&shared->lock, LW_SHARED);
    const WorkerSlot& s = shared->slots[slot];
    if (s.state != WorkerState::kRunning) return false;
    *database = s.database;
    *pid = s.pid;
    *report = s.report;
    return true;
}

}  // namespace pgqueue::pg
