#include "pgqueue/queue/ack.hpp"

#include "pgqueue/page/inplace.hpp"
#include "pgqueue/page/transaction.hpp"
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
    Relation index = index_open(opened.queue->primary_key, AccessShareLock);
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
    index_close(index, NoLock);
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

// Page locked. Writes a new vt in place.
void WriteVt(Relation rel, Buffer buffer, const page::SegmentRef& map, HeapTuple tuple, TimestampTz vt) {
    page::InPlaceWriter writer(1);
    RowHead* head = HeadOf(tuple->t_data);
    page::ForgetReleased(LeaseOf(map, head, tuple->t_self));
    writer.Set(&head->vt, &vt, sizeof(vt));
    writer.Apply(rel, buffer);
}

}  // namespace

Acker::Acker(const OpenedQueue& opened, Relation archive) : opened_(opened), rel_(opened.segment), archive_(archive) {
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
    const page::SegmentRef map = MapOf(opened_);
    ItemPointerData locked{};  // the place that this call has locked for itself, if any
    for (;;) {
        Located row = Locate(opened_, id.msg_id);
        if (!row) return false;
        ReleasedOnce guard(row.buffer);
        ItemPointerData tid = row.tuple.t_self;
        if (row.state == RowState::kChanging) {
            guard.Unlock();
            WaitForRow(rel_, tid);
            locked = tid;
            continue;
        }
        const RowHead* head = HeadOf(row.tuple.t_data);
        if (id.receipt && head->receipt != *id.receipt) return false;

        const TimestampTz now = GetCurrentTimestamp();
        const TimestampTz old_vt = EffectiveVt(map, head, tid, now);
        if (id.receipt && old_vt < now + kAckMargin) {
            page::RequireInPlaceAllowed();
            page::ReserveLeases(1);
            const page::LeaseKey lease = LeaseOf(map, head, tid);
            WriteVt(rel_, row.buffer, map, &row.tuple, now + 2 * kAckMargin);
            if (!page::MoveHeldLease(lease, head->vt))
                page::HoldLease(map, head->priority, LeaseOf(map, head, tid), old_vt);
        }
        page::ReserveTouches(1);
        const int32 priority = head->priority;
        HeapTuple copy = archive_ != nullptr ? heap_copytuple(&row.tuple) : nullptr;
        guard.Unlock();  // the pin stays: the line pointer can't be given to another row

        // Not to wait without the row's lock: the lease could run out meanwhile and be another's. With it, `wait` is
        // only the permission to pass our own lock.
        const bool ours = ItemPointerIsValid(&locked) && ItemPointerEquals(&locked, &tid);
        TM_FailureData failure;
        switch (heap_delete(rel_, &tid, GetCurrentCommandId(true), InvalidSnapshot, ours, &failure, false)) {
            case TM_Ok:
                // The check above and the delete are two looks, and a lease doesn't show in between (see heap_delete's
                // own check). Now that the row is ours nobody can lease it any more.
                if (id.receipt && !StillHeld(row.buffer, tid, *id.receipt))
                    ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                                    errmsg("message " INT64_FORMAT " was handed out again while it was being deleted",
                                           id.msg_id),
                                    errhint("The lease was lost. Roll back the work.")));
                page::TouchOnAbort(map, priority, ItemPointerGetBlockNumber(&tid), page::BoundOf(old_vt));
                if (copy != nullptr) Archive(copy);
                return true;
            case TM_SelfModified:
            case TM_Deleted:
                return false;
            case TM_BeingModified:
                WaitForRow(rel_, tid);
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

// Deletes first, then copies: whoever sees the copy sees the message gone.
void Acker::Archive(HeapTuple tuple) {
    const TupleDesc from = RelationGetDescr(rel_);
    const TupleDesc to = RelationGetDescr(archive_);
    auto* values = static_cast<Datum*>(palloc(std::max(from->natts, to->natts) * sizeof(Datum)));
    auto* nulls = static_cast<bool*>(palloc(std::max(from->natts, to->natts) * sizeof(bool)));
    heap_deform_tuple(tuple, from, values, nulls);
    for (int i = kQueueColumns; i < to->natts; i++) nulls[i] = true;
    values[kArchivedAt - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
    nulls[kArchivedAt - 1] = false;
    HeapTuple archived = heap_form_tuple(to, values, nulls);
    writer_->Insert(&archived, 1, 0);
    heap_freetuple(archived);
    heap_freetuple(tuple);
    pfree(values);
    pfree(nulls);
}

bool SetVt(const OpenedQueue& opened, const MessageId& id, TimestampTz vt, bool settle, RowSink* sink) {
    page::RequireInPlaceAllowed();
    Relation rel = opened.segment;
    const page::SegmentRef map = MapOf(opened);
    for (;;) {
        Located row = Locate(opened, id.msg_id);
        if (!row) return false;
        ReleasedOnce guard(row.buffer);
        if (row.state == RowState::kChanging) {
            guard.Unlock();
            WaitForRow(rel, row.tuple.t_self);
            CHECK_FOR_INTERRUPTS();
            continue;
        }
        const RowHead* head = HeadOf(row.tuple.t_data);
        if (id.receipt && head->receipt != *id.receipt) return false;
        const page::LeaseKey lease = LeaseOf(map, head, row.tuple.t_self);
        WriteVt(rel, row.buffer, map, &row.tuple, vt);
        if (settle)
            page::DropHeldLease(lease);
        else
            page::MoveHeldLease(lease, vt);
        const BlockNumber block = BufferGetBlockNumber(row.buffer);
        page::Lower(map, head->priority, block, block, page::BoundOf(vt));
        HeapTuple copy = sink != nullptr ? heap_copytuple(&row.tuple) : nullptr;
        guard.Unlock();
        page::Wake(map, 1);
        if (copy != nullptr) {
            sink->Take(rel, copy);
            heap_freetuple(copy);
        }
        return true;
    }
}

}  // namespace pgqueue::queue
