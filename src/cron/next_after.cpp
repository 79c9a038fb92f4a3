#include "pgqueue/cron/next_after.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdlib>

#include "pgqueue/cron/month_days.hpp"

namespace pgqueue::cron {
namespace {

// What a zone's clock shows, as the seconds since it would have shown 1970-01-01 00:00:00.
using ClockTime = std::int64_t;

constexpr std::int64_t kMinute = 60;
constexpr std::int64_t kHour = 3600;
constexpr std::int64_t kDay = 86400;

constexpr std::int64_t kPlainShift = 3 * kHour;  // from here on a shift is a plain change of the clock
constexpr std::int64_t kLookBack = kDay;         // longer than a repeated hour can matter

constexpr int kMonthsOfCalendar = 400 * 12;  // then the Gregorian calendar repeats
constexpr std::int64_t kSecondsOfCalendar = 146097 * kDay;

bool IsPlain(std::int64_t shift) { return std::abs(shift) >= kPlainShift; }

// The first bit at `from` or above; -1: none.
int NextBit(std::uint64_t bits, std::int64_t from) {
    if (from >= 64) return -1;
    const std::uint64_t rest = bits >> from;
    return rest == 0 ? -1 : static_cast<int>(from) + std::countr_zero(rest);
}

bool Has(std::uint64_t bits, std::int64_t n) { return (bits >> n & 1) != 0; }

std::int64_t FirstTimeOfDay(const Schedule& s) {
    return NextBit(s.hours, 0) * kHour + NextBit(s.minutes, 0) * kMinute + NextBit(s.seconds, 0);
}

// The first matching second of a day at `from` or later; -1: none.
std::int64_t TimeOfDay(const Schedule& s, std::int64_t from) {
    const std::int64_t hour = from / kHour;
    const std::int64_t minute = from / kMinute % 60;
    if (Has(s.hours, hour)) {
        if (Has(s.minutes, minute)) {
            const int second = NextBit(s.seconds, from % kMinute);
            if (second >= 0) return hour * kHour + minute * kMinute + second;
        }
        const int later = NextBit(s.minutes, minute + 1);
        if (later >= 0) return hour * kHour + later * kMinute + NextBit(s.seconds, 0);
    }
    const int later = NextBit(s.hours, hour + 1);
    return later < 0 ? -1 : later * kHour + NextBit(s.minutes, 0) * kMinute + NextBit(s.seconds, 0);
}

// The first matching day at `from` or later, as days since 1970-01-01. Only the months are gone through.
std::optional<std::int64_t> MatchingDay(const Schedule& s, std::int64_t from) {
    namespace chr = std::chrono;
    const chr::year_month_day date{chr::sys_days{chr::days{from}}};
    chr::year_month month{date.year(), date.month()};
    unsigned day = static_cast<unsigned>(date.day());
    for (int n = 0; n <= kMonthsOfCalendar; n++, month += chr::months{1}, day = 1) {
        const unsigned number = static_cast<unsigned>(month.month());
        if (!Has(s.months, number)) continue;
        const chr::sys_days first{month / 1};
        const int length = LengthOfMonth(static_cast<int>(number), month.year().is_leap());
        const std::uint32_t days = MatchingDays(s.days, length, static_cast<int>(chr::weekday{first}.c_encoding()));
        const int found = NextBit(days, day);
        if (found >= 0) return first.time_since_epoch().count() + found - 1;
    }
    return std::nullopt;
}

// The first matching time of the clock at `from` or later. Nothing: none before the year 10000.
std::optional<ClockTime> FirstMatch(const Schedule& s, ClockTime from) {
    const std::int64_t today = from >= 0 ? from / kDay : (from + 1) / kDay - 1;
    std::optional<std::int64_t> day = MatchingDay(s, today);
    if (day == today) {
        const std::int64_t time = TimeOfDay(s, from - today * kDay);
        if (time >= 0) return today * kDay + time;
        day = MatchingDay(s, today + 1);
    }
    if (!day) return std::nullopt;
    const ClockTime match = *day * kDay + FirstTimeOfDay(s);
    return match <= kLastInstant ? std::optional(match) : std::nullopt;
}

// The least time of the clock that has not been shown up to and including `at`: behind what it shows then, or, while
// the clock repeats what it showed before it was put back, behind that.
ClockTime FirstUnseen(const Zone& zone, Instant at) {
    Instant seen = at - kLookBack;
    std::int64_t offset = zone.OffsetAt(seen);
    ClockTime unseen = seen + offset + 1;
    for (;;) {
        const std::optional<Instant> change = zone.NextChange(seen);
        if (!change || *change > at) break;
        unseen = std::max(unseen, *change + offset);
        const std::int64_t before = offset;
        seen = *change;
        offset = zone.OffsetAt(seen);
        if (IsPlain(offset - before)) unseen = seen + offset;
    }
    return std::max(unseen, at + offset + 1);
}

// Goes from one change of the clock to the next, with the first match as it would be if there was none. Matches may all
// lie in what a zone leaves out every year, so there is an end to it.
std::optional<Instant> NextByFields(const Schedule& s, const Zone& zone, const Instant after) {
    const bool fixed = !s.FollowsElapsedTime();
    std::int64_t offset = zone.OffsetAt(after);
    ClockTime from = fixed ? FirstUnseen(zone, after) : after + 1 + offset;
    std::optional<ClockTime> match = FirstMatch(s, from);
    Instant at = after;
    while (match && at - after <= kSecondsOfCalendar) {
        const std::optional<Instant> change = zone.NextChange(at);
        if (!change || *match - offset < *change) return *match - offset;
        at = *change;
        const std::int64_t before = offset;
        offset = zone.OffsetAt(at);
        const ClockTime resumed = at + offset;
        if (fixed && !IsPlain(offset - before)) {
            // Put back: the match has not been shown before, so it is still the next. Put forward:
            if (*match < resumed) return at;
        } else if (resumed < from || *match < resumed) {
            from = resumed;
            match = FirstMatch(s, from);
        }
    }
    return std::nullopt;
}

}  // namespace

std::optional<Instant> NextAfter(const Schedule& schedule, const Zone& zone, Instant after) {
    after = std::max(after, kFirstInstant - 1);
    if (schedule.kind == Kind::kReboot || after >= kLastInstant) return std::nullopt;
    if (schedule.kind == Kind::kEvery) return after + schedule.interval;
    return NextByFields(schedule, zone, after);
}

}  // namespace pgqueue::cron
