#include "pgqueue/pg/role.hpp"

namespace pgqueue::pg {

bool MayActAs(const char* role) {
    const Oid oid = get_role_oid(role, true);
    return OidIsValid(oid) && (oid == GetUserId() || compat::MaySetRole(GetUserId(), oid));
}

bool MayMeasure(Oid relation) {
    if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation))) return false;
    return pg_class_aclcheck(relation, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
           has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
}

void CheckMember(const char* role, const char* what) {
    (void)get_role_oid(role, false);
    if (!MayActAs(role))
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                        errmsg("permission denied to run %s as role \"%s\"", what, role),
                        errhint("Membership in that role is needed.")));
}

void CheckMayRun(const char* role, const char* what, const char* hint) {
    CheckMember(role, what);
    const Oid oid = get_role_oid(role, false);
    HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(oid));
    const bool may_log_in = HeapTupleIsValid(tuple) && reinterpret_cast<Form_pg_authid>(GETSTRUCT(tuple))->rolcanlogin;
    if (HeapTupleIsValid(tuple)) ReleaseSysCache(tuple);
    if (!may_log_in)
        ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
                        errmsg("role \"%s\" is not permitted to log in", role), errhint("%s", hint)));
}

}  // namespace pgqueue::pg
