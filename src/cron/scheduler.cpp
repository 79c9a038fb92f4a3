#include "pgqueue/cron/scheduler.hpp"

#include "pgqueue/cron/clock.hpp"
#include "pgqueue/cron/history.hpp"
#include "pgqueue/cron/jobs.hpp"
#include "pgqueue/cron/run_slots.hpp"
#include "pgqueue/cron/zone.hpp"
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/run_as.hpp"
#include "pgqueue/settings.hpp"

namespace pgqueue::cron {
namespace {

constexpr int64 kLookAgain = 60 * USECS_PER_SEC;     // also for clocks that jump
constexpr int64 kShowRunning = USECS_PER_SEC / 2;    // a run that lasts longer is shown with its process' id
constexpr int64 kLostPatience = 30 * USECS_PER_SEC;  // for a run whose worker never came, started by another process
constexpr int64 kSlotPause = 1000;                   // first pause where no slot for a run is free
constexpr int64 kLongestSlotPause = USECS_PER_SEC;
constexpr int64 kLockedPause = USECS_PER_SEC;        // until a row that a session has in hand is tried again
constexpr int64 kLead = 40000;                       // a run's process is started so long before it is due
constexpr int64 kAheadPatience = 2 * USECS_PER_SEC;  // and called off if it isn't used by then
constexpr std::size_t kMostAhead = 8;
constexpr int kMostQueued = 100;             // runs of one job that wait for slots
constexpr std::size_t kMostWaiting = 10000;  // read at one time

enum class When { kClock, kOnce, kReboot };

struct Job {
    int64 id;
    When when;
    Schedule schedule;
    const pg_tz* zone;
    Policy policy;
    Overlap overlap;
    bool active;
    bool local;
    int64 retries;
    double retry_delay;
    double jitter;
    double max_runtime;
    Instant last_due;
    TimestampTz run_at;
    std::optional<Instant> next_due;
    const char* command;
    const char* username;
    const char* database;
    const char* name;  // or null
    bool gone;         // one that runs once, and has
};

struct Waiting {
    int64 run;
    int64 job;
    TimestampTz due;
    TimestampTz after;
    int attempt;
    Reason reason;
    TimestampTz locked_until =
        0;  // by the server's clock: a session has its row in hand, and it isn't tried again before
};

struct Running {
    int slot;  // -1: none any more; the result was lost
    int64 run;
    int64 job;
    TimestampTz due;
    int attempt;
    Reason reason;
    TimestampTz started;             // by the server's clock
    BackgroundWorkerHandle* handle;  // null: started by another process
    bool shown;
    TimestampTz locked_until = 0;  // as above
};

struct Prepared {
    int slot;
    BackgroundWorkerHandle* handle;
    Waiting what;
};

// A run's process that was started a moment before the job is due, to be there in time.
struct Ahead {
    int64 job;
    int slot;
    BackgroundWorkerHandle* handle;
    Oid role;
    Oid database;
    TimestampTz started;  // by the server's clock
};

class Scheduler {
public:
    RoundResult Round(bool jobs_changed, bool runs_changed);
    void AfterError();

private:
    bool HasWork(TimestampTz now) const;
    void LoadJobs();
    void LoadRuns(bool first);
    void AdoptUnknown();
    void LoadJob(HeapTuple row, TupleDesc shape);
    void Collect();
    bool CollectOne(Running* running, const RunResult& result);
    bool IsLost(const Running& running, const RunView& slot) const;
    void Show();
    void Fire(TimestampTz now);
    struct Load {
        int running;
        int waiting;
    };
    void CountLoads(TimestampTz now);
    bool FireAt(const Job& job, Instant due, Load load);
    bool IsSoon(const Job& job, TimestampTz now) const;
    void StartAhead(TimestampTz now);
    void CallOffAhead(TimestampTz older_than);
    int TakeAhead(const Waiting& what, Oid role, Oid database, BackgroundWorkerHandle** handle);
    void StartWaiting(TimestampTz now);
    bool MayStart(const Waiting& what, const Job& job) const;
    bool Prepare(Waiting* what, const Job& job);
    bool Fail(Waiting* what, const Job& job, const char* sqlstate, const char* message);
    void Retry(int64 job_id, int attempt, TimestampTz due);
    void Done(Job* job);
    void RemoveDone();
    void Commit(Oid owner);
    RoundResult Sum(TimestampTz now);

    void AddWaiting(const Waiting& what) {
        waiting_.push_back(what);
        sorted_ = false;
    }
    void SortWaiting() {
        if (std::exchange(sorted_, true)) return;
        std::sort(waiting_.begin(), waiting_.end(), [](const Waiting& a, const Waiting& b) {
            return a.after != b.after ? a.after < b.after : a.run < b.run;
        });
    }
    const Job* Find(int64 id) const {
        const auto place = std::lower_bound(jobs_.begin(), jobs_.end(), id,
                                            [](const Job& job, int64 wanted) { return job.id < wanted; });
        return place != jobs_.end() && place->id == id ? &*place : nullptr;
    }
    Job* Find(int64 id) { return const_cast<Job*>(std::as_const(*this).Find(id)); }
    int RunningOf(int64 job) const {
        return static_cast<int>(
            std::count_if(running_.begin(), running_.end(), [=](const Running& r) { return r.job == job; }) +
            std::count_if(prepared_.begin(), prepared_.end(), [=](const Prepared& p) { return p.what.job == job; }));
    }
    int OpenOf(int64 job) const {
        return static_cast<int>(
            std::count_if(waiting_.begin(), waiting_.end(), [=](const Waiting& w) { return w.job == job; }));
    }

    // Some that wait may be retries of a later day, so it isn't their end that counts.
    bool ReadsMore() const { return more_waiting_ && waiting_.size() < kMostWaiting / 2; }

    MemoryContext jobs_context_ = nullptr;  // of what jobs_ points to
    pg::TopVector<Job> jobs_;               // by id
    pg::TopVector<Load> loads_;             // of jobs_, while due times are dealt with
    pg::TopVector<Waiting> waiting_;        // by when they may start
    pg::TopVector<Waiting> before_;         // what waited before this round's starts
    pg::TopVector<Running> running_;
    pg::TopVector<Ahead> ahead_;
    pg::TopVector<Prepared> prepared_;  // in this round: not let go yet
    pg::TopVector<int> collected_;      // slots whose results this round writes
    bool sorted_ = true;                // waiting_
    bool more_waiting_ = false;         // in the table than were read
    bool loaded_ = false;
    bool resumed_ = true;  // no due time was looked at before
    bool reload_jobs_ = true;
    bool reload_runs_ = true;
    bool no_slot_ = false;     // the last attempt to start a run found none
    TimestampTz done_at_ = 0;  // when to remove jobs that have run once; 0: there are none
    TimestampTz slot_at_ = 0;
    int64 slot_pause_ = 0;
    uint64 slots_freed_ = 0;  // as many had become free before that attempt
    int64 started_ = 0;
};

// Jobs

double FloatOr(Datum value, bool null, double fallback) { return null ? fallback : DatumGetFloat8(value); }

void Scheduler::LoadJob(HeapTuple row, TupleDesc shape) {
    const auto string = [&](int column) -> const char* {
        bool null = false;
        const Datum value = SPI_getbinval(row, shape, column, &null);
        return null ? nullptr : MemoryContextStrdup(jobs_context_, TextDatumGetCString(value));
    };
    const auto raw = [&](int column, bool* null) { return SPI_getbinval(row, shape, column, null); };
    bool null = false;
    Job job = {};
    job.id = DatumGetInt64(raw(1, &null));
    const char* schedule = string(2);
    job.command = string(3);
    job.database = string(4);
    job.username = string(5);
    job.active = DatumGetBool(raw(6, &null));
    job.name = string(7);
    const char* zone = string(8);
    job.overlap = OverlapOf(string(9)).value_or(Overlap::kSkip);
    job.policy.catch_up = CatchUpOf(string(10)).value_or(CatchUp::kNone);
    Datum value = raw(11, &null);
    job.max_runtime = FloatOr(value, null, 0);
    value = raw(12, &null);
    job.retries = null ? 0 : DatumGetInt64(value);
    value = raw(13, &null);
    job.retry_delay = FloatOr(value, null, 60);
    value = raw(14, &null);
    job.jitter = FloatOr(value, null, 0);
    value = raw(15, &null);
    const bool once = !null;
    if (once) job.run_at = DatumGetTimestampTz(value);
    job.local = DatumGetBool(raw(16, &null));
    job.last_due = ToUnix(DatumGetTimestampTz(raw(17, &null)));
    value = raw(18, &null);
    const bool fired = !null;
    // With another run_at than it has now, it is to run again.
    const bool done = once && fired && ToUnix(DatumGetTimestampTz(value)) == ToUnix(job.run_at);
    if (fired) job.last_due = std::max(job.last_due, ToUnix(DatumGetTimestampTz(value)));

    job.zone = zone != nullptr ? FindZone(zone) : session_timezone;
    ParseError error;
    if (once) {
        job.when = When::kOnce;
        if (!done) job.next_due = ToUnix(job.run_at);
        if (done && done_at_ == 0) done_at_ = GetCurrentTimestamp();
    } else if (!Parse(schedule, &job.schedule, &error) || job.zone == nullptr) {
        job.active = false;
        ereport(LOG, (errmsg("pgqueue: job " INT64_FORMAT " has a schedule or a time zone that is not known here: %s",
                             job.id, schedule)));
    } else if (job.schedule.kind == Kind::kReboot) {
        job.when = When::kReboot;
        const Instant start = ToUnix(OnClock(PgStartTime));
        if (start > job.last_due) job.next_due = start;
    } else {
        job.when = When::kClock;
        job.next_due = NextAfter(job.schedule, ServerZone(job.zone), job.last_due);
    }
    jobs_.push_back(job);
}

void Scheduler::LoadJobs() {
    jobs_.clear();
    if (jobs_context_ == nullptr)
        jobs_context_ = AllocSetContextCreate(TopMemoryContext, "pgqueue jobs", ALLOCSET_DEFAULT_SIZES);
    MemoryContextReset(jobs_context_);
    const uint64 rows = SPI_processed;
    SPITupleTable* table = SPI_tuptable;
    jobs_.reserve(rows);
    for (uint64 i = 0; i < rows; i++) LoadJob(table->vals[i], table->tupdesc);
}

// Runs

void Scheduler::LoadRuns(bool first) {
    waiting_.clear();
    if (done_at_ == 0) done_at_ = GetCurrentTimestamp();  // the only run of a job may have been deleted
    const pg::Vector<StoredRun> open = ReadOpenRuns(kMostWaiting);
    more_waiting_ = open.size() == kMostWaiting;
    for (const StoredRun& run : open) {
        if (!run.running) {
            AddWaiting({run.run, run.job, run.due, run.after, run.attempt, run.reason});
            continue;
        }
        if (!first && std::any_of(running_.begin(), running_.end(), [&](const Running& r) { return r.run == run.run; }))
            continue;
        // Begun by a worker before this one, or brought by a restore. Where it isn't under way any more nobody knows
        // how it ended.
        Running running = {-1,      run.run, run.job, run.due, run.attempt, run.reason, GetCurrentTimestamp(),
                           nullptr, false};
        for (int i = 0; i < RunSlots(); i++) {
            const RunView slot = ViewRun(i);
            if (slot.state != RunState::kFree && slot.home == MyDatabaseId && slot.run == run.run) running.slot = i;
        }
        running_.push_back(running);
    }
    if (first) AdoptUnknown();
    SortWaiting();
}

// Runs of a worker before this one that the history doesn't know any more. Their slots are ours to free.
void Scheduler::AdoptUnknown() {
    for (int i = 0; i < RunSlots(); i++) {
        const RunView slot = ViewRun(i);
        if (slot.state == RunState::kFree || slot.home != MyDatabaseId) continue;
        const bool known =
            std::any_of(running_.begin(), running_.end(), [=](const Running& running) { return running.slot == i; });
        if (!known) running_.push_back({i, slot.run, 0, 0, 0, Reason::kManual, GetCurrentTimestamp(), nullptr, true});
    }
}

bool Scheduler::IsLost(const Running& running, const RunView& slot) const {
    if (slot.run != running.run || slot.state == RunState::kFree) return true;
    if (slot.pid != 0) return false;  // it will tell
    pid_t pid = 0;
    if (running.handle != nullptr) return GetBackgroundWorkerPid(running.handle, &pid) == BGWH_STOPPED;
    return running.started + kLostPatience < GetCurrentTimestamp();
}

// A job that runs once is gone after it has, and after all its runs. One that was ordered by hand before is beside
// that.
void Scheduler::Done(Job* job) {
    if (job->when != When::kOnce || job->next_due || job->gone) return;
    job->gone = DeleteJob(job->id);
    if (!job->gone && done_at_ == 0) done_at_ = GetCurrentTimestamp() + kLockedPause;
}

// Those that a session had in hand when their run was over.
void Scheduler::RemoveDone() {
    if (done_at_ == 0 || done_at_ > GetCurrentTimestamp()) return;
    done_at_ = 0;
    for (Job& job : jobs_)
        if (job.when == When::kOnce && !job.next_due && RunningOf(job.id) == 0 && OpenOf(job.id) == 0) Done(&job);
}

void Scheduler::Retry(int64 job_id, int attempt, TimestampTz due) {
    Job* job = Find(job_id);
    if (job == nullptr) return;
    if (attempt > job->retries) {
        Done(job);
        return;
    }
    const TimestampTz after = Now() + static_cast<int64>(job->retry_delay * static_cast<double>(USECS_PER_SEC));
    Waiting again = {0, job_id, due, after, attempt + 1, Reason::kRetry};
    again.run = AddRun({job_id, job->database, job->username, job->command, job->name, "waiting", nullptr, due, after,
                        attempt + 1, Reason::kRetry});
    AddWaiting(again);
}

// False: the row is locked, and the run stays where it is.
bool Scheduler::CollectOne(Running* running, const RunResult& result) {
    if (running->job == 0) return true;  // nobody's: what has its number now is another one
    if (FinishRun(running->run, result) == Written::kLocked) {
        running->locked_until = GetCurrentTimestamp() + kLockedPause;
        return false;
    }
    if (!result.succeeded)
        Retry(running->job, running->attempt, running->due);
    else if (Job* job = Find(running->job))
        Done(job);
    return true;
}

// The result of a run that left none. Valid until the next one is made: it is large.
const RunResult& Failure(TimestampTz started_at, const char* sqlstate, const char* message) {
    static RunResult result;
    result = {};
    result.started_at = started_at;
    result.ended_at = GetCurrentTimestamp();
    strlcpy(result.sqlstate, sqlstate, sizeof(result.sqlstate));
    result.length = static_cast<int>(strlcpy(result.message, message, kResultBytes));
    return result;
}

// Writes the results of runs that are over.
void Scheduler::Collect() {
    static RunResult result;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < running_.size(); i++) {
        Running& running = running_[i];
        const RunView slot = running.slot >= 0 ? ViewRun(running.slot) : RunView{};
        bool over = running.locked_until <= GetCurrentTimestamp();
        if (over && running.slot >= 0 && slot.run == running.run && slot.state == RunState::kFinished) {
            ReadResult(running.slot, &result);
            over = CollectOne(&running, result);
            if (over) collected_.push_back(running.slot);
        } else if (over && (running.slot < 0 || IsLost(running, slot))) {
            over = CollectOne(&running, Failure(running.started, "",
                                                "the run was cut off: the server or its worker ended meanwhile"));
            if (over && running.slot >= 0 && slot.run == running.run && slot.state != RunState::kFree)
                collected_.push_back(running.slot);
        } else {
            over = false;
        }
        if (!over) {
            std::swap(running_[kept++], running);
            continue;
        }
        if (running.handle != nullptr) pfree(std::exchange(running.handle, nullptr));
    }
    running_.resize(kept);
}

void Scheduler::Show() {
    const TimestampTz now = GetCurrentTimestamp();
    for (Running& running : running_) {
        if (running.shown || running.slot < 0 || running.started + kShowRunning > now) continue;
        const RunView slot = ViewRun(running.slot);
        if (slot.pid == 0) continue;
        ShowRun(running.run, slot.pid);
        running.shown = true;
    }
}

// Due times

// Spread evenly, and the same for the same due time.
int64 JitterOf(const Job& job, Instant due) {
    const uint64 hash = hash_bytes_extended(reinterpret_cast<const unsigned char*>(&due), sizeof(due), job.id);
    return static_cast<int64>(static_cast<double>(hash >> 11) / static_cast<double>(uint64{1} << 53) * job.jitter *
                              static_cast<double>(USECS_PER_SEC));
}

// What is under way of each job. Counted once for all, since both may be ten thousand.
void Scheduler::CountLoads(TimestampTz now) {
    loads_.clear();
    loads_.resize(jobs_.size());
    for (const Running& running : running_)
        if (const Job* job = Find(running.job)) loads_[job - jobs_.data()].running++;
    for (const Waiting& what : waiting_) {
        if (what.after > now && what.reason != Reason::kSchedule) continue;
        if (const Job* job = Find(what.job)) loads_[job - jobs_.data()].waiting++;
    }
}

// load: what is under way beside this due time. False: it is skipped for that.
bool Scheduler::FireAt(const Job& job, Instant due_at, Load load) {
    const TimestampTz due = job.when == When::kOnce ? job.run_at : FromUnix(due_at);
    NewRun run = {job.id,
                  job.database,
                  job.username,
                  job.command,
                  job.name,
                  "waiting",
                  nullptr,
                  due,
                  due + JitterOf(job, due_at),
                  1,
                  Reason::kSchedule};
    // What runs once is not skipped: it waits for one that was ordered by hand. A run that only waits for a free slot
    // isn't under way: that others are many is no reason to skip.
    const bool busy = job.when != When::kOnce && load.running > 0;
    if (busy && job.overlap == Overlap::kSkip)
        run.message = "skipped: the run before was still under way";
    else if (busy && job.overlap == Overlap::kQueue && load.waiting > 0)
        run.message = "skipped: another run was waiting already";
    else if (load.waiting >= kMostQueued)
        run.message = "skipped: too many runs of the job were waiting already";
    if (run.message != nullptr) {
        run.status = "skipped";
        (void)AddRun(run);
        return false;
    }
    AddWaiting({AddRun(run), job.id, due, run.start_after, 1, Reason::kSchedule});
    return true;
}

void NoteMissed(const Job& job, const Plan& plan) {
    const char* first = pstrdup(timestamptz_to_str(FromUnix(plan.first_skipped)));
    const char* last = pstrdup(timestamptz_to_str(FromUnix(plan.last_skipped)));
    const char* message = psprintf("missed: %s" INT64_FORMAT " due times from %s to %s",
                                   plan.skipped_more ? "more than " : "", plan.skipped, first, last);
    if (plan.skipped == 1 && !plan.skipped_more) message = psprintf("missed: the due time %s", first);
    (void)AddRun({job.id, job.database, job.username, job.command, job.name, "skipped", message,
                  FromUnix(plan.last_skipped), FromUnix(plan.last_skipped), 1, Reason::kSchedule});
}

void Scheduler::Fire(TimestampTz now) {
    const Instant at = ToUnix(now);
    bool counted = false;
    for (Job& job : jobs_) {
        if (!job.active || !job.next_due || (*job.next_due > at && (job.when != When::kClock || job.last_due <= at)))
            continue;
        if (!std::exchange(counted, true)) CountLoads(now);
        Load load = loads_[&job - jobs_.data()];
        // One that waits longer than until its next time may have seen the clock set back.
        if (job.when != When::kClock) {
            job.last_due = *job.next_due;
            job.next_due.reset();
            RememberDue(job.id, FromUnix(job.last_due));
            (void)FireAt(job, job.last_due, load);
            continue;
        }
        job.policy.resumed = resumed_;
        const Plan plan = MakePlan(job.schedule, ServerZone(job.zone), job.policy, job.last_due, at);
        if (plan.set_back) CountFrom(job.id, now);
        if (plan.last_due != job.last_due) RememberDue(job.id, FromUnix(plan.last_due));
        job.last_due = plan.last_due;
        job.next_due = plan.next_due;
        if (plan.skipped > 0) NoteMissed(job, plan);
        // Times that are all made up for don't keep each other from it: they wait.
        for (int i = 0; i < plan.count; i++)
            if (FireAt(job, plan.due[i], load) && job.policy.catch_up != CatchUp::kAll) load.waiting++;
    }
    SortWaiting();
}

// Starting

// Runs of one job don't overlap, unless that is allowed or ordered by hand.
bool Scheduler::MayStart(const Waiting& what, const Job& job) const {
    return job.overlap == Overlap::kAllow || what.reason == Reason::kManual || RunningOf(what.job) == 0;
}

// False, here and below: it goes on waiting.
bool Scheduler::Fail(Waiting* what, const Job& job, const char* sqlstate, const char* message) {
    if (FinishRun(what->run, Failure(GetCurrentTimestamp(), sqlstate, message)) == Written::kLocked) {
        what->locked_until = GetCurrentTimestamp() + kLockedPause;
        return false;
    }
    Retry(job.id, what->attempt, what->due);
    return true;
}

// Whether a process should be started for it now.
bool Scheduler::IsSoon(const Job& job, TimestampTz now) const {
    if (!job.active || !job.next_due || job.jitter > 0 || ahead_.size() >= kMostAhead) return false;
    const int64 left = FromUnix(*job.next_due) - now;
    return left > 0 && left <= kLead && (job.overlap == Overlap::kAllow || RunningOf(job.id) == 0) &&
           std::none_of(ahead_.begin(), ahead_.end(), [&](const Ahead& a) { return a.job == job.id; });
}

void Scheduler::StartAhead(TimestampTz now) {
    if (std::none_of(jobs_.begin(), jobs_.end(), [&](const Job& job) { return IsSoon(job, now); })) return;
    StartTransactionCommand();
    for (const Job& job : jobs_) {
        if (!IsSoon(job, now)) continue;
        Ahead ahead = {job.id, -1, nullptr, get_role_oid(job.username, true), InvalidOid, GetCurrentTimestamp()};
        ahead.database = job.local ? MyDatabaseId : get_database_oid(job.database, true);
        if (!OidIsValid(ahead.role) || !OidIsValid(ahead.database)) continue;
        MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
        ahead.slot = PrepareRun({job.id, 0, ahead.database, ahead.role, job.max_runtime, job.command}, &ahead.handle);
        MemoryContextSwitchTo(old);
        if (ahead.slot < 0) break;
        ahead_.push_back(ahead);
    }
    CommitTransactionCommand();
}

void Scheduler::CallOffAhead(TimestampTz older_than) {
    std::size_t kept = 0;
    for (const Ahead& ahead : ahead_) {
        if (ahead.started >= older_than) {
            ahead_[kept++] = ahead;
            continue;
        }
        FreeRunSlot(ahead.slot);
        pfree(ahead.handle);
    }
    ahead_.resize(kept);
}

// The slot of the process that was started ahead for this run, or -1.
int Scheduler::TakeAhead(const Waiting& what, Oid role, Oid database, BackgroundWorkerHandle** handle) {
    const auto place =
        std::find_if(ahead_.begin(), ahead_.end(), [&](const Ahead& ahead) { return ahead.job == what.job; });
    if (place == ahead_.end()) return -1;
    const Ahead ahead = *place;
    ahead_.erase(place);
    if (ahead.role == role && ahead.database == database && AssignRun(ahead.slot, what.run)) {
        *handle = ahead.handle;
        return ahead.slot;
    }
    FreeRunSlot(ahead.slot);
    pfree(ahead.handle);
    return -1;
}

bool Scheduler::Prepare(Waiting* what, const Job& job) {
    const Oid role = get_role_oid(job.username, true);
    const Oid database = job.local ? MyDatabaseId : get_database_oid(job.database, true);
    if (!OidIsValid(role)) {
        return Fail(what, job, "42704", psprintf("FATAL:  role \"%s\" does not exist", job.username));
    }
    if (!OidIsValid(database)) {
        return Fail(what, job, "3D000", psprintf("FATAL:  database \"%s\" does not exist", job.database));
    }
    BackgroundWorkerHandle* handle = nullptr;
    int slot = TakeAhead(*what, role, database, &handle);
    if (slot < 0) {
        MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
        slot = PrepareRun({job.id, what->run, database, role, job.max_runtime, job.command}, &handle);
        MemoryContextSwitchTo(old);
    }
    if (slot < 0) {
        no_slot_ = true;
        return false;
    }
    prepared_.push_back({slot, handle, *what});
    const Written begun = BeginRun(what->run, Now(), job.database, job.username, job.command);
    if (begun == Written::kYes) return true;
    FreeRunSlot(slot);
    pfree(handle);
    prepared_.pop_back();
    // A run that the user has deleted is not wanted any more. One that is about to delete it may think better of it.
    if (begun == Written::kLocked) what->locked_until = GetCurrentTimestamp() + kLockedPause;
    return begun == Written::kGone;
}

void Scheduler::StartWaiting(TimestampTz now) {
    no_slot_ = false;
    slots_freed_ = FreedRunSlots();
    std::size_t kept = 0;
    // The first that has to wait for its time is behind all that may start.
    if (waiting_.empty() || waiting_[0].after > now) return;
    const std::size_t count = waiting_.size();
    before_.clear();
    before_.swap(waiting_);  // retries of what fails at once are added to it
    for (std::size_t i = 0; i < count; i++) {
        Waiting what = before_[i];
        const Job* job = Find(what.job);
        const bool wanted = job != nullptr && (job->active || what.reason == Reason::kManual);
        if (what.locked_until <= GetCurrentTimestamp()) what.locked_until = 0;
        bool stays = what.after > now || no_slot_ || what.locked_until != 0 || (wanted && !MayStart(what, *job));
        if (!stays && wanted) {
            stays = !Prepare(&what, *job);
        } else if (!stays) {
            stays = SkipRun(what.run, "skipped: the job was unscheduled or deactivated") == Written::kLocked;
            if (stays) what.locked_until = GetCurrentTimestamp() + kLockedPause;
        }
        if (stays) before_[kept++] = what;
    }
    before_.resize(kept);
    waiting_.insert(waiting_.begin(), before_.begin(), before_.end());
    SortWaiting();
}

bool Scheduler::HasWork(TimestampTz now) const {
    if (!loaded_ || reload_jobs_ || reload_runs_ || ReadsMore()) return true;
    const TimestampTz real = GetCurrentTimestamp();
    if (done_at_ != 0 && done_at_ <= real) return true;
    for (const Running& running : running_) {
        if (running.locked_until > real) continue;
        if (running.slot < 0) return true;
        const RunView slot = ViewRun(running.slot);
        if (slot.state == RunState::kFinished || IsLost(running, slot)) return true;
        if (!running.shown && running.started + kShowRunning <= real && slot.pid != 0) return true;
    }
    if (!settings::cron_enabled) return false;
    const Instant at = ToUnix(now);
    for (const Job& job : jobs_)
        if (job.active && job.next_due && (*job.next_due <= at || (job.when == When::kClock && job.last_due > at)))
            return true;
    for (const Waiting& what : waiting_) {
        if (what.after > now) break;
        if (what.locked_until != 0) {
            if (what.locked_until <= real) return true;
            continue;
        }
        const Job* job = Find(what.job);
        if ((job == nullptr || MayStart(what, *job)) && (slot_at_ <= real || slots_freed_ != FreedRunSlots()))
            return true;
    }
    return false;
}

void Scheduler::Commit(Oid owner) {
    running_.reserve(running_.size() + prepared_.size());  // nothing may fail between the commit and their start
    // The history is the truth that a crash must leave: no run starts before it is on disk.
    (void)set_config_option("synchronous_commit", "local", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
                            false);
    pg::CommitAs(owner);
    const TimestampTz real = GetCurrentTimestamp();
    const bool ended = !collected_.empty();
    for (int slot : collected_) FreeRunSlot(slot);
    collected_.clear();
    for (const Prepared& run : prepared_) {
        LetGo(run.slot);
        running_.push_back({run.slot, run.what.run, run.what.job, run.what.due, run.what.attempt, run.what.reason, real,
                            run.handle, false});
        started_++;
    }
    prepared_.clear();
    // Nobody tells when a slot for background workers becomes free: soon after one of our runs has ended, or whenever
    // somebody else's worker ends.
    if (!no_slot_ || ended) slot_pause_ = 0;
    slot_pause_ = no_slot_ ? std::clamp(slot_pause_ * 2, kSlotPause, kLongestSlotPause) : 0;
    slot_at_ = real + slot_pause_;
}

RoundResult Scheduler::Sum(TimestampTz now) {
    RoundResult sum = {};
    const TimestampTz real = GetCurrentTimestamp();
    const int64 shift = now - real;
    TimestampTz next = real + kLookAgain;
    for (const Job& job : jobs_)
        if (settings::cron_enabled && job.active && job.next_due) {
            const TimestampTz due = FromUnix(*job.next_due) - shift;
            next = std::min(next, due - kLead > real ? due - kLead : due);
        }
    for (const Waiting& what : waiting_) {
        if (!settings::cron_enabled) break;
        if (what.after > now) {
            next = std::min(next, what.after - shift);
            break;
        }
        if (what.locked_until != 0) next = std::min(next, what.locked_until);
        sum.lag_us = std::max(sum.lag_us, now - what.after);
    }
    if (slot_at_ > real) next = std::min(next, slot_at_);
    if (done_at_ != 0) next = std::min(next, done_at_);
    for (const Running& running : running_)
        if (running.locked_until != 0)
            next = std::min(next, running.locked_until);
        else if (!running.shown)
            next = std::min(next, std::max(running.started + kShowRunning, real + 50000));
    sum.next_at = std::max(next, real);
    sum.started = std::exchange(started_, 0);
    return sum;
}

RoundResult Scheduler::Round(bool jobs_changed, bool runs_changed) {
    reload_jobs_ |= jobs_changed;
    reload_runs_ |= runs_changed;
    TimestampTz now = Now();
    CallOffAhead(reload_jobs_ ? std::numeric_limits<TimestampTz>::max() : GetCurrentTimestamp() - kAheadPatience);
    if (settings::cron_enabled && loaded_ && !reload_jobs_) StartAhead(now);
    if (!HasWork(now)) return Sum(now);

    StartTransactionCommand();
    if (!pg::HoldExtensionForTask()) {
        CommitTransactionCommand();
        return Sum(now);
    }
    PushActiveSnapshot(GetTransactionSnapshot());
    const Oid owner = pg::ExtensionOwner();
    bool fired = false;
    {
        const pg::RunAs as(owner);
        pg::Spi spi;
        if (reload_jobs_ || !loaded_) {
            if (!loaded_) ForgetOrphans();
            AdoptDatabaseName();  // a restore brings its rows after we first looked
            ReadJobs();
            LoadJobs();
        }
        if (reload_runs_ || !loaded_ || ReadsMore()) LoadRuns(!loaded_);
        Collect();
        RemoveDone();
        Show();
        now = Now();
        if (settings::cron_enabled) {
            Fire(now);
            fired = true;
            StartWaiting(now);
        }
    }
    PopActiveSnapshot();
    loaded_ = true;
    reload_jobs_ = reload_runs_ = false;
    Commit(owner);
    if (fired) resumed_ = false;
    RoundResult sum = Sum(Now());
    sum.worked = true;
    return sum;
}

void Scheduler::AfterError() {
    CallOffAll();
    for (const Ahead& run : ahead_) pfree(run.handle);
    ahead_.clear();
    for (const Prepared& run : prepared_) pfree(run.handle);
    for (const Running& running : running_)
        if (running.handle != nullptr) pfree(running.handle);
    prepared_.clear();
    collected_.clear();
    before_.clear();
    running_.clear();
    loaded_ = false;
}

Scheduler* scheduler;

}  // namespace

bool IsScheduling() { return scheduler != nullptr; }

RoundResult Round(bool jobs_changed, bool runs_changed) {
    if (scheduler == nullptr) scheduler = new (MemoryContextAllocZero(TopMemoryContext, sizeof(Scheduler))) Scheduler();
    return scheduler->Round(jobs_changed, runs_changed);
}

void AfterError() {
    if (scheduler != nullptr) scheduler->AfterError();
}

}  // namespace pgqueue::cron
