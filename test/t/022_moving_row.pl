# A row that UPDATEs move from page to page all the time is found by its id all the same: who deletes it, extends it or
# gives it back meets the version that is the newest, not one that has just been replaced.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('main');
sql($node, "SELECT queue.create('q'); SELECT queue.send('q', '1') FROM generate_series(1, 50)");

# Every UPDATE puts the row on another page than its predecessor's: pages have room for two of its size at most.
my @runs = (
    run_pgbench($node, 'updates', <<'SQL', '-c', 4, '-j', 1, '-t', 1500),
UPDATE queue.q_q SET headers = jsonb_build_object('x', (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 50 + (random() * 7)::int))) WHERE msg_id = 7;
SQL
    run_pgbench($node, 'deletes', <<'SQL', '-c', 3, '-j', 1, '-t', 1000),
BEGIN;
SELECT 1 / queue.delete('q', 7)::int;
ROLLBACK;
SQL
    run_pgbench($node, 'heartbeats', "SELECT 1 / count(*) FROM queue.set_vt('q', 7, 0);\n", '-c', 2, '-j', 1, '-t', 1000));
finish_pgbench($_) for @runs;
is(sql($node, 'SELECT count(*) FROM queue.q_q'), '50', 'all messages are there');
check_storage($node);

# One that is gone is not looked for without end.
is(sql($node, "SELECT queue.delete('q', 7), queue.delete('q', 7)"), 't|f', 'it can be deleted once');
check_log($node);

done_testing();
