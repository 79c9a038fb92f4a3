// The numbers that a queue gives out: message ids and receipts.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

// Draws `count` consecutive ids from the queue's sequence and returns the first. The sequence's row is advanced in
// place, once for the whole range. Raises at the sequence's end.
int64 DrawIds(const Queue* queue, int64 count);

// Receipts are unique in this database for ever, and below 2^53. They come out of shared memory; the sequence
// queue.receipts stays ahead of them, flushed, so that not even a crash repeats one.
//
// StockReceipts makes sure that `count` are at hand; it may do I/O and raise. DrawReceipts takes consecutive ones, at
// any place that allows a spinlock, and returns the first; nothing if others have emptied the stock since.
void StockReceipts(int64 count);
std::optional<int64> DrawReceipts(int64 count);

Size ReceiptShmemSize();
void ReceiptShmemInit();

}  // namespace pgqueue::queue
