// The rows of a store's tables in the order of their keys' bytes, one ahead: two streams together are a walk over both.
#pragma once

#include "pgqueue/kv/cells.hpp"

namespace pgqueue::kv {

struct KeyRange {
    std::string_view from;
    bool inclusive;
    std::string_view prefix;  // it ends with the first key that doesn't begin with it
};

// Values as the snapshot sees them. expired: those too that have expired.
class ValueStream {
public:
    ValueStream(const Table& values, const KeyRange& range, Snapshot snapshot, bool expired);
    ~ValueStream();
    ValueStream(const ValueStream&) = delete;
    ValueStream& operator=(const ValueStream&) = delete;

    void Advance();
    bool Ended() const { return row_ == nullptr; }
    // Valid until the next Advance.
    std::string_view Key() const { return key_; }
    HeapTuple Row() const { return row_; }

private:
    Relation rel_;
    std::string_view prefix_;
    bool expired_;
    Relation index_;
    ScanKeyData scan_key_{};
    IndexScanDesc scan_;
    TupleTableSlot* slot_;
    HeapTuple row_ = nullptr;
    std::string_view key_;
};

// Cells of one kind. With a snapshot: counters as kv.get reads them (see ReadCounter). Without: all that are there at
// this moment, expired ones too.
class CellStream {
public:
    CellStream(const Table& cells, CellKind kind, const KeyRange& range, Snapshot snapshot);
    ~CellStream();
    CellStream(const CellStream&) = delete;
    CellStream& operator=(const CellStream&) = delete;

    void Advance();
    bool Ended() const { return ended_; }
    // Valid until the next Advance.
    std::string_view Key() const { return {key_.data(), key_.size()}; }
    const Counter& Cell() const { return cell_; }

private:
    bool Take(const ItemPointerData& tid, bool* live);

    const Table& cells_;
    CellKind kind_;
    std::string_view prefix_;
    Snapshot snapshot_;
    Relation index_;
    std::array<ScanKeyData, 2> scan_keys_{};
    IndexScanDesc scan_;
    bool ended_ = false;
    boost::container::static_vector<char, kMaxKeyBytes> key_;
    Counter cell_{};
};

}  // namespace pgqueue::kv
