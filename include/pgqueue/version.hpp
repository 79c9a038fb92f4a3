// The version of the SQL objects that this library belongs to: default_version of pgqueue.control.
#pragma once

#include <string_view>

namespace pgqueue {

inline constexpr const char* kVersion = "0.2";

// Whether it serves objects of this version too: those that wait for ALTER EXTENSION pgqueue UPDATE.
constexpr bool Serves(std::string_view version) { return version == kVersion || version == "0.1"; }

}  // namespace pgqueue
