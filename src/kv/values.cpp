#include "pgqueue/kv/values.hpp"

#include "pgqueue/kv/cells.hpp"
#include "pgqueue/kv/evict.hpp"
#include "pgqueue/kv/key_lock.hpp"
#include "pgqueue/page/index_append.hpp"
#include "pgqueue/page/inplace.hpp"
#include "pgqueue/page/serials.hpp"
#include "pgqueue/page/transaction.hpp"

namespace pgqueue::kv {
namespace {

using page::RowState;

Datum CopyValue(Relation rel, const HeapTupleData* tuple) {
    const struct varlena* value = ValueOf(rel, tuple);
    const Size size = VARSIZE_ANY(value);
    void* copy = palloc(size);
    memcpy(copy, value, size);
    return PointerGetDatum(copy);
}

Entry EntryOf(Relation rel, const HeapTupleData* tuple, bool want_value) {
    const ValueHead* head = ValueHeadOf(tuple->t_data);
    return {head->version, head->expires_at, head->type, want_value ? CopyValue(rel, tuple) : 0};
}

class EntryVisitor : public RowVisitor {
public:
    EntryVisitor(TimestampTz now, bool want_value) : now_(now), want_value_(want_value) {}
    bool Visit(Relation rel, HeapTuple tuple) override {
        if (ValueHeadOf(tuple->t_data)->expires_at <= now_) return false;
        entry = EntryOf(rel, tuple, want_value_);
        return true;
    }
    std::optional<Entry> entry;

private:
    TimestampTz now_;
    bool want_value_;
};

// As an UPDATE does: a transaction with one snapshot doesn't change what it can't see. Page locked.
void CheckSnapshot(const Located& row) {
    if (!IsolationUsesXactSnapshot()) return;
    if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(row.tuple.t_data))) return;
    HeapTupleData tuple = row.tuple;
    if (!HeapTupleSatisfiesVisibility(&tuple, GetTransactionSnapshot(), row.buffer)) RaiseConcurrentChange();
}

// The same where there is no current row: another transaction has deleted one that we still see, and that had not
// expired. One of our own that we have deleted is not seen.
void CheckAbsence(const Table& values, const Key& key) {
    if (!IsolationUsesXactSnapshot()) return;
    EntryVisitor visitor(GetCurrentTimestamp(), false);
    if (VisitVisible(values, key, GetTransactionSnapshot(), &visitor)) RaiseConcurrentChange();
}

// A serializable transaction reads what it decides by, so that others notice.
void ReadForSerializable(const Table& values, const Key& key) {
    if (!IsolationIsSerializable()) return;
    EntryVisitor visitor(GetCurrentTimestamp(), false);
    (void)VisitVisible(values, key, GetTransactionSnapshot(), &visitor);
}

// Waits until the transaction that is inserting the row has ended. Unpins the page.
void WaitForInserter(Relation rel, const Located& row, PageGuard* guard) {
    const TransactionId inserter = HeapTupleHeaderGetXmin(row.tuple.t_data);
    ItemPointerData tid = row.tuple.t_self;
    guard->Release();
    XactLockTableWait(inserter, rel, &tid, XLTW_Lock);
    CHECK_FOR_INTERRUPTS();
}

// Waits until nobody else has the row in hand; the caller looks for it again.
void WaitForRow(Relation rel, const Located& row, PageGuard* guard) {
    HeapTupleData tuple{};
    tuple.t_self = row.tuple.t_self;
    guard->Unlock();  // the pin stays: the place is this row's
    TM_FailureData failure;
    Buffer buffer = InvalidBuffer;
    (void)heap_lock_tuple(rel, &tuple, GetCurrentCommandId(true), LockTupleNoKeyExclusive, LockWaitBlock, false,
                          &buffer, &failure);
    ReleaseBuffer(buffer);
    CHECK_FOR_INTERRUPTS();
}

// Another transaction is putting a new version in the row's place; one that only deletes or locks it isn't.
bool BeingReplaced(const Located& row) {
    const HeapTupleHeader tuple = row.tuple.t_data;
    return row.state == RowState::kChanging && !HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_infomask) &&
           !ItemPointerEquals(&tuple->t_ctid, const_cast<ItemPointer>(&row.tuple.t_self));
}

int64 NewVersion(int64 floor) {
    const auto version = page::NextSerial(page::Serial::kVersions, floor);
    if (!version)
        ereport(ERROR,
                (errcode(ERRCODE_DATA_EXCEPTION), errmsg("an entry's version is out of range: " INT64_FORMAT, floor),
                 errhint("No store of this library wrote it. Delete the entry.")));
    return *version;
}

HeapTuple FormEntry(Relation rel, const Key& key, const NewValue& value, int64 version, TimestampTz expires_at) {
    const ValueHead head{version, expires_at, value.type};
    std::array<pg::Column, 4> columns{};
    columns[0] = {key.datum, false};
    const int place = value.type == kText ? 1 : value.type == kJson ? 2 : 3;
    columns[place] = {value.value, false};
    return pg::FormRow(RelationGetDescr(rel), &head, kValueHeadBytes, kType, columns.data(),
                       static_cast<int>(columns.size()));
}

void InsertIndexEntry(const Table& values, const Key& key, HeapTuple row, IndexUniqueCheck check) {
    Relation index = index_open(values.half->index, RowExclusiveLock);
    Datum datum = key.datum;
    page::InsertIntoIndex(index, &datum, row->t_self, values.rel, check);
    index_close(index, NoLock);
}

// One call of Set.
class Setter {
public:
    Setter(const Table& values, const Key& key, const NewValue& value, const SetOptions& options, Entry* old)
        : values_(values), rel_(values.rel), key_(key), value_(value), options_(options), old_(old) {
        must_be_absent_ = options.mode == Mode::kIfAbsent || (options.version && *options.version == 0);
        must_be_present_ = options.mode == Mode::kIfPresent || (options.version && *options.version != 0);
    }

    ~Setter() {
        if (cells_) Close(*cells_);
    }
    Setter(const Setter&) = delete;
    Setter& operator=(const Setter&) = delete;

    std::optional<int64> Run() {
        std::optional<int64> version;
        ReadForSerializable(values_, key_);
        while (!Try(&version)) {
        }
        return version;
    }

private:
    // False: the key changed meanwhile; once more.
    bool Try(std::optional<int64>* version) {
        Located row = FindByPlace(values_, key_);
        if (!row) return Create(version);
        PageGuard guard(row.buffer);
        return Use(&row, &guard, version);
    }

    bool Use(Located* row, PageGuard* guard, std::optional<int64>* version) {
        if (row->state != RowState::kPending) return Replace(row, guard, version);
        WaitForInserter(rel_, *row, guard);
        return false;
    }

    bool Replace(Located* row, PageGuard* guard, std::optional<int64>* version) {
        const ValueHead* head = ValueHeadOf(row->tuple.t_data);
        const bool live = head->expires_at > GetCurrentTimestamp();
        CheckSnapshot(*row);
        // What depends on the outcome of another transaction waits for it.
        if (row->state == RowState::kChanging && (must_be_absent_ || must_be_present_)) {
            WaitForRow(rel_, *row, guard);
            return false;
        }
        if (live && must_be_absent_) return true;
        if (live && options_.version && head->version != *options_.version) return true;
        const int64 old_version = head->version;
        TimestampTz kept = head->expires_at;
        Entry before;
        if (live && old_ != nullptr) before = EntryOf(rel_, &row->tuple, true);
        ItemPointerData tid = row->tuple.t_self;
        guard->Unlock();  // the pin stays: the line pointer can't be given to another row

        if (!live) {
            const auto counter = LiveCounter();
            if (!counter && must_be_present_) return true;
            if (counter && (must_be_absent_ || options_.version)) return RefuseFor(*counter);
            if (counter) {
                before = EntryOf(*counter);
                kept = counter->expires_at;
            }
        }
        const bool keeps = options_.keep_ttl && kept > GetCurrentTimestamp();
        const TimestampTz expires_at = keeps ? kept : NewExpiry(values_.store, options_.ttl);
        const int64 drawn = NewVersion(old_version);
        HeapTuple next = FormEntry(rel_, key_, value_, drawn, expires_at);
        PrepareTouch(expires_at);
        TM_FailureData failure;
        switch (compat::HeapUpdate(rel_, &tid, next, GetCurrentCommandId(true), true, &failure)) {
            case TM_Ok:
                break;
            case TM_Updated:
            case TM_Deleted:
                if (IsolationUsesXactSnapshot()) RaiseConcurrentChange();
                heap_freetuple(next);
                return false;
            default:
                elog(ERROR, "unexpected state of an entry of \"%s\"", RelationGetRelationName(rel_));
        }
        // We have replaced the current version, so no other can be: the index need not look for one.
        if (!HeapTupleIsHeapOnly(next)) InsertIndexEntry(values_, key_, next, UNIQUE_CHECK_NO);
        NoteTouch(next, expires_at);
        // A touch in place may have come between our look and the update; from the update on it waits for us.
        const TimestampTz last = ExpiryOnPage(row->buffer, tid);
        if (keeps && live && last != kept) WriteExpiry(next, last);
        if (last <= GetCurrentTimestamp()) ReplaceCounter(Cells(), key_);
        heap_freetuple(next);
        Finish(before, drawn, version);
        return true;
    }

    // Nobody knows where the key lies, if it is there at all.
    bool Create(std::optional<int64>* version) {
        KeyLock lock(values_.store, Namespace::kKeys, key_);
        if (Located row = FindCurrent(values_, key_)) {
            PageGuard guard(row.buffer);
            lock.Release();
            return Use(&row, &guard, version);
        }
        CheckAbsence(values_, key_);
        // Nobody makes a counter of this name while we hold the lock. Most stores have none.
        const bool no_counters = RelationGetNumberOfBlocks(Cells().rel) == 0;
        const auto counter = no_counters ? std::nullopt : LiveCounter();
        if (!counter && must_be_present_) return true;
        if (counter && (must_be_absent_ || options_.version)) return RefuseFor(*counter);
        if (values_.store->max_entries > 0) Evict(values_);
        const int64 drawn = NewVersion(0);
        const bool keeps = options_.keep_ttl && counter;
        const TimestampTz expires_at = keeps ? counter->expires_at : NewExpiry(values_.store, options_.ttl);
        HeapTuple row = FormEntry(rel_, key_, value_, drawn, expires_at);
        PrepareTouch(expires_at);
        heap_insert(rel_, row, GetCurrentCommandId(true), 0, nullptr);
        InsertIndexEntry(values_, key_, row, UNIQUE_CHECK_YES);
        lock.Release();
        NoteKeyPlace(values_, kValuePlace, key_, row->t_self);
        NoteTouch(row, expires_at);
        if (counter) DeleteCell(Cells(), counter->tid);
        heap_freetuple(row);
        AddEntries(values_.store->stats, 1);
        Finish(counter ? EntryOf(*counter) : Entry{}, drawn, version);
        return true;
    }

    void Finish(const Entry& before, int64 drawn, std::optional<int64>* version) {
        if (old_ != nullptr) *old_ = before;
        *version = drawn;
    }

    // A counter has no version to compare with.
    bool RefuseFor(const Counter&) const {
        if (options_.version && *options_.version != 0)
            ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("the key is a counter, which has no version"),
                            errhint("Change it with kv.incr, or replace it with kv.set.")));
        return true;
    }

    const Table& Cells() {
        if (!cells_) cells_ = OpenOther(values_, RowExclusiveLock);
        return *cells_;
    }
    std::optional<Counter> LiveCounter() { return ReadCounter(Cells(), key_, nullptr); }

    void PrepareTouch(TimestampTz expires_at) {
        if (TIMESTAMP_IS_NOEND(expires_at)) return;
        map_ = MapOf(values_);
        page::ReserveTouches(1);
    }
    void NoteTouch(HeapTuple row, TimestampTz expires_at) {
        if (TIMESTAMP_IS_NOEND(expires_at)) return;
        const BlockNumber block = ItemPointerGetBlockNumber(&row->t_self);
        page::MakeRoom(map_, 0, block);
        page::TouchOnCommit(map_, 0, block, page::BoundOf(expires_at));
    }

    static TimestampTz ExpiryOnPage(Buffer buffer, const ItemPointerData& tid) {
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        const TimestampTz expires_at = ValueHeadOf(page::RowAt(buffer, tid))->expires_at;
        LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
        return expires_at;
    }

    // Into our own new row.
    void WriteExpiry(HeapTuple row, TimestampTz expires_at) {
        if (!TIMESTAMP_IS_NOEND(expires_at)) {
            PrepareTouch(expires_at);
            NoteTouch(row, expires_at);
        }
        page::InPlaceWriter writer(1);
        Buffer buffer = ReadBuffer(rel_, ItemPointerGetBlockNumber(&row->t_self));
        LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
        writer.Set(&ValueHeadOf(page::RowAt(buffer, row->t_self))->expires_at, &expires_at, sizeof(expires_at));
        writer.Apply(rel_, buffer);
        UnlockReleaseBuffer(buffer);
    }

    const Table& values_;
    Relation rel_;
    const Key& key_;
    const NewValue& value_;
    const SetOptions& options_;
    Entry* old_;
    bool must_be_absent_;
    bool must_be_present_;
    std::optional<Table> cells_;
    page::SegmentRef map_{};
};

}  // namespace

void RaiseConcurrentChange() {
    ereport(ERROR,
            (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE), errmsg("could not serialize access due to concurrent update"),
             errhint("Roll back and run the transaction again.")));
    pg_unreachable();
}

Reader::Reader(const Table& values, Snapshot snapshot)
    : values_(values), snapshot_(snapshot), now_(GetCurrentTimestamp()) {}

Reader::~Reader() {
    if (cells_) Close(*cells_);
    CountReads(values_.store, hits_, misses_, now_);
}

std::optional<Entry> Reader::Get(const Key& key, bool want_value) {
    EntryVisitor visitor(now_, want_value);
    (void)VisitVisible(values_, key, snapshot_, &visitor);
    if (unlikely(!visitor.entry)) visitor.entry = GetCounter(key);
    visitor.entry ? hits_++ : misses_++;
    return visitor.entry;
}

std::optional<Entry> Reader::GetCounter(const Key& key) {
    if (!cells_) cells_ = OpenOther(values_, AccessShareLock);
    const auto counter = ReadCounter(*cells_, key, snapshot_);
    return counter ? std::optional(EntryOf(*counter)) : std::nullopt;
}

Datum AsText(const Entry& entry) {
    switch (entry.type) {
        case kText:
            return PointerGetDatum(PG_DETOAST_DATUM_PACKED(entry.value));
        case kCounter:
            return CStringGetTextDatum(psprintf(INT64_FORMAT, DatumGetInt64(entry.value)));
        case kJson: {
            Jsonb* json = DatumGetJsonbP(entry.value);
            return CStringGetTextDatum(JsonbToCString(nullptr, &json->root, VARSIZE(json)));
        }
        default:
            return CStringGetTextDatum(DatumGetCString(DirectFunctionCall1(byteaout, entry.value)));
    }
}

std::optional<int64> Set(const Table& values, const Key& key, const NewValue& value, const SetOptions& options,
                         Entry* old) {
    // Our own rows of this statement so far become visible to us, and can be replaced.
    CommandCounterIncrement();
    return Setter(values, key, value, options, old).Run();
}

bool Delete(const Table& values, const Key& key, Entry* old) {
    CommandCounterIncrement();
    ReadForSerializable(values, key);
    Relation rel = values.rel;
    for (;;) {
        Located row = FindCurrent(values, key);
        if (!row) {
            CheckAbsence(values, key);
            break;
        }
        PageGuard guard(row.buffer);
        if (row.state == RowState::kPending) {
            WaitForInserter(rel, row, &guard);
            continue;
        }
        CheckSnapshot(row);
        if (ValueHeadOf(row.tuple.t_data)->expires_at <= GetCurrentTimestamp()) {
            if (!BeingReplaced(row)) break;
            WaitForRow(rel, row, &guard);
            continue;
        }
        if (old != nullptr) *old = EntryOf(rel, &row.tuple, true);
        ItemPointerData tid = row.tuple.t_self;
        guard.Unlock();
        TM_FailureData failure;
        switch (heap_delete(rel, &tid, GetCurrentCommandId(true), InvalidSnapshot, true, &failure, false)) {
            case TM_Ok:
                AddEntries(values.store->stats, -1);
                return true;
            case TM_Updated:
            case TM_Deleted:
                if (IsolationUsesXactSnapshot()) RaiseConcurrentChange();
                break;
            default:
                elog(ERROR, "unexpected state of an entry of \"%s\"", RelationGetRelationName(rel));
        }
    }
    const Table cells = OpenOther(values, RowExclusiveLock);
    bool deleted = false;
    while (const auto counter = ReadCounter(cells, key, nullptr)) {
        deleted = DeleteCell(cells, counter->tid);
        if (!deleted) continue;
        if (old != nullptr) *old = EntryOf(*counter);
        break;
    }
    Close(cells);
    return deleted;
}

bool Touch(const Table& values, const Key& key, double ttl) {
    page::RequireInPlaceAllowed();
    Relation rel = values.rel;
    const page::SegmentRef map = MapOf(values);
    for (;;) {
        Located row = FindCurrent(values, key);
        if (!row) break;
        PageGuard guard(row.buffer);
        if (row.state == RowState::kPending) {
            WaitForInserter(rel, row, &guard);
            continue;
        }
        if (row.state == RowState::kChanging) {
            WaitForRow(rel, row, &guard);
            continue;
        }
        // The clock is read under the lock: a purge that finds the entry expired finds it so for good.
        const TimestampTz now = GetCurrentTimestamp();
        ValueHead* head = ValueHeadOf(row.tuple.t_data);
        if (head->expires_at <= now) break;
        const TimestampTz expires_at = ExpiryOf(ttl, now);
        page::InPlaceWriter writer(1);
        writer.Set(&head->expires_at, &expires_at, sizeof(expires_at));
        writer.Apply(rel, row.buffer);
        const BlockNumber block = BufferGetBlockNumber(row.buffer);
        if (!TIMESTAMP_IS_NOEND(expires_at)) page::Lower(map, 0, block, block, page::BoundOf(expires_at));
        return true;
    }
    const Table cells = OpenOther(values, RowExclusiveLock);
    const bool touched = TouchCounter(cells, key, ttl);
    Close(cells);
    return touched;
}

Presence LookForValue(const Table& values, const Key& key) {
    Located row = FindCurrent(values, key);
    if (!row) return DeletedByUs(values, key) ? Presence::kDeletedByUs : Presence::kNone;
    const PageGuard guard(row.buffer);
    if (row.state == RowState::kPending) return Presence::kUndecided;
    if (ValueHeadOf(row.tuple.t_data)->expires_at > GetCurrentTimestamp()) return Presence::kLive;
    return BeingReplaced(row) ? Presence::kUndecided : Presence::kNone;
}

}  // namespace pgqueue::kv
