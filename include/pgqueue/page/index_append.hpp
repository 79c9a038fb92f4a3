// Entries for new rows at the end of a btree on one bigint column, many at a time.
//
// Message ids rise, so nearly every new entry belongs on the index's last leaf. index_insert finds that leaf, locks it,
// and logs a record for each entry by itself; here a run of consecutive keys goes in under one lock, with one WAL
// record of the generic resource manager, as in inplace.hpp. What isn't the plain case (no room, a key that is there
// already or may belong on another leaf, entries of dead rows that are older than NOT NULL) is left to index_insert.
#pragma once

#include "pgqueue/pg/memory.hpp"

namespace pgqueue::page {

// Adds entries for the keys first, first + 1, ... that lead to rows[0], rows[1], ... (their t_self), as many as the
// last leaf takes, and returns how many. 0: nothing was changed, and index_insert must store the first. The index is
// open with a RowExclusiveLock; it is unique, on one NOT NULL bigint column. May do I/O and raise.
int AppendToIndex(Relation index, int64 first, const HeapTuple* rows, int count);

// Adds one entry to a btree index, whatever its columns, none of which is NULL: index_insert without an executor.
void InsertIntoIndex(Relation index, Datum* values, const ItemPointerData& row, Relation table, IndexUniqueCheck check);

}  // namespace pgqueue::page
