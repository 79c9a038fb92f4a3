#include "pgqueue/cron/clock.hpp"

#include "pgqueue/settings.hpp"

namespace pgqueue::cron {

TimestampTz OnClock(TimestampTz real) {
    return real + static_cast<int64>(settings::clock_offset * static_cast<double>(USECS_PER_SEC));
}

TimestampTz Now() { return OnClock(GetCurrentTimestamp()); }

}  // namespace pgqueue::cron
