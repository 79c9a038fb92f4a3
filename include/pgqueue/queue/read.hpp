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
    bool grouped = false;           // in order within each group; see page/groups.hpp
    bool exhausted_only = false;    // hand out nothing: see below
};

// Hands up to qty deliverable messages to the sink and returns how many. `more`: it stopped at qty, so there may be
// more. A lease belongs to the running transaction until it commits. The queue is open with a RowExclusiveLock
// (AccessShareLock without leasing).
//
// Messages that have had all their attempts are not handed out: with leasing they become dead letters, as part of the
// transaction; without it they are passed by, and `exhausted` says that there are some.
struct ReadResult {
    int64 count = 0;
    bool more = false;
    bool exhausted = false;
};
ReadResult Read(const OpenedQueue& opened, const ReadOptions& options, RowSink* sink);

}  // namespace pgqueue::queue
