#include "pgqueue/queue/wait.hpp"

#include "pgqueue/page/transaction.hpp"

namespace pgqueue::queue {
namespace {

constexpr int64 kLongestSleep = 5 * USECS_PER_SEC;
constexpr int64 kShortestSleep = 10 * 1000;
constexpr int64 kPoliteSleep = 100 * 1000;

uint32 SleepEvent() {
    static const uint32 event = compat::WaitEvent("PgqueueWaitForMessage");
    return event;
}

}  // namespace

Waiter::Waiter(double seconds, bool choosy)
    : deadline_(GetCurrentTimestamp() + static_cast<int64>(seconds * USECS_PER_SEC)), choosy_(choosy),
      paused_sleep_(kShortestSleep) {}

Waiter::~Waiter() {
    if (entered_) Leave();
}

void Waiter::Enter(const page::SegmentRef& map) {
    if (entered_ && map.slot == map_.slot && map.generation == map_.generation) return;
    if (entered_) Leave();
    map_ = map;
    entered_ = true;
    page::RegisterWait(map, 0);
    ConditionVariablePrepareToSleep(page::WaitVariable(map, choosy_));
}

bool Waiter::Sleep(bool paused, bool by_latch) {
    const TimestampTz now = GetCurrentTimestamp();
    if (now >= deadline_) return false;
    TimestampTz until = now + kLongestSleep;
    TimestampTz timer = 0;
    const page::Bound next = page::NextDue(map_);
    if (next != page::kNever && !paused) {
        // What is due already was looked at just now and was not for us.
        const TimestampTz wake = page::WakeTime(next);
        const TimestampTz due =
            wake > now && !choosy_ ? wake : std::max(wake, now + (choosy_ ? kPoliteSleep : kShortestSleep));
        if (due < until && page::ClaimTimer(map_, due, now)) until = timer = due;
    }
    // The commit that resumes a queue wakes us before it tells the caches, so a look in between finds it paused still.
    if (paused) {
        until = now + paused_sleep_;
        paused_sleep_ = std::min(2 * paused_sleep_, kLongestSleep);
    }
    until = std::min(until, deadline_);
    const long milliseconds = std::max<int64>(1, (until - now + 999) / 1000);
    page::RegisterWait(map_, timer);
    // The look may have waited for something else, and the check below for the client, by this process's latch: then a
    // signal that came meanwhile has taken us off the list, and nothing would tell.
    SetLatch(MyLatch);
    const auto sleep = [&](long most) {
        return ConditionVariableTimedSleep(page::WaitVariable(map_, choosy_), most, SleepEvent());
    };
    bool timed_out = sleep(by_latch ? 1 : milliseconds);
    if (by_latch && timed_out) {
        // The variable's own sleep goes on until somebody signals the variable.
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, milliseconds, SleepEvent());
        timed_out = sleep(1);
    }
    if (!timed_out) paused_sleep_ = kShortestSleep;
    if (timer != 0) page::ReleaseTimer(map_, timer);
    page::RegisterWait(map_, 0);
    if (MyProcPort != nullptr && !pq_check_connection())
        ereport(FATAL, (errcode(ERRCODE_CONNECTION_FAILURE), errmsg("connection to client lost")));
    return true;
}

void Waiter::Leave() {
    ConditionVariableCancelSleep();
    page::UnregisterWait();
    entered_ = false;
    page::PassOn(map_);
}

}  // namespace pgqueue::queue
