// Redrive: dead letters go back to work.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

// Moves messages from the queue `dead_letter` to the queue `target`, or, where it is null, each to the one that its
// header names; those without such a header stay then. In order, at most `qty`, as part of the running transaction.
// Messages that somebody has out stay. Returns how many. Needs SELECT and DELETE on the one, INSERT on the others.
// Raises undefined_table where a queue is gone.
int64 Redrive(const char* dead_letter, const char* target, int64 qty);

}  // namespace pgqueue::queue
