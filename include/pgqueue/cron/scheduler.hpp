// The scheduler: what the background worker of a database does about its jobs.
//
// The tables are the truth: cron.job_state says which due times were dealt with, cron.job_run_details which runs are to
// come (waiting), under way and over. A round writes what it decides in one transaction and acts only after that is on
// disk, so a crash neither repeats a due time nor forgets one. What it keeps in memory is a copy, read again when a
// session has changed the tables.
#pragma once

#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::cron {

// Whether this process is the one that runs jobs, whose own writes wake nobody.
bool IsScheduling();

struct RoundResult {
    TimestampTz next_at;  // by the server's clock: when there is something to do, unless woken before
    int64 lag_us;         // how late the oldest run is that waits for a free slot
    int64 started;
    bool worked;
};

// Outside of a transaction. jobs_changed, runs_changed: read them again; both at first. Raises what goes wrong, with
// nothing lost; call AfterError then.
RoundResult Round(bool jobs_changed, bool runs_changed);
void AfterError();

// Removes what is too old or too much of the history, and returns when to do so again. more: there is.
TimestampTz TrimHistory(bool* more);

}  // namespace pgqueue::cron
