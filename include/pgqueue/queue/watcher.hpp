// What the database's worker does for consumers: it looks at queues that somebody has asked it to, sends notifications
// and starts the processes of handlers.
#pragma once

#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::queue {

// Looks at the queues that have news or whose time has come, in one transaction, if there are any. `attention`: bits of
// pg::Attention. Returns when it wants to be called again.
struct WatchResult {
    TimestampTz next_at;
    bool worked;
};
WatchResult WatchQueues(uint32 attention);
// After an error or while the extension isn't usable: all is read again then.
void ForgetWatched();
// The worker goes, or its extension does.
void EndHandlers(bool at_once);

}  // namespace pgqueue::queue
