// The transactions of a task that goes from one table to the next.
#pragma once

#include "pgqueue/pg/catalog.hpp"

namespace pgqueue::worker {

// Begins one, with a snapshot. Whether the extension is there; if so it stays until the end.
inline bool BeginTaskTransaction() {
    StartTransactionCommand();
    const bool held = pg::HoldExtensionForTask();
    PushActiveSnapshot(GetTransactionSnapshot());
    return held;
}

inline void EndTaskTransaction() {
    PopActiveSnapshot();
    CommitTransactionCommand();
}

}  // namespace pgqueue::worker
