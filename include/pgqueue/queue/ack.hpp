// What is done to one message by its id: delete, archive, a new vt. All of them find the row, check it under the page's
// lock, and check the receipt, if one is named, in the same look.
#pragma once

#include "pgqueue/queue/queue.hpp"
#include "pgqueue/queue/read.hpp"
#include "pgqueue/queue/table_writer.hpp"

namespace pgqueue::queue {

struct MessageId {
    int64 msg_id;
    std::optional<int64> receipt;  // the lease that the caller holds; nothing: whoever has it
};

// Deletes messages as ordinary MVCC deletes of the running transaction. Works through the ids in their order of size,
// so that two of these don't deadlock. done[i] says whether ids[i] was deleted: false where there is no such message,
// or the receipt is not that of its newest lease, or it is deleted already. Waits for a transaction that has the row in
// hand.
class Acker {
public:
    // `archive`: the deleted rows are stored there; null: not. The queue is open with a RowExclusiveLock.
    Acker(const OpenedQueue& opened, Relation archive);
    void Run(const MessageId* ids, int count, bool* done);
    // A row that was leased by this command: pop.
    bool DeleteRead(HeapTuple read);

private:
    bool Ack(const MessageId& id);
    void Archive(HeapTuple tuple);

    const OpenedQueue& opened_;
    Relation rel_;
    Relation archive_;
    std::optional<TableWriter> writer_;
};

// Sets vt in place, at once, not undone by rollback. `settle`: the lease is given up (nack), so a rollback of the
// transaction that took it must not touch it any more; otherwise it stays the holder's. Hands the changed row to the
// sink. False as above.
bool SetVt(const OpenedQueue& opened, const MessageId& id, TimestampTz vt, bool settle, RowSink* sink);

}  // namespace pgqueue::queue
