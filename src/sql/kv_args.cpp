#include "pgqueue/sql/kv_args.hpp"

#include "pgqueue/pg/catalog.hpp"

namespace pgqueue::sql {

std::optional<double> TtlArg(const Args& args, int i, const char* name) {
    if (args.IsNull(i)) return std::nullopt;
    const double ttl = DatumGetFloat8(args.Raw(i));
    if (ttl == -1) return kv::kNever;
    if (!(ttl > 0 && ttl <= kMaxSeconds))
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s is out of range: %g", name, ttl),
                 errhint("It is a number of seconds above 0, up to ten years (%.0f), or -1 for ever.", kMaxSeconds)));
    return ttl;
}

std::optional<double> DefaultTtlArg(const Args& args, int i) {
    const auto ttl = TtlArg(args, i, "default_ttl");
    return ttl ? std::optional(std::max(*ttl, 0.0)) : std::nullopt;
}

std::optional<int64> MaxEntriesArg(const Args& args, int i) {
    const auto most = args.OptionalInt(i);
    if (most && *most < 1)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("max_entries must be at least 1, not " INT64_FORMAT, *most)));
    return most;
}

Oid ValuesTable(std::string_view store) {
    char table[NAMEDATALEN];
    kv::ValuesName(pnstrdup(store.data(), store.size()), table);
    return pg::RelationIn(kv::kSchema, table);
}

}  // namespace pgqueue::sql
