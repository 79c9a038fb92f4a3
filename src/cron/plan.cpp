#include "pgqueue/cron/plan.hpp"

#include <algorithm>

namespace pgqueue::cron {
namespace {

constexpr int kTail = kMostRuns + 1;  // the runs of a plan, and the last time that has none
constexpr std::int64_t kShortWait = 60;
constexpr std::int64_t kClockChange = 3 * 3600;

// The due times after one instant, up to and including another.
struct Times {
    std::int64_t count = 0;
    bool more = false;  // than that
    Instant first = 0;  // if there are any
    std::array<Instant, kTail> tail;
    int kept = 0;  // the last ones, in order

    Instant FromEnd(std::int64_t n) const { return tail[kept - n]; }  // 1: the last one
};

Times TimesOfInterval(std::int64_t interval, Instant after, Instant until) {
    Times times;
    times.count = std::max<std::int64_t>(0, (until - after) / interval);
    times.first = after + interval;
    times.kept = static_cast<int>(std::min<std::int64_t>(times.count, kTail));
    for (int i = 0; i < times.kept; i++) times.tail[i] = after + (times.count - times.kept + 1 + i) * interval;
    return times;
}

// Fills `tail` with the first due times; how many there are of them.
int FirstTimes(const Schedule& schedule, const Zone& zone, Instant after, Instant until,
               std::array<Instant, kTail>* tail) {
    int count = 0;
    for (; count < kTail; count++) {
        const std::optional<Instant> due = NextAfter(schedule, zone, after);
        if (!due || *due > until) break;
        after = (*tail)[count] = *due;
    }
    return count;
}

Times TimesOfFields(const Schedule& schedule, const Zone& zone, const Instant after, const Instant until) {
    Times times;
    int oldest = 0;  // where the tail begins, once it goes round
    for (Instant at = after; times.count < kMostCounted; times.count++) {
        const std::optional<Instant> due = NextAfter(schedule, zone, at);
        if (!due || *due > until) break;
        at = *due;
        if (times.count == 0) times.first = at;
        if (times.kept < kTail) {
            times.tail[times.kept++] = at;
        } else {
            times.tail[oldest] = at;
            oldest = (oldest + 1) % kTail;
        }
    }
    if (times.count < kMostCounted) {
        std::rotate(times.tail.begin(), times.tail.begin() + oldest, times.tail.begin() + times.kept);
        return times;
    }
    // There may be millions. The tail begins behind the last instant that has a whole tail after it.
    times.more = true;
    Instant early = after;
    Instant late = until;
    while (late - early > 1) {
        const Instant middle = early + (late - early) / 2;
        (FirstTimes(schedule, zone, middle, until, &times.tail) == kTail ? early : late) = middle;
    }
    times.kept = FirstTimes(schedule, zone, early, until, &times.tail);
    return times;
}

// For a job that has dealt with times that are still to come.
bool WaitsTooLong(const Schedule& schedule, const Zone& zone, Instant last_due, Instant now) {
    const std::optional<Instant> next = NextAfter(schedule, zone, last_due);
    if (!next) return true;
    const std::int64_t least = schedule.FollowsElapsedTime() ? kShortWait : kClockChange;
    return last_due - now >= std::max(*next - last_due, least);
}

int OnTime(const Schedule& schedule, const Zone& zone, const Policy& policy, const Times& times, Instant now) {
    int on_time = 0;
    if (!policy.resumed) {
        while (on_time < times.kept && now - times.FromEnd(on_time + 1) <= policy.grace) on_time++;
        return on_time;
    }
    const Instant last = times.FromEnd(1);
    const std::optional<Instant> next = NextAfter(schedule, zone, last);
    const std::int64_t patience = next ? std::min(policy.grace, (*next - last) / 10) : policy.grace;
    return now - last <= patience ? 1 : 0;
}

std::int64_t MostMadeUp(const Policy& policy) {
    switch (policy.catch_up) {
        case CatchUp::kOnce:
            return 1;
        case CatchUp::kAll:
            return std::clamp(policy.most, 0, kMostRuns);
        default:
            return 0;
    }
}

}  // namespace

Plan MakePlan(const Schedule& schedule, const Zone& zone, const Policy& policy, Instant last_due, Instant now) {
    now = std::clamp(now, kFirstInstant, kLastInstant);
    last_due = std::clamp(last_due, kFirstInstant, kLastInstant);
    Plan plan;
    plan.last_due = last_due;
    if (schedule.kind == Kind::kReboot) return plan;
    if (last_due > now && WaitsTooLong(schedule, zone, last_due, now)) {
        plan.last_due = now;
        plan.set_back = true;
    }
    const Times times = schedule.kind == Kind::kEvery ? TimesOfInterval(schedule.interval, plan.last_due, now)
                                                      : TimesOfFields(schedule, zone, plan.last_due, now);
    if (times.count > 0) {
        const int on_time = OnTime(schedule, zone, policy, times, now);
        const std::int64_t made_up = std::min(times.count - on_time, MostMadeUp(policy));
        // What runs is the end of the times, and what is skipped is all before.
        plan.count = static_cast<int>(std::min<std::int64_t>(on_time + made_up, kMostRuns));
        std::copy(times.tail.begin() + times.kept - plan.count, times.tail.begin() + times.kept, plan.due.begin());
        plan.skipped = times.count - plan.count;
        plan.skipped_more = times.more;
        if (plan.skipped > 0) {
            plan.first_skipped = times.first;
            plan.last_skipped = times.FromEnd(plan.count + 1);
        }
        plan.last_due = times.FromEnd(1);
    }
    plan.next_due = NextAfter(schedule, zone, plan.last_due);
    return plan;
}

}  // namespace pgqueue::cron
