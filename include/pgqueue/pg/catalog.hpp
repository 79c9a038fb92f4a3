// Looking things up in the catalogs and in the extension's own tables.
#pragma once

#include "pgqueue/pg/compat.hpp"

namespace pgqueue::pg {

// A relation of that schema, or InvalidOid.
inline Oid RelationIn(const char* schema, const char* relation) {
    const Oid namespace_oid = get_namespace_oid(schema, true);
    return OidIsValid(namespace_oid) ? get_relname_relid(relation, namespace_oid) : InvalidOid;
}

// The same, locked against DROP, so that it stays what its name says until the transaction ends.
Oid LockedRelationIn(const char* schema, const char* relation);
// How many of our triggers the table has in force: ENABLE ALWAYS.
int OwnTriggersOf(Oid table);

// The extension's own relation; raises undefined_object if the extension isn't there.
Oid ExtensionRelation(const char* schema, const char* relation);
Oid ExtensionOwner();
// For background workers: locks the extension against being dropped or changed until the transaction ends. InvalidOid:
// it is not there.
Oid HoldExtension();
// The same in a task: where it is not there, the database's worker is woken to see what to make of that.
bool HoldExtensionForTask();
const char* ExtensionVersion();  // of the extension's objects in this database; raises the same
Oid OwnerOf(Oid relation);
// A role as GRANT and REVOKE write it; "public" is everyone. Raises undefined_object.
const char* Grantee(const char* role);
// Until the transaction ends: a second GRANT or REVOKE that asks for it waits. The server takes no lock for them, and
// the second of two on one relation fails with an internal error. The relation's own lock would be in the worker's way.
void LockAgainstGrants(Oid relation);
// Changes with every change to the table's triggers, ENABLE and DISABLE included.
uint64 TriggerStamp(Oid table);

// Calls `use` with the row of an extension's table whose text primary key, the column `attribute`, is `name`: as it is
// committed now, since a snapshot of the transaction may be older. False: there is none.
template <class Use>
bool WithRowOf(Oid table, AttrNumber attribute, const char* name, LOCKMODE lock, Use use) {
    Relation rel = table_open(table, lock);
    ScanKeyData key;
    ScanKeyInit(&key, attribute, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
    key.sk_collation = C_COLLATION_OID;
    Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
    SysScanDesc scan = systable_beginscan(rel, compat::PrimaryKeyOf(rel), true, snapshot, 1, &key);
    HeapTuple tuple = systable_getnext(scan);
    if (HeapTupleIsValid(tuple)) use(rel, tuple);
    const bool found = HeapTupleIsValid(tuple);
    systable_endscan(scan);
    UnregisterSnapshot(snapshot);
    table_close(rel, lock);
    return found;
}

}  // namespace pgqueue::pg
