#include "pgqueue/kv/streams.hpp"

#include "pgqueue/page/places.hpp"

namespace pgqueue::kv {
namespace {

using page::RowState;

void SetBound(ScanKeyData* scan_key, AttrNumber attribute, const KeyRange& range) {
    const Datum from =
        PointerGetDatum(cstring_to_text_with_len(range.from.data(), static_cast<int>(range.from.size())));
    ScanKeyInit(scan_key, attribute, range.inclusive ? BTGreaterEqualStrategyNumber : BTGreaterStrategyNumber,
                range.inclusive ? F_TEXT_GE : F_TEXT_GT, from);
    scan_key->sk_collation = C_COLLATION_OID;
}

}  // namespace

ValueStream::ValueStream(const Table& values, const KeyRange& range, Snapshot snapshot, bool expired)
    : rel_(values.rel), prefix_(range.prefix), expired_(expired),
      index_(index_open(values.half->index, AccessShareLock)), scan_(compat::BeginIndexScan(rel_, index_, snapshot, 1)),
      slot_(table_slot_create(rel_, nullptr)) {
    SetBound(&scan_key_, 1, range);
    index_rescan(scan_, &scan_key_, 1, nullptr, 0);
    Advance();
}

ValueStream::~ValueStream() {
    ExecDropSingleTupleTableSlot(slot_);
    index_endscan(scan_);
    index_close(index_, NoLock);
}

void ValueStream::Advance() {
    row_ = nullptr;
    while (index_getnext_slot(scan_, ForwardScanDirection, slot_)) {
        CHECK_FOR_INTERRUPTS();
        bool copied = false;
        HeapTuple row = ExecFetchSlotHeapTuple(slot_, false, &copied);
        const auto key = KeyOf(row);
        if (!key) continue;
        if (key->substr(0, prefix_.size()) != prefix_) return;
        if (!expired_ && ValueHeadOf(row->t_data)->expires_at <= GetCurrentTimestamp()) continue;
        row_ = row;
        key_ = *key;
        return;
    }
}

CellStream::CellStream(const Table& cells, CellKind kind, const KeyRange& range, Snapshot snapshot)
    : cells_(cells), kind_(kind), prefix_(range.prefix), snapshot_(snapshot),
      index_(index_open(cells.half->index, AccessShareLock)),
      scan_(compat::BeginIndexScan(cells.rel, index_, SnapshotAny, 2)) {
    ScanKeyInit(&scan_keys_[0], 1, BTEqualStrategyNumber, F_CHAREQ, CharGetDatum(kind));
    SetBound(&scan_keys_[1], 2, range);
    index_rescan(scan_, scan_keys_.data(), static_cast<int>(scan_keys_.size()), nullptr, 0);
    Advance();
}

CellStream::~CellStream() {
    index_endscan(scan_);
    index_close(index_, NoLock);
}

void CellStream::Advance() {
    bool live = false;
    while (ItemPointer tid = index_getnext_tid(scan_, ForwardScanDirection)) {
        CHECK_FOR_INTERRUPTS();
        if (!Take(*tid, &live)) continue;
        if (Key().substr(0, prefix_.size()) != prefix_) break;
        if (live) return;
        // Deleted since the snapshot. Should it have been made anew, its new row may come behind this one.
        const std::string_view bytes = Key();
        const Datum text = PointerGetDatum(cstring_to_text_with_len(bytes.data(), static_cast<int>(bytes.size())));
        if (const auto counter = ReadCounter(cells_, {text, bytes}, nullptr)) cell_ = *counter;
        return;
    }
    ended_ = true;
}

// Whether the row at `tid` is one to be shown, and its key hasn't been.
bool CellStream::Take(const ItemPointerData& tid, bool* live) {
    Buffer buffer = page::ReadPlace(cells_.rel, {tid, InvalidBuffer});
    if (!BufferIsValid(buffer)) return false;
    heap_page_prune_opt(cells_.rel, buffer);  // as an index scan does
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    const PageGuard guard(buffer);
    HeapTupleData tuple{};
    const RowState state = page::Judge(cells_.rel, buffer, ItemPointerGetOffsetNumber(&tid), &tuple);
    const auto key = tuple.t_data != nullptr ? KeyOf(&tuple) : std::nullopt;
    if (!key || key->size() > kMaxKeyBytes || *key == Key()) return false;
    const CellHead* head = CellHeadOf(tuple.t_data);
    if (head->kind != kind_ || (snapshot_ != nullptr && head->expires_at <= GetCurrentTimestamp())) return false;
    *live = state == RowState::kLive || state == RowState::kChanging;
    if (!*live && (snapshot_ == nullptr || !HeapTupleSatisfiesVisibility(&tuple, snapshot_, buffer))) return false;
    key_.assign(key->begin(), key->end());
    cell_ = {head->number, head->expires_at, tuple.t_self};
    return true;
}

}  // namespace pgqueue::kv
