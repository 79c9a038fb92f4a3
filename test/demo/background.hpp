// What the database does by itself: a job that sends, a key that goes.
#pragma once

#include "panel.hpp"

namespace demo {

// Runs a job and a key for so many seconds and shows what becomes of them. False: not as it should be. The job stays.
bool ShowBackground(support::Conn& conn, const Style& style, double seconds);

}  // namespace demo
