// Send: rows appended to the segment's tail, visible to readers at commit.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

struct OutgoingMessage {
    Datum message;  // jsonb
    bool message_null;
    Datum headers;  // jsonb, an object
    bool headers_null;
    text* group_key = nullptr;  // null: none
    text* dedup_key = nullptr;  // null: none
};

struct SendOptions {
    std::optional<double> delay;            // seconds; nothing: the queue's
    std::optional<TimestampTz> deliver_at;  // instead of a delay
    int32 priority = 0;
    std::optional<double> ttl;      // seconds from when it is due; nothing: the queue's
    std::optional<int64> first_id;  // the ids have been drawn already
};

// Sends `count` messages, in order, with consecutive ids; returns the first id. The queue is open with INSERT privilege
// and a RowExclusiveLock.
int64 Send(const OpenedQueue& opened, const OutgoingMessage* messages, int count, const SendOptions& options);

// Stores a message's row as it is, in a row that has the segment's columns; for one that is moved.
void StoreAgain(const OpenedQueue& opened, HeapTuple row);

}  // namespace pgqueue::queue
