// Removing deduplication keys that don't count any more, little by little.
#pragma once

#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::worker {

// A small transaction. Returns when it wants to be called again: soon while it is on its way through the table, else
// after half a minute, or later, up to five minutes, while there is nothing to remove. pgqueue.purge_interval = 0 turns
// it off.
TimestampTz SweepKeys();

}  // namespace pgqueue::worker
