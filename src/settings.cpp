#include "pgqueue/settings.hpp"

#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::settings {

int segment_size = 64 * 1024 * 1024 / BLCKSZ;
int max_dead_bytes = 1024;
int page_map_size_kb = 32 * 1024;
int max_segments = 16384;
int kv_places_kb = 16 * 1024;
int released_leases = 65536;
int group_holds = 65536;
bool workers = true;
char* databases = nullptr;
int purge_interval = 10000;
int purge_pages = 128;
bool cron_enabled = true;
int cron_max_running = 32;
int cron_history_age = 7 * 24 * 60;
int cron_history_rows = 1000;
int errors_age = 7 * 24 * 60;
int health_age = 300;
int max_handlers = 256;
int handler_idle_time = 10000;
double clock_offset = 0;

namespace {

bool CheckDatabases(char** value, void**, GucSource) {
    List* names = NIL;
    const bool good = strcmp(*value, "*") == 0 || SplitIdentifierString(pstrdup(*value), ',', &names);
    if (!good) GUC_check_errdetail("It is * or a list of names, separated by commas.");
    list_free(names);
    return good;
}

}  // namespace

void Define() {
    DefineCustomIntVariable(
        "pgqueue.page_map_size", "Shared memory for the maps that tell readers which pages to look at.",
        "About 16 MB per million pages of 8 kB; beyond it the maps become coarser.", &page_map_size_kb, 32 * 1024, 64,
        16 * 1024 * 1024, PGC_POSTMASTER, GUC_UNIT_KB, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pgqueue.segment_size", "Size at which a queue goes on in a new table.",
                            "One whose messages are gone is emptied, and used again.", &segment_size,
                            64 * 1024 * 1024 / BLCKSZ, 8, INT_MAX, PGC_SIGHUP, GUC_UNIT_BLOCKS, nullptr, nullptr,
                            nullptr);
    DefineCustomIntVariable("pgqueue.max_dead_bytes",
                            "How much of a queue may be kept only for old snapshots, which might want to see it.",
                            "Beyond it such tables are emptied, unless somebody has them locked. -1: never.",
                            &max_dead_bytes, 1024, -1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MB, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pgqueue.max_segments", "Tables of queues that have a page map at one time.",
                            "Beyond it the least used ones give theirs up.", &max_segments, 16384, 16, 1024 * 1024,
                            PGC_POSTMASTER, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pgqueue.released_leases", "Leases given back by rollbacks that can be noted at one time.",
                            "Beyond it a lease that was given back runs out instead.", &released_leases, 65536, 1024,
                            16 * 1024 * 1024, PGC_POSTMASTER, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pgqueue.group_holds", "Messages of groups that can be out at one time.",
                            "In fifo queues and grouped reads; beyond it no more are handed out.", &group_holds, 65536,
                            1024, 16 * 1024 * 1024, PGC_POSTMASTER, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pgqueue.kv_places", "Shared memory for hints where the keys of stores lie.",
                            "16 bytes a key that is in use; the others are looked up in their index.", &kv_places_kb,
                            16 * 1024, 64, 16 * 1024 * 1024, PGC_POSTMASTER, GUC_UNIT_KB, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("pgqueue.workers", "Whether background workers purge, clean up and run jobs.", nullptr,
                             &workers, true, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    DefineCustomStringVariable("pgqueue.databases", "Databases in which background workers may run.",
                               "A list of names, or * for all that have the extension.", &databases, "*", PGC_SIGHUP,
                               GUC_LIST_INPUT, CheckDatabases, nullptr, nullptr);
    DefineCustomIntVariable("pgqueue.purge_interval", "Time between purges of what has expired.",
                            "0 leaves entries to kv.purge(), and messages where they are.", &purge_interval, 10000, 0,
                            86400000, PGC_SUSET, GUC_UNIT_MS, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pgqueue.purge_pages", "Pages that a purge looks at in one transaction.",
                            "Between two it pauses for as long as the first took.", &purge_pages, 128, 1, 1000000,
                            PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("pgqueue.cron_enabled", "Whether jobs are run.",
                             "Can be set for one database: ALTER DATABASE ... SET.", &cron_enabled, true, PGC_SUSET, 0,
                             nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pgqueue.cron_max_running", "Jobs under way at one time, in all databases.",
                            "Each needs one of \"max_worker_processes\".", &cron_max_running, 32, 1, 1024,
                            PGC_POSTMASTER, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pgqueue.cron_history_age", "How long runs are kept in cron.job_run_details.",
                            "0 keeps them whatever their age.", &cron_history_age, 7 * 24 * 60, 0, INT_MAX / 60,
                            PGC_SUSET, GUC_UNIT_MIN, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pgqueue.cron_history_rows", "How many runs of a job are kept in cron.job_run_details.",
                            "0 keeps any number.", &cron_history_rows, 1000, 0, INT_MAX, PGC_SUSET, 0, nullptr, nullptr,
                            nullptr);
    DefineCustomIntVariable("pgqueue.errors_age", "How long the error texts of queue.nack are kept.",
                            "0 keeps them whatever their age.", &errors_age, 7 * 24 * 60, 0, INT_MAX / 60, PGC_SUSET,
                            GUC_UNIT_MIN, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pgqueue.health_age", "How long something may last before queue.health() speaks of it.",
                            "Transactions that are open, messages that nobody reads.", &health_age, 300, 0, INT_MAX,
                            PGC_USERSET, GUC_UNIT_S, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pgqueue.max_handlers", "Queues with a handler at one time, in all databases.", nullptr,
                            &max_handlers, 256, 1, 65536, PGC_POSTMASTER, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pgqueue.handler_idle_time", "How long a handler's process waits for a message.",
                            "Then it ends, and is started again when there is one.", &handler_idle_time, 10000, 0,
                            86400000, PGC_SIGHUP, GUC_UNIT_MS, nullptr, nullptr, nullptr);
    DefineCustomRealVariable("pgqueue.clock_offset", "Seconds by which the clock of jobs is ahead of the server's.",
                             "For tests.", &clock_offset, 0, -1e10, 1e10, PGC_SUSET,
                             GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL, nullptr, nullptr, nullptr);
    MarkGUCPrefixReserved("pgqueue");
}

}  // namespace pgqueue::settings
