// What went wrong: the error texts that nacks bring, and how long to wait after a failed attempt.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

// Microseconds to wait after attempt `attempt`: the queue's backoff, doubled with every attempt, up to backoff_max; of
// that a random half at most is left out, so that what failed together doesn't come back together.
int64 BackoffAfter(const Queue* queue, int32 attempt);

inline constexpr int kMaxErrorBytes = 8000;  // of an error text; the rest is cut off

// Stores the error as a row of queue.failures, an ordinary insert of the running transaction. May raise.
void RecordFailure(const char* queue, int64 msg_id, int32 attempt, const text* error);

struct Failure {
    int32 attempt;
    TimestampTz at;
    Datum error;  // text
};
// Hands the message's failures to `use`, the oldest or the newest first, until it answers false. By the newest state of
// the table; no privilege is checked.
template <class Use>
void ForFailures(const char* queue, int64 msg_id, ScanDirection direction, Use use);
// The text of the newest one, or nullptr.
const text* NewestError(const char* queue, int64 msg_id);

// Removes failures that are older than pgqueue.errors_age, a bounded number at a time. The SPI connection is the
// extension owner's. Returns how many, and whether there may be more.
int64 TrimFailures(bool* more);

// Of queue.failures.
enum FailureColumn : AttrNumber { kFailureMsgId = 1, kFailureAt, kFailureAttempt, kFailureQueue, kFailureError };
Relation OpenFailures(LOCKMODE lock, Oid* index);

template <class Use>
void ForFailures(const char* queue, int64 msg_id, ScanDirection direction, Use use) {
    Oid index_oid = InvalidOid;
    Relation rel = OpenFailures(AccessShareLock, &index_oid);
    Relation index = index_open(index_oid, AccessShareLock);
    ScanKeyData keys[2];
    ScanKeyInit(&keys[0], kFailureQueue, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(queue));
    keys[0].sk_collation = C_COLLATION_OID;
    ScanKeyInit(&keys[1], kFailureMsgId, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(msg_id));
    Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
    SysScanDesc scan = systable_beginscan_ordered(rel, index, snapshot, 2, keys);
    while (HeapTuple row = systable_getnext_ordered(scan, direction)) {
        bool null = false;
        const TupleDesc desc = RelationGetDescr(rel);
        const Failure failure{DatumGetInt32(heap_getattr(row, kFailureAttempt, desc, &null)),
                              DatumGetTimestampTz(heap_getattr(row, kFailureAt, desc, &null)),
                              heap_getattr(row, kFailureError, desc, &null)};
        if (!use(failure)) break;
    }
    systable_endscan_ordered(scan);
    UnregisterSnapshot(snapshot);
    index_close(index, AccessShareLock);
    table_close(rel, AccessShareLock);
}

}  // namespace pgqueue::queue
