// The SQL-callable surface of counters, rate limits and locks.
#include "pgqueue/kv/lock.hpp"
#include "pgqueue/kv/rate_limit.hpp"
#include "pgqueue/pg/function.hpp"
#include "pgqueue/sql/kv_args.hpp"
#include "pgqueue/sql/result_set.hpp"

using namespace pgqueue;
using namespace pgqueue::kv;
using namespace pgqueue::sql;

namespace {

// A lock's ttl is required, and has an end.
double LockTtl(const Args& args, int i) {
    if (!args.IsNull(i) && DatumGetFloat8(args.Raw(i)) == kNever)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a lock must have an end"),
                        errhint("Give it a ttl, and renew it while the work goes on.")));
    return args.PositiveSeconds(i, "ttl");
}

}  // namespace

PGQUEUE_FUNCTION(pgqueue_kv_incr) {
    const Args args(fcinfo);
    const Key key = KeyArg(args, 0);
    const int64 delta = args.OptionalInt(1).value_or(1);
    const auto ttl = TtlArg(args, 2);
    PreventWrite("kv.incr()");
    const Table cells = Open(StoreArg(args, 3), ACL_UPDATE, Part::kCells, RowExclusiveLock);
    const int64 sum = Incr(cells, key, delta, ttl);
    Close(cells);
    PG_RETURN_INT64(sum);
}

PGQUEUE_FUNCTION(pgqueue_kv_rate_limit) {
    const Args args(fcinfo);
    const Key key = KeyArg(args, 0);
    const int64 max_requests = args.Int(1, "max_requests");
    const double period = args.PositiveSeconds(2, "period");
    const int64 cost = args.OptionalInt(3).value_or(1);
    if (max_requests < 1)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("max_requests must be at least 1, not " INT64_FORMAT, max_requests)));
    if (cost < 0)
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("cost must not be negative: " INT64_FORMAT, cost)));
    PreventWrite("kv.rate_limit()");
    ResultSet result(fcinfo, 4);
    const Table cells = Open(StoreArg(args, 4), ACL_UPDATE, Part::kCells, RowExclusiveLock);
    const Verdict verdict = Charge(cells, key, max_requests, period, cost);
    Close(cells);
    std::array<bool, 4> nulls = {};
    std::array<Datum, 4> row = {BoolGetDatum(verdict.allowed), Int64GetDatum(verdict.remaining),
                                Float8GetDatum(verdict.retry_after), Float8GetDatum(verdict.reset_after)};
    result.Add(row.data(), nulls.data());
    return 0;
}

PGQUEUE_FUNCTION(pgqueue_kv_lock) {
    const Args args(fcinfo);
    const Key name = KeyArg(args, 0, "name");
    const double ttl = LockTtl(args, 1);
    const char* owner = args.IsNull(2) ? nullptr : args.Text(2, "owner");
    if (owner != nullptr && strlen(owner) >= NAMEDATALEN)
        ereport(ERROR,
                (errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION), errmsg("owner is too long: %zu bytes", strlen(owner)),
                 errhint("It has at most %d bytes.", NAMEDATALEN - 1)));
    const double wait = args.Wait(3);
    PreventWrite("kv.lock()");
    const auto token = Acquire(StoreArg(args, 4), name, ttl, owner, wait);
    if (!token) PG_RETURN_NULL();
    PG_RETURN_INT64(*token);
}

PGQUEUE_FUNCTION(pgqueue_kv_renew) {
    const Args args(fcinfo);
    const Key name = KeyArg(args, 0, "name");
    const int64 token = args.Int(1, "token");
    const double ttl = LockTtl(args, 2);
    PreventWrite("kv.renew()");
    const Table cells = Open(StoreArg(args, 3), ACL_UPDATE, Part::kCells, RowExclusiveLock);
    const bool renewed = Renew(cells, name, token, ttl);
    Close(cells);
    PG_RETURN_BOOL(renewed);
}

PGQUEUE_FUNCTION(pgqueue_kv_unlock) {
    const Args args(fcinfo);
    const Key name = KeyArg(args, 0, "name");
    const int64 token = args.Int(1, "token");
    PreventWrite("kv.unlock()");
    const Table cells = Open(StoreArg(args, 2), ACL_UPDATE, Part::kCells, RowExclusiveLock);
    const bool given_back = GiveBack(cells, name, token);
    Close(cells);
    PG_RETURN_BOOL(given_back);
}

PGQUEUE_FUNCTION(pgqueue_kv_assert_lock) {
    const Args args(fcinfo);
    const Key name = KeyArg(args, 0, "name");
    const int64 token = args.Int(1, "token");
    const Table cells = Open(StoreArg(args, 2), ACL_SELECT, Part::kCells, AccessShareLock);
    const bool holds = Holds(cells, name, token);
    Close(cells);
    if (!holds)
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE), errmsg("the lock is not held by this token"),
                        errhint("Its time is over, it was given back, or somebody else holds it: stop the work.")));
    PG_RETURN_VOID();
}
