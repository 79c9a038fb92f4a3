// The functions of handlers and notifications.
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/function.hpp"
#include "pgqueue/pg/triggers.hpp"
#include "pgqueue/pg/worker_table.hpp"
#include "pgqueue/queue/admin.hpp"
#include "pgqueue/queue/attachments.hpp"
#include "pgqueue/queue/handler_slots.hpp"
#include "pgqueue/sql/args.hpp"
#include "pgqueue/sql/result_set.hpp"

using namespace pgqueue;
using namespace pgqueue::queue;
using namespace pgqueue::sql;

namespace {

int64 CountArg(const Args& args, int i, const char* name, int64 most) {
    const int64 value = args.OptionalInt(i).value_or(1);
    if (value < 1 || value > most)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("%s must be 1 to " INT64_FORMAT ", not " INT64_FORMAT, name, most, value)));
    return value;
}

const char* StateOf(const HandlerReport& report) {
    if (report.busy > 0) return "running";
    if (report.state == HandlerState::kBroken || (report.failures > 0 && report.processes == 0)) return "broken";
    return report.state == HandlerState::kNoProcess ? "waiting for a worker process" : "idle";
}

}  // namespace

PGQUEUE_FUNCTION(pgqueue_notify) {
    const Args args(fcinfo);
    const char* name = args.Text(0, "queue_name");
    PreventWrite("queue.notify()");
    double throttle = args.Float(1, 0.25);
    if (!(throttle <= kMaxSeconds))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("throttle is out of range: %g", throttle),
                        errhint("It is a number of seconds, up to ten years; below 0 there are no notifications.")));
    if (throttle < 0) throttle = -1;
    const char* channel = nullptr;
    if (!args.IsNull(2)) {
        channel = args.Text(2, "channel");
        if (*channel == '\0' || strlen(channel) >= NAMEDATALEN)
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                            errmsg("channel must be 1 to %d bytes long, not %zu", NAMEDATALEN - 1, strlen(channel))));
    }
    SetNotify(name, throttle, channel);
    PG_RETURN_VOID();
}

PGQUEUE_FUNCTION(pgqueue_attach) {
    const Args args(fcinfo);
    const char* name = args.Text(0, "queue_name");
    PreventWrite("queue.attach()");
    AttachSettings settings{};
    settings.handler = args.Text(1, "handler");
    settings.concurrency = CountArg(args, 2, "concurrency", kMostProcesses);
    if (!args.IsNull(3)) settings.run_as = NameStr(*DatumGetName(args.Raw(3)));
    settings.batch = CountArg(args, 4, "batch", kLargestBatch);
    if (!args.IsNull(5)) settings.vt = args.PositiveSeconds(5, "vt");
    Attach(name, settings);
    PG_RETURN_VOID();
}

PGQUEUE_FUNCTION(pgqueue_detach) {
    const Args args(fcinfo);
    const char* name = args.Text(0, "queue_name");
    PreventWrite("queue.detach()");
    PG_RETURN_BOOL(Detach(name));
}

PGQUEUE_FUNCTION(pgqueue_handler_reports) {
    constexpr int kColumns = 8;
    ResultSet result(fcinfo, kColumns);
    for (int i = 0; i < Entries(); i++) {
        HandlerReport report;
        if (!ReadEntry(i, &report)) continue;
        // What an error says may be nobody else's business; the view is not the only way here.
        char parent[NAMEDATALEN];
        ParentName(report.queue, parent);
        const Oid table = pg::RelationIn(kSchema, parent);
        const bool sees_error = (OidIsValid(report.role) && has_privs_of_role(GetUserId(), report.role)) ||
                                has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
                                (OidIsValid(table) && compat::OwnsRelation(table, GetUserId()));
        Datum row[kColumns] = {CStringGetTextDatum(report.queue),      CStringGetTextDatum(StateOf(report)),
                               Int32GetDatum(report.processes),        Int64GetDatum(report.processed),
                               Int64GetDatum(report.failed),           Int64GetDatum(report.lost),
                               CStringGetTextDatum(report.last_error), TimestampTzGetDatum(report.last_error_at)};
        bool nulls[kColumns] = {};
        nulls[6] = report.last_error_at == 0 || !sees_error;
        nulls[7] = report.last_error_at == 0;
        result.Add(row, nulls);
    }
    return 0;
}

// Tells the worker at commit what has changed in the tables that say what it watches.
PGQUEUE_FUNCTION(pgqueue_queue_wake) {
    if (!CALLED_AS_TRIGGER(fcinfo))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("not called as a trigger")));
    // A queue that is made has no handler yet and notifies nobody; one that is restored may.
    const auto* data = reinterpret_cast<const TriggerData*>(fcinfo->context);
    const bool made = TRIGGER_FIRED_FOR_ROW(data->tg_event) && TRIGGER_FIRED_BY_INSERT(data->tg_event) &&
                      !pg::ArrivesInBulk() && !(ActivePortal != nullptr && ActivePortal->commandTag == CMDTAG_INSERT);
    if (!made) pg::WakeWorkerAtCommit(pg::kHandlersChanged);
    return PointerGetDatum(nullptr);
}
