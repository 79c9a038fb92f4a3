// Handlers of the torture program's queues: what they do in the server, and what they have left there at the end.
//
// A call writes a row, dawdles now and then, and sends a message, an echo, to a queue that nobody reads. It fails
// often, in some cases always. So at the end there is a row and an echo for each message handled, and neither for any
// other. What has failed is known by the error's text, which the give-up keeps.
#pragma once

#include "session.hpp"

namespace torture {

// The functions, and a handler for each queue that is to have one.
void SetUpHandlers(support::Conn& conn, const std::vector<Queue>& queues);

// The calls, as takes and echoes of a journal whose margin is known. Nothing is left for the next round.
void ReadCalls(const Shared& shared, support::Conn& conn, Journal& journal);

}  // namespace torture
