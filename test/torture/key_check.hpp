// Deduplication. Of the sends to a queue with one key, as far as they count (not rolled back, within five minutes of
// the first), one stores a message and all are told its id. A send that was rolled back keeps nobody from storing: its
// id is told to those of its own transaction only.
#pragma once

#include "journal.hpp"

namespace torture {

struct Context;

// Marks the repeats: the other checks follow the one send that stored the message.
void CheckDedupKeys(Journal& journal, Context& context);

}  // namespace torture
