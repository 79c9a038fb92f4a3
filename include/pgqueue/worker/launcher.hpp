// The launcher: one static background worker that keeps a worker in every database that has the extension.
#pragma once

namespace pgqueue::worker {

// In _PG_init.
void RegisterLauncher();

}  // namespace pgqueue::worker
