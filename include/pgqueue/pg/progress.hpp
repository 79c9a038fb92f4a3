// How far a session is with work that may take long, for the view pgqueue.progress: what pg_stat_progress_* is for the
// server's own commands, whose list an extension can't add to.
#pragma once

#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::pg {

enum class Work : int { kPurgeQueue, kRedrive, kDropQueue, kPurgeStores };

Size ProgressShmemSize();
void ProgressShmemInit();
// In _PG_init.
void InitProgress();

// Shown while it lives; an error's abort ends it as well. Of one inside of another only the outer one is shown, and of
// more sessions than there are entries the last are not: all that follows does nothing then.
class Progress {
public:
    explicit Progress(Work work);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
};

// Of the session's work, if there is any.
void ProgressPhase(const char* phase);            // a literal
void ProgressTables(int total);                   // how many tables it will work on, where that is known
void ProgressOnTable(Oid relation, int64 pages);  // goes on with the next table
void ProgressOnPage(BlockNumber page);            // all before it are done
void ProgressAddRows(int64 rows);

struct ProgressReport {
    int pid;
    Oid database;
    Oid role;  // as whom it was begun
    Work work;
    const char* phase;
    Oid relation;      // or InvalidOid
    int tables_total;  // 0: not known
    int tables_done;
    int64 pages_total;
    int64 pages_done;
    int64 rows;
    TimestampTz started_at;
};
int ProgressEntries();
bool ReadProgress(int entry, ProgressReport* report);

}  // namespace pgqueue::pg
