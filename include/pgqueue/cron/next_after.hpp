// The next time a schedule is due, in a time zone with all its clock changes.
//
// A time of the clock matches a schedule of fields or doesn't; what is decided here is which instants those are where
// the clock is put forward or back, by the rules of Debian's cron.
//
//   - A wildcard job (Schedule::FollowsElapsedTime) is due at every instant at which the clock shows a matching time:
//     nothing for what is left out, and again in what is repeated.
//   - Any other job is due when the clock first comes to a matching time or past it. So one with times in what is left
//     out is due once, at the first instant after it, however many they were; and what is repeated counts only the
//     first time.
//   - A shift of three hours or more (a zone that crosses the date line) is a plain change of the clock for both: what
//     is left out never comes, and what is repeated comes again.
#pragma once

#include <optional>

#include "pgqueue/cron/schedule.hpp"

namespace pgqueue::cron {

class Zone {
public:
    // Seconds east of UTC.
    virtual std::int32_t OffsetAt(Instant at) const = 0;
    // The first instant later than `after` from which on another offset may hold. Nothing: it never changes again.
    virtual std::optional<Instant> NextChange(Instant after) const = 0;

protected:
    ~Zone() = default;
};

// Strictly after `after`. Nothing: never, or not in 400 years, or not before the year 10000. The due times from any
// instant on are the same whatever instant one starts at; only those of an interval count from it.
std::optional<Instant> NextAfter(const Schedule& schedule, const Zone& zone, Instant after);

// The years 1 to 9999; what lies outside is treated as their edge.
inline constexpr Instant kFirstInstant = -62135596800;
inline constexpr Instant kLastInstant = 253402300799;

}  // namespace pgqueue::cron
