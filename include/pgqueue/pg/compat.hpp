// Every difference between the server versions we build for (15 to 18), in one place.
// Each shim names what changed upstream.
#pragma once

#include "pgqueue/pg/postgres.hpp"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "pgqueue builds for PostgreSQL 15 to 18"
#endif

namespace pgqueue::compat {

// 16 renamed RelFileNode to RelFileLocator and gave the number a type of its own.
#if PG_VERSION_NUM >= 160000
using FileNumber = RelFileNumber;
inline FileNumber FileNumberOf(Relation rel) { return rel->rd_locator.relNumber; }
#else
using FileNumber = Oid;
inline FileNumber FileNumberOf(Relation rel) { return rel->rd_node.relNode; }
#endif

// 16 replaced the per-catalog ACL functions by object_aclcheck and object_ownercheck.
#if PG_VERSION_NUM >= 160000
inline bool MayCreateIn(Oid database, Oid role) {
    return object_aclcheck(DatabaseRelationId, database, role, ACL_CREATE) == ACLCHECK_OK;
}
inline bool OwnsRelation(Oid relid, Oid role) { return object_ownercheck(RelationRelationId, relid, role); }
inline bool OwnsDatabase(Oid database, Oid role) { return object_ownercheck(DatabaseRelationId, database, role); }
inline bool MayConnect(Oid database, Oid role) {
    return object_aclcheck(DatabaseRelationId, database, role, ACL_CONNECT) == ACLCHECK_OK;
}
inline bool MayExecute(Oid function, Oid role) {
    return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK;
}
#else
inline bool MayCreateIn(Oid database, Oid role) {
    return pg_database_aclcheck(database, role, ACL_CREATE) == ACLCHECK_OK;
}
inline bool OwnsRelation(Oid relid, Oid role) { return pg_class_ownercheck(relid, role); }
inline bool OwnsDatabase(Oid database, Oid role) { return pg_database_ownercheck(database, role); }
inline bool MayConnect(Oid database, Oid role) {
    return pg_database_aclcheck(database, role, ACL_CONNECT) == ACLCHECK_OK;
}
inline bool MayExecute(Oid function, Oid role) { return pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK; }
#endif

// 16 lets a parser of input leave its errors to the caller.
inline List* QualifiedName(const char* text) {
#if PG_VERSION_NUM >= 160000
    return stringToQualifiedNameList(text, nullptr);
#else
    return stringToQualifiedNameList(text);
#endif
}

// 16 made SET ROLE an option of a membership.
inline bool MaySetRole(Oid member, Oid role) {
#if PG_VERSION_NUM >= 160000
    return member_can_set_role(member, role);
#else
    return is_member_of_role(member, role);
#endif
}

// 18 dropped run_once, which nobody had used otherwise.
inline void RunPortal(Portal portal, DestReceiver* receiver, QueryCompletion* completion) {
#if PG_VERSION_NUM >= 180000
    (void)PortalRun(portal, FETCH_ALL, true, receiver, receiver, completion);
#else
    (void)PortalRun(portal, FETCH_ALL, true, true, receiver, receiver, completion);
#endif
}

// 16 added onlySummarizing, for BRIN under HOT updates.
inline List* InsertIndexTuples(ResultRelInfo* info, TupleTableSlot* slot, EState* estate) {
#if PG_VERSION_NUM >= 160000
    return ExecInsertIndexTuples(info, slot, estate, false, false, nullptr, NIL, false);
#else
    return ExecInsertIndexTuples(info, slot, estate, false, false, nullptr, NIL);
#endif
}

// 16 added the answer which indexes need an entry, for BRIN; a heap-only row says the same for ours.
inline TM_Result HeapUpdate(Relation rel, ItemPointer old_tid, HeapTuple row, CommandId command, bool wait,
                            TM_FailureData* failure) {
    LockTupleMode mode = LockTupleExclusive;
#if PG_VERSION_NUM >= 160000
    TU_UpdateIndexes indexes = TU_None;
    return heap_update(rel, old_tid, row, command, InvalidSnapshot, wait, failure, &mode, &indexes);
#else
    return heap_update(rel, old_tid, row, command, InvalidSnapshot, wait, failure, &mode);
#endif
}

// Adds `count` empty pages to a table whose extension lock the caller holds, and returns the first. 16 brought
// ExtendBufferedRelBy in place of ReadBuffer(P_NEW).
inline BlockNumber ExtendTable(Relation rel, int count) {
    constexpr int kMost = 64;
#if PG_VERSION_NUM >= 160000
    Buffer buffers[kMost];
    uint32 added = 0;
    const BlockNumber first = ExtendBufferedRelBy(BMR_REL(rel), MAIN_FORKNUM, nullptr, EB_SKIP_EXTENSION_LOCK,
                                                  static_cast<uint32>(std::min(count, kMost)), buffers, &added);
    for (uint32 i = 0; i < added; i++) ReleaseBuffer(buffers[i]);
    return first;
#else
    BlockNumber first = InvalidBlockNumber;
    for (int i = 0; i < std::min(count, kMost); i++) {
        Buffer buffer = ReadBufferExtended(rel, MAIN_FORKNUM, P_NEW, RBM_ZERO_AND_LOCK, nullptr);
        if (i == 0) first = BufferGetBlockNumber(buffer);
        UnlockReleaseBuffer(buffer);
    }
    return first;
#endif
}

// 16 renamed the relation's file as above.
inline bool ReadRecentBuffer(Relation rel, BlockNumber block, Buffer buffer) {
#if PG_VERSION_NUM >= 160000
    return ::ReadRecentBuffer(rel->rd_locator, MAIN_FORKNUM, block, buffer);
#else
    return ::ReadRecentBuffer(rel->rd_node, MAIN_FORKNUM, block, buffer);
#endif
}

// 18 can leave a deferrable primary key out.
inline Oid PrimaryKeyOf(Relation rel) {
#if PG_VERSION_NUM >= 180000
    return RelationGetPrimaryKeyIndex(rel, false);
#else
    return RelationGetPrimaryKeyIndex(rel);
#endif
}

// 18 added the instrumentation argument.
inline IndexScanDesc BeginIndexScan(Relation heap, Relation index, Snapshot snapshot, int keys) {
#if PG_VERSION_NUM >= 180000
    return index_beginscan(heap, index, snapshot, nullptr, keys, 0);
#else
    return index_beginscan(heap, index, snapshot, keys, 0);
#endif
}

// A command's tag with its row count, as psql prints it: 16 made a function of it.
inline void CompletionText(char* text, const QueryCompletion& completion) {
#if PG_VERSION_NUM >= 160000
    (void)BuildQueryCompletionString(text, &completion, false);
#else
    const char* tag = GetCommandTagName(completion.commandTag);
    if (command_tag_display_rowcount(completion.commandTag))
        pg_snprintf(text, COMPLETION_TAG_BUFSIZE,
                    completion.commandTag == CMDTAG_INSERT ? "%s 0 " UINT64_FORMAT : "%s " UINT64_FORMAT, tag,
                    completion.nprocessed);
    else
        strlcpy(text, tag, COMPLETION_TAG_BUFSIZE);
#endif
}

// 17 brought a limit for transactions.
#if PG_VERSION_NUM >= 170000
inline constexpr const char* kTransactionTimeout = "transaction_timeout";
#else
inline constexpr const char* kTransactionTimeout = nullptr;
#endif

// 17 lets an extension name its wait events; before, all share "Extension".
inline uint32 WaitEvent(const char* name) {
#if PG_VERSION_NUM >= 170000
    return WaitEventExtensionNew(name);
#else
    (void)name;
    return PG_WAIT_EXTENSION;
#endif
}

// The number that the session's top-level transaction has in this session.
inline LocalTransactionId LocalTransaction() {
#if PG_VERSION_NUM >= 170000
    return MyProc->vxid.lxid;
#else
    return MyProc->lxid;
#endif
}

}  // namespace pgqueue::compat
