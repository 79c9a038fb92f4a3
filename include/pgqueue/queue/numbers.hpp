// The numbers that a queue gives out: message ids and receipts.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

// Ids are drawn from pools in shared memory. A pool is an open range of the queue's sequence, which is advanced in
// place and WAL-logged, and stays ahead of every id given out: where a pool is lost (at a restart) ids are skipped, and
// none is repeated.

// Draws `count` consecutive message ids and returns the first. Sessions draw in the order in which they ask. The order
// of the sequence's advance in the WAL before the rows that use the ids makes a repeated id impossible for what was
// flushed. `map` picks the pool: the queue's segment has one to itself. May do I/O and raise.
int64 DrawIds(const Queue* queue, const page::SegmentRef& map, int64 count);

// Receipts are serial numbers of this database: see page/serials.hpp for both functions. Raises data_exception for an
// absurd floor.
void StockReceipts(int64 count, int64 floor);
std::optional<int64> DrawReceipts(int64 count);

Size NumbersShmemSize();
void NumbersShmemInit();

}  // namespace pgqueue::queue
