// The segments of queues: new ones where the newest is long enough, and old ones emptied. See queue/segments.hpp.
#pragma once

#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::worker {

struct SegmentRound {
    bool worked;
    TimestampTz next_at;
};

// Looks at the queues that have asked for a segment, at those that have several, and at those that are idle: each in a
// transaction of its own.
SegmentRound TendAllSegments();
// All that was known is forgotten.
void ForgetSegments();

}  // namespace pgqueue::worker
