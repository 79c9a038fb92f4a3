#include "pgqueue/worker/purge_task.hpp"

#include "pgqueue/kv/purge.hpp"
#include "pgqueue/kv/store_admin.hpp"
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/progress.hpp"
#include "pgqueue/pg/run_as.hpp"
#include "pgqueue/settings.hpp"
#include "pgqueue/worker/guarded.hpp"
#include "pgqueue/worker/task_transaction.hpp"

namespace pgqueue::worker {
namespace {

constexpr int64 kSlowest = 6;  // times the interval, where nothing has expired for a while

int64 pause;  // until the next round
// The store at which the last call stopped, so that a large one doesn't keep the others from their turn.
char stopped_at[NAMEDATALEN];

int64 PurgeStore(const char* store, int* pages) {
    char name[NAMEDATALEN];
    kv::ValuesName(store, name);
    const Oid table = pg::RelationIn(kv::kSchema, name);
    if (!OidIsValid(table)) return 0;
    char cells_name[NAMEDATALEN];
    kv::CellsName(store, cells_name);
    // Whoever has the tables locked is not waited for: the worker has other things to do.
    const Oid cells_table = pg::RelationIn(kv::kSchema, cells_name);
    if (!OidIsValid(cells_table) || !ConditionalLockRelationOid(table, RowExclusiveLock)) return 0;
    if (!ConditionalLockRelationOid(cells_table, RowExclusiveLock)) return 0;
    if (pg::RelationIn(kv::kSchema, name) != table || pg::RelationIn(kv::kSchema, cells_name) != cells_table) return 0;
    // As its owner: nothing of a user's may run with more rights than that.
    const pg::RunAs as(pg::OwnerOf(table), SECURITY_RESTRICTED_OPERATION);
    if (pg_class_aclcheck(table, GetUserId(), ACL_DELETE) != ACLCHECK_OK) return 0;  // revoked, even from the owner
    const kv::Table values = kv::Open(store, ACL_DELETE, kv::Part::kValues, RowExclusiveLock);
    const kv::Table cells = kv::OpenOther(values, RowExclusiveLock);
    const pg::Progress progress(pg::Work::kPurgeStores);
    pg::ProgressPhase("deleting expired keys");
    int64 purged = kv::Purge(values, pages);
    if (*pages > 0) purged += kv::Purge(cells, pages);
    kv::Close(cells);
    kv::Close(values);
    return purged;
}

// One that can't be opened, or read, keeps none of the others from their turn.
int64 PurgeGuarded(const char* store, int* pages) {
    static Troubles troubles("store");
    int64 purged = 0;
    if (!Guarded(&troubles, store, [&] { purged = PurgeStore(store, pages); })) return 0;
    return purged;
}

// The names of this round's stores, in memory of their own, since each store has a transaction of its own. Made once
// and never destroyed: a destructor would run at the exit of every process of the server.
pg::TopVector<NameData>* ReadStores(bool held) {
    static pg::TopVector<NameData>* stores = nullptr;
    if (stores == nullptr)
        stores = new (MemoryContextAlloc(TopMemoryContext, sizeof(*stores))) pg::TopVector<NameData>();
    stores->clear();
    if (!held) return stores;
    for (const char* name : kv::StoreNames()) {
        NameData store;
        namestrcpy(&store, name);
        stores->push_back(store);
    }
    return stores;
}

}  // namespace

PurgeResult PurgeSome() {
    const TimestampTz begin = GetCurrentTimestamp();
    if (settings::purge_interval == 0) return {0, begin + 60 * USECS_PER_SEC};
    int pages = settings::purge_pages;
    int64 purged = 0;
    bool held = BeginTaskTransaction();
    const pg::TopVector<NameData>& stores = *ReadStores(held);
    std::size_t first = 0;
    while (first < stores.size() && strcmp(NameStr(stores[first]), stopped_at) != 0) first++;
    first++;
    for (std::size_t i = 0; i < stores.size() && held && pages > 0; i++) {
        strlcpy(stopped_at, NameStr(stores[(first + i) % stores.size()]), sizeof(stopped_at));
        const int64 removed = PurgeGuarded(stopped_at, &pages);
        purged += removed;
        // Committed before the next one: no lock is kept for the whole round.
        if (removed == 0) continue;
        EndTaskTransaction();
        held = BeginTaskTransaction();
    }
    EndTaskTransaction();
    const TimestampTz end = GetCurrentTimestamp();
    if (pages <= 0) return {purged, end + (end - begin)};
    stopped_at[0] = '\0';
    const int64 interval = settings::purge_interval * int64{1000};
    pause = purged > 0 ? interval : std::clamp(pause * 2, interval, interval * kSlowest);
    return {purged, end + pause};
}

}  // namespace pgqueue::worker
