#include "pgqueue/queue/ack.hpp"

#include "pgqueue/page/inplace.hpp"
#include "pgqueue/queue/archive_parts.hpp"
#include "pgqueue/page/transaction.hpp"
#include "pgqueue/queue/dead_letters.hpp"
#include "pgqueue/queue/failures.hpp"
#include "pgqueue/queue/grouping.hpp"
#include "pgqueue/queue/row_state.hpp"

namespace pgqueue::queue {
namespace {

// An ack whose lease has less than this left extends it in place before it deletes, so that nobody can take the message
// between the check of the receipt and the delete. A rollback puts the old end back.
constexpr int64 kAckMargin = 10 * USECS_PER_SEC;

// A found row: pinned, its page locked exclusively.
struct Located {
    Buffer buffer = InvalidBuffer;
    HeapTupleData tuple{};
    RowState state = RowState::kDead;
    bool replaced = false;  // not found, but a version that an UPDATE has replaced
    explicit operator bool() const { return buffer != InvalidBuffer; }
};

bool Alive(RowState state) { return state == RowState::kLive || state == RowState::kChanging; }

// Looks for the message on one page: at `off` first, then, since an UPDATE may have moved it, at every place.
Located LocateOnPage(Relation rel, BlockNumber block, OffsetNumber off, int64 msg_id) {
    Located found;
    Buffer buffer = ReadBuffer(rel, block);
    LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
    bool pending = false;
    const auto is_it = [&](OffsetNumber i) {
        found.state = StateOf(rel, buffer, i, &found.tuple);
        if (Alive(found.state)) return HeadOf(found.tuple.t_data)->msg_id == msg_id;
        if ((found.state != RowState::kReplaced && found.state != RowState::kPending) || !HasHead(&found.tuple) ||
            HeadOf(found.tuple.t_data)->msg_id != msg_id)
            return false;
        (found.state == RowState::kPending ? pending : found.replaced) = true;
        return false;
    };
    bool good = is_it(off);
    const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
    // The new version may have been looked at before its UPDATE committed, and the old one behind it: once more then.
    for (int look = 0; look < 2 && !good && (look == 0 || (pending && found.replaced)); look++)
        for (OffsetNumber i = FirstOffsetNumber; !good && i <= last; i = OffsetNumberNext(i)) good = is_it(i);
    if (good)
        found.buffer = buffer;
    else
        UnlockReleaseBuffer(buffer);
    return found;
}

// Finds a live row of the message: at the place where this backend saw it last, else by the primary key.
Located Locate(const OpenedQueue& opened, int64 msg_id) {
    Relation rel = opened.segment;
    if (const auto place = RememberedPlace(RelationGetRelid(rel), msg_id)) {
        const BlockNumber block = ItemPointerGetBlockNumber(&*place);
        if (page::BlockExists(rel, block)) {
            Located found = LocateOnPage(rel, block, ItemPointerGetOffsetNumber(&*place), msg_id);
            if (found) return found;
        }
    }
    Relation index = index_open(SegmentOf(opened).primary_key, AccessShareLock);
    IndexScanDesc scan = compat::BeginIndexScan(rel, index, SnapshotAny, 1);
    ScanKeyData key;
    ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(msg_id));
    Located found;
    // An UPDATE that commits while we look replaces a version that the index has led us to by one that it has not. So
    // where a replaced one is met, the index is asked again, until it knows no others than it did before.
    uint64 known = 0;
    for (uint64 before = 1; known != before;) {
        before = known;
        known = 0;
        bool replaced = false;
        BlockNumber looked = InvalidBlockNumber;
        index_rescan(scan, &key, 1, nullptr, 0);
        while (ItemPointer tid = index_getnext_tid(scan, ForwardScanDirection)) {
            const BlockNumber block = ItemPointerGetBlockNumber(tid);
            known += (uint64{block} << 16 | ItemPointerGetOffsetNumber(tid)) * 0x9e3779b97f4a7c15u;
            if (block == looked) continue;
            looked = block;
            found = LocateOnPage(rel, block, ItemPointerGetOffsetNumber(tid), msg_id);
            if (found) break;
            replaced |= found.replaced;
        }
        if (found || !replaced) break;
        CHECK_FOR_INTERRUPTS();
    }
    index_endscan(scan);
    index_close(index, AccessShareLock);  // the table's lock is what counts, and may be given back
    return found;
}

// Waits until no other transaction has the row in hand, and keeps it locked for ours. The caller holds a pin on the
// page, so that the place stays this row's, and looks again from the start, since the row may have moved or gone.
void WaitForRow(Relation rel, ItemPointerData tid) {
    HeapTupleData tuple;
    tuple.t_self = tid;
    TM_FailureData failure;
    Buffer buffer = InvalidBuffer;
    heap_lock_tuple(rel, &tuple, GetCurrentCommandId(true), LockTupleExclusive, LockWaitBlock, false, &buffer,
                    &failure);
    ReleaseBuffer(buffer);
}

// Whether the row, which the caller has deleted and keeps pinned, still bears the receipt.
bool StillHeld(Buffer buffer, const ItemPointerData& tid, int64 receipt) {
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    const bool held = HeadOf(page::RowAt(buffer, tid))->receipt == receipt;
    LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
    return held;
}

class ReleasedOnce {  // unlocks and unpins on the success path
public:
    explicit ReleasedOnce(Buffer buffer) : buffer_(buffer) {}
    ~ReleasedOnce() {
        if (locked_) LockBuffer(buffer_, BUFFER_LOCK_UNLOCK);
        ReleaseBuffer(buffer_);
    }
    ReleasedOnce(const ReleasedOnce&) = delete;
    ReleasedOnce& operator=(const ReleasedOnce&) = delete;
    void Unlock() {
        LockBuffer(buffer_, BUFFER_LOCK_UNLOCK);
        locked_ = false;
    }

private:
    Buffer buffer_;
    bool locked_ = true;
};

// Page locked. Writes a new vt in place. `untried`: the lease doesn't count as an attempt.
void WriteVt(Relation rel, Buffer buffer, const page::SegmentRef& map, HeapTuple tuple, TimestampTz vt,
             bool untried = false) {
    page::InPlaceWriter writer(2);
    RowHead* head = HeadOf(tuple->t_data);
    page::ForgetReleased(LeaseOf(map, head, tuple->t_self));
    const int32 read_ct = std::max(head->read_ct - 1, 0);
    writer.Set(&head->vt, &vt, sizeof(vt));
    if (untried) writer.Set(&head->read_ct, &read_ct, sizeof(read_ct));
    writer.Apply(rel, buffer);
}

}  // namespace

Acker::Acker(const OpenedQueue& opened, Relation archive) : opened_(opened), archive_(archive) {
    if (archive != nullptr) writer_.emplace(archive, InvalidOid, false);
}

void Acker::Run(const MessageId* ids, int count, bool* done) {
    if (count == 1) {
        done[0] = Ack(ids[0]);
        return;
    }
    pg::Vector<int> order(count);
    for (int i = 0; i < count; i++) order[i] = i;
    std::sort(order.begin(), order.end(),
              [&](int a, int b) { return ids[a].msg_id != ids[b].msg_id ? ids[a].msg_id < ids[b].msg_id : a < b; });
    for (int i : order) {
        CHECK_FOR_INTERRUPTS();
        done[i] = Ack(ids[i]);
    }
}

bool Acker::Ack(const MessageId& id) {
    return FindInSegments(opened_, id.msg_id, RowExclusiveLock,
                          [&](const OpenedQueue& segment) { return AckIn(segment, id); });
}

bool Acker::AckIn(const OpenedQueue& segment, const MessageId& id, ItemPointerData locked) {
    Relation rel = segment.segment;
    const page::SegmentRef map = MapOf(segment);
    for (;;) {
        Located row = Locate(segment, id.msg_id);
        if (!row) return false;
        ReleasedOnce guard(row.buffer);
        ItemPointerData tid = row.tuple.t_self;
        if (row.state == RowState::kChanging) {
            guard.Unlock();
            WaitForRow(rel, tid);
            locked = tid;
            continue;
        }
        const RowHead* head = HeadOf(row.tuple.t_data);
        if (id.receipt && head->receipt != *id.receipt) return false;

        const page::GroupHash group = GroupOf(rel, &row.tuple);
        const page::HoldKey hold = HoldKeyOf(head);
        const TimestampTz now = GetCurrentTimestamp();
        const TimestampTz old_vt = EffectiveVt(map, head, tid, now);
        if (id.receipt && old_vt < now + kAckMargin) {
            page::RequireInPlaceAllowed();
            page::ReserveLeases(1);
            const page::LeaseKey lease = LeaseOf(map, head, tid);
            WriteVt(rel, row.buffer, map, &row.tuple, now + 2 * kAckMargin);
            if (!page::MoveHeldLease(lease, head->vt))
                page::HoldLease(map, head->priority, LeaseOf(map, head, tid), old_vt, 0, group);
            if (group != 0) page::MoveHold(map, group, hold, head->vt);
        }
        page::ReserveTouches(1);
        if (group != 0) page::ReserveDrops(1);
        const int32 priority = head->priority;
        HeapTuple copy = archive_ != nullptr ? heap_copytuple(&row.tuple) : nullptr;
        guard.Unlock();  // the pin stays: the line pointer can't be given to another row

        // Not to wait without the row's lock: the lease could run out meanwhile and be another's. With it, `wait` is
        // only the permission to pass our own lock.
        const bool ours = ItemPointerIsValid(&locked) && ItemPointerEquals(&locked, &tid);
        TM_FailureData failure;
        switch (heap_delete(rel, &tid, GetCurrentCommandId(true), InvalidSnapshot, ours, &failure, false)) {
            case TM_Ok:
                // The check above and the delete are two looks, and a lease doesn't show in between (see heap_delete's
                // own check). Now that the row is ours nobody can lease it any more.
                if (id.receipt && !StillHeld(row.buffer, tid, *id.receipt))
                    ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                                    errmsg("message " INT64_FORMAT " was handed out again while it was being deleted",
                                           id.msg_id),
                                    errhint("The lease was lost. Roll back the work.")));
                page::TouchOnAbort(map, priority, ItemPointerGetBlockNumber(&tid), page::BoundOf(old_vt));
                if (group != 0) page::DropHoldOnCommit(map, ItemPointerGetBlockNumber(&tid), group, hold);
                if (copy != nullptr) Archive(rel, copy);
                return true;
            case TM_SelfModified:
            case TM_Deleted:
                return false;
            case TM_BeingModified:
                WaitForRow(rel, tid);
                locked = tid;
                break;
            default:
                break;  // updated: it is elsewhere now
        }
        if (copy != nullptr) heap_freetuple(copy);
        CHECK_FOR_INTERRUPTS();
    }
}

bool Acker::DeleteRead(HeapTuple read) {
    const RowHead* head = HeadOf(read->t_data);
    return Ack({head->msg_id, head->receipt});
}

bool Acker::DeleteLocked(int64 msg_id, const ItemPointerData& tid) {
    RememberPlace(RelationGetRelid(opened_.segment), msg_id, tid);
    return AckIn(opened_, {msg_id, std::nullopt}, tid);
}

namespace {

void CheckArchive(const OpenedQueue& opened, Relation archive) {
    // Its CHECKs and index expressions are its owner's code, which runs as whoever archives.
    if (archive->rd_rel->relowner != opened.queue->owner)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("table \"%s\" belongs to another role than the queue", RelationGetRelationName(archive)),
                        errhint("Drop or rename it, or ALTER TABLE ... OWNER TO the queue's.")));
    const TupleDesc desc = RelationGetDescr(archive);
    const TupleDesc from = RelationGetDescr(opened.segment);
    bool good = archive->rd_rel->relkind == RELKIND_RELATION && archive->rd_rel->relam == HEAP_TABLE_AM_OID &&
                archive->rd_rules == nullptr && desc->natts >= kArchiveColumns &&
                TupleDescAttr(desc, kArchivedAt - 1)->atttypid == TIMESTAMPTZOID;
    for (int i = 0; good && i < kQueueColumns; i++)
        good = TupleDescAttr(desc, i)->atttypid == TupleDescAttr(from, i)->atttypid &&
               !TupleDescAttr(desc, i)->attisdropped;
    if (!good)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("table \"%s\" can't be used as an archive: its leading columns are not the queue's",
                               RelationGetRelationName(archive))));
}

}  // namespace

Relation OpenArchiveTable(const OpenedQueue& opened, Oid table) {
    Relation archive = table_open(table, RowExclusiveLock);
    CheckArchive(opened, archive);
    return archive;
}

Relation OpenArchive(const OpenedQueue& opened) {
    if (!OidIsValid(opened.queue->archive))
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("queue \"%s\" has no archive table", opened.queue->name),
                 errhint("Call queue.create with the queue's settings: it makes one.")));
    Relation archive = OpenArchiveTable(opened, opened.queue->archive);
    Relation part = OpenArchivePart(opened, archive);
    if (part == archive) return archive;
    CheckArchive(opened, part);
    table_close(archive, NoLock);
    return part;
}

HeapTuple ArchivedRow(Relation segment, Relation archive, HeapTuple row, const Jsonb* headers) {
    const TupleDesc from = RelationGetDescr(segment);
    const TupleDesc to = RelationGetDescr(archive);
    auto* values = static_cast<Datum*>(palloc(std::max(from->natts, to->natts) * sizeof(Datum)));
    auto* nulls = static_cast<bool*>(palloc(std::max(from->natts, to->natts) * sizeof(bool)));
    heap_deform_tuple(row, from, values, nulls);
    for (int i = kQueueColumns; i < to->natts; i++) nulls[i] = true;
    values[kArchivedAt - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
    nulls[kArchivedAt - 1] = false;
    if (headers != nullptr) {
        values[kHeaders - 1] = JsonbPGetDatum(headers);
        nulls[kHeaders - 1] = false;
    }
    HeapTuple archived = heap_form_tuple(to, values, nulls);
    pfree(values);
    pfree(nulls);
    return archived;
}

// Deletes first, then copies: whoever sees the copy sees the message gone.
void Acker::Archive(Relation segment, HeapTuple tuple) {
    HeapTuple archived = ArchivedRow(segment, archive_, tuple);
    writer_->Insert(&archived, 1, 0);
    heap_freetuple(archived);
    heap_freetuple(tuple);
}

namespace {

// Writes a new vt for the message, if it is in this segment: vt_of(row) is called with the page locked. `settle`: see
// SetVt. Returns a copy of the row as it is then; null: there is no such message, or the receipt is another one.
template <class VtOf>
HeapTuple ChangeVt(const OpenedQueue& opened, const MessageId& id, bool settle, VtOf vt_of, bool untried = false) {
    page::RequireInPlaceAllowed();
    Relation rel = opened.segment;
    const page::SegmentRef map = MapOf(opened);
    for (;;) {
        Located row = Locate(opened, id.msg_id);
        if (!row) return nullptr;
        ReleasedOnce guard(row.buffer);
        if (row.state == RowState::kChanging) {
            guard.Unlock();
            WaitForRow(rel, row.tuple.t_self);
            CHECK_FOR_INTERRUPTS();
            continue;
        }
        const RowHead* head = HeadOf(row.tuple.t_data);
        if (id.receipt && head->receipt != *id.receipt) return nullptr;
        const page::GroupHash group = GroupOf(rel, &row.tuple);
        const page::LeaseKey lease = LeaseOf(map, head, row.tuple.t_self);
        const TimestampTz vt = vt_of(&row.tuple);
        WriteVt(rel, row.buffer, map, &row.tuple, vt, untried);
        if (settle)
            page::DropHeldLease(lease);
        else
            page::MoveHeldLease(lease, vt);
        const BlockNumber block = BufferGetBlockNumber(row.buffer);
        // The next in the group is found only after this one: the page is lowered first, and stays so while it is
        // locked. A reader looks at once, and keeps the group waiting, if the message is due later.
        if (group != 0)
            page::Lower(map, head->priority, block, block, page::kUnknown, page::Above::kNow);
        else
            page::Lower(map, head->priority, block, block, page::BoundOf(vt));
        if (group != 0 && vt <= GetCurrentTimestamp())
            page::DropHold(map, group, HoldKeyOf(head));
        else if (group != 0)
            page::MoveHold(map, group, HoldKeyOf(head), vt);
        HeapTuple copy = heap_copytuple(&row.tuple);
        guard.Unlock();
        page::Wake(map, 1);
        return copy;
    }
}

}  // namespace

bool SetVt(const OpenedQueue& opened, const MessageId& id, TimestampTz vt, bool settle, RowSink* sink) {
    return FindInSegments(opened, id.msg_id, RowExclusiveLock, [&](const OpenedQueue& segment) {
        HeapTuple row = ChangeVt(segment, id, settle, [=](HeapTuple) { return vt; });
        if (row == nullptr) return false;
        if (sink != nullptr) sink->Take(segment.segment, row);
        heap_freetuple(row);
        return true;
    });
}

namespace {

enum class Nacked { kNotHere, kDone, kGone };

Nacked NackIn(const OpenedQueue& opened, const MessageId& id, std::optional<double> delay, const text* error) {
    const Queue* queue = opened.queue;
    const page::SegmentRef map = MapOf(opened);
    page::ReserveLeases(1);
    bool dead = false;
    HeapTuple row = ChangeVt(opened, id, true, [&](HeapTuple tuple) {
        const RowHead* head = HeadOf(tuple->t_data);
        const TimestampTz now = GetCurrentTimestamp();
        dead = IsExhausted(queue, head);
        if (dead) return now + kMoveLease;  // ours until it is moved
        const int64 pause = delay ? static_cast<int64>(*delay * USECS_PER_SEC) : BackoffAfter(queue, head->read_ct);
        // Once expired it is never due again, and must not keep its group waiting any longer.
        return std::min(now + pause, ExpiryOf(tuple, RelationGetDescr(opened.segment)));
    });
    if (row == nullptr) return Nacked::kNotHere;
    const RowHead* head = HeadOf(row->t_data);
    bool done = true;
    // Held only from here on: an interrupt in between leaves it to the lease's end.
    if (dead) page::HoldLease(map, head->priority, LeaseOf(map, head, row->t_self), 0, 0, GroupOf(opened.segment, row));
    if (error != nullptr) RecordFailure(queue->name, head->msg_id, head->read_ct, error);
    if (dead) {
        DeadLetters dead_letters(opened);
        done = dead_letters.Move(row, error);
        dead_letters.Finish();
    }
    heap_freetuple(row);
    return done ? Nacked::kDone : Nacked::kGone;
}

}  // namespace

bool Nack(const OpenedQueue& opened, const MessageId& id, std::optional<double> delay, const text* error) {
    Nacked nacked = Nacked::kNotHere;
    FindInSegments(opened, id.msg_id, RowExclusiveLock, [&](const OpenedQueue& segment) {
        nacked = NackIn(segment, id, delay, error);
        return nacked != Nacked::kNotHere;
    });
    return nacked == Nacked::kDone;
}

bool PutBack(const OpenedQueue& opened, const MessageId& id) {
    return FindInSegments(opened, id.msg_id, RowExclusiveLock, [&](const OpenedQueue& segment) {
        HeapTuple row = ChangeVt(
            segment, id, true, [](HeapTuple) { return GetCurrentTimestamp(); }, true);
        if (row != nullptr) heap_freetuple(row);
        return row != nullptr;
    });
}

bool MessageIsIn(const OpenedQueue& segment, int64 msg_id) {
    const Located found = Locate(segment, msg_id);
    if (found) UnlockReleaseBuffer(found.buffer);
    return static_cast<bool>(found);
}

bool MessageIsThere(const OpenedQueue& opened, int64 msg_id) {
    return FindInSegments(opened, msg_id, AccessShareLock,
                          [=](const OpenedQueue& segment) { return MessageIsIn(segment, msg_id); });
}

}  // namespace pgqueue::queue
