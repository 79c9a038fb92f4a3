#include "pgqueue/cron/jobs.hpp"

#include "pgqueue/cron/clock.hpp"
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/role.hpp"
#include "pgqueue/pg/run_as.hpp"

namespace pgqueue::cron {
namespace {

// Columns and values of a statement, put together one by one.
class Columns {
public:
    void Add(const char* column, Oid type, Datum value) {
        names_.push_back(column);
        types_.push_back(type);
        values_.push_back(value);
    }
    void Text(const char* column, const char* value) {
        if (value != nullptr) Add(column, TEXTOID, CStringGetTextDatum(value));
    }
    void Float(const char* column, std::optional<double> value) {
        if (value) Add(column, FLOAT8OID, Float8GetDatum(*value));
    }
    void All(const JobSettings& s) {
        Text("jobname", s.name);
        Text("schedule", s.schedule);
        Text("command", s.command);
        Text("timezone", s.timezone);
        Text("overlap", s.overlap);
        Text("catch_up", s.catch_up);
        Float("max_runtime", s.max_runtime);
        if (s.retries) Add("retries", INT8OID, Int64GetDatum(*s.retries));
        Float("retry_delay", s.retry_delay);
        Float("jitter", s.jitter);
        Text("username", s.run_as);
        Text("database", s.database);
        if (s.active) Add("active", BOOLOID, BoolGetDatum(*s.active));
        if (s.run_at) Add("run_at", TIMESTAMPTZOID, TimestampTzGetDatum(*s.run_at));
    }
    int Count() const { return static_cast<int>(names_.size()); }
    const char* Name(int i) const { return names_[i]; }
    uint64 Run(pg::Spi* spi, const char* sql) { return spi->Run(sql, Count(), types_.data(), values_.data()); }

private:
    pg::SmallVector<const char*, 16> names_;
    pg::SmallVector<Oid, 16> types_;
    pg::SmallVector<Datum, 16> values_;
};

int64 OnlyInt() {
    bool null = false;
    return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
}

const char* CurrentRole() { return GetUserNameFromId(GetUserId(), false); }

// The trigger lets a superuser restore what can't run yet; a call is meant.
void CheckTarget(const JobSettings& settings, const char* role) {
    if (settings.run_as != nullptr) CheckRole(settings.run_as);
    if (settings.database != nullptr) CheckDatabase(settings.database, role);
}

[[noreturn]] void NoSuchJob(const char* name) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("could not find valid entry for job '%s'", name),
                    errhint("The view of jobs is cron.job; it shows those that the role may see.")));
    pg_unreachable();
}

[[noreturn]] void NoSuchJob(int64 job) { NoSuchJob(psprintf(INT64_FORMAT, job)); }

// The job of that name that is meant.
int64 JobNamed(const char* name) {
    pg::Spi spi;
    Columns key;
    key.Text("", name);
    key.Text("", CurrentRole());
    const uint64 rows = key.Run(&spi, "SELECT jobid, username = $2 FROM cron.job WHERE jobname = $1 "
                                      "ORDER BY username = $2 DESC LIMIT 2");
    if (rows == 0) NoSuchJob(name);
    bool null = false;
    const bool own = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null));
    if (rows > 1 && !own)
        ereport(ERROR, (errcode(ERRCODE_AMBIGUOUS_PARAMETER), errmsg("several roles have a job named \"%s\"", name),
                        errhint("Name it by its id.")));
    return OnlyInt();
}

void Change(int64 job, const JobSettings& settings) {
    const pg::RunAs as(GetUserId());
    pg::Spi spi;
    Columns columns;
    columns.All(settings);
    if (settings.database != nullptr || settings.run_as != nullptr) {
        Columns key;
        key.Add("", INT8OID, Int64GetDatum(job));
        if (key.Run(&spi, "SELECT username, database FROM cron.job WHERE jobid = $1") == 0) NoSuchJob(job);
        CheckTarget(settings, settings.run_as != nullptr
                                  ? settings.run_as
                                  : SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
    }
    StringInfoData sql;
    initStringInfo(&sql);
    appendStringInfoString(&sql, "UPDATE cron.job SET ");
    for (int i = 0; i < columns.Count(); i++)
        appendStringInfo(&sql, "%s%s = $%d", i > 0 ? ", " : "", columns.Name(i), i + 1);
    // Nothing to change: that the job is there is still to be seen.
    if (columns.Count() == 0) appendStringInfoString(&sql, "active = active");
    columns.Add("", INT8OID, Int64GetDatum(job));
    appendStringInfo(&sql, " WHERE jobid = $%d", columns.Count());
    if (columns.Run(&spi, sql.data) == 0) NoSuchJob(job);
}

void Remove(int64 job) {
    pg::Spi spi;
    Columns key;
    key.Add("", INT8OID, Int64GetDatum(job));
    if (key.Run(&spi, "DELETE FROM cron.job WHERE jobid = $1") == 0) NoSuchJob(job);
}

}  // namespace

std::optional<Overlap> OverlapOf(const char* word) {
    if (strcmp(word, "skip") == 0) return Overlap::kSkip;
    if (strcmp(word, "queue") == 0) return Overlap::kQueue;
    if (strcmp(word, "allow") == 0) return Overlap::kAllow;
    return std::nullopt;
}

std::optional<CatchUp> CatchUpOf(const char* word) {
    if (strcmp(word, "none") == 0) return CatchUp::kNone;
    if (strcmp(word, "once") == 0) return CatchUp::kOnce;
    if (strcmp(word, "all") == 0) return CatchUp::kAll;
    return std::nullopt;
}

Schedule ParseSchedule(const char* text, const char* command, const char* name) {
    Schedule schedule;
    ParseError error;
    if (Parse(text, &schedule, &error)) return schedule;
    const auto swapped_with = [&](const char* other) {
        return other != nullptr && !LooksLikeSchedule(text) && LooksLikeSchedule(other);
    };
    const char* token =
        pnstrdup(error.token.data(), pg_mbcliplen(error.token.data(), static_cast<int>(error.token.size()), 64));
    const bool dated = strcmp(text, kOnceText) == 0;
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
             error.field != nullptr ? errmsg("invalid schedule: %s \"%s\": %s", error.field, token, error.reason)
             : *token != '\0'       ? errmsg("invalid schedule: \"%s\": %s", token, error.reason)
                                    : errmsg("invalid schedule: %s", error.reason),
             swapped_with(command) ? errhint("The schedule and the command look swapped.")
             : swapped_with(name)  ? errhint("The name and the schedule look swapped.")
             : dated
                 ? errhint("cron.at makes a job that runs once.")
                 : errhint("Five fields (minute, hour, day of month, month, day of week) as in \"30 3 * * 1-5\", six "
                           "with seconds first, \"@daily\" and the like, \"10 seconds\", or \"@every 1h30m\".")));
    pg_unreachable();
}

bool MayActAs(const char* role) { return pg::MayActAs(role); }

void CheckMember(const char* role) { pg::CheckMember(role, "jobs"); }

void CheckRole(const char* role) {
    pg::CheckMayRun(role, "jobs",
                    "A run logs in as the job's role: ALTER ROLE ... LOGIN, or name another with run_as.");
}

void CheckDatabase(const char* database, const char* role) {
    const Oid oid = get_database_oid(database, false);
    if (!compat::MayConnect(oid, get_role_oid(role, false)))
        ereport(ERROR,
                (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied for database \"%s\"", database),
                 errdetail("Role \"%s\" does not have the CONNECT privilege.", role)));
}

int64 AddJob(const JobSettings& settings, IfThere there) {
    CheckTarget(settings, settings.run_as != nullptr ? settings.run_as : CurrentRole());
    const pg::RunAs as(GetUserId());
    pg::Spi spi;
    Columns columns;
    columns.All(settings);
    if (settings.run_as == nullptr) columns.Text("username", CurrentRole());
    StringInfoData sql;
    initStringInfo(&sql);
    appendStringInfoString(&sql, "INSERT INTO cron.job (");
    for (int i = 0; i < columns.Count(); i++) appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "", columns.Name(i));
    appendStringInfoString(&sql, ") VALUES (");
    for (int i = 0; i < columns.Count(); i++) appendStringInfo(&sql, "%s$%d", i > 0 ? ", " : "", i + 1);
    appendStringInfoString(&sql, ") ON CONFLICT (jobname, username) DO ");
    if (there == IfThere::kFails) {
        appendStringInfoString(&sql, "NOTHING");
    } else {
        appendStringInfoString(&sql, "UPDATE SET schedule = excluded.schedule, command = excluded.command");
        if (settings.database != nullptr) appendStringInfoString(&sql, ", database = excluded.database");
        if (settings.active) appendStringInfoString(&sql, ", active = excluded.active");
    }
    appendStringInfoString(&sql, " RETURNING jobid");
    if (columns.Run(&spi, sql.data) == 0)
        ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("job \"%s\" already exists", settings.name),
                        errhint("cron.change_job changes it.")));
    return OnlyInt();
}

void ChangeJob(int64 job, const JobSettings& settings) { Change(job, settings); }

void ChangeJob(const char* name, const JobSettings& settings) {
    int64 job = 0;
    {
        const pg::RunAs as(GetUserId());
        job = JobNamed(name);
    }
    Change(job, settings);
}

void RemoveJob(int64 job) {
    const pg::RunAs as(GetUserId());
    Remove(job);
}

void RemoveJob(const char* name) {
    const pg::RunAs as(GetUserId());
    Remove(JobNamed(name));
}

int64 RunNow(int64 job) {
    Columns run;
    {
        // What the caller sees.
        const pg::RunAs as(GetUserId());
        pg::Spi spi;
        Columns key;
        key.Add("", INT8OID, Int64GetDatum(job));
        if (key.Run(&spi, "SELECT username FROM cron.job WHERE jobid = $1") == 0) NoSuchJob(job);
        // Some roles see the rows of others.
        if (!superuser()) CheckMember(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
    }
    run.Add("", INT8OID, Int64GetDatum(job));
    run.Add("", TIMESTAMPTZOID, TimestampTzGetDatum(Now()));
    const pg::RunAs as(pg::ExtensionOwner());
    pg::Spi spi;
    if (run.Run(&spi,
                "INSERT INTO cron.job_run_details (jobid, database, username, command, status, jobname, due_time, "
                "start_after, reason) SELECT jobid, database, username, command, 'waiting', jobname, $2, $2, 'manual' "
                "FROM cron.job WHERE jobid = $1 RETURNING runid") == 0)
        NoSuchJob(job);
    return OnlyInt();
}

}  // namespace pgqueue::cron
