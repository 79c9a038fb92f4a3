#include "pgqueue/queue/row_state.hpp"

namespace pgqueue::queue {
namespace {

void CheckHead(Relation rel, HeapTuple tuple) {
    if (likely(HasHead(tuple))) return;
    ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
                    errmsg("row (%u,%u) of table \"%s\" is not a message", ItemPointerGetBlockNumber(&tuple->t_self),
                           ItemPointerGetOffsetNumber(&tuple->t_self), RelationGetRelationName(rel)),
                    errhint("It was stored under another definition of the table. Delete it.")));
}

}  // namespace

bool HasHead(const HeapTupleData* tuple) {
    const HeapTupleHeader row = tuple->t_data;
    constexpr bits8 kHeadBits = (1 << kPriority) - 1;
    return HeapTupleHeaderGetNatts(row) >= kPriority && tuple->t_len >= row->t_hoff + sizeof(RowHead) &&
           (!(row->t_infomask & HEAP_HASNULL) || (row->t_bits[0] & kHeadBits) == kHeadBits);
}

RowState StateOf(Relation rel, Buffer buffer, OffsetNumber off, HeapTuple tuple) {
    const RowState state = page::Judge(rel, buffer, off, tuple);
    if (!IsOver(state)) CheckHead(rel, tuple);
    return state;
}

TimestampTz EffectiveVt(const page::SegmentRef& map, const RowHead* head, const ItemPointerData& tid, TimestampTz now) {
    if (head->receipt == 0 || page::ReleasedUntil(map) <= now) return head->vt;
    if (const auto free_at = page::FindReleased(LeaseOf(map, head, tid))) return *free_at;
    return head->vt;
}

}  // namespace pgqueue::queue
