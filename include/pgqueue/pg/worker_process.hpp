// Starting background workers, and what every one of ours does the same way.
#pragma once

#include "pgqueue/pg/compat.hpp"

namespace pgqueue::pg {

struct WorkerSpec {
    const char* name;      // as pg_stat_activity and ps show it
    const char* function;  // its main, exported by this library
    int slot;              // main's argument
    const void* extra;     // a few bytes more: MyBgworkerEntry->bgw_extra
    std::size_t extra_size;
};

// False: no slot for background workers is free. The starter's latch is set when the worker starts and when it ends.
// The handle is made in the current memory context.
bool StartWorker(const WorkerSpec& spec, BackgroundWorkerHandle** handle);

// The first thing in a main: signals. SIGTERM sets ShutdownRequestPending and, while DieAtOnce, ends the process at the
// next place where it may be interrupted. A cancellation (SIGINT) is taken notice of while DieAtOnce only.
void BeginWorker();
class DieAtOnce {
public:
    DieAtOnce();
    ~DieAtOnce();
    DieAtOnce(const DieAtOnce&) = delete;
    DieAtOnce& operator=(const DieAtOnce&) = delete;
    static void Off();  // after an error
};

// Until the latch is set or the time is over. Takes notice of interrupts.
void Sleep(int64 microseconds, const char* wait_event);

}  // namespace pgqueue::pg
