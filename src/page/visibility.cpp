#include "pgqueue/page/visibility.hpp"

namespace pgqueue::page {
namespace {

// Row locks that don't concern us: KEY SHARE (a foreign key's) and our own.
bool OnlyHarmlessLocks(HeapTupleHeader tuple) {
    const uint16 infomask = tuple->t_infomask;
    if (!HEAP_XMAX_IS_LOCKED_ONLY(infomask)) return false;
    const TransactionId xmax = HeapTupleHeaderGetRawXmax(tuple);
    if (!(infomask & HEAP_XMAX_IS_MULTI))
        return HEAP_XMAX_IS_KEYSHR_LOCKED(infomask) || TransactionIdIsCurrentTransactionId(xmax);
    MultiXactMember* members = nullptr;
    const int count = GetMultiXactIdMembers(xmax, &members, false, true);
    bool harmless = true;
    for (int i = 0; i < count && harmless; i++)
        harmless = members[i].status == MultiXactStatusForKeyShare ||
                   TransactionIdIsCurrentTransactionId(members[i].xid) || !TransactionIdIsInProgress(members[i].xid);
    if (members != nullptr) pfree(members);
    return harmless;
}

bool DeletedByUs(HeapTupleHeader tuple) {
    return !(tuple->t_infomask & HEAP_XMAX_INVALID) && !HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_infomask) &&
           TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(tuple));
}

}  // namespace

RowState Judge(Relation rel, Buffer buffer, OffsetNumber off, HeapTuple tuple) {
    Page page = BufferGetPage(buffer);
    if (off < FirstOffsetNumber || off > PageGetMaxOffsetNumber(page)) return RowState::kDead;
    const ItemId item = PageGetItemId(page, off);
    if (!ItemIdIsNormal(item)) return RowState::kDead;
    tuple->t_data = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, item));
    tuple->t_len = ItemIdGetLength(item);
    tuple->t_tableOid = RelationGetRelid(rel);
    ItemPointerSet(&tuple->t_self, BufferGetBlockNumber(buffer), off);
    switch (HeapTupleSatisfiesUpdate(tuple, GetCurrentCommandId(false), buffer)) {
        case TM_Ok:
            return RowState::kLive;
        case TM_Invisible:
            // The inserter rolled back; or we deleted the row before; or the running command of ours inserted it; or
            // its inserter is still open.
            if (HeapTupleHeaderXminInvalid(tuple->t_data)) return RowState::kDead;
            if (DeletedByUs(tuple->t_data)) return RowState::kGone;
            if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data))) return RowState::kOurFuture;
            return RowState::kPending;
        case TM_SelfModified:
            return RowState::kGone;
        case TM_BeingModified:
            return OnlyHarmlessLocks(tuple->t_data) ? RowState::kLive : RowState::kChanging;
        case TM_Updated:
            return RowState::kReplaced;
        default:
            return RowState::kDead;
    }
}

TimestampTz LookAgain(TimestampTz since, TimestampTz now) {
    const int64 age = now > since ? now - since : 0;
    return now + std::clamp<int64>(age / 8, 10 * INT64CONST(1000), USECS_PER_SEC);
}

// A table only grows, but for TRUNCATE and for VACUUM cutting off empty pages. Neither can happen while we hold our
// lock on it, and both invalidate the relation's storage handle before they release theirs, which clears the handle's
// target block. So a target block that stands was there when it was set and is there still, and so are those before it.
bool BlockExists(Relation rel, BlockNumber block) {
    const BlockNumber target = RelationGetTargetBlock(rel);
    if (target != InvalidBlockNumber && block <= target) return true;
    const BlockNumber blocks = RelationGetNumberOfBlocks(rel);
    if (block >= blocks) return false;
    RelationSetTargetBlock(rel, blocks - 1);
    return true;
}

}  // namespace pgqueue::page
