// The run's side of a slot: see run_slots.hpp.
#pragma once

#include "pgqueue/cron/run_slots.hpp"

namespace pgqueue::cron {

// False: the run is no longer wanted. The command is null if it was lost with the scheduler.
bool ClaimRun(int slot, uint32 generation, RunOrder* order);
// Waits until the scheduler has committed. False: it has not, and never will.
bool MayGo(int slot, uint32 generation);
// May be called in a callback of the process' exit.
void Finish(int slot, uint32 generation, const RunResult& result);

}  // namespace pgqueue::cron
