// The checks of keys: sorts the journal's records by counter, lock and key, has each checked, and remembers what the
// next journal begins with.
#pragma once

#include "message_check.hpp"

namespace torture {

void CheckKeys(Context& context, History& history);

}  // namespace torture
