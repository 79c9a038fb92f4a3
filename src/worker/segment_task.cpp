#include "pgqueue/worker/segment_task.hpp"

#include "pgqueue/page/page_map.hpp"
#include "pgqueue/pg/run_as.hpp"
#include "pgqueue/queue/segments.hpp"
#include "pgqueue/worker/guarded.hpp"
#include "pgqueue/worker/task_transaction.hpp"

namespace pgqueue::worker {
namespace {

constexpr int64 kSoon = USECS_PER_SEC;
constexpr int64 kIdleLook = 10 * USECS_PER_SEC;
constexpr int64 kSlowest = 6;  // times that, where nothing was sent for a while

struct Tended {
    NameData queue;
    bool idle;           // nothing was sent for a while
    BlockNumber newest;  // at the last look, the newest segment's pages
    int quiet;           // looks at which they were as many
};
constexpr int kQuiet = 10;

bool known;  // which queues have several segments
TimestampTz idle_look_at;

// In memory of its own, since each queue has a transaction of its own. Made once and never destroyed.
pg::TopVector<Tended>* List() {
    static pg::TopVector<Tended>* list = nullptr;
    if (list == nullptr) list = new (MemoryContextAlloc(TopMemoryContext, sizeof(*list))) pg::TopVector<Tended>();
    return list;
}

void Add(const char* queue, bool idle) {
    for (Tended& tended : *List()) {
        if (strcmp(NameStr(tended.queue), queue) != 0) continue;
        tended.idle |= idle;
        return;
    }
    Tended tended{{}, idle, 0, 0};
    namestrcpy(&tended.queue, queue);
    List()->push_back(tended);
}

// Of a parent table.
void Add(Oid relation, bool idle) {
    const char* name = get_rel_name(relation);
    if (name != nullptr && strncmp(name, "q_", 2) == 0) Add(name + 2, idle);
}

void FindAll() {
    const pg::RunAs as(pg::ExtensionOwner());
    pg::Spi spi;
    const uint64 rows =
        spi.Run("SELECT s.queue_name FROM queue.settings s JOIN pg_class c ON c.relname = 'q_' || s.queue_name AND "
                "c.relnamespace = 'queue'::regnamespace "
                "WHERE (SELECT count(*) FROM pg_inherits i WHERE i.inhparent = c.oid) > 1");
    for (uint64 i = 0; i < rows; i++) Add(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1), false);
    for (const Oid relation : page::TakeFullMaps(MyDatabaseId, true)) Add(relation, false);
}

}  // namespace

void ForgetSegments() {
    known = false;
    List()->clear();
    idle_look_at = 0;
}

SegmentRound TendAllSegments() {
    bool worked = false;
    bool held = BeginTaskTransaction();
    if (held) {
        if (!known) FindAll();
        known = true;
        for (const Oid relation : page::TakeFullMaps(MyDatabaseId, false)) Add(relation, false);
        const TimestampTz now = GetCurrentTimestamp();
        if (idle_look_at <= now) {
            bool others = false;
            for (const Oid relation : page::FindIdleMaps(MyDatabaseId, &others)) Add(relation, true);
            idle_look_at = now + (others ? kIdleLook : kIdleLook * kSlowest);
        }
    }
    auto& list = *List();
    std::size_t kept = 0;
    for (std::size_t i = 0; i < list.size(); i++) {
        if (held) {
            EndTaskTransaction();
            held = BeginTaskTransaction();
        }
        if (!held) {  // the extension is gone, or about to be
            list[kept++] = list[i];
            continue;
        }
        queue::SegmentWork work;
        Tended tended = list[i];
        static Troubles troubles("queue");
        if (!Guarded(&troubles, NameStr(tended.queue),
                     [&] { work = queue::TendSegments(NameStr(tended.queue), std::exchange(tended.idle, false)); }))
            work = {false, 0, true};
        worked |= work.changed;
        tended.quiet = work.newest == tended.newest && !work.changed ? tended.quiet + 1 : 0;
        tended.newest = work.newest;
        if (tended.quiet >= kQuiet) {
            tended.idle = true;
            tended.quiet = 0;
        }
        if (work.waits) list[kept++] = tended;
    }
    list.resize(kept);
    EndTaskTransaction();
    const TimestampTz now = GetCurrentTimestamp();
    return {worked, list.empty() ? std::max(now, idle_look_at) : now + kSoon};
}

}  // namespace pgqueue::worker
