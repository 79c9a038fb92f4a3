// Serial numbers that never repeat: the receipts of leases, the versions of keys, the tokens of locks.
//
// They are drawn from pools in shared memory, one for each kind and database. A pool is an open range of a sequence:
// the sequence is advanced in place, WAL-logged and flushed, and stays ahead of every number that was given out. So
// numbers are skipped where a pool is lost (at a restart), and never repeated, whatever crashes. All are below 2^53, so
// that JavaScript can hold them.
#pragma once

#include "pgqueue/pg/memory.hpp"

namespace pgqueue::page {

enum class Serial { kReceipts, kVersions };
inline constexpr int kSerialKinds = 2;
inline constexpr int64 kSerialLimit = int64{1} << 53;

// Makes sure that `count` are at hand, all above `floor` (rows from elsewhere bring numbers of another database along).
// False: the floor lies ahead of them and above kHighestFloor. One row must not use up the numbers of the whole
// database, so what is beyond that is reached one by one only. May do I/O and raise.
inline constexpr int64 kHighestFloor = kSerialLimit / 2;
bool StockSerials(Serial kind, int64 count, int64 floor);
// Takes consecutive ones, at any place that allows a spinlock, and returns the first; nothing if others have emptied
// the stock since.
std::optional<int64> DrawSerials(Serial kind, int64 count);

// Both for one number. Nothing: see StockSerials.
std::optional<int64> NextSerial(Serial kind, int64 floor);

// Advances a sequence by `count` as one change in place, and returns the first number. `flush`: it is on disk when this
// returns. The sequence is open already: no catalog is looked at under an LWLock, since its lock may have to be waited
// for. Raises sequence_generator_limit_exceeded beyond `limit`.
int64 AdvanceSequence(Relation sequence, int64 count, int64 limit, bool flush);

Size SerialsShmemSize();
void SerialsShmemInit();

}  // namespace pgqueue::page
