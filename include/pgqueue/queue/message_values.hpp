// A message's row as the columns of the type queue.message.
#pragma once

#include "pgqueue/queue/row.hpp"

namespace pgqueue::queue {

inline constexpr int kMessageColumns = 10;

// Fills values and nulls. Values stay whole after the row is gone: what lies in the TOAST table is fetched, which needs
// a snapshot, and is to be freed: fetched[column], or nullptr. The others point into the row.
void MessageValues(HeapTuple row, TupleDesc desc, Datum* values, bool* nulls, struct varlena** fetched);

}  // namespace pgqueue::queue
