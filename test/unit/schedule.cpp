// The grammar of schedules: what each text means, what is refused, and what the refusal names.
#include "pgqueue/cron/schedule.hpp"

#include <vector>

#include "check.hpp"

using pgqueue::cron::Kind;
using pgqueue::cron::LooksLikeSchedule;
using pgqueue::cron::Parse;
using pgqueue::cron::ParseError;
using pgqueue::cron::Schedule;

namespace {

bool SameTimes(const Schedule& a, const Schedule& b) {
    return a.kind == b.kind && a.interval == b.interval && a.seconds == b.seconds && a.minutes == b.minutes &&
           a.hours == b.hours && a.months == b.months && a.days.of_month == b.days.of_month &&
           a.days.from_end == b.days.from_end && a.days.near_weekday == b.days.near_weekday &&
           a.days.of_week == b.days.of_week && a.days.nth == b.days.nth;
}

// For names of checks: one line, printable.
std::string Quoted(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        char hex[8];
        std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned char>(c));
        quoted += c >= ' ' && c <= '~' && c != '#' ? std::string(1, c) : std::string(hex);
    }
    return quoted + '"';
}

// Pairs of texts that mean the same times; the second one uses less of the grammar.
void Accepted() {
    struct Case {
        std::string_view text;
        std::string_view same;
    };
    const std::vector<Case> cases = {
        {"* * * * *", "0-59 0-23 1-31 1-12 0-6"},
        {"  *  *\t* *\n* ", "* * * * *"},
        {"\v* * * * *\f\r", "* * * * *"},
        {"0 * * * * *", "* * * * *"},
        {"5 4 3 2 1", "05 04 03 02 01"},
        {"*/15 * * * *", "0,15,30,45 * * * *"},
        {"*/60 */24 */31 */12 */7", "0 0 1 1 0"},
        {"5/20 * * * *", "5,25,45 * * * *"},
        {"10-30/10 * * * *", "10,20,30 * * * *"},
        {"10-10 * * * *", "10 * * * *"},
        {"10-12/60 * * * *", "10 * * * *"},
        {"1,2,3,3,2,1 * * * *", "1-3 * * * *"},
        {"0 0-23/6 * * *", "0 0,6,12,18 * * *"},
        {"0 20/2 * * *", "0 20,22 * * *"},
        {"0 0 28/2 * *", "0 0 28,30 * *"},
        {"0 0 1 jan,FEB,Mar *", "0 0 1 1-3 *"},
        {"0 0 1 nov-feb *", "0 0 1 11,12,1,2 *"},
        {"0 0 1 11-2/2 *", "0 0 1 11,1 *"},
        {"0 0 1 dec *", "0 0 1 12 *"},
        {"0 0 1 oct/1 *", "0 0 1 10-12 *"},
        {"0 0 * * 7", "0 0 * * 0"},
        {"0 0 * * sun", "0 0 * * 0"},
        {"0 0 * * 0-7", "0 0 * * *"},
        {"0 0 * * 1-7", "0 0 * * *"},
        {"0 0 * * 5-7", "0 0 * * 5,6,0"},
        {"0 0 * * fri-mon", "0 0 * * 5,6,0,1"},
        {"0 0 * * FRI-mon/2", "0 0 * * 5,0"},
        {"0 0 * * sat-sun", "0 0 * * 6,0"},
        {"0 0 * * 7-2", "0 0 * * 0,1,2"},
        {"0 0 * * 1/2", "0 0 * * 1,3,5,7"},
        {"0 0 * * */2", "0 0 * * 0,2,4,6"},
        {"0 0 * * mon-fri", "0 0 * * 1-5"},
        {"0 0 l * *", "0 0 L * *"},
        {"0 0 $ * *", "0 0 L * *"},
        {"0 0 15,L-3,lw,1W,$ * *", "0 0 L,LW,L-3,1w,15 * *"},
        {"0 0 * * monL,TUE#2", "0 0 * * 2#2,1l"},
        {"0 0 * * 7#5,7L", "0 0 * * 0#5,sunL"},
        {"@yearly", "0 0 1 1 *"},
        {"@annually", "0 0 1 1 *"},
        {"@monthly", "0 0 1 * *"},
        {"@weekly", "0 0 * * 0"},
        {"@daily", "0 0 * * *"},
        {" @Midnight ", "0 0 * * *"},
        {"@HOURLY", "0 * * * *"},
        {"@restart", "@reboot"},
        {"1 second", "@every 1s"},
        {"1 seconds", "@every 1s"},
        {" 59  SeconDs ", "@every 59s"},
        {"@every 1h30m", "@every 90m"},
        {"@EVERY  1D", "@every 24h"},
        {"@every 1d2h3m4s", "@every 93784s"},
        {"@every 3650d", "@every 315360000s"},
        {"0 0 29 2 *", "0 0 29 FEB *"},
        {"0 0 L-28 2 *", "0 0 L-28 feb *"},
        {"0 0 30 2 mon", "0 0 30 2 1"},
        {"0 0 * 2 sat#5", "0 0 * feb 6#5"},
    };
    for (const Case& one : cases) {
        Schedule a;
        Schedule b;
        ParseError error;
        const bool good = Parse(one.text, &a, &error) && Parse(one.same, &b, &error) && SameTimes(a, b);
        if (!unit::Ok(good, Quoted(one.text) + " means " + Quoted(one.same)) && error.reason != nullptr)
            std::printf("# %s: %s\n", Quoted(error.token).c_str(), error.reason);
    }
}

void Bits() {
    Schedule s;
    ParseError error;
    unit::Ok(Parse("*/30 5-7 4,L-2 12 mon#3", &s, &error), "a schedule of all sorts");
    unit::Ok(s.kind == Kind::kFields && !s.has_seconds && s.seconds == 1, "second 0 where there are five fields");
    unit::Ok(s.minutes == (1 | std::uint64_t{1} << 30), "minutes");
    unit::Ok(s.hours == 0xe0, "hours");
    unit::Ok(s.months == 1u << 12, "months");
    unit::Ok(s.days.of_month == 1u << 4 && s.days.from_end == 1u << 2 && s.days.near_weekday == 0, "days of the month");
    unit::Ok(s.days.of_week == 0 && s.days.nth[3] == 1u << 1, "days of the week");
    unit::Ok(Parse("59 0 0 LW,31w * sunL", &s, &error), "another one");
    unit::Ok(s.has_seconds && s.seconds == std::uint64_t{1} << 59, "seconds");
    unit::Ok(s.days.near_weekday == (1u | 1u << 31) && s.days.nth[0] == 1, "weekdays near a day, the last Sunday");
    unit::Ok(Parse("@every 2m", &s, &error) && s.kind == Kind::kEvery && s.interval == 120, "an interval");
    unit::Ok(Parse("@reboot", &s, &error) && s.kind == Kind::kReboot, "@reboot");
    unit::Ok(!Parse("x", &s, &error) && s.kind == Kind::kReboot, "what is refused changes nothing");
}

// A field counts as one of `*` by its first character.
void Stars() {
    struct Case {
        std::string_view text;
        bool minute, hour, month_day, week_day, elapsed;
    };
    const std::vector<Case> cases = {
        {"* * * * *", true, true, true, true, true},        {"0-59 0-23 1-31 * 0-6", false, false, false, false, false},
        {"*/2 3 */2 * */2", true, false, true, true, true}, {"0 */2 1,* * 1,*", false, true, false, false, true},
        {"*,5 0 *,1 * *,1", true, false, true, true, true}, {"* 0 0 1 * 1", false, false, false, false, false},
        {"@hourly", false, true, true, true, true},         {"@daily", false, false, true, true, false},
        {"5 seconds", false, false, false, false, true},
    };
    for (const Case& one : cases) {
        Schedule s;
        ParseError error;
        const bool good = Parse(one.text, &s, &error) && s.minute_star == one.minute && s.hour_star == one.hour &&
                          s.days.month_star == one.month_day && s.days.week_star == one.week_day &&
                          s.FollowsElapsedTime() == one.elapsed;
        unit::Ok(good, "stars of " + Quoted(one.text));
    }
}

void Refused() {
    using std::string_view_literals::operator""sv;
    struct Case {
        std::string_view text;
        const char* field;  // null: the whole schedule
        std::string_view token;
    };
    const char* const whole = nullptr;
    const std::vector<Case> cases = {
        {"", whole, ""},
        {"   ", whole, ""},
        {"*", whole, "*"},
        {" * * * * ", whole, "* * * *"},
        {"* * * * * * *", whole, "*"},
        {"0 0 1 1 0 2024 x y", whole, "x y"},
        {"60 * * * *", "minute", "60"},
        {"-1 * * * *", "minute", "-1"},
        {"+1 * * * *", "minute", "+1"},
        {"1.5 * * * *", "minute", "1.5"},
        {"0x1 * * * *", "minute", "0x1"},
        {"5,61 * * * *", "minute", "61"},
        {"99999999999999999999 * * * *", "minute", "99999999999999999999"},
        {"4294967296 * * * *", "minute", "4294967296"},
        {"30-10 * * * *", "minute", "30-10"},
        {"1-2-3 * * * *", "minute", "1-2-3"},
        {"1- * * * *", "minute", "1-"},
        {"-5 * * * *", "minute", "-5"},
        {"*/0 * * * *", "minute", "*/0"},
        {"*/ * * * *", "minute", "*/"},
        {"*/61 * * * *", "minute", "*/61"},
        {"*/90 * * * *", "minute", "*/90"},
        {"*/99999999999999999999 * * * *", "minute", "*/99999999999999999999"},
        {"*/-1 * * * *", "minute", "*/-1"},
        {"*/2/2 * * * *", "minute", "*/2/2"},
        {"1-5/x * * * *", "minute", "1-5/x"},
        {"/5 * * * *", "minute", "/5"},
        {"** * * * *", "minute", "**"},
        {"*5 * * * *", "minute", "*5"},
        {"*-5 * * * *", "minute", "*-5"},
        {"1,,2 * * * *", "minute", "1,,2"},
        {",1 * * * *", "minute", ",1"},
        {"1, * * * *", "minute", "1,"},
        {", * * * *", "minute", ","},
        {"1;2 * * * *", "minute", "1;2"},
        {"jan * * * *", "minute", "jan"},
        {"L * * * *", "minute", "L"},
        {"? * * * *", "minute", "?"},
        {"H * * * *", "minute", "H"},
        {"1x * * * *", "minute", "1x"},
        {"60 0 * * * *", "second", "60"},
        {"x 0 * * * *", "second", "x"},
        {"0 60 * * * *", "minute", "60"},
        {"0 24 * * *", "hour", "24"},
        {"0 22-6 * * *", "hour", "22-6"},
        {"0 */25 * * *", "hour", "*/25"},
        {"0 5# * * *", "hour", "5#"},
        {"0 0 0 * *", "day of month", "0"},
        {"0 0 32 * *", "day of month", "32"},
        {"0 0 */32 * *", "day of month", "*/32"},
        {"0 0 25-5 * *", "day of month", "25-5"},
        {"0 0 L-0 * *", "day of month", "L-0"},
        {"0 0 L-31 * *", "day of month", "L-31"},
        {"0 0 L-40 * *", "day of month", "L-40"},
        {"0 0 L- * *", "day of month", "L-"},
        {"0 0 L- 3 * *", "hour", "L-"},
        {"0 0 L/2 * *", "day of month", "L/2"},
        {"0 0 L5 * *", "day of month", "L5"},
        {"0 0 5L * *", "day of month", "5L"},
        {"0 0 LW-2 * *", "day of month", "LW-2"},
        {"0 0 W * *", "day of month", "W"},
        {"0 0 0W * *", "day of month", "0W"},
        {"0 0 32W * *", "day of month", "32W"},
        {"0 0 1-5W * *", "day of month", "1-5W"},
        {"0 0 5W/2 * *", "day of month", "5W/2"},
        {"0 0 $W * *", "day of month", "$W"},
        {"0 0 $-1 * *", "day of month", "$-1"},
        {"0 0 1-L * *", "day of month", "1-L"},
        {"0 0 mon * *", "day of month", "mon"},
        {"0 0 1 0 *", "month", "0"},
        {"0 0 1 13 *", "month", "13"},
        {"0 0 1 */13 *", "month", "*/13"},
        {"0 0 1 january *", "month", "january"},
        {"0 0 1 ja *", "month", "ja"},
        {"0 0 1 mon *", "month", "mon"},
        {"0 0 1 jan-x *", "month", "jan-x"},
        {"0 0 1 L *", "month", "L"},
        {"0 0 * * 8", "day of week", "8"},
        {"0 0 * * */8", "day of week", "*/8"},
        {"0 0 * * monday", "day of week", "monday"},
        {"0 0 * * jan", "day of week", "jan"},
        {"0 0 * * L", "day of week", "L"},
        {"0 0 * * 5#", "day of week", "5#"},
        {"0 0 * * 5#0", "day of week", "5#0"},
        {"0 0 * * 5#6", "day of week", "5#6"},
        {"0 0 * * 8#1", "day of week", "8#1"},
        {"0 0 * * #1", "day of week", "#1"},
        {"0 0 * * *#1", "day of week", "*#1"},
        {"0 0 * * 1-5#1", "day of week", "1-5#1"},
        {"0 0 * * 5#1/2", "day of week", "5#1/2"},
        {"0 0 * * 5#L", "day of week", "5#L"},
        {"0 0 * * 5LL", "day of week", "5LL"},
        {"0 0 * * *L", "day of week", "*L"},
        {"0 0 * * 5W", "day of week", "5W"},
        {"0 0 30 2 *", "day of month", "30"},
        {"0 0 31 4,6,9,11 *", "day of month", "31"},
        {"0 0 30,31 feb *", "day of month", "30,31"},
        {"0 0 L-29 2 *", "day of month", "L-29"},
        {"0 0 L-30 apr *", "day of month", "L-30"},
        {"0 0 30W 2 *", "day of month", "30W"},
        {"0 0 */30 * mon#2", "day of month", "*/30"},
        {"@", whole, "@"},
        {"@secondly", whole, "@secondly"},
        {"@dailyx", whole, "@dailyx"},
        {"@daily 5", whole, "5"},
        {"@reboot * * * *", whole, "* * * *"},
        {"@every", whole, "@every"},
        {"@every s", whole, "s"},
        {"@every 5", whole, "5"},
        {"@every 0s", whole, "0s"},
        {"@every -5s", whole, "-5s"},
        {"@every 1.5h", whole, "1.5h"},
        {"@every 1m1h", whole, "1m1h"},
        {"@every 1m1m", whole, "1m1m"},
        {"@every 1h 30m", whole, "1h 30m"},
        {"@every 1w", whole, "1w"},
        {"@every 10ms", whole, "10ms"},
        {"@every 3651d", whole, "3651d"},
        {"@every 99999999999999999999d", whole, "99999999999999999999d"},
        {"0 seconds", "interval", "0"},
        {"60 seconds", "interval", "60"},
        {"2 second", "interval", "second"},
        {"x seconds", "interval", "x"},
        {"-5 seconds", "interval", "-5"},
        {"5s seconds", "interval", "5s"},
        {"99999999999999999999 seconds", "interval", "99999999999999999999"},
        {"5 minutes", whole, "5 minutes"},
        {"5 seconds ago", whole, "5 seconds ago"},
        {"* * * * *\0"sv, "day of week", "*\0"sv},
        {"\0"sv, whole, "\0"sv},
        {"1\0 * * * *"sv, "minute", "1\0"sv},
        {"\xc2\xa0* * * * *", "minute", "\xc2\xa0*"},
        {"0 0 * m\xc3\xa4r *", "month", "m\xc3\xa4r"},
        {"\xff\xfe * * * *", "minute", "\xff\xfe"},
        {"0 0 1 j\xc3n *", "month", "j\xc3n"},
    };
    for (const Case& one : cases) {
        Schedule s;
        ParseError error;
        const std::string name = Quoted(one.text) + " is refused";
        if (!unit::Ok(!Parse(one.text, &s, &error), name)) continue;
        const bool same_field = (one.field == nullptr) == (error.field == nullptr) &&
                                (one.field == nullptr || std::string(one.field) == error.field);
        if (!unit::Ok(same_field && error.token == one.token && error.reason != nullptr, name + ", and said why"))
            std::printf("# got %s %s\n", error.field == nullptr ? "-" : error.field, Quoted(error.token).c_str());
        const bool inside = error.token.data() == nullptr ||
                            (error.token.data() >= one.text.data() &&
                             error.token.data() + error.token.size() <= one.text.data() + one.text.size());
        unit::Ok(inside, name + ", by a part of it");
    }
}

void LooksLike() {
    for (const char* text : {"* * * * *", "0 3 * * *", "*/90 * * * *", "0 0 30 2 *", "61 25 * * mon", "@daily",
                             "@dayly", "5 seconds", "@every 5", "0 0 1 january *", "0 0 0 1 1 fri"})
        unit::Ok(LooksLikeSchedule(text), Quoted(text) + " looks like a schedule");
    for (const char* text :
         {"", "nightly", "SELECT 1", "SELECT * FROM t WHERE x", "VACUUM", "CALL p(1, 2, 3)", "@", "a b c d e",
          "1 2 3 4", "1 + 2 * 3 4", "job 1 of 5 today", "1 2 3 4 5 6 7", "DELETE FROM t WHERE a"})
        unit::Ok(!LooksLikeSchedule(text), Quoted(text) + " doesn't");
}

}  // namespace

int main() {
    Accepted();
    Bits();
    Stars();
    Refused();
    LooksLike();
    return unit::Done();
}
