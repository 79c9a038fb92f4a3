// NextAfter beside a daemon that looks at its clock every minute (or second), on schedules, zones and moments picked at
// random, most of them near a change of the clock. ORACLE_SEED and ORACLE_SECONDS in the environment change what
// is tried.
#include <algorithm>
#include <memory>

#include "check.hpp"
#include "random_schedule.hpp"
#include "support/clock.hpp"
#include "support/libc_zone.hpp"

using pgqueue::cron::Instant;
using pgqueue::cron::NextAfter;
using pgqueue::cron::Parse;
using pgqueue::cron::ParseError;
using pgqueue::cron::Schedule;
using support::LibcZone;
using unit::RandomSchedule;

namespace {

std::tm ClockAt(std::int64_t shown) {
    const auto time = static_cast<std::time_t>(shown);
    std::tm clock{};
    gmtime_r(&time, &clock);
    return clock;
}

// As cron goes about it: a tick at a time, with a second clock that runs after the first. That one is behind after the
// first was put forward, and ahead, so nothing is due, after it was put back.
std::vector<Instant> Daemon(const RandomSchedule& schedule, const LibcZone& zone, Instant from, Instant until,
                            std::int64_t tick) {
    constexpr std::int64_t kWarmUp = 4 * 3600;
    constexpr std::int64_t kPlain = 3 * 3600;
    std::vector<Instant> due;
    std::int64_t before = from - kWarmUp + zone.OffsetAt(from - kWarmUp);
    std::int64_t done = before;
    for (Instant at = from - kWarmUp + tick; at <= until; at += tick) {
        const std::int64_t shown = at + zone.OffsetAt(at);
        bool run = false;
        if (schedule.wildcard) {
            run = schedule.Matches(ClockAt(shown));
        } else {
            if (shown - before >= kPlain + tick || shown - before <= tick - kPlain) done = shown - tick;
            for (; done < shown; done += tick) run = schedule.Matches(ClockAt(done + tick)) || run;
        }
        before = shown;
        if (run && at > from) due.push_back(at);
    }
    return due;
}

std::vector<Instant> Ours(const Schedule& schedule, const LibcZone& zone, Instant from, Instant until) {
    std::vector<Instant> due;
    for (auto next = NextAfter(schedule, zone, from); next && *next <= until; next = NextAfter(schedule, zone, *next))
        due.push_back(*next);
    return due;
}

void Explain(const LibcZone& zone, const std::vector<Instant>& ours, const std::vector<Instant>& daemon) {
    const auto print = [&zone](const char* who, const std::vector<Instant>& a, const std::vector<Instant>& b) {
        std::vector<Instant> only;
        std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(only));
        for (std::size_t i = 0; i < only.size() && i < 5; i++)
            std::printf("# only %s: %s\n", who, support::TextOf(zone, only[i]).c_str());
    };
    print("ours", ours, daemon);
    print("the daemon's", daemon, ours);
}

struct Tally {
    int schedules = 0;
    long due = 0;
    long restarts = 0;
};

bool Try(const LibcZone& zone, bool with_seconds, support::Rng* rng, Tally* tally) {
    const std::int64_t tick = with_seconds ? 1 : 60;
    RandomSchedule schedule;
    Schedule parsed;
    ParseError error;
    do schedule = unit::ScheduleMaker(rng).Make(with_seconds);
    while (!Parse(schedule.text, &parsed, &error) && std::string(error.reason).find("never") != std::string::npos);
    const std::string what = zone.name() + ", " + schedule.text;
    if (error.reason != nullptr && !Parse(schedule.text, &parsed, &error)) {
        std::printf("# %s: %s\n", what.c_str(), error.reason);
        return false;
    }
    // Since 1972 all offsets are of whole minutes.
    Instant from = rng->Between(63072000, 4102444800);
    const auto& changes = zone.changes();
    if (rng->Chance(0.8) && changes.back().at > 63072000 + 10 * 86400) {
        do from = changes[static_cast<std::size_t>(rng->Between(1, static_cast<std::int64_t>(changes.size()) - 1))].at;
        while (from < 63072000 + 10 * 86400);
        from -= rng->Between(0, with_seconds ? 3 * 3600 : 2 * 86400);
    }
    from -= from % tick;
    const Instant until = from + (with_seconds ? 6 * 3600 : 4 * 86400);
    const std::vector<Instant> daemon = Daemon(schedule, zone, from, until, tick);
    const std::vector<Instant> ours = Ours(parsed, zone, from, until);
    tally->schedules++;
    tally->due += static_cast<long>(ours.size());
    if (ours != daemon) {
        std::printf("# %s after %s\n", what.c_str(), support::TextOf(zone, from).c_str());
        Explain(zone, ours, daemon);
        return false;
    }
    // Wherever one starts, the next one is the same.
    for (int i = 0; i < 8; i++, tally->restarts++) {
        const Instant start = rng->Between(from, until);
        const auto next = NextAfter(parsed, zone, start);
        const auto expected = std::upper_bound(ours.begin(), ours.end(), start);
        if (expected == ours.end() ? next && *next <= until : next != *expected) {
            std::printf("# %s from %s\n", what.c_str(), support::TextOf(zone, start).c_str());
            return false;
        }
    }
    return true;
}

std::int64_t FromEnvironment(const char* name, std::int64_t otherwise) {
    const char* value = std::getenv(name);
    return value == nullptr ? otherwise : std::atoll(value);
}

}  // namespace

int main() {
    const std::int64_t seed = FromEnvironment("ORACLE_SEED", 20240603);
    const double seconds = static_cast<double>(FromEnvironment("ORACLE_SECONDS", 10));
    std::printf("# ORACLE_SEED=%lld\n", static_cast<long long>(seed));
    const char* const names[] = {"UTC",
                                 "Europe/Berlin",
                                 "Europe/Dublin",
                                 "Europe/Moscow",
                                 "America/New_York",
                                 "America/St_Johns",
                                 "America/Sao_Paulo",
                                 "America/Havana",
                                 "America/Asuncion",
                                 "Africa/Cairo",
                                 "Africa/Casablanca",
                                 "Asia/Beirut",
                                 "Asia/Kathmandu",
                                 "Asia/Pyongyang",
                                 "Antarctica/Casey",
                                 "Antarctica/Troll",
                                 "Australia/Lord_Howe",
                                 "Australia/Sydney",
                                 "Pacific/Apia",
                                 "Pacific/Auckland",
                                 "Pacific/Chatham",
                                 "Pacific/Kwajalein"};
    const double each = seconds / static_cast<double>(std::size(names));
    support::Rng rng(static_cast<std::uint64_t>(seed));
    Tally tally;
    for (const char* name : names) {
        const LibcZone zone(name);
        const Tally before = tally;
        const support::Nanos end = support::Now() + support::FromSeconds(each);
        bool good = true;
        for (int i = 0; good && (i < 20 || support::Now() < end); i++) good = Try(zone, i % 4 == 0, &rng, &tally);
        unit::Ok(good, std::string("the same as the daemon: ") + name);
        std::printf("# %d schedules\n", tally.schedules - before.schedules);
    }
    std::printf("# %d schedules, %ld due times, %ld starts\n", tally.schedules, tally.due, tally.restarts);
    return unit::Done();
}
