// The background workers as every process sees them: one slot a database, in shared memory.
//
// The launcher gives a slot to a database and starts a worker for it; the worker claims the slot, reports in it, and
// leaves its verdict there when it goes; the launcher frees it. Sessions only wake: SetLatch and an atomic flag, so
// that it may be done where nothing may be raised. A database can be blocked: no worker starts in it then, which
// utility commands need that want it for themselves.
#pragma once

#include "pgqueue/pg/lwlock.hpp"

namespace pgqueue::pg {

// Why a worker is woken.
enum Attention : uint32 {
    kJobsChanged = 1,  // cron.job
    kRunsChanged = 2,  // cron.job_run_details
    kLookAround = 4,   // the extension may be gone or changed
    kStartAgain = 8,   // settings that are read when a session begins
    kRunEnded = 16,
    kQueueNews = 32,         // a watched queue may have something, or a handler's process has ended
    kMapsChanged = 64,       // a queue has a new page map, which is not watched yet
    kHandlersChanged = 128,  // who watches which queue, and how
    kFunctionsChanged = 256,
    kOfQueues = 480,     // the four before
    kSegmentFull = 512,  // a queue wants a new segment
    kEverything = 1023,
};

enum class WorkerState : int { kFree, kStarting, kRunning, kExited };
// What the launcher learns from a worker that has gone.
enum class Verdict : int { kFailed, kNoExtension, kStopped };

inline constexpr int kReportBytes = 256;

// What a worker tells of itself. All times are 0 for never.
struct WorkerReport {
    char state[32];  // what it does, a word or two
    TimestampTz started_at;
    TimestampTz last_round_at;  // the end of the last one that did something
    int64 last_round_us;
    int64 rounds;
    TimestampTz next_round_at;
    int64 lag_us;  // how late the oldest thing that is due is
    int64 purged;  // entries of stores
    int64 runs_started;
    int64 errors;
    TimestampTz last_error_at;
    char last_error[kReportBytes];
    char timezone[kReportBytes];  // of its session: that of jobs without one of their own
};

struct WorkerSlot {
    Oid database;
    WorkerState state;
    uint32 generation;  // of the claim: a worker that comes too late finds another one
    Verdict verdict;
    int pid;
    Latch* latch;  // of the worker's PGPROC
    TimestampTz given_at;
    WorkerReport report;
    pg_atomic_uint32 attention;
};
static_assert(std::is_trivially_destructible_v<WorkerSlot> && std::is_standard_layout_v<WorkerSlot>);

Size WorkerTableShmemSize();
void WorkerTableShmemInit();
// In _PG_init.
void InitWorkerTable();

// From any session.
void WakeWorker(Oid database, uint32 attention);
void WakeAllWorkers(uint32 attention);
// Makes the launcher look whether the database wants a worker. InvalidOid: look at all of them.
void TellLauncher(Oid database);
// The same for this database, if and when the transaction commits.
void WakeWorkerAtCommit(uint32 attention);
void TellLauncherAtCommit(Oid database);
// The database's worker begins a new session, for other settings. InvalidOid: that of every database.
void StartAgainAtCommit(Oid database);

// Keeps workers out of the database until the transaction ends, in one way or the other, and waits a few seconds for
// one that is there to go.
void BlockDatabase(Oid database);

// For the launcher.
void BecomeLauncher();
struct Inbox {
    bool look_at_all;
    bool unblocked;  // a database may have a worker again, or is gone, or has another name
};
Inbox TakeInbox(Oid* databases, int* count);  // up to kInbox
inline constexpr int kInbox = 64;
int WorkerSlots();
// A copy of what concerns the launcher.
struct SlotView {
    Oid database;
    WorkerState state;
    uint32 generation;
    Verdict verdict;
    TimestampTz given_at;
};
SlotView ViewSlot(int slot);
// Gives a free slot to the database: its number, or -1 where none is free or the database is blocked.
int GiveSlot(Oid database, uint32* generation);
void FreeSlot(int slot);
// Of workers of the database (InvalidOid: of all) that have gone by now: what they saw is no longer true.
void VoidVerdicts(Oid database);
void StopWorker(int slot);

// For the worker. False: the slot is no longer meant for it.
bool ClaimSlot(int slot, uint32 generation, Oid* database);
void LeaveSlot(int slot, Verdict verdict);
uint32 TakeAttention(int slot);
template <class Change>
void ChangeReport(int slot, Change change);

// For the view.
bool ReadSlot(int slot, Oid* database, int* pid, WorkerReport* report);

LWLock* WorkerTableLock();
WorkerSlot* SlotAt(int slot);

template <class Change>
void ChangeReport(int slot, Change change) {
    const LWLockGuard lock(WorkerTableLock(), LW_EXCLUSIVE);
    change(&SlotAt(slot)->report);
}

}  // namespace pgqueue::pg
