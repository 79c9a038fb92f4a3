// Rate limits: the generic cell rate algorithm (ITU-T I.371), a leaky bucket kept as one instant.
#pragma once

#include "pgqueue/kv/cells.hpp"

namespace pgqueue::kv {

struct Verdict {
    bool allowed;
    int64 remaining;     // requests of cost 1 that would be allowed now
    double retry_after;  // seconds until the same request would be; 0 if it was
    double reset_after;  // seconds until the limit is as new
};

// A burst of `max_requests`, refilled evenly over `period` seconds. A request that isn't allowed changes nothing, nor
// does one of cost 0. Never waits, and is not undone by rollback. Raises invalid_parameter_value where the cost is
// above max_requests or there are more than 1e9 requests a second. The cells are open with a RowExclusiveLock.
Verdict Charge(const Table& cells, const Key& key, int64 max_requests, double period, int64 cost);

}  // namespace pgqueue::kv
