// The parts of an archive that has a retention: so that what is too old goes with a file, and not row by row.
//
// An archive begins as one table. Once that is large, the worker gives it a part, a child table with the name of the
// archive and a number, in which all goes that is archived from then on; and a further one each time the newest is
// large and a quarter of the retention old. A part that is no longer the newest is *closed*: a CHECK constraint, made
// while nobody else has the table, says until when rows have come. When that is as long ago as the retention, and no
// snapshot is left that might want to see the rows, the part is emptied (TRUNCATE), and is free to be the next new one.
// So an archived message stays for at least the retention and at most a quarter longer, and the worker's rounds.
//
// What lies in the archive's own table, and in the newest part while that is small, is deleted by rows: see expire.hpp.
// So is what is much too old in a part that never is free to be emptied: readers that overlap, triggers of its user's.
// An archive with triggers, rules or indexes of its user's gets no parts, or no further ones.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

// The table that takes what is archived, locked for writing and open: the newest part, or `archive`, which the caller
// has so.
Relation OpenArchivePart(const OpenedQueue& opened, Relation archive);

// The parts whose old rows have to be deleted one by one, as the archive's own: a small newest one, and those that
// should have been emptied long ago. Locked for writing.
pg::Vector<Oid> TrimmedParts(const OpenedQueue& opened);

// One round of the above, by the worker, in a transaction of its own. Waits for nobody.
// Returns whether anything changed.
bool TendArchive(const char* queue, Oid archive, double retention);

}  // namespace pgqueue::queue
