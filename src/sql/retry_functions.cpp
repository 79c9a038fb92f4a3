// The SQL functions about what failed: queue.errors, queue.redrive.
#include "pgqueue/pg/function.hpp"
#include "pgqueue/queue/failures.hpp"
#include "pgqueue/queue/redrive.hpp"
#include "pgqueue/sql/args.hpp"
#include "pgqueue/sql/result_set.hpp"

using namespace pgqueue;
using namespace pgqueue::queue;
using namespace pgqueue::sql;

PGQUEUE_FUNCTION(pgqueue_errors) {
    const Args args(fcinfo);
    const char* name = args.Text(0, "queue_name");
    const int64 msg_id = args.Int(1, "msg_id");
    Close(Open(name, ACL_SELECT, AccessShareLock), AccessShareLock);
    ResultSet result(fcinfo, 3);
    ForFailures(name, msg_id, ForwardScanDirection, [&](const Failure& failure) {
        Datum values[] = {Int32GetDatum(failure.attempt), TimestampTzGetDatum(failure.at), failure.error};
        bool nulls[3] = {};
        result.Add(values, nulls);
        return true;
    });
    PG_RETURN_NULL();
}

PGQUEUE_FUNCTION(pgqueue_redrive) {
    const Args args(fcinfo);
    PreventWrite("queue.redrive()");
    const char* dead_letter = args.Text(0, "dead_letter");
    const char* target = args.IsNull(1) ? nullptr : args.Text(1, "queue_name");
    if (target != nullptr) CheckName(target);
    const int64 qty = args.IsNull(2) ? std::numeric_limits<int64>::max() : args.Quantity(2);
    PG_RETURN_INT64(Redrive(dead_letter, target, qty));
}
