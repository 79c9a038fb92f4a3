#include "pgqueue/worker/dedup_task.hpp"

#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/queue/dedup.hpp"
#include "pgqueue/settings.hpp"

namespace pgqueue::worker {
namespace {

constexpr int kEntries = 2000;  // looked at in one go
constexpr int64 kShortest = 30 * USECS_PER_SEC;
constexpr int64 kLongest = 300 * USECS_PER_SEC;
constexpr int64 kRest = 20;  // times as long as it took: a large table is not gone through at full speed

int64 pause = kShortest;  // after the next round
int64 removed = 0;        // in this one

}  // namespace

TimestampTz SweepKeys() {
    const TimestampTz begin = GetCurrentTimestamp();
    if (settings::purge_interval == 0) return begin + 60 * USECS_PER_SEC;
    StartTransactionCommand();
    queue::SweepResult result;
    result.done = true;
    if (pg::HoldExtensionForTask()) {
        PushActiveSnapshot(GetTransactionSnapshot());
        result = queue::SweepDedup(kEntries);
        PopActiveSnapshot();
    }
    CommitTransactionCommand();
    removed += result.removed;
    const TimestampTz end = GetCurrentTimestamp();
    if (!result.done) return end + std::max<int64>(end - begin, 1000) * kRest;
    pause = removed > 0 ? kShortest : std::min(pause * 2, kLongest);
    removed = 0;
    return end + pause;
}

}  // namespace pgqueue::worker
