// Rows of our tables, formed by hand: fixed-width NOT NULL columns first, then a few of variable width.
#pragma once

#include "pgqueue/pg/memory.hpp"

namespace pgqueue::pg {

// A column behind the head: a varlena value with alignment 'i', or one of type name, or one of eight bytes by value
// with alignment 'd'.
enum class Kind : uint8 { kVarlena, kName, kEightBytes };
struct Column {
    Datum value = 0;
    bool null = true;
    Kind kind = Kind::kVarlena;
};

// heap_form_tuple for this one shape, at a tenth of its cost: it walks the columns twice for what is a memcpy here. The
// row begins with the head's bytes, which are its first `head_columns` columns as they lie on the page. NULLs at the
// end are left out, as in rows that are older than a column. Raises program_limit_exceeded.
HeapTuple FormRow(TupleDesc desc, const void* head, Size head_bytes, int head_columns, const Column* columns,
                  int count);

// The bytes of the varlena column that begins at or behind `at`, where alignment may have left padding.
inline char* VarlenaAt(char* row_data, Size at) {
    return *reinterpret_cast<uint8*>(row_data + at) != 0 ? row_data + at : row_data + INTALIGN(at);
}

inline char* DataOf(HeapTupleHeader row) { return reinterpret_cast<char*>(row) + row->t_hoff; }

}  // namespace pgqueue::pg
