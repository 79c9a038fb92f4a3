// Places: where the newest version of a key lay when somebody last looked.
//
// A hint in shared memory saves the index: whoever looks for a key goes to the place first and checks the row there
// (the key, and that it is visible or current). Where the hint is missing, outdated or another key's, the index is
// asked. So a key that changes all the time while an old snapshot keeps its dead versions costs neither a walk over
// them nor a longer one every minute. No locks: a word is one atomic store.
#pragma once

#include "pgqueue/pg/compat.hpp"

namespace pgqueue::page {

// Names a key of a table; `file` makes hints of a table's earlier life void.
uint64 PlaceHash(compat::FileNumber file, char kind, std::string_view key);

struct Place {
    ItemPointerData tid;
    Buffer buffer;  // where the page was; InvalidBuffer: unknown
};
std::optional<Place> FindPlace(uint64 hash);
void NotePlace(uint64 hash, const ItemPointerData& tid, Buffer buffer);

// Pins the page, if the table (on which the caller holds a lock) still has it. InvalidBuffer: it doesn't.
Buffer ReadPlace(Relation rel, const Place& place);

Size PlacesShmemSize();
void PlacesShmemInit();

}  // namespace pgqueue::page
