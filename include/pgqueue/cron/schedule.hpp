// When a job is due: the text of a schedule, parsed. Needs no server.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace pgqueue::cron {

using Instant = std::int64_t;  // seconds since 1970-01-01 00:00:00 UTC

enum class Kind : std::uint8_t {
    kFields,  // five fields, or six
    kEvery,   // a fixed interval
    kReboot,  // once per start of the server; never due by the clock
};

// What the day of month and the day of week say.
struct Days {
    std::uint32_t of_month = 0;         // bit n: day n
    std::uint32_t from_end = 0;         // bit n: n days before the month's last (bit 0: L, bit n: L-n)
    std::uint32_t near_weekday = 0;     // bit n: the weekday nearest to day n (nW); bit 0: LW
    std::uint8_t of_week = 0;           // bit 0: Sunday
    std::array<std::uint8_t, 6> nth{};  // nth[n]: the weekdays of dow#n; nth[0]: of dowL
    bool month_star = false;            // the day of month begins with `*`
    bool week_star = false;             // the day of week does
};

// A value, to be had from Parse alone: it has seen to it that a schedule of fields matches some day.
struct Schedule {
    Kind kind = Kind::kFields;
    bool has_seconds = false;  // six fields
    bool minute_star = false;  // the minute begins with `*`
    bool hour_star = false;
    std::int32_t interval = 0;  // of kEvery, in seconds
    std::uint64_t seconds = 0;  // bit n: second n; second 0 alone where there are five fields
    std::uint64_t minutes = 0;
    std::uint32_t hours = 0;
    std::uint32_t months = 0;  // bit 1: January
    Days days;

    // A wildcard job, which follows elapsed time where the clock is put forward or back. The others run at fixed times
    // of the clock. Minute and hour decide, as in Debian's cron; the seconds, which it doesn't have, never do.
    bool FollowsElapsedTime() const { return kind == Kind::kEvery || minute_star || hour_star; }
};
static_assert(std::is_trivially_copyable_v<Schedule>);

// What is wrong, for a message such as: invalid minute "61": must be 0 to 59.
struct ParseError {
    const char* field = nullptr;  // "minute"; null: the schedule as a whole
    std::string_view token;  // a part of the text that was parsed, as long as that lives; perhaps with any byte in it
    const char* reason = nullptr;
};

// False: not a schedule, and *schedule is as it was.
//
//   schedule  five fields (minute, hour, day of month, month, day of week), or six with the second first
//             @yearly @annually @monthly @weekly @daily @midnight @hourly, @reboot or @restart
//             `1 second`, `N seconds` (1 to 59), `@every 1d2h3m4s` (any of the parts, in this order; a day is 24 hours)
//   field     a list of elements, separated by commas
//   element   *   a   a-b, each with an optional step /n; a/n goes from a to the end
//   day of month  also L or $ (the last day), L-n (n days before it), nW (the weekday nearest to day n, in the same
//             month; a month without a day n has none), LW (the last weekday)
//   day of week   0 to 7, 0 and 7 being Sunday; also a#n (the month's nth such day) and aL (its last)
//
// Months and days of the week have their English names, of three letters. All letters may be of either case. Ranges of
// months and of days of the week may wrap around (fri-mon, nov-feb); no other range may run backwards. A step may not
// be longer than the field: */90 of minutes is not every 90 minutes. There may be white space at both ends and any
// amount of it between fields. All else is an error, and so are days that never come (30 February).
[[nodiscard]] bool Parse(std::string_view text, Schedule* schedule, ParseError* error);

// Whether a text that should be something else (a name, a command) was meant as a schedule, perhaps a wrong one.
bool LooksLikeSchedule(std::string_view text);

}  // namespace pgqueue::cron
