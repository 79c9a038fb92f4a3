// A time zone as the C library knows it, and instants as text.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "pgqueue/cron/next_after.hpp"

namespace support {

using pgqueue::cron::Instant;

// All changes between 1840 and 2120, found by looking at the clock twice a day. The zone is set for the whole process
// while that is done. An unknown name would mean UTC, so the program ends.
class LibcZone final : public pgqueue::cron::Zone {
public:
    struct Change {
        Instant at;
        std::int32_t offset;
    };

    explicit LibcZone(const std::string& name) : name_(name) {
        constexpr Instant kFrom = -4102444800;
        constexpr Instant kTo = 4733510400;
        constexpr Instant kStep = 43200;
        setenv("TZ", name.c_str(), 1);
        tzset();
        if (name != "UTC" && !Known(name)) {
            std::printf("Bail out! no time zone %s here\n", name.c_str());
            std::exit(2);
        }
        changes_.push_back({kFrom, ReadOffset(kFrom)});
        for (Instant at = kFrom; at < kTo; at += kStep) {
            if (ReadOffset(at + kStep) == changes_.back().offset) continue;
            Instant low = at;
            Instant high = at + kStep;
            while (high - low > 1) {
                const Instant middle = low + (high - low) / 2;
                (ReadOffset(middle) == changes_.back().offset ? low : high) = middle;
            }
            changes_.push_back({high, ReadOffset(high)});
        }
    }
    virtual ~LibcZone() = default;

    std::int32_t OffsetAt(Instant at) const override {
        const auto next = After(at);
        return next == changes_.begin() ? changes_.front().offset : (next - 1)->offset;
    }
    std::optional<Instant> NextChange(Instant after) const override {
        const auto next = After(after);
        return next == changes_.end() ? std::nullopt : std::optional(next->at);
    }

    const std::string& name() const { return name_; }
    // The first is no change, but what was before.
    const std::vector<Change>& changes() const { return changes_; }

private:
    static std::int32_t ReadOffset(Instant at) {
        const auto time = static_cast<std::time_t>(at);
        std::tm clock{};
        localtime_r(&time, &clock);
        return static_cast<std::int32_t>(clock.tm_gmtoff);
    }
    static bool Known(const std::string& name) {
        std::FILE* file = std::fopen(("/usr/share/zoneinfo/" + name).c_str(), "rb");
        if (file == nullptr) return false;
        std::fclose(file);
        return true;
    }
    std::vector<Change>::const_iterator After(Instant at) const {
        return std::upper_bound(changes_.begin(), changes_.end(), at,
                                [](Instant left, const Change& right) { return left < right.at; });
    }

    std::string name_;
    std::vector<Change> changes_;
};

// 2024-03-31 03:00:00 +0200, with the offset's seconds where it has some.
inline std::string TextOf(const pgqueue::cron::Zone& zone, Instant at) {
    const std::int32_t offset = zone.OffsetAt(at);
    const auto shown = static_cast<std::time_t>(at + offset);
    std::tm clock{};
    gmtime_r(&shown, &clock);
    char text[64];
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &clock);
    const int size = std::abs(offset);
    char zone_text[16];
    std::snprintf(zone_text, sizeof zone_text, size % 60 != 0 ? " %c%02d%02d%02d" : " %c%02d%02d",
                  offset < 0 ? '-' : '+', size / 3600, size / 60 % 60, size % 60);
    return std::string(text) + zone_text;
}

// The opposite.
inline Instant InstantOf(const std::string& text) {
    std::tm clock{};
    char sign = '+';
    int hours = 0;
    int minutes = 0;
    int seconds = 0;
    if (std::sscanf(text.c_str(), "%d-%d-%d %d:%d:%d %c%2d%2d%2d", &clock.tm_year, &clock.tm_mon, &clock.tm_mday,
                    &clock.tm_hour, &clock.tm_min, &clock.tm_sec, &sign, &hours, &minutes, &seconds) < 6) {
        std::printf("Bail out! not an instant: %s\n", text.c_str());
        std::exit(2);
    }
    clock.tm_year -= 1900;
    clock.tm_mon -= 1;
    const Instant offset = hours * 3600 + minutes * 60 + seconds;
    return static_cast<Instant>(timegm(&clock)) - (sign == '-' ? -offset : offset);
}

}  // namespace support
