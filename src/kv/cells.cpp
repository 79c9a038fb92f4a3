#include "pgqueue/kv/cells.hpp"

#include "pgqueue/kv/key_lock.hpp"
#include "pgqueue/kv/values.hpp"
#include "pgqueue/page/index_append.hpp"
#include "pgqueue/page/undelete.hpp"

namespace pgqueue::kv {
namespace {

using page::RowState;

// The map was attached before the page was locked; should it be lost since, Lower finds the new one.
void LowerFor(const Table& cells, BlockNumber block, TimestampTz expires_at) {
    if (TIMESTAMP_IS_NOEND(expires_at)) return;
    const page::Bound bound = TIMESTAMP_IS_NOBEGIN(expires_at) ? page::kUnknown : page::BoundOf(expires_at);
    page::Lower(cells.half->map, 0, block, block, bound);
}

// A counter's cell as it is now, for everybody but a transaction of ours that has deleted it.
// over: see FindCell.
Located FindLive(const Table& cells, const Key& key, int lock, bool* over = nullptr) {
    Located cell = FindCell(cells, kCounter, key, lock, over);
    if (!cell) return {};
    const bool there = cell.state == RowState::kLive || cell.state == RowState::kChanging;
    if (there && CellHeadOf(cell.tuple.t_data)->expires_at > GetCurrentTimestamp()) return cell;
    UnlockReleaseBuffer(cell.buffer);
    if (over != nullptr) *over = true;
    return {};
}

[[noreturn]] void RaiseNoCounter() {
    ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("the key has a value, which is no counter"),
                    errhint("kv.incr makes counters itself. Delete the key, or use another one.")));
    pg_unreachable();
}

[[noreturn]] void RaiseUndecided() {
    ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                    errmsg("the key is being given a value by a transaction that is still open"),
                    errhint("A counter waits for nobody. Try again when it has ended.")));
    pg_unreachable();
}

[[noreturn]] void RaiseDeletedByUs() {
    ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                    errmsg("this transaction has deleted the key's value, and a counter would outlive its rollback"),
                    errhint("Commit first, or use another key.")));
    pg_unreachable();
}

int64 Sum(int64 number, int64 delta) {
    int64 sum = 0;
    if (pg_add_s64_overflow(number, delta, &sum))
        ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("counter is out of range"),
                        errhint("It was not changed.")));
    return sum;
}

// The counter doesn't live: makes its row, or starts again in the expired one. Nothing: it lives by now.
std::optional<XLogRecPtr> Start(const Table& cells, const Key& key, int64 number, TimestampTz expires_at) {
    (void)MapOf(cells);
    const KeyLock lock(cells.store, Namespace::kKeys, key);
    bool there = false;
    if (Located cell = FindCell(cells, kCounter, key, BUFFER_LOCK_SHARE)) {
        const PageGuard guard(cell.buffer);
        if (cell.state == RowState::kPending) RaiseUndecided();  // by COPY
        if (cell.state != RowState::kGone && CellHeadOf(cell.tuple.t_data)->expires_at > GetCurrentTimestamp())
            return std::nullopt;
        there = true;
    }
    const Table values = OpenOther(cells, AccessShareLock);
    const Presence presence = LookForValue(values, key);
    Close(values);
    if (presence == Presence::kLive) RaiseNoCounter();
    if (presence == Presence::kUndecided) RaiseUndecided();
    if (presence == Presence::kDeletedByUs) RaiseDeletedByUs();
    if (!there) return CreateCell(cells, key, {kCounter, number, expires_at, nullptr});
    Located cell = FindCell(cells, kCounter, key, BUFFER_LOCK_EXCLUSIVE);
    if (!cell) return std::nullopt;  // swept up meanwhile
    const PageGuard guard(cell.buffer);
    return WriteCell(cells, cell, number, expires_at, nullptr, true);
}

}  // namespace

XLogRecPtr CreateCell(const Table& cells, const Key& key, const NewCell& cell) {
    Relation rel = cells.rel;
    const CellHead head{cell.number, cell.expires_at, cell.kind};
    std::array<pg::Column, 2> columns{};
    columns[0] = {key.datum, false};
    if (cell.owner != nullptr) columns[1] = {PointerGetDatum(cell.owner), false, pg::Kind::kName};
    HeapTuple row = pg::FormRow(RelationGetDescr(rel), &head, kCellHeadBytes, kKind, columns.data(),
                                static_cast<int>(columns.size()));
    (void)MapOf(cells);
    const TransactionId deleter = LastDeleter(cells, cell.kind, key);
    page::InPlaceWriter writer(2);
    heap_insert(rel, row, GetCurrentCommandId(true), 0, nullptr);
    Relation index = index_open(cells.half->index, RowExclusiveLock);
    std::array<Datum, 2> datums = {CharGetDatum(cell.kind), key.datum};
    page::InsertIntoIndex(index, datums.data(), row->t_self, rel, UNIQUE_CHECK_YES);
    index_close(index, NoLock);

    const BlockNumber block = ItemPointerGetBlockNumber(&row->t_self);
    page::MakeRoom(MapOf(cells), 0, block);
    Buffer buffer = ReadBuffer(rel, block);
    LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
    HeapTupleHeader stored = page::RowAt(buffer, row->t_self);
    const bool has_deleter = TransactionIdIsValid(deleter);
    const auto masks = static_cast<uint16>(stored->t_infomask | (has_deleter ? HEAP_XMIN_COMMITTED : HEAP_XMIN_FROZEN));
    writer.Set(&stored->t_infomask, &masks, sizeof(masks));
    if (has_deleter) writer.Set(&stored->t_choice.t_heap.t_xmin, &deleter, sizeof(deleter));
    const XLogRecPtr end = writer.Apply(rel, buffer);
    LowerFor(cells, block, cell.expires_at);
    UnlockReleaseBuffer(buffer);
    NoteKeyPlace(cells, cell.kind, key, row->t_self);
    heap_freetuple(row);
    return end;
}

XLogRecPtr WriteCell(const Table& cells, const Located& cell, int64 number, TimestampTz expires_at, const char* owner,
                     bool keep) {
    page::InPlaceWriter writer(2 + page::Undeletion::kChanges);
    const HeapTupleHeader row = cell.tuple.t_data;
    CellHead* head = CellHeadOf(row);
    struct {
        int64 number;
        TimestampTz expires_at;
    } fields{number, expires_at};
    static_assert(offsetof(CellHead, expires_at) == sizeof(int64));
    page::Undeletion undeletion;
    const bool later = expires_at >= head->expires_at && head->expires_at > GetCurrentTimestamp();
    writer.Set(head, &fields, sizeof(fields));
    if (owner != nullptr) writer.Set(OwnerIn(cells.rel, &cell.tuple), owner, NAMEDATALEN);
    if (keep && page::IsBeingDeleted(row)) undeletion.Add(row, &writer);
    const XLogRecPtr end = writer.Apply(cells.rel, cell.buffer);
    if (!later) LowerFor(cells, BufferGetBlockNumber(cell.buffer), expires_at);
    return end;
}

bool DeleteCell(const Table& cells, const ItemPointerData& tid) {
    CommandCounterIncrement();
    ItemPointerData place = tid;
    TM_FailureData failure;
    return heap_delete(cells.rel, &place, GetCurrentCommandId(true), InvalidSnapshot, true, &failure, false) == TM_Ok;
}

std::optional<Counter> ReadCounter(const Table& cells, const Key& key, Snapshot snapshot) {
    bool over = false;
    Located cell = FindLive(cells, key, BUFFER_LOCK_SHARE, &over);
    if (!cell && over && snapshot != nullptr) cell = FindVisibleCell(cells, kCounter, key, snapshot);
    if (!cell) return std::nullopt;
    const PageGuard guard(cell.buffer);
    const CellHead* head = CellHeadOf(cell.tuple.t_data);
    if (head->expires_at <= GetCurrentTimestamp()) return std::nullopt;
    return Counter{head->number, head->expires_at, cell.tuple.t_self};
}

void ReplaceCounter(const Table& cells, const Key& key) {
    std::optional<Counter> counter;
    {
        const KeyLock lock(cells.store, Namespace::kKeys, key);
        if (RelationGetNumberOfBlocks(cells.rel) > 0) counter = ReadCounter(cells, key, nullptr);
    }
    if (counter) DeleteCell(cells, counter->tid);
}

void YieldToValue(const Table& cells, const Key& key, const ItemPointerData& tid) {
    const Table values = OpenOther(cells, AccessShareLock);
    Presence presence = Presence::kNone;
    {
        const KeyLock lock(cells.store, Namespace::kKeys, key);
        presence = LookForValue(values, key);
    }
    Close(values);
    if (presence == Presence::kUndecided) RaiseUndecided();
    if (presence == Presence::kLive) DeleteCell(cells, tid);
}

bool TouchCounter(const Table& cells, const Key& key, double ttl) {
    (void)MapOf(cells);
    Located cell = FindLive(cells, key, BUFFER_LOCK_EXCLUSIVE);
    if (!cell) return false;
    const PageGuard guard(cell.buffer);
    WriteCell(cells, cell, CellHeadOf(cell.tuple.t_data)->number, ExpiryOf(ttl, GetCurrentTimestamp()), nullptr, false);
    return true;
}

int64 Incr(const Table& cells, const Key& key, int64 delta, std::optional<double> ttl) {
    page::RequireInPlaceAllowed();
    const page::DurableChange change;
    for (;;) {
        if (Located cell = FindLive(cells, key, BUFFER_LOCK_EXCLUSIVE)) {
            PageGuard guard(cell.buffer);
            page::InPlaceWriter writer(1);
            CellHead* head = CellHeadOf(cell.tuple.t_data);
            const int64 sum = Sum(head->number, delta);
            writer.Set(&head->number, &sum, sizeof(sum));
            const XLogRecPtr end = writer.Apply(cells.rel, cell.buffer);
            guard.Release();
            change.Settle(end, page::Durability::kAsCommit);
            return sum;
        }
        if (const auto end = Start(cells, key, delta, NewExpiry(cells.store, ttl))) {
            change.Settle(*end, page::Durability::kAsCommit);
            return delta;
        }
        CHECK_FOR_INTERRUPTS();
    }
}

}  // namespace pgqueue::kv
