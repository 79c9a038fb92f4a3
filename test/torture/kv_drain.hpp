// The end of a round, for keys.
#pragma once

#include "session.hpp"

namespace torture {

// The stores anew.
void SetUpStores(support::Conn& conn);

// When everybody has gone: writes down what each key and counter has come to, looks at the tables as a whole, and
// removes all values and the counters of a moment. `journals`: of all others, for the counters that they used.
void DrainStores(Session& session, support::Conn& conn, const std::vector<const KvJournal*>& journals);

}  // namespace torture
