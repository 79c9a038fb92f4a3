#include "pgqueue/queue/whole_tables.hpp"

namespace pgqueue::queue {
namespace {

bool HasOtherHolders(Oid table) {
    LOCKTAG tag;
    SET_LOCKTAG_RELATION(tag, MyDatabaseId, table);
    int count = 0;
    (void)GetLockConflicts(&tag, AccessExclusiveLock, &count);
    return count > 0;
}

bool LockParts(Oid table) {
    Relation rel = try_relation_open(table, NoLock);
    if (rel == nullptr) return false;
    const Oid toast = rel->rd_rel->reltoastrelid;
    List* parts = RelationGetIndexList(rel);
    relation_close(rel, NoLock);
    bool good = true;
    ListCell* cell = nullptr;
    foreach (cell, parts)
        good = good && !HasOtherHolders(lfirst_oid(cell)) &&
               ConditionalLockRelationOid(lfirst_oid(cell), AccessExclusiveLock);
    list_free(parts);
    if (!good || !OidIsValid(toast)) return good;
    return !HasOtherHolders(toast) && ConditionalLockRelationOid(toast, AccessExclusiveLock) && LockParts(toast);
}

}  // namespace

bool LockAlone(Oid table) {
    if (HasOtherHolders(table) || !ConditionalLockRelationOid(table, AccessExclusiveLock)) return false;
    AcceptInvalidationMessages();
    if (LockParts(table)) return true;
    UnlockRelationOid(table, AccessExclusiveLock);
    return false;
}

int64 SizeOf(Oid table) { return DatumGetInt64(DirectFunctionCall1(pg_total_relation_size, ObjectIdGetDatum(table))); }

BlockNumber BlocksOf(Oid table) {
    Relation rel = try_relation_open(table, NoLock);
    if (rel == nullptr) return 0;
    const BlockNumber blocks = RelationGetNumberOfBlocks(rel);
    relation_close(rel, NoLock);
    return blocks;
}

BlockNumber BlocksAtOnce(Oid table) {
    if (!ConditionalLockRelationOid(table, AccessShareLock)) return 1;
    const BlockNumber blocks = BlocksOf(table);
    UnlockRelationOid(table, AccessShareLock);
    return blocks;
}

bool HasTruncateTrigger(Relation rel) {
    const TriggerDesc* triggers = rel->trigdesc;
    return triggers != nullptr && (triggers->trig_truncate_before_statement || triggers->trig_truncate_after_statement);
}

bool IsPast(Relation rel, TransactionId xid) {
    return !TransactionIdIsNormal(xid) || TransactionIdPrecedes(xid, GetOldestNonRemovableTransactionId(rel));
}

}  // namespace pgqueue::queue
