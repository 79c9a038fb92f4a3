#include "pgqueue/pg/catalog.hpp"

namespace pgqueue::pg {

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

}  // namespace pgqueue::pg
