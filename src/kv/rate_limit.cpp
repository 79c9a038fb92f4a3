#include "pgqueue/kv/rate_limit.hpp"

#include "pgqueue/kv/key_lock.hpp"
#include "pgqueue/page/inplace.hpp"

namespace pgqueue::kv {
namespace {

using page::RowState;

constexpr int64 kNanosPerMicro = 1000;
constexpr double kNanosPerSecond = 1e9;
constexpr int64 kFarthestClock = INT64CONST(1000000000) * 315576000;  // a bucket of ten years

// All times in nanoseconds since 2000. The clock is the theoretical arrival time: when the bucket will be empty again.
struct Limit {
    int64 period;
    double interval;  // between two requests at the steady rate

    int64 CostOf(int64 requests) const { return static_cast<int64>(interval * static_cast<double>(requests)); }
};

Verdict Judged(const Limit& limit, int64 now, int64 clock, int64 charge, bool allowed) {
    const int64 used = clock - now;
    const double left = static_cast<double>(limit.period - used) / limit.interval;
    Verdict verdict{allowed, 0, 0, static_cast<double>(used) / kNanosPerSecond};
    // A hair of rounding must not hide the last request.
    verdict.remaining = left > 0 ? static_cast<int64>(left + 1e-6) : 0;
    if (!allowed) verdict.retry_after = static_cast<double>(used + charge - limit.period) / kNanosPerSecond;
    return verdict;
}

// In whole microseconds, not before the clock.
TimestampTz ExpiryOfClock(int64 clock) { return (clock + kNanosPerMicro - 1) / kNanosPerMicro; }

}  // namespace

Verdict Charge(const Table& cells, const Key& key, int64 max_requests, double period, int64 cost) {
    const Limit limit{static_cast<int64>(period * kNanosPerSecond),
                      period * kNanosPerSecond / static_cast<double>(max_requests)};
    if (cost > max_requests)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("cost is above max_requests: " INT64_FORMAT " of " INT64_FORMAT, cost, max_requests),
                        errhint("Such a request could never be allowed.")));
    if (limit.interval < 1)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("rate is out of range: " INT64_FORMAT " requests in %g s", max_requests, period),
                        errhint("At most 1e9 requests a second.")));
    page::RequireInPlaceAllowed();
    (void)MapOf(cells);
    const int64 charge = limit.CostOf(cost);
    const page::DurableChange change;
    for (;;) {
        Located cell = FindCell(cells, kRateLimit, key, cost > 0 ? BUFFER_LOCK_EXCLUSIVE : BUFFER_LOCK_SHARE);
        if (cell && cell.state == RowState::kPending) {  // somebody is making it; the KeyLock waits for that
            UnlockReleaseBuffer(cell.buffer);
            cell = {};
        }
        if (cell) {
            PageGuard guard(cell.buffer);
            const int64 now = GetCurrentTimestamp() * kNanosPerMicro;
            const bool fresh = cell.state == RowState::kGone;  // deleted by our own kv.clear
            const int64 clock =
                fresh ? now : std::clamp(CellHeadOf(cell.tuple.t_data)->number, now, now + kFarthestClock);
            const bool allowed = clock + charge - now <= limit.period;
            if (!allowed || cost == 0) return Judged(limit, now, clock, charge, allowed);
            const int64 next = clock + charge;
            const XLogRecPtr end = WriteCell(cells, cell, next, ExpiryOfClock(next), nullptr, fresh || clock == now);
            guard.Release();
            change.Settle(end, page::Durability::kLater);
            return Judged(limit, now, next, charge, true);
        }
        const int64 now = GetCurrentTimestamp() * kNanosPerMicro;
        if (cost == 0) return Judged(limit, now, now, 0, true);
        const KeyLock lock(cells.store, Namespace::kRateLimits, key);
        if (Located made = FindCell(cells, kRateLimit, key, BUFFER_LOCK_SHARE)) {
            UnlockReleaseBuffer(made.buffer);
            if (made.state != RowState::kPending) continue;
            ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),  // by COPY
                            errmsg("the rate limit is being restored by a transaction that is still open"),
                            errhint("Try again when it has ended.")));
        }
        const int64 next = now + charge;
        const XLogRecPtr end = CreateCell(cells, key, {kRateLimit, next, ExpiryOfClock(next), nullptr});
        change.Settle(end, page::Durability::kLater);
        return Judged(limit, now, next, charge, true);
    }
}

}  // namespace pgqueue::kv
