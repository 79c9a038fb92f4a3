// In-place changes of fixed-width fields on a heap page.
//
// The caller holds the page's exclusive content lock and has checked that the bytes belong to the row it means.
// A change is not MVCC: no new row version, no transaction id, not undone by rollback. All changes of one page
// go into one WAL record of the generic resource manager, written by hand: a list of {offset, length, bytes}
// that the stock server replays without this library. (The GenericXLog functions copy whole pages and write them
// back, which is not allowed on a heap page that others hold pinned, and cost twenty times as much.)
#pragma once

#include "pgqueue/pg/memory.hpp"

namespace pgqueue::page {

// Raises feature_not_supported where an in-place change can't be made safe: with wal_consistency_checking on for
// generic records, recovery would compare bytes of the page's hole and stop.
void RequireInPlaceAllowed();
bool InPlaceAllowed();

class InPlaceWriter {
public:
    // Reserves room for max_changes, so that nothing after this raises. Any lock state.
    explicit InPlaceWriter(int max_changes);

    // Notes that `length` bytes at `target`, a place on the page, become `bytes` (which must stay valid until Apply).
    void Set(void* target, const void* bytes, uint16 length);

    bool Empty() const { return changes_.empty(); }

    // Writes all noted changes to the page and one WAL record for a permanent relation. Doesn't flush.
    // Returns the record's end, or InvalidXLogRecPtr where nothing is logged.
    XLogRecPtr Apply(Relation rel, Buffer buffer);

private:
    struct Change {
        char* target;
        const void* bytes;
        uint16 length;
    };
    pg::SmallVector<Change, 2> changes_;
    pg::SmallVector<char, 128> delta_;
};

}  // namespace pgqueue::page
