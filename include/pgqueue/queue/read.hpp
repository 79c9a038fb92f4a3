// Read: leases taken in place, in order of priority and then of place.
#pragma once

#include "pgqueue/queue/queue.hpp"
#include "pgqueue/queue/row.hpp"

namespace pgqueue::queue {

// Receives copies of rows, page by page, with no page locked. The head holds the lease; t_self is the row's place.
class RowSink {
public:
    virtual void Take(Relation segment, HeapTuple tuple) = 0;

protected:
    ~RowSink() = default;
};

struct ReadOptions {
    double vt = 0;  // seconds of lease
    int64 qty = 1;
    bool lease = true;              // false: look only (peek, and the probe of a waiting reader)
    const Jsonb* filter = nullptr;  // messages that contain this one
};

// Hands up to qty deliverable messages to the sink and returns how many. `more`: it stopped at qty, so there may be
// more. A lease belongs to the running transaction until it commits. The queue is open with a RowExclusiveLock
// (AccessShareLock without leasing).
struct ReadResult {
    int64 count = 0;
    bool more = false;
};
ReadResult Read(const OpenedQueue& opened, const ReadOptions& options, RowSink* sink);

// Where this backend last saw a message; only a guess, checked by whoever uses it.
void RememberPlace(Oid segment, int64 msg_id, const ItemPointerData& tid);
std::optional<ItemPointerData> RememberedPlace(Oid segment, int64 msg_id);

}  // namespace pgqueue::queue
