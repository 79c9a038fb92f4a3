#include "pgqueue/queue/failures.hpp"

#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/run_as.hpp"
#include "pgqueue/queue/table_writer.hpp"
#include "pgqueue/settings.hpp"

namespace pgqueue::queue {
namespace {

constexpr int kTrimAtOnce = 10000;  // rows in one transaction

// Cut off at a character's boundary.
Datum Shortened(const text* error) {
    const auto length = static_cast<int>(VARSIZE_ANY_EXHDR(error));
    const char* bytes = VARDATA_ANY(error);
    const int kept = length <= kMaxErrorBytes ? length : pg_mbcliplen(bytes, length, kMaxErrorBytes);
    return PointerGetDatum(cstring_to_text_with_len(bytes, kept));
}

}  // namespace

int64 BackoffAfter(const Queue* queue, int32 attempt) {
    if (queue->backoff <= 0) return 0;
    const double longest = std::ldexp(queue->backoff, std::clamp(attempt - 1, 0, 60));
    const double delay = std::min(queue->backoff_max, longest);
    return static_cast<int64>(delay * (1 + pg_prng_double(&pg_global_prng_state)) / 2 * USECS_PER_SEC);
}

Relation OpenFailures(LOCKMODE lock, Oid* index) {
    const Oid table = pg::ExtensionRelation(kSchema, "failures");
    if (index != nullptr) *index = pg::ExtensionRelation(kSchema, "failures_of_message");
    return table_open(table, lock);
}

void RecordFailure(const char* queue, int64 msg_id, int32 attempt, const text* error) {
    Relation rel = OpenFailures(RowExclusiveLock, nullptr);
    Datum values[] = {Int64GetDatum(msg_id), TimestampTzGetDatum(GetCurrentTimestamp()), Int32GetDatum(attempt),
                      CStringGetTextDatum(queue), Shortened(error)};
    bool nulls[kFailureError] = {};
    HeapTuple row = heap_form_tuple(RelationGetDescr(rel), values, nulls);
    {
        TableWriter writer(rel, InvalidOid, false);
        writer.Insert(&row, 1, 0);
    }
    heap_freetuple(row);
    table_close(rel, NoLock);
}

const text* NewestError(const char* queue, int64 msg_id) {
    const text* newest = nullptr;
    ForFailures(queue, msg_id, BackwardScanDirection, [&](const Failure& failure) {
        newest = DatumGetTextPCopy(failure.error);
        return false;
    });
    return newest;
}

int64 TrimFailures(bool* more) {
    *more = false;
    if (settings::errors_age <= 0) return 0;
    pg::Spi spi;
    Oid types[] = {TIMESTAMPTZOID, INT4OID};
    Datum values[] = {TimestampTzGetDatum(GetCurrentTimestamp() - settings::errors_age * USECS_PER_MINUTE),
                      Int32GetDatum(kTrimAtOnce)};
    const uint64 removed = spi.Run("DELETE FROM queue.failures WHERE ctid = ANY (ARRAY(SELECT ctid FROM queue.failures "
                                   "WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED))",
                                   2, types, values);
    *more = removed >= kTrimAtOnce;
    return static_cast<int64>(removed);
}

}  // namespace pgqueue::queue
