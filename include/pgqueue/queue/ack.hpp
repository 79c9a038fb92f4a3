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
    // A row at a place of the opened segment that this transaction has locked.
    bool DeleteLocked(int64 msg_id, const ItemPointerData& tid);

private:
    bool Ack(const MessageId& id);
    // `locked`: the place that this transaction has locked for itself, if any.
    bool AckIn(const OpenedQueue& segment, const MessageId& id, ItemPointerData locked = {});
    void Archive(Relation segment, HeapTuple tuple);

    const OpenedQueue& opened_;
    Relation archive_;
    std::optional<TableWriter> writer_;
};

// The queue's archive, or its newest part, open for writing; raises undefined_table, wrong_object_type.
Relation OpenArchive(const OpenedQueue& opened);
// The archive's own table, or a part of it.
Relation OpenArchiveTable(const OpenedQueue& opened, Oid table);
// The row as it is archived now. `headers`: instead of the row's; null: those.
HeapTuple ArchivedRow(Relation segment, Relation archive, HeapTuple row, const Jsonb* headers = nullptr);

// Gives a lease up after a failed attempt: the message is due again after `delay` seconds; nothing: after the queue's
// backoff. At once and not undone by rollback. `error` (null: none) is kept for queue.errors, unless this transaction
// rolls back. After the last attempt the message becomes a dead letter instead. False as above.
bool Nack(const OpenedQueue& opened, const MessageId& id, std::optional<double> delay, const text* error);

// Sets vt in place, at once, not undone by rollback. `settle`: the lease is given up (nack), so a rollback of the
// transaction that took it must not touch it any more; otherwise it stays the holder's. Hands the changed row to the
// sink. False as above.
bool SetVt(const OpenedQueue& opened, const MessageId& id, TimestampTz vt, bool settle, RowSink* sink);

// Gives a lease back of which nothing has come: the message is due at once, and the attempt doesn't count. At once and
// not undone by rollback. False as above.
bool PutBack(const OpenedQueue& opened, const MessageId& id);

// Whether the message is in the queue, by the newest state: not where its deletion is committed, or our own.
bool MessageIsThere(const OpenedQueue& opened, int64 msg_id);
bool MessageIsIn(const OpenedQueue& segment, int64 msg_id);

}  // namespace pgqueue::queue
