// The numbers that a queue gives out: message ids and receipts.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

// Numbers are drawn from pools in shared memory. A pool is an open range of a sequence: the sequence, which is advanced
// in place and WAL-logged, stays ahead of every number given out, so a number is skipped where a pool is lost (at a
// restart), and never repeated.

// Draws `count` consecutive message ids and returns the first. Sessions draw in the order in which they ask. The order
// of the sequence's advance in the WAL before the rows that use the ids makes a repeated id impossible for what was
// flushed. `map` picks the pool: the queue's segment has one to itself. May do I/O and raise.
int64 DrawIds(const Queue* queue, const page::SegmentRef& map, int64 count);

// Receipts are unique in this database for ever, and below 2^53: the advance of the sequence queue.receipts is flushed.
//
// StockReceipts makes sure that `count` are at hand, all above `floor` (rows from elsewhere bring receipts of another
// database along); it may do I/O and raise. DrawReceipts takes consecutive ones, at any place that allows a spinlock,
// and returns the first; nothing if others have emptied the stock since.
void StockReceipts(int64 count, int64 floor);
std::optional<int64> DrawReceipts(int64 count);

Size NumbersShmemSize();
void NumbersShmemInit();

}  // namespace pgqueue::queue
