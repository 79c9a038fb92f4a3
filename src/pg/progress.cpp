#include "pgqueue/pg/progress.hpp"

#include "pgqueue/pg/lwlock.hpp"

namespace pgqueue::pg {
namespace {

constexpr int kEntries = 128;

struct Entry {
    ProgressReport report;  // pid 0: free
    pg_atomic_uint64 page;
    pg_atomic_uint64 rows;
};
static_assert(std::is_trivially_destructible_v<Entry> && std::is_standard_layout_v<Entry>);

struct Shared {
    LWLock lock;  // guards the reports; a page and a row are counted without it
    Entry entries[kEntries];
};
Shared* shared;

Entry* mine;
int depth;        // of Progress scopes, one inside of another
int level;        // of the transaction that began the outer one
int inner_level;  // the same of the second

void Begin(Work work) {
    const LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    for (Entry& entry : shared->entries) {
        if (entry.report.pid != 0) continue;
        entry.report = {};
        entry.report.pid = MyProcPid;
        entry.report.database = MyDatabaseId;
        entry.report.role = GetUserId();
        entry.report.work = work;
        entry.report.phase = "starting";
        entry.report.started_at = GetCurrentTimestamp();
        pg_atomic_write_u64(&entry.page, 0);
        pg_atomic_write_u64(&entry.rows, 0);
        mine = &entry;
        return;
    }
}

void End() {
    depth = 0;
    if (mine == nullptr) return;
    const LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    mine->report.pid = 0;
    mine = nullptr;
}

void OnTransactionEnd(XactEvent event, void*) {
    if (event == XACT_EVENT_ABORT) End();
}

void OnSavepointEnd(SubXactEvent event, SubTransactionId, SubTransactionId, void*) {
    if (event != SUBXACT_EVENT_ABORT_SUB || depth == 0) return;
    if (level >= GetCurrentTransactionNestLevel())
        End();
    else if (depth > 1 && inner_level >= GetCurrentTransactionNestLevel())
        depth = 1;
}

template <class Change>
void ChangeMine(Change change) {
    if (mine == nullptr || depth > 1) return;
    const LWLockGuard lock(&shared->lock, LW_EXCLUSIVE);
    change(&mine->report);
}

}  // namespace

Size ProgressShmemSize() { return sizeof(Shared); }

void ProgressShmemInit() {
    bool found = false;
    shared = static_cast<Shared*>(ShmemInitStruct("pgqueue progress", ProgressShmemSize(), &found));
    if (found) return;
    const int tranche = LWLockNewTrancheId();
    LWLockRegisterTranche(tranche, "pgqueue_progress");
    memset(shared, 0, ProgressShmemSize());
    LWLockInitialize(&shared->lock, tranche);
    for (Entry& entry : shared->entries) {
        pg_atomic_init_u64(&entry.page, 0);
        pg_atomic_init_u64(&entry.rows, 0);
    }
}

void InitProgress() {
    RegisterXactCallback(OnTransactionEnd, nullptr);
    RegisterSubXactCallback(OnSavepointEnd, nullptr);
}

Progress::Progress(Work work) {
    depth++;
    if (depth <= 2) (depth == 1 ? level : inner_level) = GetCurrentTransactionNestLevel();
    if (depth == 1) Begin(work);
}

Progress::~Progress() {
    if (depth == 1)
        End();
    else if (depth > 1)
        depth--;
}

void ProgressPhase(const char* phase) {
    ChangeMine([=](ProgressReport* report) { report->phase = phase; });
}

void ProgressTables(int total) {
    ChangeMine([=](ProgressReport* report) { report->tables_total = total; });
}

void ProgressOnTable(Oid relation, int64 pages) {
    ChangeMine([=](ProgressReport* report) {
        if (OidIsValid(report->relation)) report->tables_done++;
        report->relation = relation;
        report->pages_total = pages;
        pg_atomic_write_u64(&mine->page, 0);
    });
}

void ProgressOnPage(BlockNumber page) {
    if (mine != nullptr && depth == 1) pg_atomic_write_u64(&mine->page, page);
}

void ProgressAddRows(int64 rows) {
    if (mine != nullptr && depth == 1) pg_atomic_fetch_add_u64(&mine->rows, rows);
}

int ProgressEntries() { return kEntries; }

bool ReadProgress(int entry, ProgressReport* report) {
    const LWLockGuard lock(&shared->lock, LW_SHARED);
    Entry& read = shared->entries[entry];
    if (read.report.pid == 0) return false;
    *report = read.report;
    report->pages_done = static_cast<int64>(pg_atomic_read_u64(&read.page));
    report->rows = static_cast<int64>(pg_atomic_read_u64(&read.rows));
    return true;
}

}  // namespace pgqueue::pg
