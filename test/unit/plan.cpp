// What the scheduler decides: on time, late, missed, and when the clock jumps.
#include "pgqueue/cron/plan.hpp"

#include <vector>

#include "check.hpp"
#include "support/clock.hpp"
#include "support/libc_zone.hpp"
#include "support/rng.hpp"

using pgqueue::cron::CatchUp;
using pgqueue::cron::Instant;
using pgqueue::cron::MakePlan;
using pgqueue::cron::NextAfter;
using pgqueue::cron::Parse;
using pgqueue::cron::ParseError;
using pgqueue::cron::Plan;
using pgqueue::cron::Policy;
using pgqueue::cron::Schedule;

namespace {

const support::LibcZone kUtc("UTC");
const support::LibcZone kBerlin("Europe/Berlin");

constexpr Policy kNone{CatchUp::kNone, 100, 60};
constexpr Policy kOnce{CatchUp::kOnce, 100, 60};
constexpr Policy kAll{CatchUp::kAll, 100, 60};

Schedule Parsed(const std::string& text) {
    Schedule schedule;
    ParseError error;
    if (!Parse(text, &schedule, &error)) unit::Ok(false, "not a schedule: " + text);
    return schedule;
}

Instant At(const std::string& text) { return support::InstantOf(text + " +0000"); }

// "run 12:00:00 12:01:00; skip 3+ 11:00:00-11:59:00; last 12:01:00; next 12:02:00", with the day where it isn't 1 June
// 2024.
std::string TextOf(const Plan& plan) {
    const auto time = [](Instant at) {
        const std::string text = support::TextOf(kUtc, at).substr(0, 19);
        return text.substr(0, 10) == "2024-06-01" ? text.substr(11) : text;
    };
    std::string text;
    for (int i = 0; i < plan.count; i++) text += (i == 0 ? "run " : " ") + time(plan.due[i]);
    if (plan.count > 0) text += "; ";
    if (plan.skipped > 0)
        text += "skip " + std::to_string(plan.skipped) + (plan.skipped_more ? "+ " : " ") + time(plan.first_skipped) +
                "-" + time(plan.last_skipped) + "; ";
    if (plan.set_back) text += "set back; ";
    return text + "last " + time(plan.last_due) + "; next " + (plan.next_due ? time(*plan.next_due) : "never");
}

void Expect(const char* schedule, const Policy& policy, const char* last, const char* now, const char* plan,
            const char* why) {
    unit::Is(TextOf(MakePlan(Parsed(schedule), kUtc, policy, At(last), At(now))), plan,
             std::string(schedule) + ": " + why);
}

void Rules() {
    const char* const noon = "2024-06-01 12:00:00";
    for (const Policy& policy : {kNone, kOnce, kAll}) {
        Expect("*/5 * * * *", policy, "2024-06-01 11:55:00", "2024-06-01 11:59:59", "last 11:55:00; next 12:00:00",
               "nothing due");
        Expect("*/5 * * * *", policy, "2024-06-01 11:55:00", noon, "run 12:00:00; last 12:00:00; next 12:05:00", "due");
        Expect("*/5 * * * *", policy, noon, noon, "last 12:00:00; next 12:05:00", "looked at again");
        Expect("*/5 * * * *", policy, "2024-06-01 11:57:13", "2024-06-01 12:01:00",
               "run 12:00:00; last 12:00:00; next 12:05:00", "late within the grace");
        Expect("30 seconds", policy, noon, "2024-06-01 12:00:31", "run 12:00:30; last 12:00:30; next 12:01:00",
               "an interval counts from the time before, not from now");
        Expect("20 seconds", policy, noon, "2024-06-01 12:01:15",
               "run 12:00:20 12:00:40 12:01:00; last 12:01:00; next 12:01:20", "on time, each of them");
        Expect("@reboot", policy, noon, "2024-06-01 13:00:00", "last 12:00:00; next never", "not by the clock");
    }
    Expect("*/5 * * * *", kNone, "2024-06-01 11:55:00", "2024-06-01 12:01:01",
           "skip 1 12:00:00-12:00:00; last 12:00:00; next 12:05:00", "missed, and not made up for");
    Expect("*/5 * * * *", kOnce, "2024-06-01 11:55:00", "2024-06-01 12:01:01",
           "run 12:00:00; last 12:00:00; next 12:05:00", "missed, one run");
    Expect("*/5 * * * *", kAll, "2024-06-01 11:55:00", "2024-06-01 12:01:01",
           "run 12:00:00; last 12:00:00; next 12:05:00", "missed, a run for each");
    Expect("*/5 * * * *", kNone, "2024-06-01 11:00:00", "2024-06-01 11:20:30",
           "run 11:20:00; skip 3 11:05:00-11:15:00; last 11:20:00; next 11:25:00", "three missed, one on time");
    Expect("*/5 * * * *", kOnce, "2024-06-01 11:00:00", "2024-06-01 11:20:30",
           "run 11:15:00 11:20:00; skip 2 11:05:00-11:10:00; last 11:20:00; next 11:25:00", "the last missed for all");
    Expect("*/5 * * * *", kAll, "2024-06-01 11:00:00", "2024-06-01 11:20:30",
           "run 11:05:00 11:10:00 11:15:00 11:20:00; last 11:20:00; next 11:25:00", "all");
    Expect("*/5 * * * *", {CatchUp::kAll, 2, 60}, "2024-06-01 11:00:00", "2024-06-01 11:20:30",
           "run 11:10:00 11:15:00 11:20:00; skip 1 11:05:00-11:05:00; last 11:20:00; next 11:25:00",
           "the two newest missed and the one on time");
    Expect("*/5 * * * *", {CatchUp::kAll, 0, 60}, "2024-06-01 11:00:00", "2024-06-01 11:22:00",
           "skip 4 11:05:00-11:20:00; last 11:20:00; next 11:25:00", "a bound of none");
    Expect("*/5 * * * *", {CatchUp::kAll, -5, 60}, "2024-06-01 11:00:00", "2024-06-01 11:22:00",
           "skip 4 11:05:00-11:20:00; last 11:20:00; next 11:25:00", "a bound below it");
    Expect("*/5 * * * *", {CatchUp::kNone, 100, 0}, "2024-06-01 11:00:00", "2024-06-01 11:05:01",
           "skip 1 11:05:00-11:05:00; last 11:05:00; next 11:10:00", "no grace");
    Expect("10 seconds", kNone, "2024-06-01 11:00:00", "2024-06-01 11:10:05",
           "run 11:09:10 11:09:20 11:09:30 11:09:40 11:09:50 11:10:00; skip 54 11:00:10-11:09:00; "
           "last 11:10:00; next 11:10:10",
           "an interval, after ten minutes");
    Expect("@every 7m", kOnce, "2024-06-01 11:00:00", "2024-06-01 11:40:00",
           "run 11:35:00; skip 4 11:07:00-11:28:00; last 11:35:00; next 11:42:00", "an interval, once");
}

// Long pauses: all is bounded.
void Pauses() {
    Expect("* * * * *", kNone, "2024-06-01 00:00:00", "2024-06-01 10:00:30",
           "run 10:00:00; skip 599 00:01:00-09:59:00; last 10:00:00; next 10:01:00", "ten hours");
    const Plan full = MakePlan(Parsed("* * * * *"), kUtc, kAll, At("2024-06-01 06:00:00"), At("2024-06-01 12:02:00"));
    unit::Ok(full.count == 100 && full.due[0] == At("2024-06-01 10:23:00") && full.due[99] == full.last_due,
             "as many runs as a plan holds");
    unit::Ok(full.skipped == 262 && full.last_skipped == At("2024-06-01 10:22:00"), "and the last one before them");
    Expect("* * * * *", kNone, "2020-06-01 00:00:00", "2024-06-01 10:00:30",
           "run 10:00:00; skip 9999+ 2020-06-01 00:01:00-09:59:00; last 10:00:00; next 10:01:00", "four years");
    Expect("@every 1s", {CatchUp::kAll, 2, 0}, "1970-01-01 00:00:00", "2024-06-01 00:00:10",
           "run 00:00:08 00:00:09 00:00:10; skip 1717200007 1970-01-01 00:00:01-00:00:07; last 00:00:10; next 00:00:11",
           "seconds since 1970");
    Expect("* * * * * *", {CatchUp::kAll, 2, 0}, "1970-01-01 00:00:00", "2024-06-01 00:00:10",
           "run 00:00:08 00:00:09 00:00:10; skip 9997+ 1970-01-01 00:00:01-00:00:07; last 00:00:10; next 00:00:11",
           "the same by fields");
    Expect("* * * * 1 *", {CatchUp::kAll, 1, 0}, "1970-01-01 00:00:00", "2024-06-01 00:00:00",
           "run 2024-01-31 23:59:59; skip 9999+ 1970-01-01 00:00:01-2024-01-31 23:59:58; last 2024-01-31 23:59:59; "
           "next 2025-01-01 00:00:00",
           "the last of a heap");
}

// The clock is put back.
void SetBack() {
    const char* const noon = "2024-06-01 12:00:00";
    for (const Policy& policy : {kNone, kOnce, kAll}) {
        Expect("* * * * * *", policy, noon, "2024-06-01 11:59:59", "last 12:00:00; next 12:00:01", "a second");
        Expect("* * * * * *", policy, noon, "2024-06-01 11:59:01", "last 12:00:00; next 12:00:01", "59 of them");
        Expect("* * * * * *", policy, noon, "2024-06-01 11:59:00", "set back; last 11:59:00; next 11:59:01",
               "a minute");
        Expect("*/5 * * * *", policy, noon, "2024-06-01 11:55:01", "last 12:00:00; next 12:05:00", "less than a beat");
        Expect("*/5 * * * *", policy, noon, "2024-06-01 11:55:00", "set back; last 11:55:00; next 12:00:00", "a beat");
        Expect("@hourly", policy, noon, "2024-06-01 11:30:00", "last 12:00:00; next 13:00:00", "half an hour");
        Expect("@every 90s", policy, noon, "2024-06-01 11:59:00", "last 12:00:00; next 12:01:30", "a minute");
        Expect("@every 90s", policy, noon, "2024-06-01 11:58:00", "set back; last 11:58:00; next 11:59:30",
               "two minutes");
        Expect("0 12 * * *", policy, noon, "2024-06-01 02:00:00", "last 12:00:00; next 2024-06-02 12:00:00", "hours");
        Expect("0 12 * * *", policy, noon, "2024-05-31 12:00:00", "set back; last 2024-05-31 12:00:00; next 12:00:00",
               "a day");
        Expect("0 9,10,11,12 * * *", policy, "2024-06-01 10:00:00", "2024-06-01 07:00:01",
               "last 10:00:00; next 11:00:00", "fixed times, under three hours");
        Expect("0 9,10,11,12 * * *", policy, "2024-06-01 10:00:00", "2024-06-01 07:00:00",
               "set back; last 07:00:00; next 09:00:00", "fixed times, three hours");
        Expect("@yearly", policy, "2099-01-01 00:00:00", "2024-06-01 12:00:00",
               "set back; last 12:00:00; next 2025-01-01 00:00:00", "75 years");
        Expect("@every 1d", policy, "9999-12-31 00:00:00", noon, "set back; last 12:00:00; next 2024-06-02 12:00:00",
               "to the end of the calendar");
        const Plan far = MakePlan(Parsed("* * * * *"), kUtc, policy, INT64_MAX, At(noon));
        unit::Is(TextOf(far), "set back; last 12:00:00; next 12:01:00", "a memory beyond all calendars");
        const Plan past = MakePlan(Parsed("@every 1s"), kUtc, policy, INT64_MIN, At(noon));
        unit::Ok(past.last_due == At(noon) && past.next_due == At(noon) + 1, "and one before them");
    }
}

void ClockChanges() {
    const auto expect = [](const char* schedule, const char* last, const char* now, const char* plan, const char* why) {
        unit::Is(TextOf(MakePlan(Parsed(schedule), kBerlin, kAll, support::InstantOf(last), support::InstantOf(now))),
                 plan, std::string("Berlin, ") + schedule + ": " + why);
    };
    expect("30 2 * * *", "2024-03-30 02:30:00 +0100", "2024-03-31 03:00:00 +0200",
           "run 2024-03-31 01:00:00; last 2024-03-31 01:00:00; next 2024-04-01 00:30:00", "right after the gap");
    expect("30 2 * * *", "2024-10-27 02:30:00 +0200", "2024-10-27 02:30:00 +0100",
           "last 2024-10-27 00:30:00; next 2024-10-28 01:30:00", "not a second time");
    expect("30 * * * *", "2024-10-27 02:30:00 +0200", "2024-10-27 02:30:00 +0100",
           "run 2024-10-27 01:30:00; last 2024-10-27 01:30:00; next 2024-10-27 02:30:00", "a wildcard job goes on");
}

// The first look of a worker: what fell into its absence was missed, but for what has just come.
void AfterADowntime() {
    const auto resumed = [](CatchUp catch_up) { return Policy{catch_up, 100, 60, true}; };
    const char* const last = "2024-06-01 11:00:00";
    Expect("1 second", resumed(CatchUp::kNone), last, "2024-06-01 11:00:05",
           "run 11:00:05; skip 4 11:00:01-11:00:04; last 11:00:05; next 11:00:06",
           "each second that was missed is skipped, that of now is due");
    Expect("1 second", resumed(CatchUp::kOnce), last, "2024-06-01 11:00:05",
           "run 11:00:04 11:00:05; skip 3 11:00:01-11:00:03; last 11:00:05; next 11:00:06", "one for all of them");
    Expect("1 second", resumed(CatchUp::kAll), last, "2024-06-01 11:00:03",
           "run 11:00:01 11:00:02 11:00:03; last 11:00:03; next 11:00:04", "each of them");
    Expect("* * * * *", resumed(CatchUp::kNone), last, "2024-06-01 11:02:06",
           "run 11:02:00; skip 1 11:01:00-11:01:00; last 11:02:00; next 11:03:00", "a tenth of a minute is not late");
    Expect("* * * * *", resumed(CatchUp::kNone), last, "2024-06-01 11:02:07",
           "skip 2 11:01:00-11:02:00; last 11:02:00; next 11:03:00", "more is");
    Expect("0 3 * * *", resumed(CatchUp::kNone), last, "2024-06-02 03:01:00",
           "run 2024-06-02 03:00:00; last 2024-06-02 03:00:00; next 2024-06-03 03:00:00", "a restart at three");
    Expect("0 3 * * *", resumed(CatchUp::kNone), last, "2024-06-02 03:01:01",
           "skip 1 2024-06-02 03:00:00-2024-06-02 03:00:00; last 2024-06-02 03:00:00; next 2024-06-03 03:00:00",
           "a longer one");
}

// Looks at random moments, with a clock that only goes forward: each due time is dealt with exactly once.
void NeverTwiceNeverForgotten() {
    support::Rng rng(20240601);
    for (const char* text :
         {"*/5 * * * *", "30 2 * * *", "7,37 * * * *", "*/20 30 1-3 * * *", "@every 17m", "0 0 * * mon"}) {
        for (const Policy& policy : {kNone, kOnce, kAll, Policy{CatchUp::kAll, 3, 10}}) {
            const Schedule schedule = Parsed(text);
            const Instant start = support::InstantOf("2024-03-28 00:00:00 +0100");
            Instant last = start;
            Instant now = start;
            Instant newest = start;
            std::int64_t dealt = 0;
            bool good = true;
            for (int i = 0; i < 400; i++) {
                now += rng.Chance(0.1) ? rng.Between(0, 3 * 86400) : rng.Between(0, 900);
                const Plan plan = MakePlan(schedule, kBerlin, policy, last, now);
                dealt += plan.count + plan.skipped;
                good = good && !plan.set_back && !plan.skipped_more && plan.next_due && *plan.next_due > now;
                good = good && (plan.skipped == 0 || (plan.first_skipped > newest && plan.last_skipped <= now));
                if (plan.skipped > 0) newest = plan.last_skipped;
                for (int run = 0; run < plan.count; run++) {
                    good = good && plan.due[run] > newest && plan.due[run] <= now &&
                           NextAfter(schedule, kBerlin, plan.due[run] - 1) ==
                               plan.due[run] + (schedule.interval == 0 ? 0 : schedule.interval - 1);
                    newest = plan.due[run];
                }
                good = good && plan.last_due == newest;
                last = plan.last_due;
            }
            std::int64_t all = 0;
            for (auto due = NextAfter(schedule, kBerlin, start); due && *due <= now;
                 due = NextAfter(schedule, kBerlin, *due))
                all++;
            unit::Ok(good && dealt == all,
                     std::string(text) + ": each of " + std::to_string(all) + " times dealt with once");
        }
    }
}

// The clock goes anywhere. Nothing is due twice unless the plan said that it was set back, and no job stops.
void AnyClock() {
    support::Rng rng(20240602);
    for (const char* text : {"* * * * * *", "*/5 * * * *", "30 2 * * *", "0 9-17 * * *", "@every 17m", "0 0 1 * *"}) {
        const Schedule schedule = Parsed(text);
        const std::int64_t longest = schedule.interval != 0 ? schedule.interval : 31 * 86400;
        Instant now = support::InstantOf("2024-01-01 00:00:00 +0000");
        Instant last = now;
        bool good = true;
        int set_back = 0;
        for (int i = 0; i < 3000; i++) {
            switch (rng.Between(0, 20)) {
                case 0:
                    now -= rng.Between(0, 60);
                    break;
                case 1:
                    now -= rng.Between(0, 5 * 3600);
                    break;
                case 2:
                    now -= rng.Between(0, 40 * 86400);
                    break;
                case 3:
                    now += rng.Between(0, 40 * 86400);
                    break;
                case 4:
                    now += rng.Between(0, 5 * 3600);
                    break;
                default:
                    now += rng.Between(0, 120);
                    break;
            }
            const Plan plan = MakePlan(schedule, kUtc, kNone, last, now);
            good =
                good && (plan.last_due >= last || plan.set_back) && (!plan.set_back || plan.count + plan.skipped == 0);
            for (int run = 0; run < plan.count; run++)
                good = good && plan.due[run] > last && plan.due[run] <= now && now - plan.due[run] <= kNone.grace;
            // Asleep for as long as the job's beat, and once more where the clock was put back.
            good = good && plan.next_due && *plan.next_due > now && *plan.next_due - now <= 2 * longest + 3 * 3600;
            if (plan.set_back) set_back++;
            last = plan.last_due;
        }
        unit::Ok(good && set_back > 0, std::string(text) + ": a clock that jumps");
    }
}

void Speed() {
    const support::Nanos start = support::Now();
    constexpr int kRounds = 10;
    for (int i = 0; i < kRounds; i++) (void)MakePlan(Parsed("* * * * * *"), kBerlin, kAll, 0, 1717200000 + i);
    const support::Nanos each = (support::Now() - start) / kRounds;
    unit::Ok(each < 500 * support::kMillisecond, "half a century of seconds doesn't take for ever");
    std::printf("# %lld us\n", static_cast<long long>(each / 1000));
}

}  // namespace

int main() {
    Rules();
    Pauses();
    SetBack();
    ClockChanges();
    AfterADowntime();
    NeverTwiceNeverForgotten();
    AnyClock();
    Speed();
    return unit::Done();
}
