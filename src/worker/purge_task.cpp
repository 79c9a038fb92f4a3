#include "pgqueue/worker/purge_task.hpp"

#include "pgqueue/kv/purge.hpp"
#include "pgqueue/kv/store_admin.hpp"
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/run_as.hpp"
#include "pgqueue/settings.hpp"

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
    // As its owner: nothing of a user's may run with more rights than that.
    const pg::RunAs as(pg::OwnerOf(table), SECURITY_RESTRICTED_OPERATION);
    if (pg_class_aclcheck(table, GetUserId(), ACL_DELETE) != ACLCHECK_OK) return 0;  // revoked, even from the owner
    const kv::Table values = kv::Open(store, ACL_DELETE, kv::Part::kValues, RowExclusiveLock);
    const kv::Table cells = kv::OpenOther(values, RowExclusiveLock);
    int64 purged = kv::Purge(values, pages);
    if (*pages > 0) purged += kv::Purge(cells, pages);
    kv::Close(cells);
    kv::Close(values);
    return purged;
}

}  // namespace

PurgeResult PurgeSome() {
    const TimestampTz begin = GetCurrentTimestamp();
    if (settings::purge_interval == 0) return {0, begin + 60 * USECS_PER_SEC};
    int pages = settings::purge_pages;
    int64 purged = 0;
    StartTransactionCommand();
    const bool held = pg::HoldExtensionForTask();
    PushActiveSnapshot(GetTransactionSnapshot());
    if (held) {
        const pg::Vector<const char*> stores = kv::StoreNames();
        std::size_t first = 0;
        while (first < stores.size() && strcmp(stores[first], stopped_at) != 0) first++;
        first++;
        for (std::size_t i = 0; i < stores.size() && pages > 0; i++) {
            const char* store = stores[(first + i) % stores.size()];
            strlcpy(stopped_at, store, sizeof(stopped_at));
            purged += PurgeStore(store, &pages);
        }
    }  // what the transaction's memory holds is gone after it
    PopActiveSnapshot();
    CommitTransactionCommand();
    const TimestampTz end = GetCurrentTimestamp();
    if (pages <= 0) return {purged, end + (end - begin)};
    stopped_at[0] = '\0';
    const int64 interval = settings::purge_interval * int64{1000};
    pause = purged > 0 ? interval : std::clamp(pause * 2, interval, interval * kSlowest);
    return {purged, end + pause};
}

}  // namespace pgqueue::worker
