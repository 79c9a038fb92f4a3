// The background worker of one database. It does what nobody waits for: jobs that are due, entries that have expired,
// history that is too old. Each is a task with a rhythm of its own; one that fails is tried again later and never keeps
// the others from their work.
#include "pgqueue/cron/scheduler.hpp"
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/compat.hpp"
#include "pgqueue/pg/worker_process.hpp"
#include "pgqueue/pg/worker_table.hpp"
#include "pgqueue/queue/watcher.hpp"
#include "pgqueue/settings.hpp"
#include "pgqueue/version.hpp"
#include "pgqueue/worker/dedup_task.hpp"
#include "pgqueue/worker/purge_task.hpp"
#include "pgqueue/worker/queue_task.hpp"
#include "pgqueue/worker/segment_task.hpp"

namespace pgqueue::worker {
namespace {

constexpr int64 kIdle = 60 * USECS_PER_SEC;  // the longest sleep
constexpr int64 kTrimIdle = 3600 * USECS_PER_SEC;

int my_slot = -1;
pg::Verdict verdict = pg::Verdict::kFailed;

void OnExit(int, Datum) {
    queue::EndHandlers(true);
    if (verdict == pg::Verdict::kFailed && ShutdownRequestPending) verdict = pg::Verdict::kStopped;
    pg::LeaveSlot(my_slot, verdict);
}

void SetState(const char* state, bool busy) {
    pg::ChangeReport(my_slot, [=](pg::WorkerReport* report) { strlcpy(report->state, state, sizeof(report->state)); });
    pgstat_report_activity(busy ? STATE_RUNNING : STATE_IDLE, busy ? state : nullptr);
}

enum class Extension { kAbsent, kOther, kOlder, kReady };

// In a transaction.
Extension LookForExtension(Oid* extension) {
    *extension = pg::HoldExtension();
    if (!OidIsValid(*extension)) return Extension::kAbsent;
    const char* version = pg::ExtensionVersion();
    if (strcmp(version, kVersion) == 0) return Extension::kReady;
    return Serves(version) ? Extension::kOlder : Extension::kOther;
}

// Whatever the database says for its sessions.
void UseOwnSettings() {
    constexpr std::array<std::pair<const char*, const char*>, 6> kSettings = {{
        {"search_path", "pg_catalog, pg_temp"},
        {"statement_timeout", "0"},
        {"lock_timeout", "0"},
        {compat::kTransactionTimeout, "0"},
        {"default_transaction_isolation", "read committed"},
        {"default_transaction_read_only", "off"},
    }};
    for (const auto& [name, value] : kSettings)
        if (name != nullptr)
            (void)set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
}

void ForgetAll() {
    cron::AfterError();
    queue::ForgetWatched();
    ForgetSegments();
}

// Something that is done again and again. A failure costs it a pause, ever longer.
struct Task {
    const char* state;  // as it is shown while it runs
    TimestampTz at;     // when it is due next, by the server's clock
    int failures;
};

class Worker {
public:
    void Run();

private:
    bool LookAround();
    template <class Do>
    void Perform(Task* task, Do work);
    void NoteError(Task* task);
    void RunTasks(uint32 attention);

    Task cron_ = {"jobs", 0, 0};
    Task news_ = {"messages", 0, 0};
    Task purge_ = {"purge", 0, 0};
    Task queues_ = {"queues", 0, 0};
    Task segments_ = {"segments", 0, 0};
    Task trim_ = {"history", 0, 0};
    Task dedup_ = {"deduplication keys", 0, 0};
    bool look_around_ = true;
    Extension told_ = Extension::kReady;  // what the log was told last
    bool ready_ = false;                  // the extension is there, of a version that this library serves
    Oid extension_ = InvalidOid;
    TimestampTz seen_ = 0;  // the clock, the last time
    int64 runs_ = 0;        // started since the history was trimmed
    int64 purged_ = 0;      // since the report
    int64 started_ = 0;
    int64 lag_us_ = 0;
    bool worked_ = false;
};

void Worker::NoteError(Task* task) {
    MemoryContextSwitchTo(TopMemoryContext);
    HOLD_INTERRUPTS();
    EmitErrorReport();
    ErrorData* error = CopyErrorData();
    AbortOutOfAnyTransaction();
    FlushErrorState();
    pg::DieAtOnce::Off();
    task->failures++;
    const int64 pause = std::min(USECS_PER_SEC << std::min(task->failures - 1, 6), 60 * USECS_PER_SEC);
    const TimestampTz now = GetCurrentTimestamp();
    task->at = now + pause;
    pg::ChangeReport(my_slot, [&](pg::WorkerReport* report) {
        report->errors++;
        report->last_error_at = now;
        pg_snprintf(report->last_error, sizeof(report->last_error), "%s: %s", task->state,
                    error->message != nullptr ? error->message : "");
    });
    FreeErrorData(error);
    RESUME_INTERRUPTS();
}

// work() returns when it wants to be done again.
template <class Do>
void Worker::Perform(Task* task, Do work) {
    MemoryContext context = CurrentMemoryContext;
    PG_TRY();
    {
        const pg::DieAtOnce die_at_once;
        task->at = work();
        task->failures = 0;
    }
    PG_CATCH();
    {
        NoteError(task);
        ForgetAll();
        look_around_ = true;  // the extension may be what's missing
    }
    PG_END_TRY();
    MemoryContextSwitchTo(context);
    MemoryContextReset(context);
}

// False: there is nothing to do here any more.
bool Worker::LookAround() {
    Extension found = Extension::kReady;
    Oid extension = InvalidOid;
    look_around_ = false;
    Task look = {"look around", 0, 0};
    Perform(&look, [&] {
        StartTransactionCommand();
        found = LookForExtension(&extension);
        CommitTransactionCommand();
        return TimestampTz{0};
    });
    if (look.failures > 0) return true;  // again at the next wake
    ready_ = found == Extension::kReady || found == Extension::kOlder;
    if (!ready_) queue::EndHandlers(false);
    if (std::exchange(extension_, extension) != extension) ForgetAll();  // nothing of it is another one's
    const bool news = std::exchange(told_, found) != found;
    if (found == Extension::kOther) {
        SetState("version mismatch", false);
        if (news)
            ereport(LOG,
                    (errmsg("pgqueue: this database's extension is of a version that the library, %s, doesn't serve",
                            kVersion),
                     errhint("Run ALTER EXTENSION pgqueue UPDATE, or restart the server where the library is older.")));
    }
    if (found == Extension::kOlder && news)
        ereport(LOG, (errmsg("pgqueue: this database's extension is older than the library, %s", kVersion),
                      errhint("Run ALTER EXTENSION pgqueue UPDATE for what is new.")));
    if (found == Extension::kAbsent) verdict = pg::Verdict::kNoExtension;
    return found != Extension::kAbsent;
}

void Worker::RunTasks(uint32 attention) {
    const bool jobs = (attention & pg::kJobsChanged) != 0;
    const bool runs = (attention & pg::kRunsChanged) != 0;
    const TimestampTz now = GetCurrentTimestamp();
    // A task that failed waits for its pause, whoever calls.
    // What concerns messages comes often, and first: somebody waits for it.
    if (news_.at <= now || news_.failures == 0)
        Perform(&news_, [&] {
            const queue::WatchResult result = queue::WatchQueues(attention);
            worked_ |= result.worked;
            return result.next_at;
        });
    if (cron_.at <= now || (cron_.failures == 0 && (attention & ~(pg::kOfQueues | pg::kSegmentFull)) != 0))
        Perform(&cron_, [&] {
            const cron::RoundResult round = cron::Round(jobs, runs);
            runs_ += round.started;
            started_ += round.started;
            lag_us_ = round.lag_us;
            worked_ |= round.worked;
            return round.next_at;
        });
    else if (jobs || runs)
        cron::AfterError();  // read all again then
    if (purge_.at <= now)
        Perform(&purge_, [&] {
            const PurgeResult result = PurgeSome();
            purged_ += result.purged;
            worked_ |= result.purged > 0;
            return result.next_at;
        });
    if (queues_.at <= now)
        Perform(&queues_, [&] {
            const TidyResult result = TidyQueues();
            worked_ |= result.removed > 0;
            return result.next_at;
        });
    if (segments_.at <= now || (segments_.failures == 0 && (attention & pg::kSegmentFull) != 0))
        Perform(&segments_, [&] {
            const SegmentRound round = TendAllSegments();
            worked_ |= round.worked;
            return round.next_at;
        });
    if (dedup_.at <= now) Perform(&dedup_, [] { return SweepKeys(); });
    if (trim_.at <= now && (runs_ > 0 || trim_.at + kTrimIdle <= now))
        Perform(&trim_, [&] {
            worked_ = true;
            bool more = false;
            const TimestampTz next = cron::TrimHistory(&more);
            runs_ = more ? 1 : 0;
            return next;
        });
}

void Worker::Run() {
    MemoryContext context = AllocSetContextCreate(TopMemoryContext, "pgqueue worker", ALLOCSET_DEFAULT_SIZES);
    MemoryContextSwitchTo(context);
    uint32 attention = pg::kEverything & ~pg::kStartAgain;
    while (!ShutdownRequestPending) {
        if (ConfigReloadPending) {
            ConfigReloadPending = false;
            ProcessConfigFile(PGC_SIGHUP);
            attention |= pg::kJobsChanged;  // the time zone may be another
            purge_.at = queues_.at = dedup_.at = segments_.at = 0;
        }
        if ((attention & pg::kStartAgain) != 0) break;
        if ((attention & pg::kLookAround) != 0) look_around_ = true;
        const TimestampTz before = GetCurrentTimestamp();
        if (before < seen_) {  // the clock was set back
            cron_.at = purge_.at = queues_.at = trim_.at = dedup_.at = news_.at = segments_.at = 0;
            queue::ForgetWatched();
        }
        seen_ = before;
        worked_ = false;
        if (look_around_ && !LookAround()) return;
        if (ready_) {
            SetState("working", true);
            RunTasks(attention);
        }
        const TimestampTz now = GetCurrentTimestamp();
        TimestampTz next = now + kIdle;
        if (ready_) {
            next = std::min({next, cron_.at, purge_.at, queues_.at, dedup_.at, news_.at, segments_.at});
            if (runs_ > 0) next = std::min(next, trim_.at);
            SetState("idle", false);
        }
        pg::ChangeReport(my_slot, [&](pg::WorkerReport* report) {
            if (worked_) {
                report->rounds++;
                report->last_round_at = now;
                report->last_round_us = now - before;
            }
            strlcpy(report->timezone, pg_get_timezone_name(session_timezone), sizeof(report->timezone));
            report->next_round_at = next;
            report->lag_us = lag_us_;
            report->purged += std::exchange(purged_, 0);
            report->runs_started += std::exchange(started_, 0);
        });
        pgstat_report_stat(false);
        pg::Sleep(next - now, "PgqueueWorkerMain");
        attention = pg::TakeAttention(my_slot);
    }
    verdict = pg::Verdict::kStopped;
}

}  // namespace
}  // namespace pgqueue::worker

extern "C" PGDLLEXPORT void pgqueue_database_worker(Datum arg) {
    using namespace pgqueue;
    using namespace pgqueue::worker;
    my_slot = DatumGetInt32(arg);
    uint32 generation = 0;
    memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof(generation));
    Oid database = InvalidOid;
    if (!pg::ClaimSlot(my_slot, generation, &database)) return;
    before_shmem_exit(OnExit, 0);
    pg::BeginWorker();
    {
        const pg::DieAtOnce die_at_once;  // somebody may have the database locked
        BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
        ConfigReloadPending = true;  // a reload before BeginWorker told nobody
    }
    pgstat_report_appname("pgqueue worker");
    UseOwnSettings();
    worker::Worker().Run();
}
