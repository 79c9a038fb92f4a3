// The version of the SQL objects that this library belongs to: default_version of pgqueue.control.
#pragma once

namespace pgqueue {

inline constexpr const char* kVersion = "0.1";

}  // namespace pgqueue
