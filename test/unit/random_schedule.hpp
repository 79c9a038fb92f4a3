// Schedules made at random, each with what it means said a second time, in the plainest way: sets of numbers, and days
// tried one by one. Shares nothing with what it is there to check.
#pragma once

#include <ctime>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "support/rng.hpp"

namespace unit {

struct RandomSchedule {
    std::string text;
    std::set<int> seconds, minutes, hours, months;
    std::vector<std::function<bool(const std::tm&)>> month_days, week_days;
    bool month_star = false, week_star = false, wildcard = false;

    bool MatchesDay(const std::tm& clock) const {
        const auto any = [&clock](const auto& tests) {
            for (const auto& test : tests)
                if (test(clock)) return true;
            return false;
        };
        if (!months.contains(clock.tm_mon + 1)) return false;
        if (month_star || week_star) return any(month_days) && any(week_days);
        return any(month_days) || any(week_days);
    }
    bool Matches(const std::tm& clock) const {
        return seconds.contains(clock.tm_sec) && minutes.contains(clock.tm_min) && hours.contains(clock.tm_hour) &&
               MatchesDay(clock);
    }
};

class ScheduleMaker {
public:
    explicit ScheduleMaker(support::Rng* rng) : rng_(*rng) {}

    RandomSchedule Make(bool with_seconds) {
        RandomSchedule made;
        std::string second = "0";
        if (with_seconds)
            second = Numbers(0, 59, {}, &made.seconds);
        else
            made.seconds = {0};
        const std::string minute = Numbers(0, 59, {}, &made.minutes);
        const std::string hour = Numbers(0, 23, {}, &made.hours);
        const std::string month_day = MonthDays(&made);
        // Most months, most of the time: nobody learns from a schedule that is due once a year.
        const std::string month = rng_.Chance(0.7) ? Star(1, 12, &made.months) : Numbers(1, 12, kMonths, &made.months);
        const std::string week_day = WeekDays(&made);
        made.wildcard = minute[0] == '*' || hour[0] == '*';
        made.month_star = month_day[0] == '*';
        made.week_star = week_day[0] == '*';
        made.text =
            (with_seconds ? second + " " : "") + minute + " " + hour + " " + month_day + " " + month + " " + week_day;
        return made;
    }

private:
    using Names = std::vector<std::string>;
    inline static const Names kMonths = {"",    "jan", "Feb", "mar", "APR", "may", "jun",
                                         "jul", "aug", "sep", "oct", "nov", "dec"};
    inline static const Names kWeekDays = {"sun", "Mon", "tue", "wed", "THU", "fri", "sat", "7"};

    std::string Star(int low, int high, std::set<int>* values) {
        for (int value = low; value <= high; value++) values->insert(value);
        return "*";
    }

    std::string Name(int value, const Names& names) {
        return !names.empty() && rng_.Chance(0.4) ? names[static_cast<std::size_t>(value)] : std::to_string(value);
    }

    int Pick(int low, int high) { return static_cast<int>(rng_.Between(low, high)); }

    std::string Numbers(int low, int high, const Names& names, std::set<int>* values) {
        if (rng_.Chance(0.3)) return Star(low, high, values);
        std::string text;
        for (int elements = rng_.Chance(0.7) ? 1 : Pick(2, 4); elements > 0; elements--)
            text += (text.empty() ? "" : ",") + Element(low, high, names, values);
        return text;
    }

    std::string Element(int low, int high, const Names& names, std::set<int>* values) {
        const int a = Pick(low, high);
        const int b = Pick(a, high);
        const int step = Pick(1, rng_.Chance(0.5) ? 4 : high);
        std::string from = Name(a, names);
        switch (Pick(0, 4)) {
            case 0:
                for (int value = low; value <= high; value += step) values->insert(value);
                return "*/" + std::to_string(step);
            case 1:
                for (int value = a; value <= b; value += step) values->insert(value);
                return from + "-" + Name(b, names) + "/" + std::to_string(step);
            case 2:
                for (int value = a; value <= high; value += step) values->insert(value);
                return from + "/" + std::to_string(step);
            case 3:
                for (int value = a; value <= b; value++) values->insert(value);
                return from + "-" + Name(b, names);
            default:
                values->insert(a);
                return from;
        }
    }

    std::string MonthDays(RandomSchedule* made) {
        auto& days = made->month_days;
        if (rng_.Chance(0.2)) {
            const int n = Pick(0, 28);
            days.push_back([n](const std::tm& clock) { return clock.tm_mday + n == Length(clock); });
            return n == 0 ? (rng_.Chance(0.5) ? "L" : "$") : "L-" + std::to_string(n);
        }
        if (rng_.Chance(0.2)) {
            const int n = Pick(0, 31);
            days.push_back([n](const std::tm& clock) {
                return NearestWeekday(clock, n == 0 ? Length(clock) : n) == clock.tm_mday;
            });
            return n == 0 ? "lw" : std::to_string(n) + "W";
        }
        std::set<int> values;
        std::string text = Numbers(1, 31, {}, &values);
        days.push_back([values](const std::tm& clock) { return values.contains(clock.tm_mday); });
        return text;
    }

    std::string WeekDays(RandomSchedule* made) {
        auto& days = made->week_days;
        const int day = Pick(0, 6);
        if (rng_.Chance(0.15)) {
            const int n = Pick(1, 5);
            days.push_back(
                [day, n](const std::tm& clock) { return clock.tm_wday == day && (clock.tm_mday + 6) / 7 == n; });
            return Name(day, kWeekDays) + "#" + std::to_string(n);
        }
        if (rng_.Chance(0.15)) {
            days.push_back(
                [day](const std::tm& clock) { return clock.tm_wday == day && clock.tm_mday + 7 > Length(clock); });
            return Name(day, kWeekDays) + "L";
        }
        std::set<int> values;
        std::string text;
        if (rng_.Chance(0.2)) {  // around the end of the week
            const int to = Pick(0, 6);
            for (int value = day;; value = (value + 1) % 7) {
                values.insert(value);
                if (value == to) break;
            }
            text = Name(day, kWeekDays) + "-" + Name(to, kWeekDays);
        } else {
            text = Numbers(0, 7, kWeekDays, &values);
        }
        days.push_back([values](const std::tm& clock) {
            return values.contains(clock.tm_wday) || (clock.tm_wday == 0 && values.contains(7));
        });
        return text;
    }

    // Days are told by going there.
    static std::tm Day(const std::tm& clock, int day) {
        std::tm other{};
        other.tm_year = clock.tm_year;
        other.tm_mon = clock.tm_mon;
        other.tm_mday = day;
        timegm(&other);
        return other;
    }
    static int Length(const std::tm& clock) {
        for (int day = 28;; day++)
            if (Day(clock, day + 1).tm_mon != clock.tm_mon) return day;
    }
    static int NearestWeekday(const std::tm& clock, int day) {
        if (day > Length(clock)) return -1;
        for (const int away : {0, -1, 1, -2, 2}) {
            const std::tm other = Day(clock, day + away);
            if (other.tm_mon == clock.tm_mon && other.tm_wday != 0 && other.tm_wday != 6) return other.tm_mday;
        }
        return -1;
    }

    support::Rng& rng_;
};

}  // namespace unit
