#include "pgqueue/kv/clear.hpp"

#include "pgqueue/kv/streams.hpp"
#include "pgqueue/kv/values.hpp"

namespace pgqueue::kv {
namespace {

// As many rows are noted at a time; while they are deleted, which may wait, no page is pinned for the walk.
constexpr std::size_t kBatch = 1000;

class Clearer {
public:
    Clearer(const Table& values, const Table& cells, Snapshot snapshot)
        : values_(values), cells_(cells), snapshot_(snapshot), now_(GetCurrentTimestamp()) {}

    int64 Run() {
        for (const CellKind kind : {kCounter, kRateLimit}) {
            last_.clear();
            do {
                CHECK_FOR_INTERRUPTS();
                Gather(kind);
                for (Row& row : rows_)
                    if (Delete(&row) && row.is_key && row.lives) lived_++;
            } while (!rows_.empty());
        }
        return lived_;
    }

private:
    struct Row {
        std::size_t key;  // in keys_
        std::size_t key_bytes;
        ItemPointerData tid;
        bool is_value;
        bool is_key;  // a value or a counter
        bool lives;
    };

    std::string_view Last() const { return {last_.data(), last_.size()}; }

    void Note(std::string_view key, const ItemPointerData& tid, bool is_value, bool is_key, TimestampTz expires_at) {
        rows_.push_back({keys_.size(), key.size(), tid, is_value, is_key, expires_at > now_});
        keys_.insert(keys_.end(), key.begin(), key.end());
        last_.assign(key.begin(), key.end());
    }

    // The next rows behind the last one: cells of that kind and, with counters, values.
    void Gather(CellKind kind) {
        rows_.clear();
        keys_.clear();
        const auto start = last_;
        const KeyRange range{{start.data(), start.size()}, false, {}};
        std::optional<ValueStream> values;
        if (kind == kCounter) values.emplace(values_, range, snapshot_, true);
        CellStream cells(cells_, kind, range, nullptr);
        for (;;) {
            const bool has_value = values && !values->Ended();
            if (!has_value && cells.Ended()) return;
            const bool value_first = has_value && (cells.Ended() || values->Key() <= cells.Key());
            const std::string_view key = value_first ? values->Key() : cells.Key();
            if (rows_.size() >= kBatch && key != Last()) return;
            if (value_first) {
                const HeapTuple row = values->Row();
                Note(key, row->t_self, true, true, ValueHeadOf(row->t_data)->expires_at);
                values->Advance();
            } else {
                Note(key, cells.Cell().tid, false, kind == kCounter, cells.Cell().expires_at);
                cells.Advance();
            }
        }
    }

    // False: it is gone, or stays.
    bool Delete(Row* row) {
        TM_FailureData failure;
        const TM_Result result = heap_delete(row->is_value ? values_.rel : cells_.rel, &row->tid,
                                             GetCurrentCommandId(true), InvalidSnapshot, true, &failure, false);
        if (result == TM_Ok) return true;
        // Somebody has changed the key since.
        if (row->is_key && !IsolationUsesXactSnapshot()) return kv::Delete(values_, KeyOf(*row), nullptr);
        if (row->is_value && row->lives) RaiseConcurrentChange();
        return false;
    }

    Key KeyOf(const Row& row) const {
        const std::string_view bytes(keys_.data() + row.key, row.key_bytes);
        return {PointerGetDatum(cstring_to_text_with_len(bytes.data(), static_cast<int>(bytes.size()))), bytes};
    }

    const Table& values_;
    const Table& cells_;
    Snapshot snapshot_;
    TimestampTz now_;
    pg::Vector<Row> rows_;
    pg::Vector<char> keys_;
    boost::container::static_vector<char, kMaxKeyBytes> last_;
    int64 lived_ = 0;
};

}  // namespace

int64 Clear(const Table& values, const Table& cells) {
    CommandCounterIncrement();
    ForgetEntries(values.store->stats);
    const Snapshot snapshot =
        RegisterSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() : GetLatestSnapshot());
    const int64 lived = Clearer(values, cells, snapshot).Run();
    UnregisterSnapshot(snapshot);
    return lived;
}

}  // namespace pgqueue::kv
