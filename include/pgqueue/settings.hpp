// The settings of postgresql.conf, all under "pgqueue.".
#pragma once

namespace pgqueue::settings {

extern int page_map_size_kb;  // pgqueue.page_map_size: shared memory for the page maps' trees
extern int max_segments;      // pgqueue.max_segments: tables of queues with a map of their own at one time
extern int kv_places_kb;      // pgqueue.kv_places: shared memory for hints where keys lie
extern int released_leases;   // pgqueue.released_leases: notes of leases given back by rollbacks

void Define();

}  // namespace pgqueue::settings
