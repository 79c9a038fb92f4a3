// The end of a round: everybody has gone, and every message that is left is handed out once more.
#pragma once

#include "chaos.hpp"

namespace torture {

// Waits until the other clients' backends are gone, ends the prepared transactions, reads and deletes what is in the
// queues, or waits until handlers have done so, reads the archives. What can't be drained becomes a leftover in the
// session's journal.
void Drain(Shared& shared, Session& session, Resolver& resolver);

}  // namespace torture
