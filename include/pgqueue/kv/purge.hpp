// Removing what has expired; counting.
#pragma once

#include "pgqueue/kv/find.hpp"

namespace pgqueue::kv {

// Removes entries that have expired, of either table, by looking only at pages that have something due. The rows are
// deleted when the transaction commits; those that others have in hand are left for the next time. Returns how many.
// The table is open with a RowExclusiveLock. `pages`: how many may be looked at; what is left of it afterwards.
int64 Purge(const Table& table, int* pages = nullptr);

struct Census {
    int64 entries = 0;  // keys that live: values and counters
    int64 expired = 0;  // rows that wait for a purge
    int64 rows = 0;     // all, locks and rate limits included
    bool exact = true;
};
Census TakeCensus(const Table& table);
// The same from at most so many pages, evenly spread over the table.
Census SampleCensus(const Table& table, BlockNumber pages);

}  // namespace pgqueue::kv
