// Who may do what as whom, for what runs in the background as a role that somebody names.
#pragma once

#include "pgqueue/pg/compat.hpp"

namespace pgqueue::pg {

// Whether the current role may do what the other one may. False for a role that is gone.
bool MayActAs(const char* role);
// Raises insufficient_privilege unless so. `what`: for the message: "jobs".
void CheckMember(const char* role, const char* what);
// The same, and raises invalid_authorization_specification unless the role may log in, which its processes do. `hint`
// says so.
void CheckMayRun(const char* role, const char* what, const char* hint);

// Whether the current role may see the figures of this table: with SELECT on it, or as a member of pg_monitor.
// False for one that is gone.
bool MayMeasure(Oid relation);

}  // namespace pgqueue::pg
