// The functions of the schema `cron`.
#include "pgqueue/cron/clock.hpp"
#include "pgqueue/cron/jobs.hpp"
#include "pgqueue/cron/zone.hpp"
#include "pgqueue/pg/function.hpp"
#include "pgqueue/sql/args.hpp"
#include "pgqueue/sql/result_set.hpp"

using namespace pgqueue;
using namespace pgqueue::cron;
using namespace pgqueue::sql;

namespace {

const char* OptionalText(const Args& args, int i) {
    return args.IsNull(i) ? nullptr : TextDatumGetCString(args.Raw(i));
}

const char* OptionalName(const Args& args, int i) {
    return args.IsNull(i) ? nullptr : pstrdup(NameStr(*DatumGetName(args.Raw(i))));
}

std::optional<bool> OptionalBool(const Args& args, int i) {
    return args.IsNull(i) ? std::nullopt : std::optional(DatumGetBool(args.Raw(i)));
}

std::optional<double> OptionalFloat(const Args& args, int i) {
    return args.IsNull(i) ? std::nullopt : std::optional(DatumGetFloat8(args.Raw(i)));
}

// job_name, schedule, command, ... of create_job and change_job, from the third argument on.
JobSettings SettingsFrom(const Args& args) {
    JobSettings settings;
    settings.schedule = OptionalText(args, 1);
    settings.command = OptionalText(args, 2);
    settings.timezone = OptionalText(args, 3);
    settings.overlap = OptionalText(args, 4);
    settings.catch_up = OptionalText(args, 5);
    settings.max_runtime = OptionalFloat(args, 6);
    settings.retries = args.OptionalInt(7);
    settings.retry_delay = OptionalFloat(args, 8);
    settings.jitter = OptionalFloat(args, 9);
    settings.run_as = OptionalName(args, 10);
    settings.database = OptionalName(args, 11);
    settings.active = OptionalBool(args, 12);
    return settings;
}

}  // namespace

PGQUEUE_FUNCTION(pgqueue_cron_may_act_as) {
    const Args args(fcinfo);
    PG_RETURN_BOOL(!args.IsNull(0) && MayActAs(TextDatumGetCString(args.Raw(0))));
}

PGQUEUE_FUNCTION(pgqueue_cron_schedule_unnamed) {
    const Args args(fcinfo);
    PreventWrite("cron.schedule()");
    JobSettings settings;
    settings.schedule = args.Text(0, "schedule");
    settings.command = args.Text(1, "command");
    PG_RETURN_INT64(AddJob(settings, IfThere::kFails));
}

PGQUEUE_FUNCTION(pgqueue_cron_schedule) {
    const Args args(fcinfo);
    PreventWrite("cron.schedule()");
    JobSettings settings;
    settings.name = args.Text(0, "job_name");
    settings.schedule = args.Text(1, "schedule");
    settings.command = args.Text(2, "command");
    PG_RETURN_INT64(AddJob(settings, IfThere::kChanges));
}

PGQUEUE_FUNCTION(pgqueue_cron_create_job) {
    const Args args(fcinfo);
    PreventWrite("cron.create_job()");
    args.Require(1, "schedule");
    args.Require(2, "command");
    JobSettings settings = SettingsFrom(args);
    settings.name = args.Text(0, "job_name");
    PG_RETURN_INT64(AddJob(settings, IfThere::kFails));
}

PGQUEUE_FUNCTION(pgqueue_cron_change_job) {
    const Args args(fcinfo);
    PreventWrite("cron.change_job()");
    ChangeJob(args.Text(0, "job_name"), SettingsFrom(args));
    PG_RETURN_VOID();
}

PGQUEUE_FUNCTION(pgqueue_cron_at) {
    const Args args(fcinfo);
    PreventWrite("cron.at()");
    args.Require(0, "run_at");
    JobSettings settings;
    settings.run_at = DatumGetTimestampTz(args.Raw(0));
    settings.schedule = kOnceText;
    settings.command = args.Text(1, "command");
    settings.name = OptionalText(args, 2);
    settings.max_runtime = OptionalFloat(args, 3);
    settings.retries = args.OptionalInt(4);
    settings.run_as = OptionalName(args, 5);
    PG_RETURN_INT64(AddJob(settings, IfThere::kFails));
}

PGQUEUE_FUNCTION(pgqueue_cron_schedule_in_database) {
    const Args args(fcinfo);
    PreventWrite("cron.schedule_in_database()");
    JobSettings settings;
    settings.name = args.Text(0, "job_name");
    settings.schedule = args.Text(1, "schedule");
    settings.command = args.Text(2, "command");
    settings.database = args.Text(3, "database");
    settings.run_as = OptionalText(args, 4);
    settings.active = args.Bool(5, true);
    PG_RETURN_INT64(AddJob(settings, IfThere::kChanges));
}

PGQUEUE_FUNCTION(pgqueue_cron_alter_job) {
    const Args args(fcinfo);
    PreventWrite("cron.alter_job()");
    JobSettings settings;
    settings.schedule = OptionalText(args, 1);
    settings.command = OptionalText(args, 2);
    settings.database = OptionalText(args, 3);
    settings.run_as = OptionalText(args, 4);
    settings.active = OptionalBool(args, 5);
    ChangeJob(args.Int(0, "job_id"), settings);
    PG_RETURN_VOID();
}

PGQUEUE_FUNCTION(pgqueue_cron_unschedule) {
    const Args args(fcinfo);
    PreventWrite("cron.unschedule()");
    RemoveJob(args.Int(0, "job_id"));
    PG_RETURN_BOOL(true);
}

// Digits only are an id: a call with an untyped parameter arrives here.
PGQUEUE_FUNCTION(pgqueue_cron_unschedule_named) {
    const Args args(fcinfo);
    PreventWrite("cron.unschedule()");
    const char* name = args.Text(0, "job_name");
    if (*name != '\0' && strspn(name, "0123456789") == strlen(name))
        RemoveJob(pg_strtoint64(name));
    else
        RemoveJob(name);
    PG_RETURN_BOOL(true);
}

PGQUEUE_FUNCTION(pgqueue_cron_run) {
    const Args args(fcinfo);
    PreventWrite("cron.run()");
    PG_RETURN_INT64(RunNow(args.Int(0, "job_id")));
}

PGQUEUE_FUNCTION(pgqueue_cron_next_runs) {
    const Args args(fcinfo);
    constexpr int64 kMostRuns = 100000;
    constexpr int64 kDefaultRuns = 5;
    const Schedule schedule = ParseSchedule(args.Text(0, "schedule"));
    const int64 quantity = args.IsNull(1) ? kDefaultRuns : std::min(args.Quantity(1), kMostRuns);
    const pg_tz* zone = session_timezone;
    if (!args.IsNull(2)) {
        const char* name = TextDatumGetCString(args.Raw(2));
        zone = FindZone(name);
        if (zone == nullptr)
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unrecognized time zone: \"%s\"", name),
                            errhint("The names are in the view pg_timezone_names.")));
    }
    TimestampTz after = Now();
    if (!args.IsNull(3)) after = DatumGetTimestampTz(args.Raw(3));
    if (TIMESTAMP_NOT_FINITE(after))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("after must be a finite time")));
    ResultSet result(fcinfo, 1);
    Instant at = ToUnix(after);
    for (int64 i = 0; i < quantity; i++) {
        CHECK_FOR_INTERRUPTS();
        const std::optional<Instant> next = NextAfter(schedule, ServerZone(zone), at);
        if (!next) break;
        at = *next;
        Datum value = TimestampTzGetDatum(FromUnix(at));
        bool null = false;
        result.Add(&value, &null);
    }
    return 0;
}
