#include "pgqueue/cron/history.hpp"

#include "pgqueue/cron/clock.hpp"
#include "pgqueue/cron/scheduler.hpp"
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/run_as.hpp"
#include "pgqueue/settings.hpp"

namespace pgqueue::cron {
namespace {

constexpr int64 kTrimEvery = 60 * USECS_PER_SEC;
constexpr int kTrimAtOnce = 10000;  // rows in one transaction

// A statement that is planned once. The server plans it anew where the tables have changed.
template <std::size_t N>
class Statement {
public:
    constexpr Statement(const char* sql, std::array<Oid, N> types) : sql_(sql), types_(types) {}

    uint64 Run(std::array<Datum, N> values, std::array<bool, N> nulls = {}) {
        if (plan_ == nullptr) {
            SPIPlanPtr plan = SPI_prepare(sql_, static_cast<int>(N), types_.data());
            if (plan == nullptr) elog(ERROR, "SPI: %s", SPI_result_code_string(SPI_result));
            SPI_keepplan(plan);
            plan_ = plan;
        }
        std::array<char, N + 1> spi_nulls = {};
        for (std::size_t i = 0; i < N; i++) spi_nulls[i] = nulls[i] ? 'n' : ' ';
        const int code = SPI_execute_plan(plan_, values.data(), spi_nulls.data(), false, 0);
        if (code < 0) elog(ERROR, "SPI: %s", SPI_result_code_string(code));
        return SPI_processed;
    }

private:
    const char* sql_;
    std::array<Oid, N> types_;
    SPIPlanPtr plan_ = nullptr;
};

Datum TextOf(const char* text) { return text != nullptr ? CStringGetTextDatum(text) : Datum{0}; }

// The run $1, unless it is over or a session has it in hand. By place: the row is locked, so it stays there.
#define OF_OPEN_RUN                                                                                                    \
    "WHERE ctid = (SELECT ctid FROM cron.job_run_details WHERE runid = $1 AND status IN ('waiting', 'running') "       \
    "FOR NO KEY UPDATE SKIP LOCKED)"

// rows: those that a change OF_OPEN_RUN has found.
Written WhetherWritten(int64 run, uint64 rows) {
    if (rows == 1) return Written::kYes;
    static Statement<1> open("SELECT FROM cron.job_run_details WHERE runid = $1 AND status IN ('waiting', 'running')",
                             {INT8OID});
    return open.Run({Int64GetDatum(run)}) == 1 ? Written::kLocked : Written::kGone;
}

const char* WordOf(Reason reason) {
    switch (reason) {
        case Reason::kRetry:
            return "retry";
        case Reason::kManual:
            return "manual";
        default:
            return "schedule";
    }
}

Reason ReasonOf(const char* word) {
    return strcmp(word, "retry") == 0    ? Reason::kRetry
           : strcmp(word, "manual") == 0 ? Reason::kManual
                                         : Reason::kSchedule;
}

// What a run left in its slot is ASCII or UTF-8.
const char* MessageOf(const RunResult& result) {
    char* text = pnstrdup(result.message, result.length);
    if (GetDatabaseEncoding() != PG_UTF8)
        for (char* c = text; *c != '\0'; c++)
            if ((*c & 0x80) != 0) *c = '?';
    return text;
}

}  // namespace

void ReadJobs() {
    static Statement<0> statement(
        "SELECT j.jobid, j.schedule, j.command, j.database, j.username, j.active, j.jobname, j.timezone, j.overlap, "
        "j.catch_up, j.max_runtime, j.retries, j.retry_delay, j.jitter, j.run_at, j.is_local, j.counts_from, "
        "s.last_due "
        "FROM cron.job j LEFT JOIN cron.job_state s USING (jobid) ORDER BY j.jobid",
        {});
    (void)statement.Run({});
}

void AdoptDatabaseName() {
    static Statement<1> jobs("UPDATE cron.job SET database = $1 WHERE jobid IN (SELECT jobid FROM cron.job "
                             "WHERE is_local AND database <> $1 FOR UPDATE SKIP LOCKED)",
                             {TEXTOID});
    (void)jobs.Run({CStringGetTextDatum(get_database_name(MyDatabaseId))});
}

void ForgetOrphans() {
    static Statement<0> orphans("DELETE FROM cron.job_state s WHERE NOT EXISTS "
                                "(SELECT FROM cron.job j WHERE j.jobid = s.jobid)",
                                {});
    (void)orphans.Run({});
}

void RememberDue(int64 job, TimestampTz due) {
    static Statement<2> statement(
        "INSERT INTO cron.job_state VALUES ($1, $2) ON CONFLICT (jobid) DO UPDATE SET last_due = excluded.last_due",
        {INT8OID, TIMESTAMPTZOID});
    (void)statement.Run({Int64GetDatum(job), TimestampTzGetDatum(due)});
}

void CountFrom(int64 job, TimestampTz at) {
    // Not waiting for a session that is about to change it: then it is done the next time.
    static Statement<2> statement("UPDATE cron.job SET counts_from = $2 WHERE jobid IN (SELECT jobid FROM cron.job "
                                  "WHERE jobid = $1 AND counts_from > $2 FOR UPDATE SKIP LOCKED)",
                                  {INT8OID, TIMESTAMPTZOID});
    (void)statement.Run({Int64GetDatum(job), TimestampTzGetDatum(at)});
}

bool DeleteJob(int64 job) {
    static Statement<1> statement(
        "WITH gone AS (DELETE FROM cron.job WHERE ctid = (SELECT ctid FROM cron.job WHERE jobid = $1 AND NOT EXISTS "
        "(SELECT FROM cron.job_run_details d WHERE d.jobid = $1 AND d.status IN ('waiting', 'running')) "
        "FOR UPDATE SKIP LOCKED) RETURNING jobid), "
        "forgotten AS (DELETE FROM cron.job_state s USING gone WHERE s.jobid = gone.jobid) SELECT FROM gone",
        {INT8OID});
    return statement.Run({Int64GetDatum(job)}) == 1;
}

int64 AddRun(const NewRun& run) {
    static Statement<11> statement(
        "INSERT INTO cron.job_run_details (jobid, database, username, command, jobname, status, return_message, "
        "due_time, start_after, attempt, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING runid",
        {INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID,
         TEXTOID});
    std::array<bool, 11> nulls = {};
    nulls[4] = run.name == nullptr;
    nulls[6] = run.message == nullptr;
    (void)statement.Run({Int64GetDatum(run.job), TextOf(run.database), TextOf(run.username), TextOf(run.command),
                         TextOf(run.name), TextOf(run.status), TextOf(run.message), TimestampTzGetDatum(run.due),
                         TimestampTzGetDatum(run.start_after), Int32GetDatum(run.attempt), TextOf(WordOf(run.reason))},
                        nulls);
    bool null = false;
    return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
}

Written BeginRun(int64 run, TimestampTz at, const char* database, const char* username, const char* command) {
    // The job may have been changed since: what runs, and who sees it, is the job as it is now.
    static Statement<5> statement("UPDATE cron.job_run_details SET status = 'running', start_time = $2, database = $3, "
                                  "username = $4, command = $5 " OF_OPEN_RUN,
                                  {INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID});
    return WhetherWritten(run, statement.Run({Int64GetDatum(run), TimestampTzGetDatum(at), TextOf(database),
                                              TextOf(username), TextOf(command)}));
}

void ShowRun(int64 run, int pid) {
    static Statement<2> statement("UPDATE cron.job_run_details SET job_pid = $2 " OF_OPEN_RUN, {INT8OID, INT4OID});
    (void)statement.Run({Int64GetDatum(run), Int32GetDatum(pid)});
}

Written FinishRun(int64 run, const RunResult& result) {
    static Statement<7> statement("UPDATE cron.job_run_details SET status = $2, return_message = $3, job_pid = $4, "
                                  "start_time = $5, end_time = $6, sqlstate = $7 " OF_OPEN_RUN,
                                  {INT8OID, TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID});
    std::array<bool, 7> nulls = {};
    nulls[3] = result.pid == 0;
    nulls[6] = result.sqlstate[0] == '\0';
    return WhetherWritten(run, statement.Run({Int64GetDatum(run), TextOf(result.succeeded ? "succeeded" : "failed"),
                                              TextOf(MessageOf(result)), Int32GetDatum(result.pid),
                                              TimestampTzGetDatum(OnClock(result.started_at)),
                                              TimestampTzGetDatum(OnClock(result.ended_at)), TextOf(result.sqlstate)},
                                             nulls));
}

Written SkipRun(int64 run, const char* message) {
    static Statement<2> statement(
        "UPDATE cron.job_run_details SET status = 'skipped', return_message = $2 " OF_OPEN_RUN, {INT8OID, TEXTOID});
    return WhetherWritten(run, statement.Run({Int64GetDatum(run), TextOf(message)}));
}

pg::Vector<StoredRun> ReadOpenRuns(std::size_t most) {
    static Statement<1> statement(
        "SELECT runid, jobid, due_time, start_after, attempt, reason, status = 'running' FROM cron.job_run_details "
        "WHERE status IN ('waiting', 'running') ORDER BY status = 'running' DESC, start_after, runid LIMIT $1",
        {INT8OID});
    const uint64 rows = statement.Run({Int64GetDatum(static_cast<int64>(most))});
    pg::Vector<StoredRun> runs;
    runs.reserve(rows);
    for (uint64 i = 0; i < rows; i++) {
        const auto column = [&](int n) {
            bool null = false;
            return SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, n, &null);
        };
        runs.push_back({DatumGetInt64(column(1)), DatumGetInt64(column(2)), DatumGetTimestampTz(column(3)),
                        DatumGetTimestampTz(column(4)), DatumGetInt32(column(5)),
                        ReasonOf(TextDatumGetCString(column(6))), DatumGetBool(column(7))});
    }
    return runs;
}

TimestampTz TrimHistory(bool* more) {
    static Statement<2> by_age(
        "DELETE FROM cron.job_run_details WHERE runid IN (SELECT runid FROM cron.job_run_details "
        "WHERE status NOT IN ('waiting', 'running') AND coalesce(end_time, due_time) < $1 ORDER BY runid LIMIT $2 "
        "FOR UPDATE SKIP LOCKED)",
        {TIMESTAMPTZOID, INT4OID});
    static Statement<2> by_count("DELETE FROM cron.job_run_details WHERE runid IN "
                                 "(SELECT runid FROM cron.job_run_details WHERE runid IN (SELECT d.runid "
                                 "FROM (SELECT jobid FROM cron.job_run_details GROUP BY jobid HAVING count(*) > $1) j "
                                 "CROSS JOIN LATERAL (SELECT runid FROM cron.job_run_details o WHERE o.jobid = j.jobid "
                                 "AND status NOT IN ('waiting', 'running') ORDER BY runid DESC OFFSET $1) d LIMIT $2) "
                                 "FOR UPDATE SKIP LOCKED)",
                                 {INT4OID, INT4OID});
    uint64 removed = 0;
    StartTransactionCommand();
    const bool held = pg::HoldExtensionForTask();
    PushActiveSnapshot(GetTransactionSnapshot());
    Oid owner = GetUserId();
    if (held) {
        owner = pg::ExtensionOwner();
        const pg::RunAs as(owner);
        pg::Spi spi;
        if (settings::cron_history_age > 0)
            removed = by_age.Run({TimestampTzGetDatum(Now() - settings::cron_history_age * USECS_PER_MINUTE),
                                  Int32GetDatum(kTrimAtOnce)});
        if (settings::cron_history_rows > 0)
            removed = std::max(removed,
                               by_count.Run({Int32GetDatum(settings::cron_history_rows), Int32GetDatum(kTrimAtOnce)}));
    }
    PopActiveSnapshot();
    pg::CommitAs(owner);
    *more = removed >= kTrimAtOnce;
    return GetCurrentTimestamp() + (*more ? USECS_PER_SEC / 10 : kTrimEvery);
}

}  // namespace pgqueue::cron
