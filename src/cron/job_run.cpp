// The main of a run: a background worker that logs in as the job's role, runs the job's command and leaves the result
// in its slot, whatever ends it.
#include "pgqueue/cron/job_run.hpp"

#include "pgqueue/pg/execute.hpp"

namespace pgqueue::cron {
namespace {

constexpr int kCancelAgain = 1000;  // milliseconds

// This process' run. The callbacks below can't be given anything.
int my_slot = -1;
uint32 my_generation;
RunResult* result;  // prepared before anything can go wrong
bool out_of_time = false;
bool truthful = false;  // the result says how the run ended
emit_log_hook_type previous_log_hook;

// Cuts at a character's end. What can't be shown in UTF-8 is shown in ASCII.
void SetMessage(const char* text) {
    int length = static_cast<int>(strlen(text));
    const int encoding = GetDatabaseEncoding();
    const bool utf8 = encoding == PG_UTF8 && pg_verify_mbstr(PG_UTF8, text, length, true);
    length = utf8 ? pg_encoding_mbcliplen(PG_UTF8, text, length, kResultBytes) : std::min(length, kResultBytes);
    memcpy(result->message, text, length);
    result->length = length;
    if (utf8) return;
    for (int i = 0; i < length; i++)
        if ((result->message[i] & 0x80) != 0) result->message[i] = '?';
}

// "ERROR:  ..." as psql shows it, with detail, hint and context.
void SetError(const ErrorData* error) {
    // Not a StringInfo: it may be memory that has run out.
    static char text[2 * kResultBytes];
    const char* message = error->message != nullptr ? error->message : "missing error text";
    int length = pg_snprintf(text, sizeof(text), "%s:  %s%s", error->elevel >= FATAL ? "FATAL" : "ERROR",
                             out_of_time ? "the run took longer than its max_runtime; " : "", message);
    const auto add = [&](const char* label, const char* what) {
        if (what == nullptr || length >= static_cast<int>(sizeof(text))) return;
        length += pg_snprintf(text + length, sizeof(text) - length, "\n%s:  %s", label, what);
    };
    add("DETAIL", error->detail);
    add("HINT", error->hint);
    add("CONTEXT", error->context);
    result->succeeded = false;
    strlcpy(result->sqlstate, unpack_sql_state(error->sqlerrcode), sizeof(result->sqlstate));
    SetMessage(text);
    truthful = true;
}

// What ends the process is seen nowhere else: no role, no right to connect, pg_terminate_backend.
void OnLog(ErrorData* error) {
    if (error->elevel >= FATAL && !truthful) SetError(error);
    if (previous_log_hook != nullptr) previous_log_hook(error);
}

void OnExit(int, Datum) {
    if (!truthful) {
        result->succeeded = false;
        SetMessage("the run's process ended before the run did");
    }
    result->ended_at = GetCurrentTimestamp();
    Finish(my_slot, my_generation, *result);
}

void OnMaxRuntime() {
    out_of_time = true;
    kill(MyProcPid, SIGINT);
}

void RunCommand(const RunOrder& order) {
    MemoryContext context = AllocSetContextCreate(TopMemoryContext, "pgqueue run", ALLOCSET_DEFAULT_SIZES);
    MemoryContextSwitchTo(context);
    StringInfoData tags;
    initStringInfo(&tags);
    TimeoutId timeout = MAX_TIMEOUTS;
    PG_TRY();
    {
        process_session_preload_libraries();
        if (order.command == nullptr) elog(ERROR, "the command was lost with the worker that started the run");
        StartTransactionCommand();
        MemoryContextSwitchTo(context);
        char* command =
            pstrdup(pg_any_to_server(order.command, static_cast<int>(strlen(order.command)), order.encoding));
        CommitTransactionCommand();
        MemoryContextSwitchTo(context);
        if (order.max_runtime > 0) {
            timeout = RegisterTimeout(USER_TIMEOUT, OnMaxRuntime);
            const auto after = static_cast<int64>(order.max_runtime * static_cast<double>(USECS_PER_SEC));
            // Again and again, for a command that catches it.
            enable_timeout_every(timeout, GetCurrentTimestamp() + after, kCancelAgain);
        }
        pg::Execute(command, &tags);
        if (timeout != MAX_TIMEOUTS) disable_timeout(timeout, false);
        result->succeeded = true;
        SetMessage(tags.data);
        truthful = true;
    }
    PG_CATCH();
    {
        HOLD_INTERRUPTS();
        disable_all_timeouts(false);
        QueryCancelPending = false;
        MemoryContextSwitchTo(context);
        ErrorData* error = CopyErrorData();
        SetError(error);
        EmitErrorReport();
        AbortOutOfAnyTransaction();
        FlushErrorState();
        RESUME_INTERRUPTS();
    }
    PG_END_TRY();
}

}  // namespace
}  // namespace pgqueue::cron

extern "C" PGDLLEXPORT void pgqueue_job_run(Datum arg) {
    using namespace pgqueue;
    using namespace pgqueue::cron;
    my_slot = DatumGetInt32(arg);
    memcpy(&my_generation, MyBgworkerEntry->bgw_extra, sizeof(my_generation));
    result = static_cast<RunResult*>(MemoryContextAllocZero(TopMemoryContext, sizeof(RunResult)));
    RunOrder order = {};
    before_shmem_exit(OnExit, 0);  // whatever goes wrong, the slot is told
    if (!ClaimRun(my_slot, my_generation, &order)) return;
    previous_log_hook = std::exchange(emit_log_hook, OnLog);
    result->started_at = GetCurrentTimestamp();
    pg::BeginWorker();
    const pg::DieAtOnce die_at_once;

    BackgroundWorkerInitializeConnectionByOid(order.database, order.role, 0);
    pgstat_report_appname(MyBgworkerEntry->bgw_name);
    if (!MayGo(my_slot, my_generation)) return;
    result->started_at = GetCurrentTimestamp();
    RunCommand(order);
}
