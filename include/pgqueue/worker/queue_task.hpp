// What queues need to have done in the background, little by little: expired messages, archives with a retention, error
// texts that are too old.
#pragma once

#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::worker {

struct TidyResult {
    int64 removed;
    TimestampTz next_at;
};

// A round over the queues, in small transactions, each with one queue, as its owner. It looks at no more than
// pgqueue.purge_pages pages of each kind; where there is more to do it wants to be called again after as long a pause
// as it took, else after pgqueue.purge_interval, or later, up to six times that, while there is nothing.
TidyResult TidyQueues();

}  // namespace pgqueue::worker
