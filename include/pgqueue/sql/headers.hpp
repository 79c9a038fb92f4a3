// Headers as arguments: an object or NULL.
#pragma once

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

}  // namespace pgqueue::sql
