// The functions of the schema `pgqueue`: the background workers, and what sessions are at.
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/function.hpp"
#include "pgqueue/pg/progress.hpp"
#include "pgqueue/pg/worker_table.hpp"
#include "pgqueue/sql/result_set.hpp"

using namespace pgqueue;
using namespace pgqueue::sql;

PGQUEUE_FUNCTION(pgqueue_worker_reports) {
    constexpr int kColumns = 14;
    // What an error says may be another role's business; the view is not the only way here.
    const bool sees_errors = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
    ResultSet result(fcinfo, kColumns);
    for (int i = 0; i < pg::WorkerSlots(); i++) {
        Oid database = InvalidOid;
        int pid = 0;
        pg::WorkerReport report;
        if (!pg::ReadSlot(i, &database, &pid, &report)) continue;
        std::array<bool, kColumns> nulls = {};
        std::array<Datum, kColumns> row = {};
        int column = 0;
        const auto add = [&](Datum value, bool null = false) {
            nulls[column] = null;
            row[column++] = value;
        };
        const auto add_time = [&](TimestampTz at) { add(TimestampTzGetDatum(at), at == 0); };
        const auto add_seconds = [&](int64 us) { add(Float8GetDatum(static_cast<double>(us) / USECS_PER_SEC)); };
        add(ObjectIdGetDatum(database));
        add(Int32GetDatum(pid));
        add(CStringGetTextDatum(report.state));
        add_time(report.started_at);
        add_time(report.last_round_at);
        add_seconds(report.last_round_us);
        add(Int64GetDatum(report.rounds));
        add_time(report.next_round_at);
        add_seconds(report.lag_us);
        add(Int64GetDatum(report.purged));
        add(Int64GetDatum(report.runs_started));
        add(Int64GetDatum(report.errors));
        add_time(report.last_error_at);
        add(CStringGetTextDatum(report.last_error), !sees_errors || report.last_error[0] == '\0');
        result.Add(row.data(), nulls.data());
    }
    return 0;
}

// The asker's own setting says nothing: its client may have chosen it.
PGQUEUE_FUNCTION(pgqueue_worker_timezone) {
    for (int i = 0; i < pg::WorkerSlots(); i++) {
        Oid database = InvalidOid;
        int pid = 0;
        pg::WorkerReport report;
        if (pg::ReadSlot(i, &database, &pid, &report) && database == MyDatabaseId && report.timezone[0] != '\0')
            PG_RETURN_DATUM(CStringGetTextDatum(report.timezone));
    }
    PG_RETURN_NULL();
}

namespace {

const char* NameOf(pg::Work work) {
    switch (work) {
        case pg::Work::kPurgeQueue:
            return "purge of a queue";
        case pg::Work::kRedrive:
            return "redrive";
        case pg::Work::kDropQueue:
            return "drop of a queue";
        case pg::Work::kPurgeStores:
            return "purge of stores";
    }
    return nullptr;
}

}  // namespace

// As pg_stat_activity: one's own, and all for those who see all statistics.
PGQUEUE_FUNCTION(pgqueue_progress) {
    constexpr int kColumns = 11;
    ResultSet result(fcinfo, kColumns);
    for (int i = 0; i < pg::ProgressEntries(); i++) {
        pg::ProgressReport report;
        if (!pg::ReadProgress(i, &report)) continue;
        if (!has_privs_of_role(GetUserId(), report.role) && !has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
            continue;
        const bool on_table = OidIsValid(report.relation);
        const bool by_page = on_table && report.pages_total > 0;
        std::array<Datum, kColumns> row = {Int32GetDatum(report.pid),
                                           ObjectIdGetDatum(report.database),
                                           ObjectIdGetDatum(report.relation),
                                           CStringGetTextDatum(NameOf(report.work)),
                                           CStringGetTextDatum(report.phase),
                                           Int32GetDatum(report.tables_total),
                                           Int32GetDatum(report.tables_done),
                                           Int64GetDatum(report.pages_total),
                                           Int64GetDatum(report.pages_done),
                                           Int64GetDatum(report.rows),
                                           TimestampTzGetDatum(report.started_at)};
        std::array<bool, kColumns> nulls = {};
        nulls[2] = !on_table;
        nulls[5] = report.tables_total == 0;
        nulls[7] = nulls[8] = !by_page;
        result.Add(row.data(), nulls.data());
    }
    return 0;
}

PGQUEUE_FUNCTION(pgqueue_wake) {
    pg::WakeWorkerAtCommit(pg::kEverything & ~pg::kStartAgain);
    pg::TellLauncherAtCommit(MyDatabaseId);
    PG_RETURN_VOID();
}
