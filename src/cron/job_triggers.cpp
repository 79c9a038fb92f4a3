// The triggers of the tables in the schema `cron`.
#include "pgqueue/cron/clock.hpp"
#include "pgqueue/cron/jobs.hpp"
#include "pgqueue/cron/scheduler.hpp"
#include "pgqueue/cron/zone.hpp"
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/function.hpp"
#include "pgqueue/pg/worker_table.hpp"

using namespace pgqueue;
using namespace pgqueue::cron;

namespace {

// cron.job's columns by place.
enum Column : AttrNumber {
    kSchedule = 2,
    kCommand = 3,
    kDatabase = 6,
    kUsername = 7,
    kActive = 8,
    kJobName = 9,
    kTimezone = 10,
    kOverlap = 11,
    kCatchUp = 12,
    kMaxRuntime = 13,
    kRetries = 14,
    kRetryDelay = 15,
    kJitter = 16,
    kRunAt = 17,
    kIsLocal = 18,
    kCountsFrom = 19,
};

constexpr std::size_t kMostCommand = 1024 * 1024;  // bytes
constexpr std::size_t kMostSchedule = 4096;

// A row of the job table, before and after.
class Row {
public:
    Row(TupleDesc shape, HeapTuple tuple) : shape_(shape), tuple_(tuple) {}

    bool IsNull(Column column) const {
        bool null = false;
        (void)heap_getattr(tuple_, column, shape_, &null);
        return null;
    }
    Datum Raw(Column column) const {
        bool null = false;
        return heap_getattr(tuple_, column, shape_, &null);
    }
    const char* Text(Column column) const { return IsNull(column) ? nullptr : TextDatumGetCString(Raw(column)); }
    double Float(Column column) const { return DatumGetFloat8(Raw(column)); }
    bool Bool(Column column) const { return DatumGetBool(Raw(column)); }

private:
    TupleDesc shape_;
    HeapTuple tuple_;
};

[[noreturn]] void Invalid(const char* what, const char* hint) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", what), errhint("%s", hint)));
    pg_unreachable();
}

void CheckSeconds(const Row& row, Column column, const char* name, double least, double most) {
    if (row.IsNull(column)) return;
    const double value = row.Float(column);
    if (value >= least && value <= most) return;  // not NaN
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must be %g to %.0f seconds", name, least, most)));
}

void CheckName(const char* name) {
    if (name == nullptr) return;
    if (*name == '\0') Invalid("a job's name must not be empty", "Leave it NULL for a job without a name.");
    if (strspn(name, "0123456789") == strlen(name))
        Invalid("a job's name must not be a number", "Numbers are the ids of jobs.");
    if (strlen(name) >= 256) Invalid("a job's name must be shorter than 256 bytes", "Shorten it.");
}

void CheckSchedule(const Row& row) {
    const char* schedule = row.Text(kSchedule);
    if (strlen(schedule) > kMostSchedule) Invalid("a job's schedule must not be longer than 4096 bytes", "Shorten it.");
    if (strcmp(schedule, kOnceText) == 0 && !row.IsNull(kRunAt)) {
        const TimestampTz at = DatumGetTimestampTz(row.Raw(kRunAt));
        if (TIMESTAMP_NOT_FINITE(at)) Invalid("run_at must be a finite time", "Name a time.");
        return;
    }
    (void)ParseSchedule(schedule, row.Text(kCommand), row.Text(kJobName));
}

bool Differs(const Row& a, const Row& b, Column column) {
    const char* x = a.Text(column);
    const char* y = b.Text(column);
    return x == nullptr || y == nullptr ? x != y : strcmp(x, y) != 0;
}

// A role or database that isn't there: an error, but a superuser may bring such rows along, as a restore does. Their
// runs fail until it is there. A job that stays with both may be changed, and so switched off, whatever became of them.
void CheckWhoAndWhere(const Row& row, bool moves) {
    const char* role = row.Text(kUsername);
    const char* database = row.Text(kDatabase);
    if (!superuser()) {
        CheckMember(role);
        if (!moves) return;
        CheckRole(role);
        CheckDatabase(database, role);
    } else if (moves && !(OidIsValid(get_role_oid(role, true)) && OidIsValid(get_database_oid(database, true)))) {
        ereport(WARNING, (errcode(ERRCODE_UNDEFINED_OBJECT),
                          errmsg("role \"%s\" or database \"%s\" does not exist", role, database),
                          errdetail("The job's runs will fail until they do.")));
    }
}

void CheckZone(const char* zone) {
    if (zone != nullptr && FindZone(zone) == nullptr)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unrecognized time zone: \"%s\"", zone),
                        errhint("The names are in the view pg_timezone_names.")));
}

// A schedule counts from when it was set: a change is never retroactive.
bool IsNewSchedule(const Row& row, const Row& old) {
    return Differs(row, old, kSchedule) || Differs(row, old, kTimezone) || (row.Bool(kActive) && !old.Bool(kActive)) ||
           (!row.IsNull(kRunAt) && (old.IsNull(kRunAt) || row.Raw(kRunAt) != old.Raw(kRunAt)));
}

void RequireTable(const TriggerData* data, const char* name) {
    if (RelationGetRelid(data->tg_relation) != pg::ExtensionRelation(kSchemaName, name))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("the trigger belongs to the table cron.%s", name)));
}

}  // namespace

PGQUEUE_FUNCTION(pgqueue_cron_check_job) {
    if (!CALLED_AS_TRIGGER(fcinfo))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("not called as a trigger")));
    auto* data = reinterpret_cast<TriggerData*>(fcinfo->context);
    RequireTable(data, "job");
    if (!TRIGGER_FIRED_BEFORE(data->tg_event) || !TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
        TRIGGER_FIRED_BY_DELETE(data->tg_event))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("the trigger is for each row before INSERT or UPDATE")));
    const bool update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
    HeapTuple tuple = update ? data->tg_newtuple : data->tg_trigtuple;
    // The scheduler's own changes touch nothing of what is checked. A job that would not pass any more, for a time zone
    // that is gone, say, must not keep it from the others.
    if (IsScheduling()) return PointerGetDatum(tuple);
    TupleDesc shape = RelationGetDescr(data->tg_relation);
    const Row row(shape, tuple);
    const auto require = [&](Column column, const char* name) {
        if (row.IsNull(column))
            ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name)));
    };
    require(kSchedule, "schedule");
    require(kCommand, "command");
    require(kDatabase, "database");
    require(kUsername, "username");
    require(kActive, "active");
    require(kOverlap, "overlap");
    require(kCatchUp, "catch_up");

    CheckName(row.Text(kJobName));
    CheckSchedule(row);
    if (strspn(row.Text(kCommand), " \t\r\n;") == strlen(row.Text(kCommand)))
        Invalid("the command is empty", "It is SQL, as psql would run it.");
    // Each worker keeps all of them in memory, and every run has a copy in the history.
    if (strlen(row.Text(kCommand)) > kMostCommand)
        Invalid("a job's command must not be longer than 1 MB", "Put it into a procedure, and CALL that.");
    if (!OverlapOf(row.Text(kOverlap)))
        Invalid("unrecognized overlap", "It is one of \"skip\", \"queue\" and \"allow\".");
    if (!CatchUpOf(row.Text(kCatchUp)))
        Invalid("unrecognized catch_up", "It is one of \"none\", \"once\" and \"all\".");
    CheckSeconds(row, kMaxRuntime, "max_runtime", 0.001, kMaxDelay);
    CheckSeconds(row, kRetryDelay, "retry_delay", 0, kMaxDelay);
    CheckSeconds(row, kJitter, "jitter", 0, kMaxJitter);
    if (!row.IsNull(kRetries)) {
        const int64 retries = DatumGetInt64(row.Raw(kRetries));
        if (retries < 0 || retries > kMaxRetries)
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                            errmsg("retries must be 0 to " INT64_FORMAT, kMaxRetries)));
    }
    const Row old(shape, data->tg_trigtuple);  // of an update
    CheckWhoAndWhere(row, !update || Differs(row, old, kUsername) || Differs(row, old, kDatabase));
    CheckZone(row.Text(kTimezone));

    pg::SmallVector<int, 4> columns;
    pg::SmallVector<Datum, 4> values;
    boost::container::static_vector<bool, 4> nulls;
    const auto set = [&](Column column, Datum value, bool null = false) {
        columns.push_back(column);
        values.push_back(value);
        nulls.push_back(null);
    };
    // A restored row says so itself, and names the database that it was dumped from.
    if (update || row.IsNull(kIsLocal)) {
        const char* here = get_database_name(MyDatabaseId);
        set(kIsLocal, BoolGetDatum(here != nullptr && strcmp(here, row.Text(kDatabase)) == 0));
    }
    if (update ? IsNewSchedule(row, old) : row.IsNull(kCountsFrom)) set(kCountsFrom, TimestampTzGetDatum(Now()));
    if (strcmp(row.Text(kSchedule), kOnceText) != 0 && !row.IsNull(kRunAt)) set(kRunAt, Datum{0}, true);
    tuple = heap_modify_tuple_by_cols(tuple, shape, static_cast<int>(columns.size()), columns.data(), values.data(),
                                      nulls.data());
    return PointerGetDatum(tuple);
}

// Tells the worker at commit. Its own changes it knows of.
PGQUEUE_FUNCTION(pgqueue_cron_wake) {
    if (!CALLED_AS_TRIGGER(fcinfo))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("not called as a trigger")));
    const auto* data = reinterpret_cast<TriggerData*>(fcinfo->context);
    const bool jobs = RelationGetRelid(data->tg_relation) == pg::RelationIn(kSchemaName, "job");
    if (!IsScheduling()) pg::WakeWorkerAtCommit(jobs ? pg::kJobsChanged : pg::kRunsChanged);
    return PointerGetDatum(nullptr);
}
