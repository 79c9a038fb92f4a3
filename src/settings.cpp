#include "pgqueue/settings.hpp"

#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::settings {

int page_map_size_kb = 32 * 1024;
int max_segments = 16384;
int kv_places_kb = 16 * 1024;
int released_leases = 65536;

void Define() {
    DefineCustomIntVariable(
        "pgqueue.page_map_size", "Shared memory for the maps that tell readers which pages to look at.",
        "About 16 MB per million pages of 8 kB; beyond it the maps become coarser.", &page_map_size_kb, 32 * 1024, 64,
        16 * 1024 * 1024, PGC_POSTMASTER, GUC_UNIT_KB, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pgqueue.max_segments", "Tables of queues that have a page map at one time.",
                            "Beyond it the least used ones give theirs up.", &max_segments, 16384, 16, 1024 * 1024,
                            PGC_POSTMASTER, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pgqueue.released_leases", "Leases given back by rollbacks that can be noted at one time.",
                            "Beyond it a lease that was given back runs out instead.", &released_leases, 65536, 1024,
                            16 * 1024 * 1024, PGC_POSTMASTER, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pgqueue.kv_places", "Shared memory for hints where the keys of stores lie.",
                            "16 bytes a key that is in use; the others are looked up in their index.", &kv_places_kb,
                            16 * 1024, 64, 16 * 1024 * 1024, PGC_POSTMASTER, GUC_UNIT_KB, nullptr, nullptr, nullptr);
    MarkGUCPrefixReserved("pgqueue");
}

}  // namespace pgqueue::settings
