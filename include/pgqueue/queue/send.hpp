// Send: rows appended to the segment's tail, visible to readers at commit.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

struct OutgoingMessage {
    Datum message;  // jsonb
    bool message_null;
    Datum headers;  // jsonb, an object
    bool headers_null;
};

struct SendOptions {
    std::optional<double> delay;            // seconds; nothing: the queue's
    std::optional<TimestampTz> deliver_at;  // instead of a delay
    int32 priority = 0;
};

// Sends `count` messages, in order, with consecutive ids; returns the first id. The queue is open with INSERT privilege
// and a RowExclusiveLock.
int64 Send(const OpenedQueue& opened, const OutgoingMessage* messages, int count, const SendOptions& options);

}  // namespace pgqueue::queue
