// What our row triggers have in common.
#pragma once

#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::pg {

// The trigger's data, or nullptr unless the function was called as a row trigger, by an event that is meant, on a plain
// heap table of that schema. Raises trigger_protocol_violated where it was not called as a trigger at all.
inline TriggerData* RowTrigger(FunctionCallInfo fcinfo, const char* schema, bool (*fired)(TriggerEvent)) {
    if (!CALLED_AS_TRIGGER(fcinfo))
        ereport(ERROR,
                (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("this function is only for triggers")));
    auto* data = reinterpret_cast<TriggerData*>(fcinfo->context);
    Relation rel = data->tg_relation;
    if (!TRIGGER_FIRED_FOR_ROW(data->tg_event) || !fired(data->tg_event) || rel->rd_rel->relkind != RELKIND_RELATION ||
        rel->rd_rel->relam != HEAP_TABLE_AM_OID || RelationGetNamespace(rel) != get_namespace_oid(schema, true))
        return nullptr;
    return data;
}

// Rows that come by COPY, from a restore or by replication, and not by a statement of somebody's.
inline bool ArrivesInBulk() {
    return SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA || IsBinaryUpgrade ||
           (ActivePortal != nullptr && ActivePortal->commandTag == CMDTAG_COPY);
}

}  // namespace pgqueue::pg
