#include "pgqueue/worker/queue_task.hpp"

#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/run_as.hpp"
#include "pgqueue/queue/archive_parts.hpp"
#include "pgqueue/queue/expire.hpp"
#include "pgqueue/queue/failures.hpp"
#include "pgqueue/settings.hpp"
#include "pgqueue/worker/guarded.hpp"
#include "pgqueue/worker/task_transaction.hpp"

namespace pgqueue::worker {
namespace {

constexpr int64 kSlowest = 6;  // times the interval, where there was nothing for a while

int64 pause;  // until the next round
// The queue at which the last round stopped, so that a large one doesn't keep the others from their turn.
char stopped_at[NAMEDATALEN];

// The names of the queues with something to look after, in memory of their own: each has a transaction of its own. Made
// once and never destroyed.
pg::TopVector<NameData>* ReadQueues(bool held) {
    static pg::TopVector<NameData>* queues = nullptr;
    if (queues == nullptr)
        queues = new (MemoryContextAlloc(TopMemoryContext, sizeof(*queues))) pg::TopVector<NameData>();
    queues->clear();
    if (!held) return queues;
    const pg::RunAs as(pg::ExtensionOwner());
    pg::Spi spi;
    const uint64 rows = spi.Run("SELECT queue_name FROM queue.settings WHERE expiring OR archive_retention >= 0 "
                                "ORDER BY queue_name");
    for (uint64 i = 0; i < rows; i++) {
        NameData queue;
        namestrcpy(&queue, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
        queues->push_back(queue);
    }
    return queues;
}

struct Work {
    int64 removed = 0;
    bool more = false;
    Oid archive = InvalidOid;  // one with a retention
    double retention = 0;
};

Work TidyQueue(const char* name, int* pages) {
    char parent[NAMEDATALEN];
    queue::ParentName(name, parent);
    const Oid table = pg::RelationIn(queue::kSchema, parent);
    if (!OidIsValid(table)) return {};
    const pg::Vector<Oid> segments = queue::SegmentsOf(table, name);
    // Whoever has the tables locked is not waited for: the worker has other things to do.
    if (segments.empty() || !ConditionalLockRelationOid(table, AccessShareLock)) return {};
    for (const Oid segment : segments)
        if (!ConditionalLockRelationOid(segment, RowExclusiveLock)) return {};
    pg::Vector<Oid> locked;  // until the transaction's end
    if (!queue::LockAtOnce(segments, &locked)) return {};
    if (pg::RelationIn(queue::kSchema, parent) != table) return {};
    // As its owner: nothing of a user's may run with more rights than that.
    const pg::RunAs as(pg::OwnerOf(table), SECURITY_RESTRICTED_OPERATION);
    if (pg_class_aclcheck(table, GetUserId(), ACL_DELETE) != ACLCHECK_OK) return {};  // revoked, even from the owner
    const queue::OpenedQueue opened = queue::Open(name, ACL_DELETE, RowExclusiveLock);
    Work work;
    if (opened.queue->expiring) {
        queue::ForSegments(opened, RowExclusiveLock, [&](const queue::OpenedQueue& segment) {
            work.removed += queue::Expire(segment, pages);
            return *pages <= 0;
        });
        work.more = *pages <= 0;
    }
    const Oid archive = opened.queue->archive;
    if (opened.queue->archive_retention >= 0 && OidIsValid(archive) && *pages > 0 &&
        pg_class_aclcheck(archive, GetUserId(), ACL_DELETE) == ACLCHECK_OK) {
        const queue::Trimmed trimmed = queue::TrimArchive(opened, pages);
        work.removed += trimmed.deleted;
        work.more |= trimmed.more;
        work.archive = archive;
        work.retention = opened.queue->archive_retention;
    }
    queue::Close(opened);
    return work;
}

// One that can't be opened, or read, keeps none of the others from their turn.
Work TidyGuarded(const char* name, int* pages) {
    static Troubles troubles("queue");
    Work work;
    if (!Guarded(&troubles, name, [&] { work = TidyQueue(name, pages); })) return {};
    return work;
}

// Whether it changed anything. Apart from the queue: its trouble must not undo what was deleted.
bool TendGuarded(const char* name, const Work& work) {
    static Troubles troubles("archive of queue");
    bool changed = false;
    if (!Guarded(&troubles, name, [&] { changed = queue::TendArchive(name, work.archive, work.retention); }))
        return false;
    return changed;
}

int64 TidyFailures(bool held, bool* more) {
    *more = false;
    if (!held) return 0;
    const pg::RunAs as(pg::ExtensionOwner());
    return queue::TrimFailures(more);
}

}  // namespace

TidyResult TidyQueues() {
    const TimestampTz begin = GetCurrentTimestamp();
    if (settings::purge_interval == 0) return {0, begin + 60 * USECS_PER_SEC};
    int pages = settings::purge_pages;
    bool more = false;
    bool held = BeginTaskTransaction();
    int64 removed = TidyFailures(held, &more);
    const pg::TopVector<NameData>& queues = *ReadQueues(held);
    std::size_t first = 0;
    while (first < queues.size() && strcmp(NameStr(queues[first]), stopped_at) != 0) first++;
    first++;
    for (std::size_t i = 0; i < queues.size() && held && pages > 0; i++) {
        // Committed before the next one, which its owner may have made one that can't be opened.
        EndTaskTransaction();
        held = BeginTaskTransaction();
        if (!held) break;
        strlcpy(stopped_at, NameStr(queues[(first + i) % queues.size()]), sizeof(stopped_at));
        const Work work = TidyGuarded(stopped_at, &pages);
        removed += work.removed;
        more |= work.more;
        if (!OidIsValid(work.archive)) continue;
        EndTaskTransaction();
        held = BeginTaskTransaction();
        if (held) removed += TendGuarded(stopped_at, work);
    }
    EndTaskTransaction();
    const TimestampTz end = GetCurrentTimestamp();
    if (more) return {removed, end + (end - begin)};
    if (pages > 0) stopped_at[0] = '\0';
    const int64 interval = settings::purge_interval * int64{1000};
    pause = removed > 0 ? interval : std::clamp(pause * 2, interval, interval * kSlowest);
    return {removed, end + pause};
}

}  // namespace pgqueue::worker
