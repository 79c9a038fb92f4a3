#include "pgqueue/cron/schedule.hpp"

#include <algorithm>

#include "pgqueue/cron/month_days.hpp"

namespace pgqueue::cron {
namespace {

enum Field { kSecond, kMinute, kHour, kDayOfMonth, kMonth, kDayOfWeek, kFields };

struct FieldSpec {
    const char* name;
    int first;
    int last;
    int cycle;          // ranges may wrap around after so many values; 0: they may not
    const char* names;  // three letters each, the first for value `first`
    const char* bad_value;
    const char* bad_step;
};

constexpr std::array<FieldSpec, kFields> kSpecs = {{
    {"second", 0, 59, 0, "", "must be 0 to 59", "the step must be 1 to 60"},
    {"minute", 0, 59, 0, "", "must be 0 to 59", "the step must be 1 to 60"},
    {"hour", 0, 23, 0, "", "must be 0 to 23", "the step must be 1 to 24"},
    {"day of month", 1, 31, 0, "", "must be 1 to 31", "the step must be 1 to 31"},
    {"month", 1, 12, 12, "janfebmaraprmayjunjulaugsepoctnovdec", "must be 1 to 12, or jan to dec",
     "the step must be 1 to 12"},
    {"day of week", 0, 7, 7, "sunmontuewedthufrisat", "must be 0 to 7, or sun to sat", "the step must be 1 to 7"},
}};

constexpr const char* kLeftover = "something is left over";
constexpr const char* kMissing = "a value is missing";
constexpr const char* kBackwards = "the range runs backwards";
constexpr const char* kBadEvery = "must be a time such as 90s, 1h30m or 1d, of 10 years at most";

constexpr std::int64_t kLongestInterval = std::int64_t{3650} * 86400;

constexpr int kTooBig = 1'000'000'000;  // where counting of digits stops

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// `lower` is in lower case.
bool Same(std::string_view text, std::string_view lower) {
    if (text.size() != lower.size()) return false;
    for (std::size_t i = 0; i < text.size(); i++)
        if (Lower(text[i]) != lower[i]) return false;
    return true;
}

// Takes a text apart from its beginning.
class Reader {
public:
    explicit Reader(std::string_view text) : rest_(text) {}

    bool AtEnd() const { return rest_.empty(); }
    bool AtDigit() const { return !rest_.empty() && IsDigit(rest_[0]); }
    bool AtLetter() const { return !rest_.empty() && IsLetter(rest_[0]); }
    bool At(char c) const { return !rest_.empty() && rest_[0] == c; }

    bool Eat(char lower) {
        if (rest_.empty() || Lower(rest_[0]) != lower) return false;
        rest_.remove_prefix(1);
        return true;
    }

    int EatNumber() {
        int number = 0;
        for (; AtDigit(); rest_.remove_prefix(1))
            if (number < kTooBig / 10)
                number = number * 10 + (rest_[0] - '0');
            else
                number = kTooBig;
        return number;
    }

    // The number of the name at the beginning, among names of three letters; -1: none of them.
    int EatName(const char* names) {
        if (rest_.size() < 3) return -1;
        for (int number = 0; *names != '\0'; number++, names += 3) {
            if (!Same({rest_.data(), 3}, {names, 3})) continue;
            rest_.remove_prefix(3);
            return number;
        }
        return -1;
    }

    // What is before the next space; then the spaces are eaten as well.
    std::string_view EatWord() {
        std::size_t end = 0;
        while (end < rest_.size() && !IsSpace(rest_[end])) end++;
        const std::string_view word(rest_.data(), end);
        rest_.remove_prefix(end);
        EatSpace();
        return word;
    }

    void EatSpace() {
        while (!rest_.empty() && IsSpace(rest_[0])) rest_.remove_prefix(1);
    }

    std::string_view rest() const { return rest_; }

private:
    std::string_view rest_;
};

std::string_view Trimmed(std::string_view text) {
    while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
    while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
    return text;
}

// What follows returns what is wrong, or null.

const char* ReadValue(const FieldSpec& spec, Reader* in, int* value) {
    if (in->AtDigit()) {
        *value = in->EatNumber();
    } else if (in->AtLetter()) {
        *value = in->EatName(spec.names);
        if (*value < 0) return spec.bad_value;
        *value += spec.first;
    } else {
        return in->AtEnd() ? kMissing : spec.bad_value;
    }
    return *value < spec.first || *value > spec.last ? spec.bad_value : nullptr;
}

const char* ReadNumber(Reader* in, int least, int most, const char* bad, int* number) {
    if (!in->AtDigit()) return bad;
    *number = in->EatNumber();
    return *number < least || *number > most ? bad : nullptr;
}

// After L or $ was eaten.
const char* ParseLastDay(Reader* in, bool letter, Days* days) {
    if (letter && in->Eat('w')) {
        days->near_weekday |= 1;
    } else if (letter && in->Eat('-')) {
        int back = 0;
        if (const char* bad = ReadNumber(in, 1, 30, "only 1 to 30 days can be taken from L", &back)) return bad;
        days->from_end |= std::uint32_t{1} << back;
    } else {
        days->from_end |= 1;
    }
    return in->AtEnd() ? nullptr : kLeftover;
}

// After # or L was eaten.
const char* ParseNthWeekday(Reader* in, bool last, int weekday, Days* days) {
    int nth = 0;
    if (!last)
        if (const char* bad = ReadNumber(in, 1, 5, "must be 1 to 5 after #", &nth)) return bad;
    days->nth[nth] |= static_cast<std::uint8_t>(1 << weekday % 7);
    return in->AtEnd() ? nullptr : kLeftover;
}

std::uint64_t BitOf(const FieldSpec& spec, int value) {
    if (spec.cycle != 0) value = (value - spec.first) % spec.cycle + spec.first;
    return std::uint64_t{1} << value;
}

const char* ParseElement(Field field, std::string_view element, std::uint64_t* bits, Days* days) {
    const FieldSpec& spec = kSpecs[field];
    Reader in(element);
    int from = spec.first;
    int to = spec.last;
    if (!in.Eat('*')) {
        if (field == kDayOfMonth && in.Eat('l')) return ParseLastDay(&in, true, days);
        if (field == kDayOfMonth && in.Eat('$')) return ParseLastDay(&in, false, days);
        if (const char* bad = ReadValue(spec, &in, &from)) return bad;
        if (field == kDayOfMonth && in.Eat('w')) {
            days->near_weekday |= std::uint32_t{1} << from;
            return in.AtEnd() ? nullptr : kLeftover;
        }
        if (field == kDayOfWeek && in.Eat('l')) return ParseNthWeekday(&in, true, from, days);
        if (field == kDayOfWeek && in.Eat('#')) return ParseNthWeekday(&in, false, from, days);
        if (in.Eat('-')) {
            if (const char* bad = ReadValue(spec, &in, &to)) return bad;
        } else if (!in.At('/')) {
            to = from;
        }
    }
    int step = 1;
    if (in.Eat('/')) {
        const int longest = spec.cycle != 0 ? spec.cycle : spec.last - spec.first + 1;
        if (const char* bad = ReadNumber(&in, 1, longest, spec.bad_step, &step)) return bad;
    }
    if (!in.AtEnd()) return kLeftover;
    if (from > to && spec.cycle == 0) return kBackwards;
    if (from > to) to += spec.cycle;
    for (int value = from; value <= to; value += step) *bits |= BitOf(spec, value);
    return nullptr;
}

bool ParseField(Field field, std::string_view text, std::uint64_t* bits, Days* days, ParseError* error) {
    for (std::string_view rest = text;;) {
        const std::string_view element(rest.data(), std::min(rest.find(','), rest.size()));
        if (const char* bad = ParseElement(field, element, bits, days)) {
            // An empty element says nothing: then the list does.
            *error = {kSpecs[field].name, element.empty() ? text : element, bad};
            return false;
        }
        if (element.size() == rest.size()) return true;
        rest.remove_prefix(element.size() + 1);
    }
}

bool ParseFields(const std::array<std::string_view, kFields>& words, bool has_seconds, Schedule* schedule,
                 ParseError* error) {
    Schedule s;
    s.has_seconds = has_seconds;
    std::array<std::uint64_t, kFields> bits{};
    bits[kSecond] = 1;
    if (has_seconds) bits[kSecond] = 0;
    for (int field = has_seconds ? kSecond : kMinute; field < kFields; field++)
        if (!ParseField(static_cast<Field>(field), words[field], &bits[field], &s.days, error)) return false;
    s.seconds = bits[kSecond];
    s.minutes = bits[kMinute];
    s.hours = static_cast<std::uint32_t>(bits[kHour]);
    s.months = static_cast<std::uint32_t>(bits[kMonth]);
    s.days.of_month = static_cast<std::uint32_t>(bits[kDayOfMonth]);
    s.days.of_week = static_cast<std::uint8_t>(bits[kDayOfWeek]);
    s.minute_star = words[kMinute][0] == '*';
    s.hour_star = words[kHour][0] == '*';
    s.days.month_star = words[kDayOfMonth][0] == '*';
    s.days.week_star = words[kDayOfWeek][0] == '*';
    if (!EverMatches(s.days, s.months)) {
        *error = {kSpecs[kDayOfMonth].name, words[kDayOfMonth], "such a day never comes in these months"};
        return false;
    }
    *schedule = s;
    return true;
}

// What follows `@every`.
bool ParseDuration(std::string_view text, std::int64_t* seconds) {
    struct Unit {
        char letter;
        std::int64_t seconds;
    };
    constexpr std::array<Unit, 4> kUnits = {{{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}}};
    Reader in(text);
    *seconds = 0;
    for (std::size_t unit = 0; !in.AtEnd();) {
        if (!in.AtDigit()) return false;
        const std::int64_t number = in.EatNumber();
        while (unit < kUnits.size() && !in.Eat(kUnits[unit].letter)) unit++;
        if (unit == kUnits.size()) return false;
        *seconds += number * kUnits[unit++].seconds;
    }
    return *seconds >= 1 && *seconds <= kLongestInterval;
}

Schedule Every(std::int64_t seconds) {
    Schedule schedule;
    schedule.kind = Kind::kEvery;
    schedule.interval = static_cast<std::int32_t>(seconds);
    return schedule;
}

bool ParseMacro(std::string_view text, Schedule* schedule, ParseError* error) {
    struct Macro {
        std::string_view name;
        std::string_view fields;  // empty: @reboot
    };
    constexpr std::array<Macro, 9> kMacros = {{
        {"@yearly", "0 0 1 1 *"},
        {"@annually", "0 0 1 1 *"},
        {"@monthly", "0 0 1 * *"},
        {"@weekly", "0 0 * * 0"},
        {"@daily", "0 0 * * *"},
        {"@midnight", "0 0 * * *"},
        {"@hourly", "0 * * * *"},
        {"@reboot", ""},
        {"@restart", ""},
    }};
    Reader in(text);
    const std::string_view name = in.EatWord();
    if (Same(name, "@every")) {
        std::int64_t seconds = 0;
        if (!ParseDuration(in.rest(), &seconds)) {
            *error = {nullptr, in.AtEnd() ? text : in.rest(), kBadEvery};
            return false;
        }
        *schedule = Every(seconds);
        return true;
    }
    for (const Macro& macro : kMacros) {
        if (!Same(name, macro.name)) continue;
        if (!in.AtEnd()) {
            *error = {nullptr, in.rest(), kLeftover};
            return false;
        }
        if (!macro.fields.empty()) return Parse(macro.fields, schedule, error);
        *schedule = {};
        schedule->kind = Kind::kReboot;
        return true;
    }
    *error = {nullptr, name, "there is no such macro"};
    return false;
}

// `1 second`, `N seconds`.
bool ParseSeconds(std::string_view number, std::string_view unit, Schedule* schedule, ParseError* error) {
    int seconds = 0;
    Reader in(number);
    const char* bad = ReadNumber(&in, 1, 59, "must be 1 to 59 seconds; @every takes more", &seconds);
    if (bad == nullptr && !in.AtEnd()) bad = kLeftover;
    if (bad != nullptr) {
        *error = {"interval", number, bad};
        return false;
    }
    if (Same(unit, "second") && seconds != 1) {
        *error = {"interval", unit, "must be seconds"};
        return false;
    }
    *schedule = Every(seconds);
    return true;
}

// As many words as fit; *rest is what is left.
std::size_t Split(std::string_view text, std::array<std::string_view, kFields>* words, std::string_view* rest) {
    Reader in(text);
    std::size_t count = 0;
    while (!in.AtEnd() && count < words->size()) (*words)[count++] = in.EatWord();
    *rest = in.rest();
    return count;
}

}  // namespace

bool Parse(std::string_view text, Schedule* schedule, ParseError* error) {
    text = Trimmed(text);
    if (!text.empty() && text[0] == '@') return ParseMacro(text, schedule, error);
    std::array<std::string_view, kFields> words;
    std::string_view rest;
    const std::size_t count = Split(text, &words, &rest);
    if (count == 2 && (Same(words[1], "second") || Same(words[1], "seconds")))
        return ParseSeconds(words[0], words[1], schedule, error);
    if (!rest.empty()) {
        *error = {nullptr, rest, kLeftover};
        return false;
    }
    if (count == 6) return ParseFields(words, true, schedule, error);
    if (count == 5) {
        for (std::size_t i = kFields - 1; i > 0; i--) words[i] = words[i - 1];
        return ParseFields(words, false, schedule, error);
    }
    *error = {nullptr, text, "must have five fields, or six with the second first"};
    return false;
}

bool LooksLikeSchedule(std::string_view text) {
    Schedule schedule;
    ParseError error;
    if (Parse(text, &schedule, &error)) return true;
    text = Trimmed(text);
    if (text.size() > 1 && text[0] == '@' && IsLetter(text[1])) return true;
    std::array<std::string_view, kFields> words;
    std::string_view rest;
    const std::size_t count = Split(text, &words, &rest);
    if (count < 5 || !rest.empty()) return false;
    for (std::size_t i = 0; i < count; i++) {
        const std::string_view word = words[i];
        if (i < 2 && word[0] != '*' && !IsDigit(word[0])) return false;
        for (const char c : word)
            if (!IsDigit(c) && !IsLetter(c) && std::string_view("*,-/#$").find(c) == std::string_view::npos)
                return false;
    }
    return true;
}

}  // namespace pgqueue::cron
