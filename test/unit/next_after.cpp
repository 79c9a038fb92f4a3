// The calendar: which days schedules mean, how far away they may be, what lies at the edges, and how long it takes.
#include "pgqueue/cron/next_after.hpp"

#include <vector>

#include "check.hpp"
#include "support/clock.hpp"
#include "support/libc_zone.hpp"

using pgqueue::cron::Instant;
using pgqueue::cron::NextAfter;
using pgqueue::cron::Parse;
using pgqueue::cron::ParseError;
using pgqueue::cron::Schedule;

namespace {

class Fixed final : public pgqueue::cron::Zone {
public:
    explicit Fixed(std::int32_t offset) : offset_(offset) {}
    virtual ~Fixed() = default;
    std::int32_t OffsetAt(Instant) const override { return offset_; }
    std::optional<Instant> NextChange(Instant) const override { return std::nullopt; }

private:
    std::int32_t offset_;
};

const Fixed kUtc(0);

Schedule Parsed(const char* text) {
    Schedule schedule;
    ParseError error;
    if (!Parse(text, &schedule, &error)) unit::Ok(false, std::string("not a schedule: ") + text);
    return schedule;
}

// All in UTC; days are due at midnight.
void Days() {
    struct Case {
        const char* schedule;
        const char* after;
        std::vector<const char*> days;
    };
    const std::vector<Case> cases = {
        {"0 0 29 2 *", "2023-01-01", {"2024-02-29", "2028-02-29", "2032-02-29"}},
        {"0 0 29 2 *", "2096-03-01", {"2104-02-29"}},
        {"0 0 29 2 *", "1896-03-01", {"1904-02-29"}},
        {"0 0 29 2 *", "1996-03-01", {"2000-02-29"}},
        {"0 0 29 2 */4", "2024-03-01", {"2032-02-29", "2052-02-29"}},  // a Sunday or a Thursday
        {"0 0 */28 2 mon", "2024-01-01", {"2027-02-01", "2038-02-01", "2044-02-01", "2044-02-29"}},
        {"0 0 31 * *", "2024-01-31", {"2024-03-31", "2024-05-31", "2024-07-31", "2024-08-31"}},
        {"0 0 L * *", "2024-01-01", {"2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"}},
        {"0 0 L 2 *", "2023-01-01", {"2023-02-28", "2024-02-29", "2025-02-28"}},
        {"0 0 L-1,L * *", "2023-02-01", {"2023-02-27", "2023-02-28", "2023-03-30", "2023-03-31"}},
        {"0 0 L-30 * *", "2024-01-01", {"2024-03-01", "2024-05-01", "2024-07-01"}},
        {"0 0 L-28 2 *", "2021-01-01", {"2024-02-01", "2028-02-01"}},
        // Saturday 1 June 2024, Sunday 1 September.
        {"0 0 1W * *", "2024-05-15", {"2024-06-03", "2024-07-01", "2024-08-01", "2024-09-02"}},
        {"0 0 15W * *", "2024-06-01", {"2024-06-14", "2024-07-15", "2024-08-15", "2024-09-16"}},
        // Sunday 31 March 2024, Saturday 31 August; months without a day 31 have none near it.
        {"0 0 31W * *", "2024-02-01", {"2024-03-29", "2024-05-31", "2024-07-31", "2024-08-30"}},
        {"0 0 30W 6 *", "2024-01-01", {"2024-06-28", "2025-06-30"}},
        {"0 0 LW * *", "2024-02-01", {"2024-02-29", "2024-03-29", "2024-04-30", "2024-05-31", "2024-06-28"}},
        {"0 0 * * fri#2", "2024-01-01", {"2024-01-12", "2024-02-09", "2024-03-08"}},
        {"0 0 * * mon#1,mon#3", "2024-07-01", {"2024-07-15", "2024-08-05", "2024-08-19"}},
        {"0 0 * * thu#5", "2024-01-01", {"2024-02-29", "2024-05-30", "2024-08-29"}},
        {"0 0 * * sunL", "2024-02-01", {"2024-02-25", "2024-03-31", "2024-04-28"}},
        {"0 0 * 2 sat#5", "2021-01-01", {"2048-02-29", "2076-02-29", "2116-02-29"}},
        {"0 0 * * fri-mon", "2024-06-05", {"2024-06-07", "2024-06-08", "2024-06-09", "2024-06-10", "2024-06-14"}},
        {"0 0 1 nov-feb *", "2024-10-15", {"2024-11-01", "2024-12-01", "2025-01-01", "2025-02-01", "2025-11-01"}},
        // Either, where neither begins with a star; else both.
        {"0 0 13 * fri",
         "2024-09-01",
         {"2024-09-06", "2024-09-13", "2024-09-20", "2024-09-27", "2024-10-04", "2024-10-11", "2024-10-13"}},
        {"0 0 1-31 * fri", "2024-09-01", {"2024-09-02", "2024-09-03"}},
        {"0 0 */2 * fri", "2024-09-01", {"2024-09-13", "2024-09-27", "2024-10-11"}},
        {"0 0 13 * */5", "2024-09-01", {"2024-09-13", "2024-10-13", "2024-12-13"}},
        {"0 0 1,15 * mon#1", "2024-07-02", {"2024-07-15", "2024-08-01", "2024-08-05"}},
        {"0 0 L * sunL", "2024-02-01", {"2024-02-25", "2024-02-29", "2024-03-31", "2024-04-28", "2024-04-30"}},
        {"0 0 31 12 *", "2024-12-31", {"2025-12-31"}},
        {"0 0 1 1 *", "1969-06-01", {"1970-01-01", "1971-01-01"}},
        {"0 0 1 3 *", "1900-02-28", {"1900-03-01", "1901-03-01"}},
    };
    for (const Case& one : cases) {
        const Schedule schedule = Parsed(one.schedule);
        Instant at = support::InstantOf(std::string(one.after) + " 00:00:00 +0000");
        std::string got;
        std::string expected;
        for (const char* day : one.days) {
            const auto next = NextAfter(schedule, kUtc, at);
            if (!next) break;
            at = *next;
            got += support::TextOf(kUtc, at) + "; ";
            expected += std::string(day) + " 00:00:00 +0000; ";
        }
        unit::Is(got, expected, std::string(one.schedule) + " after " + one.after);
    }
}

void Times() {
    struct Case {
        const char* schedule;
        const char* after;
        const char* due;
    };
    const std::vector<Case> cases = {
        {"* * * * *", "2024-06-01 00:00:00", "2024-06-01 00:01:00"},
        {"* * * * *", "2024-06-01 00:00:59", "2024-06-01 00:01:00"},
        {"* * * * *", "2024-12-31 23:59:00", "2025-01-01 00:00:00"},
        {"* * * * * *", "2024-12-31 23:59:59", "2025-01-01 00:00:00"},
        {"*/7 * * * *", "2024-06-01 00:56:00", "2024-06-01 01:00:00"},
        {"59 23 * * *", "2024-06-01 23:59:00", "2024-06-02 23:59:00"},
        {"30 59 23 * * *", "2024-06-01 23:59:29", "2024-06-01 23:59:30"},
        {"30 59 23 * * *", "2024-06-01 23:59:30", "2024-06-02 23:59:30"},
        {"10 20 * * *", "2024-06-01 20:10:01", "2024-06-02 20:10:00"},
        {"10 5,20 * * *", "2024-06-01 05:11:00", "2024-06-01 20:10:00"},
        {"5 10 5 * * *", "2024-06-01 05:10:04", "2024-06-01 05:10:05"},
        {"5 10 5 * * *", "2024-06-01 05:09:06", "2024-06-01 05:10:05"},
        {"@every 90s", "2024-06-01 00:00:07", "2024-06-01 00:01:37"},
        {"30 seconds", "2024-06-01 23:59:59", "2024-06-02 00:00:29"},
    };
    for (const Case& one : cases) {
        const auto next = NextAfter(Parsed(one.schedule), kUtc, support::InstantOf(std::string(one.after) + " +0000"));
        unit::Is(next ? support::TextOf(kUtc, *next) : "never", std::string(one.due) + " +0000",
                 std::string(one.schedule) + " after " + one.after);
    }
}

void Edges() {
    using pgqueue::cron::kFirstInstant;
    using pgqueue::cron::kLastInstant;
    const Schedule minutely = Parsed("* * * * *");
    const Schedule yearly = Parsed("@yearly");
    unit::Ok(!NextAfter(Parsed("@reboot"), kUtc, 0), "@reboot is never due by the clock");
    unit::Ok(NextAfter(minutely, kUtc, INT64_MIN) == kFirstInstant, "from the beginning of time");
    unit::Ok(!NextAfter(minutely, kUtc, INT64_MAX), "to its end");
    unit::Ok(!NextAfter(minutely, kUtc, kLastInstant), "nothing after the last instant");
    unit::Ok(NextAfter(minutely, kUtc, kLastInstant - 60) == kLastInstant - 59, "the last minute");
    unit::Ok(!NextAfter(yearly, kUtc, kLastInstant - 60), "no year 10000");
    unit::Ok(!NextAfter(Parsed("@every 3650d"), kUtc, INT64_MAX), "nor for an interval");
    unit::Ok(NextAfter(yearly, Fixed(-12 * 3600), 0) == 12 * 3600, "west of Greenwich");
    unit::Ok(NextAfter(yearly, Fixed(14 * 3600), 0) == 31536000 - 14 * 3600, "east of Greenwich");
    unit::Ok(NextAfter(minutely, Fixed(-(4 * 3600 + 56 * 60 + 2)), 0) == 2, "an offset with seconds");
}

// Not a benchmark: a guard against a search that goes by minutes or days.
void Speed() {
    const support::LibcZone zone("America/New_York");
    struct Case {
        const char* schedule;
        int most;  // microseconds
    };
    for (const Case& one :
         {Case{"* * * * *", 100}, Case{"* * * * * *", 100}, Case{"30 2 * * *", 100}, Case{"0 0 1 1 *", 100},
          Case{"0 0 29 2 */7", 2000}, Case{"0 0 */28 2 sat#5", 2000}, Case{"*/5 2 * 3 sun#2", 2000}}) {
        constexpr int kRounds = 2000;
        const Schedule schedule = Parsed(one.schedule);
        const support::Nanos start = support::Now();
        Instant at = 1700000000;
        for (int i = 0; i < kRounds; i++) {
            const auto next = NextAfter(schedule, zone, at);
            at = next && *next < 4000000000 ? *next : 1700000000 + i;
        }
        const support::Nanos each = (support::Now() - start) / kRounds;
        unit::Ok(each < one.most * 1000, std::string("quick enough: ") + one.schedule);
        std::printf("# %lld ns\n", static_cast<long long>(each));
    }
}

}  // namespace

int main() {
    Days();
    Times();
    Edges();
    Speed();
    return unit::Done();
}
