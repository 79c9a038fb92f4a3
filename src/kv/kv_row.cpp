#include "pgqueue/kv/row.hpp"

namespace pgqueue::kv {
namespace {

bool IsNullIn(const HeapTupleData* tuple, AttrNumber attribute) {
    return (tuple->t_data->t_infomask & HEAP_HASNULL) != 0 && att_isnull(attribute - 1, tuple->t_data->t_bits);
}

bool Has(const HeapTupleData* tuple, AttrNumber attribute) {
    return HeapTupleHeaderGetNatts(tuple->t_data) >= attribute && !IsNullIn(tuple, attribute);
}

// Where the column behind the key may begin.
Size BehindKey(const HeapTupleData* tuple) {
    char* data = pg::DataOf(tuple->t_data);
    char* key = pg::VarlenaAt(data, kValueHeadBytes);
    return key - data + VARSIZE_ANY(key);
}

[[noreturn]] void RaiseCorrupted(Relation rel, const HeapTupleData* tuple) {
    ereport(ERROR,
            (errcode(ERRCODE_DATA_CORRUPTED),
             errmsg("row (%u,%u) of table \"%s\" is not what its type says", ItemPointerGetBlockNumber(&tuple->t_self),
                    ItemPointerGetOffsetNumber(&tuple->t_self), RelationGetRelationName(rel)),
             errhint("Delete it: it was not stored by this library.")));
    pg_unreachable();
}

}  // namespace

std::optional<std::string_view> KeyOf(const HeapTupleData* tuple) {
    const HeapTupleHeader row = tuple->t_data;
    if (tuple->t_len < row->t_hoff + kValueHeadBytes + 1 || HeapTupleHeaderGetNatts(row) < kKey) return std::nullopt;
    constexpr bits8 kHeadBits = (1 << kKey) - 1;
    if ((row->t_infomask & HEAP_HASNULL) != 0 && (row->t_bits[0] & kHeadBits) != kHeadBits) return std::nullopt;
    const char* key = pg::VarlenaAt(pg::DataOf(row), kValueHeadBytes);
    if (VARATT_IS_EXTERNAL(key) || VARATT_IS_COMPRESSED(key)) return std::nullopt;
    return std::string_view(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
}

struct varlena* ValueOf(Relation rel, const HeapTupleData* tuple) {
    AttrNumber attribute = 0;
    switch (ValueHeadOf(tuple->t_data)->type) {
        case kText:
            attribute = kTextValue;
            break;
        case kJson:
            attribute = kJsonValue;
            break;
        case kBytes:
            attribute = kBytesValue;
            break;
        default:
            RaiseCorrupted(rel, tuple);
    }
    for (AttrNumber i = kTextValue; i <= kBytesValue; i++)
        if (Has(tuple, i) != (i == attribute)) RaiseCorrupted(rel, tuple);
    return reinterpret_cast<struct varlena*>(pg::VarlenaAt(pg::DataOf(tuple->t_data), BehindKey(tuple)));
}

char* OwnerIn(Relation rel, const HeapTupleData* tuple) {
    if (!Has(tuple, kOwner)) RaiseCorrupted(rel, tuple);
    return pg::DataOf(tuple->t_data) + BehindKey(tuple);
}

Key KeyFrom(Datum text) {
    struct varlena* key = PG_DETOAST_DATUM_PACKED(text);
    const std::string_view bytes(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
    if (bytes.empty() || bytes.size() > kMaxKeyBytes)
        ereport(ERROR, (errcode(bytes.empty() ? ERRCODE_INVALID_PARAMETER_VALUE : ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
                        errmsg("a key is 1 to %d bytes, not %zu", kMaxKeyBytes, bytes.size()),
                        errhint("Use a digest of what is longer, and keep the whole in the value.")));
    return {PointerGetDatum(key), bytes};
}

}  // namespace pgqueue::kv
