#include "pgqueue/pg/heap_row.hpp"

namespace pgqueue::pg {
namespace {

// Appends a varlena value as heap_fill_tuple does: short ones with a one-byte header, unaligned; others as they are,
// aligned unless their header is short already. Returns the end. A null `data` only measures.
Size AppendVarlena(char* data, Size at, Datum value) {
    const auto* source = reinterpret_cast<const struct varlena*>(DatumGetPointer(value));
    if (VARATT_IS_SHORT(source) || VARATT_IS_EXTERNAL(source)) {
        if (data != nullptr) memcpy(data + at, source, VARSIZE_ANY(source));
        return at + VARSIZE_ANY(source);
    }
    if (VARATT_CAN_MAKE_SHORT(source)) {
        const Size length = VARATT_CONVERTED_SHORT_SIZE(source);
        if (data != nullptr) {
            SET_VARSIZE_SHORT(data + at, length);
            memcpy(data + at + 1, VARDATA(source), length - 1);
        }
        return at + length;
    }
    const Size start = INTALIGN(at);
    if (data != nullptr) {
        memset(data + at, 0, start - at);
        memcpy(data + start, source, VARSIZE(source));
    }
    return start + VARSIZE(source);
}

Size Append(char* data, Size at, const Column& column) {
    if (column.null) return at;
    switch (column.kind) {
        case Kind::kVarlena:
            return AppendVarlena(data, at, column.value);
        case Kind::kName:
            if (data != nullptr) memcpy(data + at, DatumGetPointer(column.value), NAMEDATALEN);
            return at + NAMEDATALEN;
        default:
            break;
    }
    const Size start = MAXALIGN(at);
    if (data != nullptr) {
        memset(data + at, 0, start - at);
        memcpy(data + start, &column.value, sizeof(Datum));
    }
    return start + sizeof(Datum);
}

// Where a column that came later has a value for rows that end before it, all are stored.
int ColumnsOf(TupleDesc desc, int head_columns, const Column* columns, int count) {
    if (desc->constr != nullptr && desc->constr->missing != nullptr) return desc->natts;
    while (count > 0 && columns[count - 1].null) count--;
    return head_columns + count;
}

}  // namespace

HeapTuple FormRow(TupleDesc desc, const void* head, Size head_bytes, int head_columns, const Column* columns,
                  int count) {
    const int natts = ColumnsOf(desc, head_columns, columns, count);
    bool has_null = natts > head_columns + count;
    Size length = head_bytes;
    for (int i = 0; i < count && head_columns + i < natts; i++) {
        has_null |= columns[i].null;
        length = Append(nullptr, length, columns[i]);
    }
    if (length > MaxAllocSize - 1024)
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("row is too long: %zu bytes", length)));
    const Size header = MAXALIGN(SizeofHeapTupleHeader + (has_null ? BITMAPLEN(natts) : 0));

    auto* tuple = static_cast<HeapTuple>(palloc(HEAPTUPLESIZE + header + length));
    memset(tuple, 0, HEAPTUPLESIZE + header);
    tuple->t_len = static_cast<uint32>(header + length);
    ItemPointerSetInvalid(&tuple->t_self);
    tuple->t_tableOid = InvalidOid;
    tuple->t_data = reinterpret_cast<HeapTupleHeader>(reinterpret_cast<char*>(tuple) + HEAPTUPLESIZE);
    HeapTupleHeader row = tuple->t_data;
    HeapTupleHeaderSetDatumLength(row, tuple->t_len);
    HeapTupleHeaderSetTypeId(row, desc->tdtypeid);
    HeapTupleHeaderSetTypMod(row, desc->tdtypmod);
    ItemPointerSetInvalid(&row->t_ctid);
    HeapTupleHeaderSetNatts(row, natts);
    row->t_hoff = static_cast<uint8>(header);
    if (has_null) {
        row->t_infomask = HEAP_HASNULL;
        for (int i = 0; i < natts; i++)
            if (i < head_columns || (i < head_columns + count && !columns[i - head_columns].null))
                row->t_bits[i / 8] |= static_cast<bits8>(1 << (i % 8));
    }

    char* data = DataOf(row);
    memcpy(data, head, head_bytes);
    Size at = head_bytes;
    for (int i = 0; i < count && head_columns + i < natts; i++) {
        const Column& column = columns[i];
        if (!column.null && column.kind == Kind::kVarlena) {
            row->t_infomask |= HEAP_HASVARWIDTH;
            if (VARATT_IS_EXTERNAL(DatumGetPointer(column.value))) row->t_infomask |= HEAP_HASEXTERNAL;
        }
        at = Append(data, at, column);
    }
    return tuple;
}

}  // namespace pgqueue::pg
