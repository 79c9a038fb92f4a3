#include "pgqueue/kv/scan.hpp"

#include "pgqueue/kv/streams.hpp"

namespace pgqueue::kv {
namespace {

Entry ValueEntry(Relation rel, const ValueStream& values) {
    const ValueHead* head = ValueHeadOf(values.Row()->t_data);
    return {head->version, head->expires_at, head->type, PointerGetDatum(ValueOf(rel, values.Row()))};
}

}  // namespace

void Scan(const Table& values, const Table& cells, std::string_view prefix, std::optional<std::string_view> after,
          int64 qty, Snapshot snapshot, ScanSink* sink) {
    const bool inclusive = !after || *after < prefix;
    const KeyRange range{inclusive ? prefix : *after, inclusive, prefix};
    ValueStream of_values(values, range, snapshot, false);
    CellStream counters(cells, kCounter, range, snapshot);
    for (int64 i = 0; i < qty && !(of_values.Ended() && counters.Ended()); i++) {
        // A value hides a counter of its name, which is younger than the snapshot.
        const bool value_first = !of_values.Ended() && (counters.Ended() || of_values.Key() <= counters.Key());
        if (value_first) {
            if (!counters.Ended() && of_values.Key() == counters.Key()) counters.Advance();
            sink->Take(of_values.Key(), ValueEntry(values.rel, of_values));
            of_values.Advance();
        } else {
            sink->Take(counters.Key(), EntryOf(counters.Cell()));
            counters.Advance();
        }
    }
}

}  // namespace pgqueue::kv
