// Headers as arguments: an object or NULL.
#pragma once

#include "pgqueue/queue/send.hpp"
#include "pgqueue/sql/args.hpp"

namespace pgqueue::sql {

inline void CheckHeaders(Datum headers, bool null) {
    if (null || JB_ROOT_IS_OBJECT(DatumGetJsonbP(headers))) return;
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("headers must be a JSON object")));
}

// One for each message; null where the argument is.
inline void HeadersArray(const Args& args, int i, int messages, Datum** headers, bool** nulls) {
    *headers = nullptr;
    if (args.IsNull(i)) return;
    int count = 0;
    args.Array(i, "headers", JSONBOID, headers, nulls, &count);
    if (count != messages)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("headers must be as many as messages: %d, not %d", messages, count)));
    for (int k = 0; k < count; k++) CheckHeaders((*headers)[k], (*nulls)[k]);
}

// The messages of a batch with their headers, which is the next argument.
inline pg::Vector<queue::OutgoingMessage> MessagesArg(const Args& args, int i) {
    Datum* messages = nullptr;
    bool* message_nulls = nullptr;
    int count = 0;
    args.Array(i, "messages", JSONBOID, &messages, &message_nulls, &count);
    Datum* headers = nullptr;
    bool* header_nulls = nullptr;
    HeadersArray(args, i + 1, count, &headers, &header_nulls);
    pg::Vector<queue::OutgoingMessage> outgoing(count);
    for (int k = 0; k < count; k++)
        outgoing[k] = {messages[k], message_nulls[k], headers != nullptr ? headers[k] : 0,
                       headers == nullptr || header_nulls[k]};
    return outgoing;
}

}  // namespace pgqueue::sql
