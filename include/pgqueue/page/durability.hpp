// When a change in place is on disk.
//
// COMMIT flushes only what a transaction with an id has written, so a change in place that must survive says so itself:
// after the page's lock is given up, so that many sessions share a flush. One that needn't wait keeps COMMIT from
// waking the WAL writer each time, which costs more than the change.
#pragma once

#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::page {

enum class Durability {
    kFlushed,   // on disk, and on the synchronous standbys, before this returns
    kAsCommit,  // the same if synchronous_commit asks for it
    kLater,     // the WAL writer's next turns
};

// Construct before the change, and Settle with its record's end. No lock on a page is held.
class DurableChange {
public:
    DurableChange();
    void Settle(XLogRecPtr end, Durability wanted) const;

private:
    XLogRecPtr before_;  // the end of what this transaction has written so far
};

Size DurabilityShmemSize();
void DurabilityShmemInit();

}  // namespace pgqueue::page
