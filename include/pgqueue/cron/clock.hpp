// The clock that jobs go by: the server's, moved by pgqueue.clock_offset in tests.
#pragma once

#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::cron {

TimestampTz Now();
// What the clock of jobs shows at that time of the server's.
TimestampTz OnClock(TimestampTz real);

inline std::int64_t ToUnix(TimestampTz at) {  // rounded down
    constexpr std::int64_t kEpochs = (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * std::int64_t{SECS_PER_DAY};
    const std::int64_t seconds = at / USECS_PER_SEC - (at % USECS_PER_SEC < 0 ? 1 : 0);
    return seconds + kEpochs;
}
inline TimestampTz FromUnix(std::int64_t seconds) {
    constexpr std::int64_t kEpochs = (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * std::int64_t{SECS_PER_DAY};
    return (seconds - kEpochs) * USECS_PER_SEC;
}

}  // namespace pgqueue::cron
