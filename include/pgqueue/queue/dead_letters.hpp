// Dead letters: messages that were tried as often as their queue allows go to its dead-letter queue, or to its archive.
//
// What became of them is told by one header, "dead_letter": {queue, msg_id, attempts, reason, error, at, enqueued_at}.
#pragma once

#include "pgqueue/queue/ack.hpp"
#include "pgqueue/queue/row.hpp"

namespace pgqueue::queue {

// How long a message is leased to whoever moves it: if it ends with the server, the next reader moves it then.
inline constexpr int64 kMoveLease = 30 * USECS_PER_SEC;

// Whether the message has had all its attempts. A queue without max_attempts costs this comparison.
inline bool IsExhausted(const Queue* queue, const RowHead* head) {
    return queue->max_attempts > 0 && head->read_ct >= queue->max_attempts;
}

// Moves messages out of a queue, as part of the running transaction: what rolls back has moved nothing. Needs no right
// on the target: it was checked when the setting was made. Where the dead-letter queue is gone they go to the archive.
class DeadLetters {
public:
    // The queue is open with a RowExclusiveLock.
    explicit DeadLetters(const OpenedQueue& from)
        : from_(from), acker_(from, nullptr),
          scratch_(AllocSetContextCreate(CurrentMemoryContext, "pgqueue dead letters", ALLOCSET_DEFAULT_SIZES)) {}

    // `leased`: the row, under a lease that the running command has taken, so that nobody else has it. `error`: of the
    // last attempt; null: the newest that is on record. False: somebody has deleted it meanwhile.
    bool Move(HeapTuple leased, const text* error = nullptr);
    // Adds what was moved to the queue's total. Call once, at the end.
    void Finish();

private:
    void Send(const OpenedQueue& target, HeapTuple row, Jsonb* headers);
    void Archive(HeapTuple row, Jsonb* headers);

    const OpenedQueue& from_;
    Acker acker_;
    MemoryContext scratch_;  // for one message
    int64 moved_ = 0;
};

// The name of the queue from which a dead letter came, or nullptr where its headers (an object; null: none) don't say.
const char* OriginOf(const Jsonb* headers);
// The headers without that. Null where nothing is left.
Jsonb* WithoutDeadLetter(const Jsonb* headers);

}  // namespace pgqueue::queue
