#include "pgqueue/kv/find.hpp"

#include "pgqueue/page/places.hpp"

namespace pgqueue::kv {
namespace {

using page::RowState;

constexpr int kMaxHops = 16;  // from an old hint to the newest version

uint64 HashOf(const Table& table, char kind, const Key& key) {
    return page::PlaceHash(compat::FileNumberOf(table.rel), kind, key.bytes);
}

// The line pointer at `off`, with a redirection followed. 0: no row there.
OffsetNumber Redirected(Page page, OffsetNumber off) {
    if (off < FirstOffsetNumber || off > PageGetMaxOffsetNumber(page)) return InvalidOffsetNumber;
    const ItemId item = PageGetItemId(page, off);
    if (ItemIdIsNormal(item)) return off;
    return ItemIdIsRedirected(item) ? static_cast<OffsetNumber>(ItemIdGetRedirect(item)) : InvalidOffsetNumber;
}

// Where the row's next version is, if an UPDATE has made one.
bool NextVersion(const HeapTupleData* tuple, ItemPointerData* next) {
    const HeapTupleHeader row = tuple->t_data;
    if ((row->t_infomask & HEAP_XMAX_INVALID) != 0 || HEAP_XMAX_IS_LOCKED_ONLY(row->t_infomask)) return false;
    *next = row->t_ctid;
    return ItemPointerIsValid(next) && !ItemPointerEquals(next, const_cast<ItemPointer>(&tuple->t_self));
}

// Goes from `tid` along the versions to the first row of the key that isn't over, and leaves its page locked. Where the
// way is lost (the row is another key's by now, or gone) it finds nothing.
Located WalkToCurrent(Relation rel, page::Place place, const Key& key) {
    TransactionId updater = InvalidTransactionId;  // of the version before
    for (;;) {
        const BlockNumber block = ItemPointerGetBlockNumber(&place.tid);
        Located found;
        found.buffer = page::ReadPlace(rel, place);
        if (!found) return {};
        heap_page_prune_opt(rel, found.buffer);  // as an index scan does: or the page would never have room again
        LockBuffer(found.buffer, BUFFER_LOCK_EXCLUSIVE);
        bool elsewhere = false;
        OffsetNumber off = ItemPointerGetOffsetNumber(&place.tid);
        for (;;) {
            off = Redirected(BufferGetPage(found.buffer), off);
            if (off == InvalidOffsetNumber) break;
            found.state = page::Judge(rel, found.buffer, off, &found.tuple);
            const auto here = KeyOf(&found.tuple);
            if (!here || *here != key.bytes) break;
            if (TransactionIdIsValid(updater) &&
                !TransactionIdEquals(updater, HeapTupleHeaderGetRawXmin(found.tuple.t_data)))
                break;
            if (!page::IsOver(found.state) && found.state != RowState::kGone) return found;
            ItemPointerData next;
            if (found.state == RowState::kDead || !NextVersion(&found.tuple, &next)) break;
            updater = HeapTupleHeaderGetUpdateXid(found.tuple.t_data);
            elsewhere = ItemPointerGetBlockNumber(&next) != block;
            place = {next, InvalidBuffer};
            off = ItemPointerGetOffsetNumber(&next);
            if (elsewhere) break;
        }
        UnlockReleaseBuffer(found.buffer);
        if (!elsewhere) return {};
        CHECK_FOR_INTERRUPTS();
    }
}

void SetKey(ScanKeyData* scan_key, AttrNumber attribute, const Key& key) {
    ScanKeyInit(scan_key, attribute, BTEqualStrategyNumber, F_TEXTEQ, key.datum);
    scan_key->sk_collation = C_COLLATION_OID;
}

std::array<ScanKeyData, 2> CellScanKeys(CellKind kind, const Key& key) {
    std::array<ScanKeyData, 2> scan_keys{};
    ScanKeyInit(&scan_keys[0], 1, BTEqualStrategyNumber, F_CHAREQ, CharGetDatum(kind));
    SetKey(&scan_keys[1], 2, key);
    return scan_keys;
}

// An index scan that is closed at the end of the scope.
class KeyScan {
public:
    KeyScan(const Table& table, Snapshot snapshot, const ScanKeyData* keys, int count)
        : index_(index_open(table.half->index, AccessShareLock)),
          scan_(compat::BeginIndexScan(table.rel, index_, snapshot, count)), keys_(keys), count_(count) {
        Restart();
    }
    ~KeyScan() {
        index_endscan(scan_);
        // Not kept: who waits for a lock holds none on the table, and must hold none on its index either.
        index_close(index_, AccessShareLock);
    }
    KeyScan(const KeyScan&) = delete;
    KeyScan& operator=(const KeyScan&) = delete;

    void Restart() { index_rescan(scan_, const_cast<ScanKeyData*>(keys_), count_, nullptr, 0); }
    // Backwards: the newest version mostly has the highest place.
    ItemPointer Next() { return index_getnext_tid(scan_, BackwardScanDirection); }
    bool NextRow(TupleTableSlot* slot) { return index_getnext_slot(scan_, BackwardScanDirection, slot); }

private:
    Relation index_;
    IndexScanDesc scan_;
    const ScanKeyData* keys_;
    int count_;
};

Located FindByIndex(const Table& values, const Key& key) {
    ScanKeyData scan_key;
    SetKey(&scan_key, 1, key);
    KeyScan scan(values, SnapshotAny, &scan_key, 1);
    // An UPDATE that commits while we look replaces a version that the index has led us to by one that it had not. So
    // the index is asked again, until it knows no others than it did before.
    uint64 known = 0;
    for (uint64 before = 1; known != before;) {
        before = known;
        known = 0;
        while (ItemPointer tid = scan.Next()) {
            known +=
                (uint64{ItemPointerGetBlockNumber(tid)} << 16 | ItemPointerGetOffsetNumber(tid)) * 0x9e3779b97f4a7c15u;
            if (Located found = WalkToCurrent(values.rel, {*tid, InvalidBuffer}, key)) return found;
        }
        if (known == 0) break;
        scan.Restart();
        CHECK_FOR_INTERRUPTS();
    }
    return {};
}

// A cell's page may be everybody's: a change holds the lock for about a microsecond, and a sleeper takes many to wake
// up.
void LockCell(Buffer buffer, int lock) {
    constexpr int kTries = 64;
    if (lock == BUFFER_LOCK_EXCLUSIVE) {
        for (int i = 0; i < kTries; i++) {
            if (ConditionalLockBuffer(buffer)) return;
            pg_spin_delay();
        }
    }
    LockBuffer(buffer, lock);
}

// From the hint to the version that the snapshot sees. False: look elsewhere.
bool VisitByPlace(const Table& values, const Key& key, Snapshot snapshot, RowVisitor* visitor) {
    Relation rel = values.rel;
    const uint64 hash = HashOf(values, kValuePlace, key);
    auto place = page::FindPlace(hash);
    if (!place) return false;
    for (int hop = 0; hop < kMaxHops; hop++) {
        Buffer buffer = page::ReadPlace(rel, *place);
        if (!BufferIsValid(buffer)) return false;
        heap_page_prune_opt(rel, buffer);
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        PageGuard guard(buffer);
        Page page = BufferGetPage(buffer);
        const OffsetNumber off = Redirected(page, ItemPointerGetOffsetNumber(&place->tid));
        if (off == InvalidOffsetNumber) return false;
        const ItemId item = PageGetItemId(page, off);
        HeapTupleData tuple;
        tuple.t_data = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, item));
        tuple.t_len = ItemIdGetLength(item);
        tuple.t_tableOid = RelationGetRelid(rel);
        ItemPointerSet(&tuple.t_self, ItemPointerGetBlockNumber(&place->tid), off);
        const auto here = KeyOf(&tuple);
        if (!here || *here != key.bytes) return false;
        if (HeapTupleSatisfiesVisibility(&tuple, snapshot, buffer)) {
            if (hop > 0 || buffer != place->buffer) page::NotePlace(hash, tuple.t_self, buffer);
            return visitor->Visit(rel, &tuple);
        }
        place->buffer = InvalidBuffer;
        if (!NextVersion(&tuple, &place->tid)) return false;
    }
    return false;
}

}  // namespace

void NoteKeyPlace(const Table& table, char kind, const Key& key, const ItemPointerData& tid) {
    page::NotePlace(HashOf(table, kind, key), tid, InvalidBuffer);
}

Located FindByPlace(const Table& values, const Key& key) {
    const uint64 hash = HashOf(values, kValuePlace, key);
    Located found;
    if (const auto place = page::FindPlace(hash)) found = WalkToCurrent(values.rel, *place, key);
    if (found && found.state != RowState::kPending) page::NotePlace(hash, found.tuple.t_self, found.buffer);
    return found;
}

Located FindCurrent(const Table& values, const Key& key) {
    if (Located found = FindByPlace(values, key)) return found;
    Located found = FindByIndex(values, key);
    if (found && found.state != RowState::kPending)
        page::NotePlace(HashOf(values, kValuePlace, key), found.tuple.t_self, found.buffer);
    return found;
}

Located FindCell(const Table& cells, CellKind kind, const Key& key, int lock, bool* over) {
    Relation rel = cells.rel;
    const uint64 hash = HashOf(cells, kind, key);
    const auto at = [&](const page::Place& place) -> Located {
        Located found;
        found.buffer = page::ReadPlace(rel, place);
        if (!found) return {};
        LockCell(found.buffer, lock);
        const OffsetNumber off = ItemPointerGetOffsetNumber(&place.tid);
        found.state = page::Judge(rel, found.buffer, off, &found.tuple);
        if (!page::IsOver(found.state)) {
            const auto here = KeyOf(&found.tuple);
            if (here && *here == key.bytes && CellHeadOf(found.tuple.t_data)->kind == kind) {
                if (found.buffer != place.buffer) page::NotePlace(hash, place.tid, found.buffer);
                return found;
            }
        }
        UnlockReleaseBuffer(found.buffer);
        return {};
    };
    if (const auto place = page::FindPlace(hash))
        if (Located found = at(*place)) return found;
    const auto scan_keys = CellScanKeys(kind, key);
    KeyScan scan(cells, SnapshotAny, scan_keys.data(), static_cast<int>(scan_keys.size()));
    while (ItemPointer tid = scan.Next()) {
        if (Located found = at({*tid, InvalidBuffer})) return found;
        if (over != nullptr) *over = true;
    }
    return {};
}

Located FindVisibleCell(const Table& cells, CellKind kind, const Key& key, Snapshot snapshot) {
    const auto scan_keys = CellScanKeys(kind, key);
    // Not with the snapshot itself: nobody is to be serialized with by a cell.
    KeyScan scan(cells, SnapshotAny, scan_keys.data(), static_cast<int>(scan_keys.size()));
    while (ItemPointer tid = scan.Next()) {
        Located found;
        found.buffer = page::ReadPlace(cells.rel, {*tid, InvalidBuffer});
        if (!found) continue;
        LockBuffer(found.buffer, BUFFER_LOCK_SHARE);
        found.state = page::Judge(cells.rel, found.buffer, ItemPointerGetOffsetNumber(tid), &found.tuple);
        const auto here = found.tuple.t_data != nullptr ? KeyOf(&found.tuple) : std::nullopt;
        if (here && *here == key.bytes && CellHeadOf(found.tuple.t_data)->kind == kind &&
            HeapTupleSatisfiesVisibility(&found.tuple, snapshot, found.buffer))
            return found;
        UnlockReleaseBuffer(found.buffer);
    }
    return {};
}

bool DeletedByUs(const Table& values, const Key& key) {
    ScanKeyData scan_key;
    SetKey(&scan_key, 1, key);
    KeyScan scan(values, SnapshotAny, &scan_key, 1);
    bool deleted = false;
    while (ItemPointer tid = deleted ? nullptr : scan.Next()) {
        Buffer buffer = page::ReadPlace(values.rel, {*tid, InvalidBuffer});
        if (!BufferIsValid(buffer)) continue;
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        // The entry leads to the first of the versions on the page.
        Page page = BufferGetPage(buffer);
        const OffsetNumber last = PageGetMaxOffsetNumber(page);
        for (OffsetNumber off = FirstOffsetNumber; !deleted && off <= last; off = OffsetNumberNext(off)) {
            HeapTupleData tuple{};
            ItemPointerData next;
            if (page::Judge(values.rel, buffer, off, &tuple) != RowState::kGone || NextVersion(&tuple, &next)) continue;
            // What came and went in one (sub)transaction doesn't come back.
            if (TransactionIdEquals(HeapTupleHeaderGetXmin(tuple.t_data), HeapTupleHeaderGetUpdateXid(tuple.t_data)))
                continue;
            const auto here = KeyOf(&tuple);
            deleted = here && *here == key.bytes && ValueHeadOf(tuple.t_data)->expires_at > GetCurrentTimestamp();
        }
        UnlockReleaseBuffer(buffer);
    }
    return deleted;
}

TransactionId LastDeleter(const Table& cells, CellKind kind, const Key& key) {
    const auto scan_keys = CellScanKeys(kind, key);
    KeyScan scan(cells, SnapshotAny, scan_keys.data(), static_cast<int>(scan_keys.size()));
    // Each row's inserter is the deleter of the one before, so the last deleter is nobody's inserter.
    pg::Vector<TransactionId> inserters;
    pg::Vector<TransactionId> deleters;
    while (ItemPointer tid = scan.Next()) {
        Buffer buffer = page::ReadPlace(cells.rel, {*tid, InvalidBuffer});
        if (!BufferIsValid(buffer)) continue;
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        HeapTupleData tuple{};
        const RowState state = page::Judge(cells.rel, buffer, ItemPointerGetOffsetNumber(tid), &tuple);
        const auto here = state == RowState::kDead && tuple.t_data != nullptr ? KeyOf(&tuple) : std::nullopt;
        if (here && *here == key.bytes && CellHeadOf(tuple.t_data)->kind == kind &&
            HeapTupleHeaderXminCommitted(tuple.t_data) && (tuple.t_data->t_infomask & HEAP_XMAX_INVALID) == 0) {
            inserters.push_back(HeapTupleHeaderGetXmin(tuple.t_data));
            deleters.push_back(HeapTupleHeaderGetUpdateXid(tuple.t_data));
        }
        UnlockReleaseBuffer(buffer);
    }
    for (const TransactionId deleter : deleters)
        if (std::find(inserters.begin(), inserters.end(), deleter) == inserters.end()) return deleter;
    return InvalidTransactionId;
}

bool VisitVisible(const Table& values, const Key& key, Snapshot snapshot, RowVisitor* visitor) {
    // A serializable reader leaves its locks in the index as well.
    if (!IsolationIsSerializable() && VisitByPlace(values, key, snapshot, visitor)) return true;
    ScanKeyData scan_key;
    SetKey(&scan_key, 1, key);
    KeyScan scan(values, snapshot, &scan_key, 1);
    TupleTableSlot* slot = table_slot_create(values.rel, nullptr);
    bool found = false;
    while (!found && scan.NextRow(slot)) {
        bool copied = false;
        HeapTuple tuple = ExecFetchSlotHeapTuple(slot, false, &copied);
        found = visitor->Visit(values.rel, tuple);
        if (found)
            page::NotePlace(HashOf(values, kValuePlace, key), tuple->t_self,
                            reinterpret_cast<BufferHeapTupleTableSlot*>(slot)->buffer);
    }
    ExecDropSingleTupleTableSlot(slot);
    return found;
}

}  // namespace pgqueue::kv
