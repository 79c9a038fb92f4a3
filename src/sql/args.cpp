#include "pgqueue/sql/args.hpp"

namespace pgqueue::sql {

void Args::Require(int i, const char* name) const {
    if (IsNull(i)) ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name)));
}

const char* Args::Text(int i, const char* name) const {
    Require(i, name);
    return TextDatumGetCString(Raw(i));
}

int64 Args::Int(int i, const char* name) const {
    Require(i, name);
    return DatumGetInt64(Raw(i));
}

std::optional<int64> Args::OptionalInt(int i) const {
    if (IsNull(i)) return std::nullopt;
    return DatumGetInt64(Raw(i));
}

std::optional<double> Args::Seconds(int i, const char* name) const {
    if (IsNull(i)) return std::nullopt;
    const double seconds = DatumGetFloat8(Raw(i));
    if (!(seconds >= 0 && seconds <= kMaxSeconds))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s is out of range: %g", name, seconds),
                        errhint("It is a number of seconds, from 0 to ten years (%.0f).", kMaxSeconds)));
    return seconds;
}

double Args::PositiveSeconds(int i, const char* name) const {
    Require(i, name);
    const double seconds = DatumGetFloat8(Raw(i));
    if (!(seconds > 0 && seconds <= kMaxSeconds))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s is out of range: %g", name, seconds),
                        errhint("It is a number of seconds above 0, up to ten years (%.0f).", kMaxSeconds)));
    return seconds;
}

double Args::Wait(int i, const char* advice) const {
    const double wait = IsNull(i) ? 0 : DatumGetFloat8(Raw(i));
    if (!(wait >= 0 && wait <= kMaxWait))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("wait is out of range: %g", wait),
                        errhint("It is a number of seconds, from 0 to %.0f: a SELECT that waits holds a snapshot.%s",
                                kMaxWait, advice)));
    return wait;
}

int32 Args::Priority(int i) const {
    const int64 priority = OptionalInt(i).value_or(0);
    if (priority < PG_INT32_MIN || priority > PG_INT32_MAX)
        ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
                        errmsg("priority is out of range: " INT64_FORMAT, priority),
                        errhint("It is a 32-bit integer; higher ones are read first.")));
    return static_cast<int32>(priority);
}

int64 Args::Quantity(int i) const {
    const int64 qty = OptionalInt(i).value_or(1);
    if (qty < 1)
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("qty must be at least 1, not " INT64_FORMAT, qty)));
    return qty;
}

void Args::NotYet(int i, const char* name) const {
    if (IsNull(i)) return;
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("%s is not supported yet", name),
                    errhint("Leave the argument out.")));
}

void Args::Array(int i, const char* name, Oid type, Datum** elements, bool** nulls, int* count) const {
    Require(i, name);
    ArrayType* array = DatumGetArrayTypeP(Raw(i));
    if (ARR_NDIM(array) > 1)
        ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR), errmsg("%s must be one-dimensional", name)));
    if (nulls == nullptr && array_contains_nulls(array))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not contain nulls", name)));
    int16 length = 0;
    bool by_value = false;
    char align = 0;
    get_typlenbyvalalign(type, &length, &by_value, &align);
    deconstruct_array(array, type, length, by_value, align, elements, nulls, count);
}

}  // namespace pgqueue::sql
