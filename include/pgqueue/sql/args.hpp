// Arguments of SQL functions. None of ours is STRICT: NULL means the default where there is one, else it is an error.
#pragma once

#include "pgqueue/pg/memory.hpp"

namespace pgqueue::sql {

inline constexpr double kMaxSeconds = 315576000;  // ten years
inline constexpr double kMaxWait = 300;

class Args {
public:
    explicit Args(FunctionCallInfo fcinfo) : fcinfo_(fcinfo) {}

    bool IsNull(int i) const { return fcinfo_->args[i].isnull; }
    Datum Raw(int i) const { return fcinfo_->args[i].value; }

    // Raises null_value_not_allowed naming the argument.
    void Require(int i, const char* name) const;
    const char* Text(int i, const char* name) const;  // required
    int64 Int(int i, const char* name) const;         // required
    std::optional<int64> OptionalInt(int i) const;
    double Float(int i, double fallback) const { return IsNull(i) ? fallback : DatumGetFloat8(Raw(i)); }
    bool Bool(int i, bool fallback) const { return IsNull(i) ? fallback : DatumGetBool(Raw(i)); }

    // Seconds: finite, not negative, at most ten years; raises invalid_parameter_value.
    std::optional<double> Seconds(int i, const char* name) const;
    // The same above 0; required.
    double PositiveSeconds(int i, const char* name) const;
    // How long a SELECT may wait, from 0, the default, to kMaxWait. `advice`: what the hint says besides.
    double Wait(int i, const char* advice = "") const;
    double Seconds(int i, const char* name, double fallback) const { return Seconds(i, name).value_or(fallback); }
    // A message's priority: any 32-bit integer.
    int32 Priority(int i) const;
    // How many rows are wanted: at least 1; NULL means 1.
    int64 Quantity(int i) const;
    // Raises feature_not_supported if the argument is given.
    void NotYet(int i, const char* name) const;
    // A one-dimensional array's elements; raises for more dimensions, and for NULL elements unless nulls is given.
    void Array(int i, const char* name, Oid type, Datum** elements, bool** nulls, int* count) const;

private:
    FunctionCallInfo fcinfo_;
};

}  // namespace pgqueue::sql
