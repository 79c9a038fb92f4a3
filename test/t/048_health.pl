# queue.health: who holds the horizon back (a session, a prepared transaction, a slot), the worker, locks, other servers.
# And the figures of a standby, of a queue that is being dropped, and after a restart.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $node = queue_node('health', streaming => 1,
    conf => "autovacuum = on\nmax_prepared_transactions = 5\nmax_replication_slots = 5\nwal_level = logical");
served_are($node, 'postgres');
my $health = q(SELECT concat_ws(' | ', severity, queue_name, problem, hint) FROM queue.health());
is(sql($node, $health), '', 'all is well');
my $old = 'SET pgqueue.health_age = 0;';

# The horizon, held back by a session: everything that is open counts as old.
my $holder = session($node);
$holder->query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 'what it did last'");
is(sql($node, $health), '', 'it says nothing of what is young');
my $pid = $holder->{pid};
like(sql($node, "$old $health"),
    qr/^critical \| the xmin horizon is \d+ transactions behind, held back by process $pid \(user \w+, idle in transaction, transaction since [\d :-]+\): .*what it did last.* \| Commit it, or SELECT pg_terminate_backend\($pid\)/,
    'a session, and what it did');
sql($node, "CREATE ROLE nobody");
is(sql($node, "$old SET ROLE nobody; $health"), '', 'who may not see when it began is not told');
$holder->query('ROLLBACK');
is(sql($node, "$old $health"), '', 'then nobody does');
$holder->query('SET pgqueue.health_age = 1; BEGIN; SELECT pg_current_xact_id()');
ok(wait_for(sub { sql($node, "SET pgqueue.health_age = 1; $health") =~ /^warning \| the xmin horizon is \d+ transactions behind, held back by process $pid/ }, 'age'),
    'a transaction that writes, once it is old');
$holder->query('ROLLBACK');

# In another database it holds nothing back here.
sql($node, 'CREATE DATABASE other');
my $other = session($node, database => 'other');
$other->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
unlike(sql($node, "$old $health"), qr/process $other->{pid} /, 'not one in another database') if $other->{pid} && sql($node, "SELECT datname FROM pg_stat_activity WHERE pid = $other->{pid}") eq 'other';
$other->query('ROLLBACK');
$other->quit;

sql($node, "BEGIN; CREATE TABLE t (i int); PREPARE TRANSACTION 'left''over'");
like(sql($node, "$old $health"), qr/^critical \| the xmin horizon is \d+ transactions behind, held back by the prepared transaction 'left''over' \(user \w+, since .*\) \| COMMIT PREPARED 'left''over' or/, 'a prepared transaction');
sql($node, "ROLLBACK PREPARED 'left''over'");
is(sql($node, "$old $health"), '', 'which is gone');

# A slot: of a standby with feedback that went away.
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('health_standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
configure($standby, "hot_standby_feedback = on\nprimary_slot_name = 'standby_slot'\nwal_receiver_status_interval = 1");
sql($node, "SELECT pg_create_physical_replication_slot('standby_slot')");
$standby->start;
ok($node->poll_query_until('postgres', "SELECT xmin IS NOT NULL FROM pg_replication_slots"), 'a standby says what it needs');
unlike(sql($node, $health), qr/horizon/, 'which is no problem');

# The figures of a standby, with everything from a sample, and what it makes of an unlogged queue.
sql($node, "SELECT queue.create('q', vt => 3600), queue.create('u', unlogged => true), queue.create('big')");
sql($node, "SELECT queue.send('q', '1') FROM generate_series(1, 10); SELECT queue.send('q', '1', delay => 1000); SELECT count(*) FROM queue.read('q', qty => 3); SELECT queue.delete('q', 1)");
sql($node, "SELECT count(*) FROM queue.send_batch('big', array_fill('1'::jsonb, ARRAY[50000]))");
like(sql($node, $health), qr/^warning \| u \| it is unlogged, and there is a standby/, 'an unlogged queue with a standby');
sql($node, "SELECT queue.send('u', '1')");
my $figures = "SELECT queue_name, ready, in_flight, delayed, exact FROM queue.metrics ORDER BY 1";
is(sql($node, $figures), "big|50000|0|0|f\nq|7|2|1|t\nu|1|0|0|t", 'the figures');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
my $there = sql($standby, $figures);
my ($big) = $there =~ /^big\|(\d+)\|0\|0\|f$/m;
ok($big && abs($big - 50000) < 500, 'about the same on the standby') or diag($there);
like($there, qr/^q\|7\|2\|1\|t\nu\|\|\|\|$/m, 'those of small queues are exact there too, of an unlogged one there are none');
unlike(sql($standby, $health), qr/worker|horizon/, 'nor does it want a worker');
$standby->stop;
ok($node->poll_query_until('postgres', 'SELECT NOT active FROM pg_replication_slots'), 'the standby goes');
like(sql($node, $health), qr/^warning \| the xmin horizon is \d+ transactions behind, held back by the replication slot standby_slot \(inactive\) \| .*pg_drop_replication_slot\('standby_slot'\)/m, 'its slot stays');
sql($node, "SELECT pg_drop_replication_slot('standby_slot')");
is(sql($node, $health), '', 'and goes');

# Who has a table for himself is not waited for.
$holder->query('BEGIN; LOCK TABLE queue."q_q#1" IN ACCESS EXCLUSIVE MODE');
is(sql($node, $figures), "big|50000|0|0|f\nq||||\nu|1|0|0|t", 'a locked table hides only its own figures');
like(sql($node, $health), qr/^info \| q \| the table of queue "q" is locked by another session/m, 'and it says so');
$holder->query('ROLLBACK');
$holder->query('BEGIN; REINDEX INDEX queue."q_q#1_pkey"');
is(sql($node, "SET statement_timeout = '30s'; $figures"), "big|50000|0|0|f\nq||||\nu|1|0|0|t", 'nor an index that is being made anew');
$holder->query('ROLLBACK');
$holder->query("BEGIN; SELECT queue.drop('q')");
is(sql($node, $figures), "big|50000|0|0|f\nq||||\nu|1|0|0|t", 'neither is a drop');
$holder->query('COMMIT');
is(sql($node, $figures), "big|50000|0|0|f\nu|1|0|0|t", 'and then it is gone');
# Nor does whoever has looked hold a drop up.
$holder->query("BEGIN; $figures");
is(sql($node, "SET lock_timeout = '5s'; SELECT queue.drop('u')"), 't', 'a transaction that has looked at the figures holds no drop up');
$holder->query('COMMIT');

# After a restart nothing is known; figures need no map, and make none.
$node->restart;
my ($after) = sql($node, $figures) =~ /^big\|(\d+)\|0\|0\|f$/;
ok($after && abs($after - 50000) < 500, 'figures after a restart');
is(sql($node, "SELECT evicted_maps FROM pgqueue.shared_memory()"), '0', 'no map had to go');
$holder->quit;
served_are($node, 'postgres');

# Errors of the worker, and its absence.
$node->safe_psql('postgres', 'SELECT cron.schedule(\'j\', \'1 second\', \'SELECT 1\')');
sql($node, "ALTER TABLE cron.job_state RENAME TO away");
ok(wait_for(sub { sql($node, $health) =~ /^warning \| the background worker had \d+ errors, the last one at .*job_state/m }, 'errors'), 'errors of the worker')
  or diag(sql($node, $health));
sql($node, "ALTER TABLE cron.away RENAME TO job_state; SELECT cron.unschedule('j')");
sql($node, "ALTER SYSTEM SET pgqueue.workers = off; SELECT pg_reload_conf()");
ok(wait_for(sub { sql($node, $health) =~ /^warning \| background workers are off/m }, 'off'), 'workers that are off');
sql($node, "ALTER SYSTEM SET pgqueue.workers = on; ALTER SYSTEM SET pgqueue.databases = 'other'; SELECT pg_reload_conf()");
ok(wait_for(sub { sql($node, $health) =~ /^warning \| no background worker runs in this database/m }, 'none'), 'a database without one');
sql($node, "ALTER SYSTEM RESET pgqueue.databases; SELECT pg_reload_conf()");
served_are($node, 'postgres');

# Settings.
sql($node, "ALTER SYSTEM SET autovacuum = off; ALTER SYSTEM SET wal_consistency_checking = 'heap, generic'; SELECT pg_reload_conf()");
ok(wait_for(sub { is(sql($node, "SELECT abs(ready + in_flight - count) < count / 20 AND NOT exact FROM queue.metrics, (SELECT count(*) FROM queue.q_big) c WHERE queue_name = 'big'"),
    't', 'figures by a map that is coarse');
my $said = sql($node, $health);
        $said =~ /^critical \| wal_consistency_checking covers generic records/m && $said =~ /^warning \| autovacuum is off/m }, 'settings'),
    'settings that are no good');
sql($node, "ALTER SYSTEM RESET ALL");
$node->restart;

# Shared memory that is too small.
configure($node, "pgqueue.page_map_size = '64kB'\npgqueue.max_segments = 16\npgqueue.released_leases = 1024");
$node->restart;
sql($node, "SELECT queue.create('many' || i) FROM generate_series(1, 30) i");
sql($node, "SELECT queue.send('many' || i, '1') FROM generate_series(1, 30) i");
sql($node, "SELECT count(*) FROM generate_series(1, 8) i, queue.send_batch('big', array_fill('1'::jsonb, ARRAY[50000 + 0 * i]))");
sql($node, "SELECT count(*) FROM queue.read('big', qty => 400000)");
sql($node, "BEGIN; SELECT count(*) FROM queue.send_batch('big', array_fill('1'::jsonb, ARRAY[20000])); SELECT count(*) FROM queue.read('big', qty => 20000); ROLLBACK");
sql($node, "SELECT queue.set_vt('big', i, 0) FROM generate_series(1, 20000) i; BEGIN; SELECT count(*) FROM queue.read('big', qty => 20000, vt => 3600); ROLLBACK");
my $said = sql($node, $health);
like($said, qr/^info \| since the server started, \d+ times a queue's page map made room .* \| Raise pgqueue.max_segments/m, 'too few maps');
like($said, qr/^info \| since the server started, \d+ times there was no room .* \| Raise pgqueue.page_map_size/m, 'too small ones');
like($said, qr/^info \| since the server started, \d+ rolled-back leases .* \| Raise pgqueue.released_leases/m, 'too few notes');

# Without the library.
$node->stop;
configure($node, "shared_preload_libraries = ''\npgqueue.page_map_size = '64kB'");
my $conf = PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/postgresql.conf');
$conf =~ s/^pgqueue\..*\n//mg;
unlink $node->data_dir . '/postgresql.conf';
$node->append_conf('postgresql.conf', $conf);
$node->start;
like(sql($node, $health), qr/^critical \| the library pgqueue is not loaded \| Add pgqueue to shared_preload_libraries/m, 'a server without the library');
check_log($node);
done_testing();
