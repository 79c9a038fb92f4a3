# A physical base backup taken under load, and recovery to named restore points: in the middle of the load every message is there or its
# effect is; after it, messages, leases, groups, keys, counters, locks, jobs and their history are what they were, to the
# row, although all of it was dropped later.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('archived', streaming => 1, archiving => 1, conf => "max_worker_processes = 40\ntimezone = 'UTC'");
sql($node, <<'SQL');
CREATE TABLE sent (id bigint);
CREATE TABLE done (id bigint);
CREATE TABLE last (client int PRIMARY KEY, value text);
CREATE TABLE beats (at timestamptz DEFAULT clock_timestamp());
SELECT queue.create('busy', vt => 3), queue.create('held', vt => 86400, max_attempts => 3), queue.create('groups', fifo => true, vt => 86400);
SELECT count(*) FROM queue.send_batch('held', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 500) i));
SELECT queue.send('groups', to_jsonb(i), group_key => 'g' || i % 5) FROM generate_series(1, 100) i;
SELECT cron.create_job('beat', '1 second', 'INSERT INTO beats DEFAULT VALUES', overlap => 'allow');
SQL
my $load = run_pgbench($node, 'load', <<'SQL', qw(-c 6 -T 120));
\set r random(1, 10)
BEGIN;
INSERT INTO sent SELECT queue.send_batch('busy', array_fill(to_jsonb(:r), ARRAY[2]));
INSERT INTO done SELECT msg_id FROM queue.read('busy', qty => 1) WHERE CASE WHEN msg_id % 5 = 0 THEN queue.archive('busy', msg_id, receipt) ELSE queue.delete('busy', msg_id, receipt) END;
INSERT INTO last SELECT :client_id, v FROM (SELECT clock_timestamp()::text AS v) x WHERE kv.set('client ' || :client_id, v) ON CONFLICT (client) DO UPDATE SET value = excluded.value;
SELECT kv.incr('tries');
\if :r > 8
ROLLBACK;
\else
COMMIT;
\endif
SQL
sub busy { my $done = sql($node, 'SELECT count(*) FROM done'); ok(wait_for(sub { sql($node, 'SELECT count(*) FROM done') > $done + 500 }, 'load'), "$_[0]: the load goes on"); }
busy('before the backup');
$node->backup('base');
busy('after the backup');
my $tries = sql($node, "SELECT kv.get('tries')");
sql($node, "SELECT pg_create_restore_point('middle')");
busy('after the first point');
$load->{handle}->signal('INT');
$load->{handle}->finish;

# What is to be found again: leases that a session took, extended and gave back; those of a transaction that is open.
sql($node, <<'SQL');
SELECT count(*) FROM queue.read('held', qty => 200);
SELECT queue.set_vt('held', i, 1000 + i) FROM generate_series(1, 30) i;
SELECT queue.nack('held', i, delay => 900 + i, error => 'later') FROM generate_series(31, 60) i;
SELECT queue.delete('held', i), queue.archive('held', i + 20) FROM generate_series(61, 80) i;
SELECT count(*) FROM queue.read('groups', qty => 7);
SELECT kv.set('a', 'b', ttl => 86400), kv.incr('n', 42), kv.lock('job', 86400, 'me'), (kv.rate_limit('r', 5, 86400, 3)).remaining;
SELECT kv.incr('n');
SQL
my $open = session($node);
$open->query_ok("BEGIN; SELECT count(*) FROM queue.read('held', qty => 5); SELECT queue.send('held', '\"never\"'); SELECT queue.delete('held', 300)", 'an open transaction');
sql($node, "SELECT cron.change_job('beat', active => false)");
ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job_run_details WHERE status IN ('waiting', 'running')") eq '0' }, 'the end of runs'), 'no run is under way');
my %look = (
    held => 'SELECT msg_id, vt, last_read_at, receipt, read_ct, message FROM queue.q_held ORDER BY 1',
    archive => 'SELECT msg_id, receipt, archived_at FROM queue.a_held ORDER BY 1',
    groups => 'SELECT msg_id, vt, receipt, group_key FROM queue.q_groups ORDER BY 1',
    busy => 'SELECT msg_id, receipt, read_ct FROM queue.q_busy ORDER BY 1',
    keys => 'SELECT * FROM kv.v_default ORDER BY 1',
    cells => 'SELECT kind, key, number, expires_at, owner FROM kv.c_default ORDER BY 1, 2',
    jobs => 'SELECT * FROM cron.job ORDER BY jobid',
    history => 'SELECT * FROM cron.job_run_details ORDER BY runid',
    beats => 'SELECT at FROM beats ORDER BY 1',
    errors => 'SELECT * FROM queue.failures ORDER BY 1, 2, 3');
my %source = map { $_ => sql($node, $look{$_}) } keys %look;
my $receipt = sql($node, 'SELECT max(receipt) FROM queue.q_held');
my $token = sql($node, "SELECT number FROM kv.c_default WHERE kind = 'l'");
sql($node, "SELECT pg_create_restore_point('end')");

# And then somebody makes a mistake.
$open->query('ROLLBACK');
$open->quit;
sql($node, "SELECT queue.drop('held'), queue.purge('busy'), queue.drop('groups'), kv.clear('default'), cron.unschedule('beat')");
sql($node, 'TRUNCATE done; DROP EXTENSION pgqueue CASCADE');
sql($node, 'SELECT pg_switch_wal()');
ok(wait_for(sub { sql($node, "SELECT last_archived_wal >= pg_walfile_name(pg_current_wal_lsn() - 1) OR last_archived_wal >= pg_walfile_name(pg_switch_wal()) FROM pg_stat_archiver") eq 't' }, 'the archive'), 'all WAL is archived');
$node->stop;

sub recovered {
    my ($point) = @_;
    my $copy = PostgreSQL::Test::Cluster->new("to_$point");
    $copy->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
    configure($copy, "archive_mode = off\nrecovery_target_name = '$point'\nrecovery_target_action = promote\npgqueue.cron_enabled = off");
    $copy->start;
    ok(wait_for(sub { sql($copy, 'SELECT pg_is_in_recovery()') eq 'f' }, 'the end of recovery'), "$point: recovered");
    return $copy;
}

# In the middle of the load.
my $middle = recovered('middle');
is(sql($middle, 'SELECT count(*) FROM ((SELECT id FROM sent) EXCEPT ALL (SELECT id FROM done UNION ALL SELECT msg_id FROM queue.q_busy)) x'), '0', 'middle: none lost');
is(sql($middle, 'SELECT count(*) FROM ((SELECT id FROM done UNION ALL SELECT msg_id FROM queue.q_busy) EXCEPT ALL (SELECT id FROM sent)) x'), '0', 'middle: none twice');
is(sql($middle, 'SELECT count(*) FROM (SELECT id FROM done WHERE id % 5 = 0) d FULL JOIN queue.a_busy ON msg_id = id WHERE id IS NULL OR msg_id IS NULL'), '0', 'middle: the archive agrees');
is(sql($middle, "SELECT count(*) FROM last WHERE value IS DISTINCT FROM kv.get('client ' || client)"), '0', 'middle: so do keys');
cmp_ok(sql($middle, "SELECT kv.get('tries')"), '>=', $tries, 'middle: a counter has all that it had answered before');
ok(wait_for(sub { sql($middle, "INSERT INTO done SELECT msg_id FROM queue.read('busy', qty => 1000000, vt => 600) WHERE queue.delete('busy', msg_id)"); sql($middle, 'SELECT count(*) FROM queue.q_busy') eq '0' }, 'all'), 'middle: the rest is worked off');
is(sql($middle, 'SELECT count(*) - count(DISTINCT id) = 0 AND count(*) = (SELECT count(*) FROM sent) FROM done'), 't', 'middle: each once');
check_storage($middle, 'middle: storage is sound');
check_log($middle);
$middle->stop;

# At its end, to the row. Jobs wait until they are asked to run.
my $end = recovered('end');
same_lines(sql($end, $look{$_}), $source{$_}, "end: $_") for sort keys %look;
is(sql($end, "SELECT min(msg_id), min(receipt) > $receipt FROM queue.read('held', qty => 5)"), '206|t', "end: the open transaction's leases last, receipts go on");
is(sql($end, "SELECT count(*) FROM queue.q_held WHERE message = '\"never\"' OR msg_id = 300"), '1', 'end: what it sent is not there, what it deleted is');
is(sql($end, "SELECT queue.delete('held', msg_id, receipt) FROM queue.q_held WHERE msg_id = 1"), 't', 'end: a lease is acked');
is(sql($end, "SELECT kv.lock('job', 60) IS NULL, kv.unlock('job', $token), kv.incr('n')"), 't|t|44', 'end: a lock is held, counters count on');
cmp_ok(sql($end, "SELECT kv.lock('job', 60)"), '>', $token, 'end: tokens grow');
my $groups = sql($end, "SELECT count(*) FROM queue.read('groups', qty => 1000) r WHERE EXISTS (SELECT FROM queue.q_groups g WHERE g.group_key = r.group_key AND g.msg_id < r.msg_id AND g.receipt <= $receipt AND g.receipt <> 0)");
is($groups, '0', 'end: a group of which a message is out waits');
sql($end, 'ALTER SYSTEM SET pgqueue.cron_enabled = on; SELECT pg_reload_conf(); ');
sql($end, "SELECT cron.change_job('beat', active => true)");
job_runs($end, 'postgres', 'end: jobs run');
is(sql($end, 'SELECT count(*) FROM (SELECT FROM cron.job_run_details GROUP BY jobid, due_time HAVING count(*) > 1) d'), '0', 'end: no due time twice');
check_storage($end, 'end: storage is sound');
check_log($end);
done_testing();
