// The scheduler's decision about one job at one moment: which runs to start now, which times to pass over, when to look
// again. Nothing but arithmetic: what it decides is stored and carried out elsewhere.
//
// A job's memory is one instant, the last due time that was dealt with. A due time is dealt with once, by a run or by
// being counted as skipped, and then that instant has moved on to it; so neither a restart nor a look more or less
// changes what runs.
//
// The clock may jump. Forward, or after a pause of the machine: what is late by more than the grace was missed, and the
// policy says what becomes of it. Back: the job's memory lies ahead of the clock, and the job waits until the clock is
// there again, since until then all its times are ones that were dealt with. That must not last: if it waited longer
// than from one due time to its next (or a minute, or, for a job at fixed times, the three hours of a clock change),
// its memory is set to now and it goes on from there.
#pragma once

#include <array>
#include <optional>

#include "pgqueue/cron/next_after.hpp"
#include "pgqueue/cron/schedule.hpp"

namespace pgqueue::cron {

enum class CatchUp : std::uint8_t {
    kNone,  // missed times are skipped
    kOnce,  // one run, of the last of them, for all that were missed
    kAll,   // a run for each, the oldest left out where they are too many
};

inline constexpr int kMostRuns = 100;                // in one plan
inline constexpr std::int64_t kMostCounted = 10000;  // due times that are counted one by one

struct Policy {
    CatchUp catch_up = CatchUp::kNone;
    int most = kMostRuns;     // missed times that kAll makes up for at once
    std::int64_t grace = 60;  // seconds by which a run may be late and yet not count as missed
    // The first look after a downtime: what fell into it was missed. Only the last time counts as on time, if it is
    // late by no more than the grace and a tenth of the way to the next.
    bool resumed = false;
};

struct Plan {
    std::array<Instant, kMostRuns> due;  // the runs to start, the oldest first
    int count = 0;                       // how many they are
    std::int64_t skipped = 0;            // due times without a run of their own
    bool skipped_more = false;           // perhaps more than that: beyond kMostCounted nobody counts
    Instant first_skipped = 0;           // if any were skipped
    Instant last_skipped = 0;
    Instant last_due = 0;             // what to remember
    std::optional<Instant> next_due;  // when to look again; nothing: never
    bool set_back = false;            // the clock was set back, and the job goes on from now
};

// last_due: what the plan before said, or when the job was made, changed or resumed, for times that count from then on.
// On-time runs are due under every policy. The work is bounded, however long ago last_due was.
Plan MakePlan(const Schedule& schedule, const Zone& zone, const Policy& policy, Instant last_due, Instant now);

}  // namespace pgqueue::cron
