// The life of a queue's segments: when the newest is long enough a new one takes its place, and one whose messages are
// gone is emptied (TRUNCATE), so that it is free to be the next new one. Called by the database's worker.
//
// A segment is emptied by a new file for it, in a transaction, with nobody else having a lock on it, and only if every
// row in it is deleted or rolled back, for every snapshot that could look at it. Under a horizon that is held back the
// last may never come true; then, beyond pgqueue.max_dead_bytes, snapshots that have no lock on the segment don't
// count.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

struct SegmentWork {
    bool changed = false;
    BlockNumber newest = 0;  // the newest segment's pages
    bool waits = false;      // for messages to go, locks to be given back, or snapshots to end: to be called again soon
};

// In a transaction of its own, which holds on to what it has locked. Waits for nobody. `idle`: nothing has been sent
// for a while, so the newest segment may be emptied, too.
SegmentWork TendSegments(const char* queue, bool idle);

}  // namespace pgqueue::queue
