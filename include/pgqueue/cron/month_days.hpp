// Which days of a month a schedule means.
#pragma once

#include "pgqueue/cron/schedule.hpp"

namespace pgqueue::cron {

// month: 1 to 12.
int LengthOfMonth(int month, bool leap);

// Bit n: day n matches, in a month of that length whose first day is that weekday (0: Sunday). A day matches when both
// fields mean it, if one of them begins with `*`, and else when either does.
std::uint32_t MatchingDays(const Days& days, int length, int first_weekday);

// Whether a day ever comes that the days and months mean.
bool EverMatches(const Days& days, std::uint32_t months);

}  // namespace pgqueue::cron
