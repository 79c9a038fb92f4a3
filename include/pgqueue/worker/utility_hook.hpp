// What utility commands mean for the background workers.
#pragma once

namespace pgqueue::worker {

// In _PG_init.
void InstallUtilityHook();

}  // namespace pgqueue::worker
