#include "pgqueue/pg/worker_process.hpp"

namespace pgqueue::pg {
namespace {

volatile sig_atomic_t die_at_once = 0;

void OnTerminate(SIGNAL_ARGS) {
    SignalHandlerForShutdownRequest(postgres_signal_arg);
    if (die_at_once != 0) die(postgres_signal_arg);
}

// A cancellation is for what is being done. Who waits for work has nothing to cancel.
void OnCancel(SIGNAL_ARGS) {
    if (die_at_once != 0) StatementCancelHandler(postgres_signal_arg);
}

}  // namespace

bool StartWorker(const WorkerSpec& spec, BackgroundWorkerHandle** handle) {
    BackgroundWorker worker = {};
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = BGW_NEVER_RESTART;
    strlcpy(worker.bgw_library_name, "pgqueue", sizeof(worker.bgw_library_name));
    strlcpy(worker.bgw_function_name, spec.function, sizeof(worker.bgw_function_name));
    strlcpy(worker.bgw_name, spec.name, BGW_MAXLEN);
    strlcpy(worker.bgw_type, spec.name, BGW_MAXLEN);
    worker.bgw_main_arg = Int32GetDatum(spec.slot);
    Assert(spec.extra_size <= BGW_EXTRALEN);
    memcpy(worker.bgw_extra, spec.extra, spec.extra_size);
    worker.bgw_notify_pid = MyProcPid;
    return RegisterDynamicBackgroundWorker(&worker, handle);
}

void BeginWorker() {
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    pqsignal(SIGTERM, OnTerminate);
    pqsignal(SIGINT, OnCancel);
    BackgroundWorkerUnblockSignals();
}

DieAtOnce::DieAtOnce() {
    die_at_once = 1;
    if (ShutdownRequestPending) {  // it came just before
        ProcDiePending = true;
        InterruptPending = true;
    }
}
DieAtOnce::~DieAtOnce() { die_at_once = 0; }
void DieAtOnce::Off() { die_at_once = 0; }

void Sleep(int64 microseconds, const char* wait_event) {
    static uint32 event = 0;
    if (event == 0) event = compat::WaitEvent(wait_event);
    const long timeout = static_cast<long>((std::max(microseconds, int64{0}) + 999) / 1000);
    (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout, event);
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
}

}  // namespace pgqueue::pg
