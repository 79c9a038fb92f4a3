// The settings of postgresql.conf, all under "pgqueue.".
#pragma once

namespace pgqueue::settings {

extern int page_map_size_kb;  // pgqueue.page_map_size: shared memory for the page maps' trees
extern int segment_size;      // pgqueue.segment_size, in blocks
extern int max_dead_bytes;    // pgqueue.max_dead_bytes, in MB; -1: no limit
extern int max_segments;      // pgqueue.max_segments: tables of queues with a map of their own at one time
extern int kv_places_kb;      // pgqueue.kv_places: shared memory for hints where keys lie
extern int released_leases;   // pgqueue.released_leases: notes of leases given back by rollbacks
extern int group_holds;       // pgqueue.group_holds: messages of groups that are out at one time

extern bool workers;           // pgqueue.workers: whether background workers run at all
extern char* databases;        // pgqueue.databases: those that have one, or *
extern int purge_interval;     // pgqueue.purge_interval: milliseconds between purges of what has expired; 0: never
extern int purge_pages;        // pgqueue.purge_pages: looked at in one transaction of the purge
extern bool cron_enabled;      // pgqueue.cron_enabled: whether jobs are run
extern int cron_max_running;   // pgqueue.cron_max_running: jobs under way at one time, in all databases
extern int cron_history_age;   // pgqueue.cron_history_age: minutes; 0: any
extern int cron_history_rows;  // pgqueue.cron_history_rows: of one job; 0: any number
extern int errors_age;         // pgqueue.errors_age: minutes; 0: any
extern int health_age;         // pgqueue.health_age: seconds that something may last before queue.health speaks of it
extern int max_handlers;       // pgqueue.max_handlers: queues with a handler at one time, in all databases
extern int handler_idle_time;  // pgqueue.handler_idle_time: milliseconds
extern double clock_offset;    // pgqueue.clock_offset: seconds, what the clock of jobs is ahead; for tests

void Define();

}  // namespace pgqueue::settings
