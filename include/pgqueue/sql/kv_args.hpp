// Arguments that the functions on stores share.
#pragma once

#include "pgqueue/kv/row.hpp"
#include "pgqueue/kv/values.hpp"
#include "pgqueue/sql/args.hpp"

namespace pgqueue::sql {

inline std::string_view BytesOf(Datum text) {
    struct varlena* packed = PG_DETOAST_DATUM_PACKED(text);
    return {VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed)};
}

inline kv::Key KeyArg(const Args& args, int i, const char* name = "key") {
    args.Require(i, name);
    return kv::KeyFrom(args.Raw(i));
}

inline std::string_view StoreArg(const Args& args, int i) {
    return args.IsNull(i) ? std::string_view(kv::kDefaultStore) : BytesOf(args.Raw(i));
}

// Seconds above 0 and up to ten years, or kv::kNever for -1; nothing for NULL.
std::optional<double> TtlArg(const Args& args, int i, const char* name = "ttl");
// A store's default: 0 for -1, which means none.
std::optional<double> DefaultTtlArg(const Args& args, int i);
std::optional<int64> MaxEntriesArg(const Args& args, int i);
// The table of a store's values; InvalidOid if there is no such store.
Oid ValuesTable(std::string_view store);

}  // namespace pgqueue::sql
