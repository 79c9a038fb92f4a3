// Runs of jobs that are under way, in shared memory: one slot each, for the whole server.
//
// A run is a background worker of its own. The scheduler takes a slot and starts the worker before it commits that the
// run began, so that the worker comes up meanwhile; only then it lets it go. The run leaves its result in the slot,
// whatever ends it, and the scheduler frees the slot once the result is committed to the history. So a run that finds
// no scheduler (it was killed) is told to the next one.
#pragma once

#include "pgqueue/pg/worker_process.hpp"

namespace pgqueue::cron {

inline constexpr int kResultBytes = 8000;

enum class RunState : int {
    kFree,
    kTaken,     // its worker comes up, and waits to be let go
    kGoing,     // let go
    kFinished,  // the result is there
};

struct RunResult {
    bool succeeded;
    int pid;
    TimestampTz started_at;
    TimestampTz ended_at;
    char sqlstate[6];  // empty: none
    int length;
    char message[kResultBytes];  // ASCII or UTF-8
};

// What a run is to do.
struct RunOrder {
    int64 job;
    int64 run;
    Oid database;
    Oid role;
    double max_runtime;  // seconds; 0: no limit
    const char* command;
    int encoding = 0;  // of the command, as the run is told
};

Size RunSlotsShmemSize();
void RunSlotsShmemInit();

// For the scheduler. Takes a slot and starts the run's worker, which waits. -1: no slot, or no background worker, is
// free now. A session that exits calls off what it has not let go.
int PrepareRun(const RunOrder& order, BackgroundWorkerHandle** handle);
// For one that was prepared without a run's id. False: its process is gone.
bool AssignRun(int slot, int64 run);
void LetGo(int slot);
// Calls off all runs that this process has not let go.
void CallOffAll();
// Of a run that is over, or is called off by that.
void FreeRunSlot(int slot);
// Frees those of a database whose results nobody will ask for. What is under way goes on.
void DisownRuns(Oid home);

struct RunView {
    RunState state;
    Oid home;  // the database of the scheduler
    int64 job;
    int64 run;
    int pid;
};
// How often a slot has become free. Who finds none is woken when one does.
uint64 FreedRunSlots();
int RunSlots();
RunView ViewRun(int slot);
// Of one that is kFinished.
void ReadResult(int slot, RunResult* result);

}  // namespace pgqueue::cron
