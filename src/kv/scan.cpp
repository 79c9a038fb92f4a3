#include "pgqueue/kv/scan.hpp"

namespace pgqueue::kv {
namespace {

Datum TextOf(std::string_view bytes) {
    return PointerGetDatum(cstring_to_text_with_len(bytes.data(), static_cast<int>(bytes.size())));
}

// The rows of one table in the order of their keys, from a bound on, one ahead.
class Stream {
public:
    Stream(const Table& table, AttrNumber key_column, std::string_view from, bool inclusive, std::string_view prefix,
           Snapshot snapshot)
        : rel_(table.rel), prefix_(prefix), index_(index_open(table.half->index, AccessShareLock)) {
        int count = 0;
        if (key_column == 2) ScanKeyInit(&keys_[count++], 1, BTEqualStrategyNumber, F_CHAREQ, CharGetDatum(kCounter));
        ScanKeyInit(&keys_[count], key_column, inclusive ? BTGreaterEqualStrategyNumber : BTGreaterStrategyNumber,
                    inclusive ? F_TEXT_GE : F_TEXT_GT, TextOf(from));
        keys_[count++].sk_collation = C_COLLATION_OID;
        scan_ = compat::BeginIndexScan(rel_, index_, snapshot, count);
        index_rescan(scan_, keys_.data(), count, nullptr, 0);
        slot_ = table_slot_create(rel_, nullptr);
        Advance();
    }
    ~Stream() {
        ExecDropSingleTupleTableSlot(slot_);
        index_endscan(scan_);
        index_close(index_, NoLock);
    }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    // To the next row whose key begins with the prefix and that has not expired.
    void Advance() {
        row_ = nullptr;
        while (index_getnext_slot(scan_, ForwardScanDirection, slot_)) {
            CHECK_FOR_INTERRUPTS();
            bool copied = false;
            HeapTuple row = ExecFetchSlotHeapTuple(slot_, false, &copied);
            const auto key = KeyOf(row);
            if (!key) continue;
            if (key->substr(0, prefix_.size()) != prefix_) return;
            if (ValueHeadOf(row->t_data)->expires_at <= GetCurrentTimestamp()) continue;
            row_ = row;
            key_ = *key;
            return;
        }
    }
    bool Ended() const { return row_ == nullptr; }
    std::string_view Key() const { return key_; }
    Relation Rel() const { return rel_; }
    HeapTuple Row() const { return row_; }

private:
    Relation rel_;
    std::string_view prefix_;
    Relation index_;
    std::array<ScanKeyData, 2> keys_{};
    IndexScanDesc scan_ = nullptr;
    TupleTableSlot* slot_ = nullptr;
    HeapTuple row_ = nullptr;
    std::string_view key_;
};

Entry ValueEntry(const Stream& values) {
    const ValueHead* head = ValueHeadOf(values.Row()->t_data);
    return {head->version, head->expires_at, head->type, PointerGetDatum(ValueOf(values.Rel(), values.Row()))};
}

Entry CellEntry(const Stream& cells) {
    const CellHead* head = CellHeadOf(cells.Row()->t_data);
    return {0, head->expires_at, kCounter, Int64GetDatum(head->number)};
}

}  // namespace

void Scan(const Table& values, const Table& cells, std::string_view prefix, std::optional<std::string_view> after,
          int64 qty, Snapshot snapshot, ScanSink* sink) {
    const bool inclusive = !after || *after < prefix;
    const std::string_view from = inclusive ? prefix : *after;
    Stream of_values(values, 1, from, inclusive, prefix, snapshot);
    Stream of_cells(cells, 2, from, inclusive, prefix, snapshot);
    for (int64 i = 0; i < qty && !(of_values.Ended() && of_cells.Ended()); i++) {
        // A value hides a counter of its name that a snapshot from before still sees.
        const bool value_first = !of_values.Ended() && (of_cells.Ended() || of_values.Key() <= of_cells.Key());
        if (value_first) {
            if (!of_cells.Ended() && of_values.Key() == of_cells.Key()) of_cells.Advance();
            sink->Take(of_values.Key(), ValueEntry(of_values));
            of_values.Advance();
        } else {
            sink->Take(of_cells.Key(), CellEntry(of_cells));
            of_cells.Advance();
        }
    }
}

}  // namespace pgqueue::kv
