// The library's entry: settings, shared memory, callbacks. Everything else starts from a SQL function.
#include "pgqueue/cron/run_slots.hpp"
#include "pgqueue/kv/lock.hpp"
#include "pgqueue/page/durability.hpp"
#include "pgqueue/page/groups.hpp"
#include "pgqueue/page/places.hpp"
#include "pgqueue/page/serials.hpp"
#include "pgqueue/page/transaction.hpp"
#include "pgqueue/pg/progress.hpp"
#include "pgqueue/pg/worker_table.hpp"
#include "pgqueue/queue/handler_slots.hpp"
#include "pgqueue/queue/numbers.hpp"
#include "pgqueue/settings.hpp"
#include "pgqueue/worker/launcher.hpp"
#include "pgqueue/worker/utility_hook.hpp"

extern "C" {
PG_MODULE_MAGIC;
PGDLLEXPORT void _PG_init(void);
}

namespace pgqueue {
namespace {

shmem_request_hook_type previous_request_hook;
shmem_startup_hook_type previous_startup_hook;

void RequestSharedMemory() {
    if (previous_request_hook != nullptr) previous_request_hook();
    RequestAddinShmemSpace(page::MapShmemSize());
    RequestAddinShmemSpace(page::ReleasedShmemSize());
    RequestAddinShmemSpace(page::GroupsShmemSize());
    RequestAddinShmemSpace(page::PlacesShmemSize());
    RequestAddinShmemSpace(page::SerialsShmemSize());
    RequestAddinShmemSpace(page::DurabilityShmemSize());
    RequestAddinShmemSpace(queue::NumbersShmemSize());
    RequestAddinShmemSpace(queue::HandlersShmemSize());
    RequestAddinShmemSpace(kv::StatsShmemSize());
    RequestAddinShmemSpace(kv::LockShmemSize());
    RequestAddinShmemSpace(pg::WorkerTableShmemSize());
    RequestAddinShmemSpace(pg::ProgressShmemSize());
    RequestAddinShmemSpace(cron::RunSlotsShmemSize());
}

void InitSharedMemory() {
    if (previous_startup_hook != nullptr) previous_startup_hook();
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    page::MapShmemInit();
    page::ReleasedShmemInit();
    page::GroupsShmemInit();
    page::PlacesShmemInit();
    page::SerialsShmemInit();
    page::DurabilityShmemInit();
    queue::NumbersShmemInit();
    queue::HandlersShmemInit();
    kv::StatsShmemInit();
    kv::LockShmemInit();
    pg::WorkerTableShmemInit();
    pg::ProgressShmemInit();
    cron::RunSlotsShmemInit();
    LWLockRelease(AddinShmemInitLock);
}

}  // namespace
}  // namespace pgqueue

void _PG_init(void) {
    using namespace pgqueue;
    if (!process_shared_preload_libraries_in_progress)
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("pgqueue must be loaded when the server starts"),
                 errhint("Add pgqueue to \"shared_preload_libraries\" in postgresql.conf and restart the server.")));
    settings::Define();
    page::InitTransactions();
    pg::InitWorkerTable();
    pg::InitProgress();
    worker::InstallUtilityHook();
    worker::RegisterLauncher();
    previous_request_hook = shmem_request_hook;
    shmem_request_hook = RequestSharedMemory;
    previous_startup_hook = shmem_startup_hook;
    shmem_startup_hook = InitSharedMemory;
}
