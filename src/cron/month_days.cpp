#include "pgqueue/cron/month_days.hpp"

#include <bit>

namespace pgqueue::cron {
namespace {

constexpr int kSunday = 0;
constexpr int kSaturday = 6;
constexpr int kWeek = 7;

constexpr std::uint32_t Bit(int n) { return std::uint32_t{1} << n; }

// The days 1 to length.
std::uint32_t AllDays(int length) { return Bit(length) * 2 - 2; }

int WeekdayOf(int day, int first_weekday) { return (first_weekday + day - 1) % kWeek; }

// The Monday to Friday nearest to a day, without leaving the month.
int NearestWeekday(int day, int length, int first_weekday) {
    switch (WeekdayOf(day, first_weekday)) {
        case kSaturday:
            return day > 1 ? day - 1 : day + 2;
        case kSunday:
            return day < length ? day + 1 : day - 2;
        default:
            return day;
    }
}

std::uint32_t ByDayOfMonth(const Days& days, int length, int first_weekday) {
    std::uint32_t matching = days.of_month & AllDays(length);
    for (std::uint32_t rest = days.from_end; rest != 0; rest &= rest - 1) {
        const int back = std::countr_zero(rest);
        if (back < length) matching |= Bit(length - back);
    }
    for (std::uint32_t rest = days.near_weekday; rest != 0; rest &= rest - 1) {
        const int day = std::countr_zero(rest);
        if (day == 0) {  // from the last day a weekday is only to be had backwards
            const int weekday = WeekdayOf(length, first_weekday);
            matching |= Bit(weekday == kSunday ? length - 2 : weekday == kSaturday ? length - 1 : length);
        } else if (day <= length) {
            matching |= Bit(NearestWeekday(day, length, first_weekday));
        }
    }
    return matching;
}

std::uint32_t ByDayOfWeek(const Days& days, int length, int first_weekday) {
    std::uint32_t matching = 0;
    for (int weekday = 0; weekday < kWeek; weekday++) {
        const int first = 1 + (weekday - first_weekday + kWeek) % kWeek;
        int last = first;
        for (int n = 1, day = first; day <= length; n++, day += kWeek) {
            if (((days.of_week | days.nth[n]) & Bit(weekday)) != 0) matching |= Bit(day);
            last = day;
        }
        if ((days.nth[0] & Bit(weekday)) != 0) matching |= Bit(last);
    }
    return matching;
}

}  // namespace

int LengthOfMonth(int month, bool leap) {
    constexpr std::array<std::int8_t, 13> kLengths = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && leap ? 29 : kLengths[month];
}

std::uint32_t MatchingDays(const Days& days, int length, int first_weekday) {
    const std::uint32_t by_month = ByDayOfMonth(days, length, first_weekday);
    const std::uint32_t by_week = ByDayOfWeek(days, length, first_weekday);
    return days.month_star || days.week_star ? by_month & by_week : by_month | by_week;
}

// There are 14 kinds of years, and all of them come.
bool EverMatches(const Days& days, std::uint32_t months) {
    for (const bool leap : {false, true}) {
        for (int weekday = 0; weekday < kWeek; weekday++) {
            int first_weekday = weekday;
            for (int month = 1; month <= 12; month++) {
                const int length = LengthOfMonth(month, leap);
                if ((months & Bit(month)) != 0 && MatchingDays(days, length, first_weekday) != 0) return true;
                first_weekday = (first_weekday + length) % kWeek;
            }
        }
    }
    return false;
}

}  // namespace pgqueue::cron
