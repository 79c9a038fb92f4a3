// Tables of ours that are emptied or taken over as a whole, by the worker, which waits for nobody.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

// Locks it for us alone, without waiting, with all that belongs to it: TRUNCATE and DROP wait for that otherwise. Those
// who have it are looked for first, since to try costs a transaction id. False: somebody has it, or it is gone. The
// locks of what belongs to it stay until the transaction ends.
bool LockAlone(Oid table);

int64 SizeOf(Oid table);          // with indexes and TOAST
BlockNumber BlocksOf(Oid table);  // of its main fork; 0 where it is gone
// The same without a lock from before; of one that somebody has for himself: not none.
BlockNumber BlocksAtOnce(Oid table);
bool HasTruncateTrigger(Relation rel);  // its owner's code might take any time

// Whether no snapshot may want to see what that transaction has left, or taken away. InvalidTransactionId: none may.
bool IsPast(Relation rel, TransactionId xid);

}  // namespace pgqueue::queue
