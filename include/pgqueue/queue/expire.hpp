// Messages that have expired, and archived ones that are too old: removed by the background worker, little by little.
//
// Readers pass expired messages by. For a queue that has ever had one with a ttl, a second page map tells which pages
// to visit and when: its bounds are the earliest expiry of a page. An archive needs none, since it is filled in order:
// see TrimArchive.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

// A row with that expiry was stored on `block` by this transaction. Needs a reservation (page::ReserveTouches).
void TouchExpiry(const page::SegmentRef& expiry_map, BlockNumber block, TimestampTz expires_at);

// Deletes messages that have expired and that nobody has out, on at most *pages pages; takes off *pages what it has
// looked at. They are gone when the transaction commits. Returns how many. The queue is open with a RowExclusiveLock.
int64 Expire(const OpenedQueue& opened, int* pages);

// Deletes archived messages that are older than the queue's archive_retention, in the same way. The work goes on where
// the last call of this process stopped. `more`: there is more to do at once.
struct Trimmed {
    int64 deleted = 0;
    bool more = false;
};
Trimmed TrimArchive(const OpenedQueue& opened, int* pages);

}  // namespace pgqueue::queue
