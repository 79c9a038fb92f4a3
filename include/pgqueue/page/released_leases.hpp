// Leases that a rollback gave back.
//
// A lease is written in place and not undone by rollback. An abort callback can't touch pages, so it leaves a note
// here: this row, under this receipt and with this vt, is free from `free_at` on. The next reader of the page applies
// it. A note names one lease exactly, so a later lease, heartbeat or nack of the row makes it void by itself. Notes are
// hints: where one is lost (the table was full, the server crashed) the lease simply runs out. A note ends with its
// lease's vt, or at `free_at` where that is later: the row is to be left alone until then.
//
// A fixed hash table in shared memory, in partitions with an LWLock each (leaf locks: taken under a page's content lock
// and in abort callbacks; nothing is acquired, allocated or raised under them).
#pragma once

#include "pgqueue/page/page_map.hpp"

namespace pgqueue::page {

struct LeaseKey {
    SegmentKey segment{};
    uint32 part = 0;
    ItemPointerData tid{};
    int64 receipt = 0;
    TimestampTz vt = 0;
};

Size ReleasedShmemSize();
void ReleasedShmemInit();

// Safe in callbacks. Another note may have to give way.
void NoteReleased(const LeaseKey& lease, TimestampTz free_at);
// How often one had to, since the server's start.
uint64 ForgottenReleases();
// When the lease is free; nothing if it was not given back.
std::optional<TimestampTz> FindReleased(const LeaseKey& lease);
// Once the row has been leased again the note is void; this makes its room free at once.
void ForgetReleased(const LeaseKey& lease);

}  // namespace pgqueue::page
