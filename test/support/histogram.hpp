// A latency histogram with logarithmic buckets: an eighth of an octave wide, so a percentile is right to about 10 %.
// One thread adds, any thread may read meanwhile.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

#include "clock.hpp"

namespace support {

class Histogram {
public:
    static constexpr int kBuckets = 64 * 8;

    void Add(Nanos value) {
        counts_[Bucket(value)].fetch_add(1, std::memory_order_relaxed);
        total_.fetch_add(1, std::memory_order_relaxed);
    }

    std::uint64_t Total() const { return total_.load(std::memory_order_relaxed); }

    std::uint64_t Count(int bucket) const { return counts_[bucket].load(std::memory_order_relaxed); }

    // The value that `share` of all entries don't exceed; 0 when there are none.
    Nanos Percentile(double share) const {
        const auto wanted = static_cast<std::uint64_t>(share * static_cast<double>(Total()));
        std::uint64_t seen = 0;
        Nanos last = 0;
        for (int bucket = 0; bucket < kBuckets; ++bucket) {
            const std::uint64_t count = Count(bucket);
            if (count == 0) continue;
            seen += count;
            last = Value(bucket);
            if (seen > wanted) break;
        }
        return last;
    }

    static int Bucket(Nanos value) {
        const auto v = static_cast<std::uint64_t>(value < 1 ? 1 : value);
        const int octave = std::bit_width(v) - 1;
        const int eighth = octave >= 3 ? static_cast<int>((v >> (octave - 3)) & 7) : 0;
        return octave * 8 + eighth;
    }

    // The middle of a bucket.
    static Nanos Value(int bucket) {
        const int octave = bucket / 8;
        const double low = static_cast<double>(std::uint64_t{1} << octave);
        return static_cast<Nanos>(low * (1.0 + (bucket % 8 + 0.5) / 8.0));
    }

private:
    std::array<std::atomic<std::uint64_t>, kBuckets> counts_{};
    std::atomic<std::uint64_t> total_{0};
};

}  // namespace support
