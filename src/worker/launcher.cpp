#include "pgqueue/worker/launcher.hpp"

#include "pgqueue/cron/run_slots.hpp"
#include "pgqueue/pg/memory.hpp"
#include "pgqueue/pg/worker_process.hpp"
#include "pgqueue/pg/worker_table.hpp"
#include "pgqueue/queue/handler_slots.hpp"
#include "pgqueue/settings.hpp"

// How it works. Whether a database has the extension can be known only inside of it, so a worker is started in each
// database once, and goes again where there is none. From then on the launcher is told: CREATE EXTENSION says so when
// it commits, and so do the commands that make databases. It looks at pg_database itself once in a few minutes, for
// what nobody has told.

namespace pgqueue::worker {
namespace {

constexpr int64 kScanEvery = 300 * USECS_PER_SEC;
constexpr int64 kStartPatience = 30 * USECS_PER_SEC;
constexpr int64 kLeastPause = USECS_PER_SEC;
constexpr int64 kLongestPause = 60 * USECS_PER_SEC;
constexpr int kStartsAtOnce = 4;  // a start may be a look only; the other slots of the server aren't ours

struct Database {
    Oid oid;
    NameData name;
    bool wanted;         // can be connected to, and is listed
    bool no_extension;   // as its last worker saw
    int failures;        // in a row
    TimestampTz try_at;  // no start before
};

class Launcher {
public:
    void Run();

private:
    void Scan();
    void ReadInbox(TimestampTz now);
    void CollectExited(TimestampTz now);
    void DisownRuns();
    bool IsOver(int slot) const;
    bool HasNotCome(int slot, const pg::SlotView& view, TimestampTz now) const;
    int64 StartWanted(TimestampTz now);
    void StopUnwanted();
    void Start(Database* database, TimestampTz now);
    Database* Find(Oid oid) {
        for (Database& database : databases_)
            if (database.oid == oid) return &database;
        return nullptr;
    }

    pg::TopVector<Database> databases_;
    TimestampTz seen_ = 0;  // the clock, the last time
    TimestampTz scan_at_ = 0;
    TimestampTz slots_at_ = 0;     // when to try again after there was no free slot
    int64 slots_pause_ = 0;        // 0: there was one at the last attempt
    TimestampTz short_since_ = 0;  // not all that are wanted had a worker, for want of slots; 0: they have
    bool short_told_ = false;
    pg::TopVector<BackgroundWorkerHandle*> handles_;  // of the slots' workers; null: from before this launcher
};

void Forget(Database* database, TimestampTz now, bool failed) {
    database->failures = failed ? database->failures + 1 : 0;
    const int doublings = std::clamp(database->failures - 1, 0, 6);
    database->try_at = now + (failed ? std::min(kLeastPause << doublings, kLongestPause) : 0);
}

bool IsListed(const char* name) {
    if (!settings::workers || settings::databases == nullptr) return false;
    if (strcmp(settings::databases, "*") == 0) return true;
    char* copy = pstrdup(settings::databases);
    List* names = NIL;
    bool listed = false;
    if (SplitIdentifierString(copy, ',', &names)) {
        ListCell* cell = nullptr;
        foreach (cell, names)
            if (strcmp(static_cast<const char*>(lfirst(cell)), name) == 0) listed = true;
    }
    return listed;
}

void Launcher::Scan() {
    const pg::DieAtOnce die_at_once;
    pg::TopVector<Database> found;
    StartTransactionCommand();
    (void)GetTransactionSnapshot();
    Relation catalog = table_open(DatabaseRelationId, AccessShareLock);
    TableScanDesc scan = table_beginscan_catalog(catalog, 0, nullptr);
    while (HeapTuple tuple = heap_getnext(scan, ForwardScanDirection)) {
        const auto* row = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple));
        Database database = {};
        if (const Database* known = Find(row->oid)) database = *known;
        database.oid = row->oid;
        database.name = row->datname;
        // An interrupted DROP DATABASE leaves a row that nobody may connect to.
        database.wanted = row->datallowconn && row->datconnlimit != -2 && IsListed(NameStr(row->datname));
        found.push_back(database);
    }
    table_endscan(scan);
    table_close(catalog, AccessShareLock);
    CommitTransactionCommand();
    databases_.swap(found);
}

// The results of jobs whose database is gone wait for nobody.
void Launcher::DisownRuns() {
    for (int i = 0; i < cron::RunSlots(); i++) {
        const cron::RunView run = cron::ViewRun(i);
        if (run.state != cron::RunState::kFree && Find(run.home) == nullptr) cron::DisownRuns(run.home);
    }
    for (int i = 0; i < queue::Entries(); i++) {
        const Oid database = queue::DatabaseOf(i);
        if (OidIsValid(database) && Find(database) == nullptr) queue::DisownHandlers(database);
    }
}

void Launcher::ReadInbox(TimestampTz now) {
    Oid told[pg::kInbox];
    int count = 0;
    const pg::Inbox inbox = pg::TakeInbox(told, &count);
    // What workers saw that went before this was told counts no more, though their processes may not be over yet. One
    // that goes now is told by the session itself.
    if (inbox.look_at_all) pg::VoidVerdicts(InvalidOid);
    for (int i = 0; i < count; i++) pg::VoidVerdicts(told[i]);
    CollectExited(now);
    if (inbox.look_at_all || inbox.unblocked || count > 0) scan_at_ = 0;
    for (Database& database : databases_) {
        if (inbox.look_at_all) database.no_extension = false;
        if (inbox.unblocked && database.failures == 0) database.try_at = 0;
    }
    for (int i = 0; i < count; i++) {
        if (Database* database = Find(told[i])) {
            database->no_extension = false;
            database->try_at = 0;
        }
        // One that is there already may have looked before the change.
        pg::WakeWorker(told[i], pg::kLookAround);
    }
}

// Whether the worker's process is gone, and the server's slot for it free again. The postmaster tells.
bool Launcher::IsOver(int slot) const {
    pid_t pid = 0;
    return handles_[slot] == nullptr || GetBackgroundWorkerPid(handles_[slot], &pid) == BGWH_STOPPED;
}

// Whether the worker will never claim its slot.
bool Launcher::HasNotCome(int slot, const pg::SlotView& view, TimestampTz now) const {
    return handles_[slot] != nullptr ? IsOver(slot) : view.given_at + kStartPatience < now;
}

void Launcher::CollectExited(TimestampTz now) {
    for (int i = 0; i < pg::WorkerSlots(); i++) {
        pg::SlotView slot = pg::ViewSlot(i);
        if (slot.state == pg::WorkerState::kStarting && HasNotCome(i, slot, now)) {
            slot = pg::ViewSlot(i);  // it may have come and gone in between
            if (slot.state == pg::WorkerState::kStarting) slot.state = pg::WorkerState::kExited;
        }
        if (slot.state != pg::WorkerState::kExited || !IsOver(i)) continue;
        if (Database* database = Find(slot.database)) {
            if (slot.verdict == pg::Verdict::kNoExtension) database->no_extension = true;
            if (slot.given_at + kLongestPause < now) database->failures = 0;
            Forget(database, now, slot.verdict == pg::Verdict::kFailed);
        }
        if (slot.verdict == pg::Verdict::kNoExtension) cron::DisownRuns(slot.database);
        pg::FreeSlot(i);
        slots_at_ = 0;
        if (handles_[i] != nullptr) pfree(std::exchange(handles_[i], nullptr));
    }
}

void Launcher::StopUnwanted() {
    for (int i = 0; i < pg::WorkerSlots(); i++) {
        const pg::SlotView slot = pg::ViewSlot(i);
        if (slot.state != pg::WorkerState::kRunning) continue;
        const Database* database = Find(slot.database);
        if (database == nullptr || !database->wanted) pg::StopWorker(i);
    }
}

void Launcher::Start(Database* database, TimestampTz now) {
    uint32 generation = 0;
    const int slot = pg::GiveSlot(database->oid, &generation);
    if (slot < 0) {  // blocked; who unblocks it tells
        database->try_at = now + kLongestPause;
        return;
    }
    BackgroundWorkerHandle* handle = nullptr;
    pg::WorkerSpec spec{"pgqueue worker", "pgqueue_database_worker", slot, &generation, sizeof(generation)};
    MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
    const bool registered = pg::StartWorker(spec, &handle);
    MemoryContextSwitchTo(old);
    if (registered) {
        handles_[slot] = handle;
        slots_pause_ = 0;
        return;
    }
    pg::FreeSlot(slot);
    if (short_since_ == 0) short_since_ = now;
    // Not where some other worker was just about to end.
    if (now - short_since_ >= kLeastPause && !std::exchange(short_told_, true))
        ereport(LOG,
                (errmsg("pgqueue: no background worker slot is free for database \"%s\"", NameStr(database->name)),
                 errdetail("It is tried again, ever less often, until there is one."),
                 errhint("You may need to raise \"max_worker_processes\" (now %d): one for pgqueue's launcher, one "
                         "for each database that has the extension, and one for each job that runs.",
                         max_worker_processes)));
    slots_pause_ = std::clamp(slots_pause_ * 2, kLeastPause, kLongestPause);
    slots_at_ = now + slots_pause_;
}

// Returns for how long there is nothing to do.
int64 Launcher::StartWanted(TimestampTz now) {
    int starting = 0;
    pg::TopVector<Oid> served;
    for (int i = 0; i < pg::WorkerSlots(); i++) {
        const pg::SlotView slot = pg::ViewSlot(i);
        if (slot.state == pg::WorkerState::kFree) continue;
        if (slot.state == pg::WorkerState::kStarting) starting++;
        served.push_back(slot.database);
    }
    int64 pause = scan_at_ - now;
    bool all_served = true;
    for (Database& database : databases_) {
        if (!database.wanted || database.no_extension) continue;
        if (std::find(served.begin(), served.end(), database.oid) != served.end()) continue;
        all_served = false;
        if (database.try_at <= now && slots_at_ <= now && starting < kStartsAtOnce) {
            Start(&database, now);
            starting++;
        }
        const TimestampTz next = std::max({database.try_at, slots_at_, now});
        if (next > now) pause = std::min(pause, next - now);
    }
    if (all_served) {
        short_since_ = 0;
        short_told_ = false;
    }
    return starting > 0 ? std::min(pause, USECS_PER_SEC) : pause;
}

void Launcher::Run() {
    handles_.resize(pg::WorkerSlots(), nullptr);
    while (!ShutdownRequestPending) {
        if (ConfigReloadPending) {
            ConfigReloadPending = false;
            ProcessConfigFile(PGC_SIGHUP);
            scan_at_ = 0;
        }
        TimestampTz now = GetCurrentTimestamp();
        if (now < seen_) {  // the clock was set back
            scan_at_ = slots_at_ = short_since_ = 0;
            for (Database& database : databases_) database.try_at = 0;
        }
        seen_ = now;
        ReadInbox(now);
        if (scan_at_ <= now) {
            Scan();
            DisownRuns();
            now = GetCurrentTimestamp();
            scan_at_ = now + kScanEvery;
        }
        StopUnwanted();
        const int64 pause = StartWanted(now);
        pg::Sleep(pause, "PgqueueLauncherMain");
    }
}

}  // namespace

void RegisterLauncher() {
    if (IsBinaryUpgrade) return;  // pg_upgrade wants nobody there but itself
    if (max_worker_processes == 0)
        ereport(LOG,
                (errmsg("pgqueue: there are no background workers, since \"max_worker_processes\" is 0"),
                 errdetail("Queues and stores work without them. Jobs don't run, and entries that have expired are "
                           "removed by kv.purge() only.")));
    BackgroundWorker worker = {};
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = 2;
    strlcpy(worker.bgw_library_name, "pgqueue", sizeof(worker.bgw_library_name));
    strlcpy(worker.bgw_function_name, "pgqueue_launcher", sizeof(worker.bgw_function_name));
    strlcpy(worker.bgw_name, "pgqueue launcher", BGW_MAXLEN);
    strlcpy(worker.bgw_type, "pgqueue launcher", BGW_MAXLEN);
    RegisterBackgroundWorker(&worker);
}

}  // namespace pgqueue::worker

extern "C" PGDLLEXPORT void pgqueue_launcher(Datum) {
    using namespace pgqueue;
    pg::BeginWorker();
    BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
    ConfigReloadPending = true;  // a reload before BeginWorker told nobody
    pg::BecomeLauncher();
    worker::Launcher().Run();
    // Not 0, after which it would not be started again: somebody may have terminated it.
    proc_exit(1);
}
