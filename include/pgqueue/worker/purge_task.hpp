// Removing what has expired from the database's stores, little by little.
#pragma once

#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::worker {

struct PurgeResult {
    int64 purged;
    TimestampTz next_at;
};

// A small transaction, or a few, each with one store that had something. It looks at pages that have something due
// only, at most pgqueue.purge_pages of them; where there are more it wants to be called again after as long a pause as
// it took, else after pgqueue.purge_interval, or later, up to six times that, while there is nothing.
PurgeResult PurgeSome();

}  // namespace pgqueue::worker
