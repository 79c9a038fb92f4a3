// Deduplication: of the messages of one key, one is stored.
//
// queue.dedup_keys remembers which message a key has led to: an entry counts while its message is still in the queue,
// and for five minutes in any case. It is written with the message, by the same transaction, so a rollback takes both.
#pragma once

#include "pgqueue/queue/send.hpp"

namespace pgqueue::queue {

// Send, for messages of which some have a dedup_key. ids[i] is the id of the message that stands for messages[i]: a new
// one, or the one that its key has led to before, here or in an earlier send. Waits for transactions that have sent one
// of the keys and are still open. What counts is the newest committed state, in every isolation level.
void SendOnce(const OpenedQueue& opened, const OutgoingMessage* messages, int count, const SendOptions& options,
              int64* ids);

struct SweepResult {
    int64 removed = 0;
    bool done = false;  // the whole table has been looked through; the next call begins from the start
};

// Removes entries that don't count any more, of at most about `limit` that it looks at, from the place where the last
// call stopped. For the database's worker, in a transaction. Waits for nobody.
SweepResult SweepDedup(int limit);

}  // namespace pgqueue::queue
