#include "pgqueue/pg/catalog.hpp"

#include "pgqueue/pg/worker_table.hpp"

namespace pgqueue::pg {

Oid LockedRelationIn(const char* schema, const char* relation) {
    for (;;) {
        const Oid oid = RelationIn(schema, relation);
        if (!OidIsValid(oid)) return InvalidOid;
        LockRelationOid(oid, AccessShareLock);
        if (RelationIn(schema, relation) == oid) return oid;
        UnlockRelationOid(oid, AccessShareLock);
    }
}

int OwnTriggersOf(Oid table) {
    Relation rel = table_open(table, AccessShareLock);
    int count = 0;
    for (int i = 0; rel->trigdesc != nullptr && i < rel->trigdesc->numtriggers; i++) {
        const Trigger* trigger = &rel->trigdesc->triggers[i];
        if (trigger->tgenabled == TRIGGER_FIRES_ALWAYS && strncmp(trigger->tgname, "pgqueue_", 8) == 0) count++;
    }
    table_close(rel, AccessShareLock);
    return count;
}

Oid ExtensionRelation(const char* schema, const char* relation) {
    const Oid oid = RelationIn(schema, relation);
    if (!OidIsValid(oid))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                        errmsg("the extension \"pgqueue\" is not installed in this database"),
                        errhint("Run CREATE EXTENSION pgqueue.")));
    return oid;
}

Oid OwnerOf(Oid relation) {
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
    if (!HeapTupleIsValid(tuple)) elog(ERROR, "cache lookup failed for relation %u", relation);
    const Oid owner = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
    ReleaseSysCache(tuple);
    return owner;
}

Oid ExtensionOwner() { return OwnerOf(ExtensionRelation("queue", "settings")); }

Oid HoldExtension() {
    for (Oid oid = get_extension_oid("pgqueue", true); OidIsValid(oid);) {
        LockDatabaseObject(ExtensionRelationId, oid, 0, AccessShareLock);
        // Whoever had it locked may have dropped it, and made another.
        const Oid now = get_extension_oid("pgqueue", true);
        if (now == oid) return oid;
        oid = now;
    }
    return InvalidOid;
}

bool HoldExtensionForTask() {
    if (OidIsValid(HoldExtension())) return true;
    WakeWorker(MyDatabaseId, kLookAround);
    return false;
}

const char* ExtensionVersion() {
    const Oid oid = get_extension_oid("pgqueue", false);
    Relation catalog = table_open(ExtensionRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
    SysScanDesc scan = systable_beginscan(catalog, ExtensionOidIndexId, true, nullptr, 1, &key);
    const char* version = "";
    if (HeapTuple tuple = systable_getnext(scan)) {
        bool null = false;
        const Datum value = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(catalog), &null);
        if (!null) version = TextDatumGetCString(value);
    }
    systable_endscan(scan);
    table_close(catalog, AccessShareLock);
    return version;
}

const char* Grantee(const char* role) {
    if (strcmp(role, "public") == 0) return "PUBLIC";
    (void)get_role_oid(role, false);
    return quote_identifier(role);
}

void LockAgainstGrants(Oid relation) { LockDatabaseObject(RelationRelationId, relation, 0, ShareUpdateExclusiveLock); }

uint64 TriggerStamp(Oid table) {
    Relation catalog = table_open(TriggerRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table));
    SysScanDesc scan = systable_beginscan(catalog, TriggerRelidNameIndexId, true, nullptr, 1, &key);
    uint64 stamp = 1;
    while (HeapTuple tuple = systable_getnext(scan)) {
        const Oid oid = reinterpret_cast<Form_pg_trigger>(GETSTRUCT(tuple))->oid;
        stamp = stamp * 0x9e3779b97f4a7c15u + (uint64{oid} << 32 | HeapTupleHeaderGetRawXmin(tuple->t_data));
        // Two changes in one transaction differ by the place of the row only.
        stamp = stamp * 0x9e3779b97f4a7c15u +
                (uint64{ItemPointerGetBlockNumber(&tuple->t_self)} << 16 | ItemPointerGetOffsetNumber(&tuple->t_self));
    }
    systable_endscan(scan);
    table_close(catalog, AccessShareLock);
    return stamp;
}

}  // namespace pgqueue::pg
