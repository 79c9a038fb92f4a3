// What is counted about a store in shared memory, since the server's start.
#pragma once

#include "pgqueue/pg/compat.hpp"

namespace pgqueue::kv {

// A handle on a store's numbers. Where more stores are in use than there is room for, the one that was counted longest
// ago gives its place up.
struct StatsRef {
    uint64 owner;  // database and table of values; 0: never attached
    uint32 slot;
};

enum class Statistic {
    kHits,
    kMisses,
    kPurged,      // entries that a purge removed
    kPageVisits,  // pages that purges have looked at
};
inline constexpr int kCounts = 4;

StatsRef AttachStats(Oid table);

// Reads of this backend that are not counted yet: they go to shared memory many at a time.
struct PendingReads {
    int64 hits;
    int64 misses;
    TimestampTz counted_at;
};
inline constexpr int64 kMostPending = 256;
inline constexpr int64 kLongestPending = USECS_PER_SEC / 2;
void Add(const StatsRef& ref, Statistic what, int64 n);
int64 Read(const StatsRef& ref, Statistic what);

// The number of entries of a bounded store, roughly: counted now and then, and kept up in between. Nothing: unknown, or
// it has changed so often that it should be counted again.
std::optional<int64> KnownEntries(const StatsRef& ref);
void SetEntries(const StatsRef& ref, int64 entries);
void AddEntries(const StatsRef& ref, int64 n);
void ForgetEntries(const StatsRef& ref);

Size StatsShmemSize();
void StatsShmemInit();

}  // namespace pgqueue::kv
