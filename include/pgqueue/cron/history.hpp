// The statements by which the scheduler reads and writes the tables of the schema `cron`. Each needs a transaction, an
// SPI connection and the extension owner's identity.
#pragma once

#include "pgqueue/cron/run_slots.hpp"
#include "pgqueue/pg/memory.hpp"

namespace pgqueue::cron {

// Why a run is.
enum class Reason { kSchedule, kRetry, kManual };

struct NewRun {
    int64 job;
    const char* database;
    const char* username;
    const char* command;
    const char* name;  // or null
    const char* status;
    const char* message;  // or null
    TimestampTz due;
    TimestampTz start_after;
    int attempt;
    Reason reason;
};

struct StoredRun {
    int64 run;
    int64 job;
    TimestampTz due;
    TimestampTz after;
    int attempt;
    Reason reason;
    bool running;
};

// What became of a change of a row. A session that is about to delete or change a row keeps it for as long as its
// transaction lasts: nobody waits for that here, or it would keep all jobs from their runs.
enum class Written { kYes, kGone, kLocked };

// The jobs with what is remembered of them, ordered by id, left in SPI_tuptable.
void ReadJobs();
// After ALTER DATABASE RENAME, or a restore into a database of another name: local jobs show the name it has now.
void AdoptDatabaseName();
// What is remembered of jobs that are gone.
void ForgetOrphans();
void RememberDue(int64 job, TimestampTz due);
// The clock was put back to before the job was made or changed.
void CountFrom(int64 job, TimestampTz at);
// Unless it has open runs, or a session has it in hand: false.
bool DeleteJob(int64 job);

int64 AddRun(const NewRun& run);
Written BeginRun(int64 run, TimestampTz at, const char* database, const char* username, const char* command);
void ShowRun(int64 run, int pid);
Written FinishRun(int64 run, const RunResult& result);
Written SkipRun(int64 run, const char* message);
// Running ones, then waiting ones in the order in which they may start.
pg::Vector<StoredRun> ReadOpenRuns(std::size_t most);

}  // namespace pgqueue::cron
