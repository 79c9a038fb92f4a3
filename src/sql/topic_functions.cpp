// The SQL-callable surface of topics.
#include "pgqueue/pg/function.hpp"
#include "pgqueue/queue/topics.hpp"
#include "pgqueue/sql/args.hpp"
#include "pgqueue/sql/headers.hpp"
#include "pgqueue/sql/result_set.hpp"

using namespace pgqueue;
using namespace pgqueue::queue;
using namespace pgqueue::sql;

PGQUEUE_FUNCTION(pgqueue_bind) {
    const Args args(fcinfo);
    const char* pattern = args.Text(0, "pattern");
    const char* queue = args.Text(1, "queue_name");
    PreventWrite("queue.bind()");
    PG_RETURN_BOOL(Bind(pattern, queue));
}

PGQUEUE_FUNCTION(pgqueue_unbind) {
    const Args args(fcinfo);
    const char* pattern = args.Text(0, "pattern");
    const char* queue = args.Text(1, "queue_name");
    PreventWrite("queue.unbind()");
    PG_RETURN_BOOL(Unbind(pattern, queue));
}

PGQUEUE_FUNCTION(pgqueue_publish) {
    const Args args(fcinfo);
    const char* topic = args.Text(0, "topic");
    PreventWrite("queue.publish()");
    OutgoingMessage message{args.Raw(1), args.IsNull(1), args.Raw(2), args.IsNull(2)};
    CheckHeaders(message.headers, message.headers_null);
    PG_RETURN_INT64(static_cast<int64>(Publish(topic, &message, 1, args.Seconds(3, "delay")).size()));
}

PGQUEUE_FUNCTION(pgqueue_publish_batch) {
    const Args args(fcinfo);
    const char* topic = args.Text(0, "topic");
    PreventWrite("queue.publish_batch()");
    const auto delay = args.Seconds(3, "delay");
    pg::Vector<OutgoingMessage> outgoing = MessagesArg(args, 1);
    const int count = static_cast<int>(outgoing.size());
    ResultSet result(fcinfo, 2);
    for (const Copies& copies : Publish(topic, outgoing.data(), count, delay)) {
        Datum values[2] = {CStringGetTextDatum(copies.queue), 0};
        bool nulls[2] = {};
        for (int i = 0; i < count; i++) {
            values[1] = Int64GetDatum(copies.first_id + i);
            result.Add(values, nulls);
        }
    }
    PG_RETURN_NULL();
}
