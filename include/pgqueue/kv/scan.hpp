// Keys in order.
#pragma once

#include "pgqueue/kv/values.hpp"

namespace pgqueue::kv {

class ScanSink {
public:
    // The key and the entry are valid during the call.
    virtual void Take(std::string_view key, const Entry& entry) = 0;

protected:
    ~ScanSink() = default;
};

// Up to `qty` keys that begin with `prefix` and come after `after` (nothing: from the first), values and counters, in
// the order of their bytes, as a Reader shows them. Both tables are open with an AccessShareLock.
void Scan(const Table& values, const Table& cells, std::string_view prefix, std::optional<std::string_view> after,
          int64 qty, Snapshot snapshot, ScanSink* sink);

}  // namespace pgqueue::kv
