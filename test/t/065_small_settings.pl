# Every setting of ours at its smallest, and few locks: what doesn't fit is refused with a hint and leaves nothing behind, or takes longer;
# nothing is wrong.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('tiny', conf => <<'CONF');
max_connections = 20
max_locks_per_transaction = 10
max_worker_processes = 8
shared_buffers = 2MB
log_statement = none
pgqueue.page_map_size = 64kB
pgqueue.max_segments = 16
pgqueue.released_leases = 1024
pgqueue.group_holds = 1024
pgqueue.kv_places = 64kB
pgqueue.max_handlers = 1
pgqueue.cron_max_running = 1
pgqueue.purge_interval = 100
pgqueue.purge_pages = 1
CONF
my $queues = 400;
my $no_locks = qr/out of shared memory\nHINT:  You might need to increase "?max_locks_per_transaction/;

# Hundreds of queues in one transaction: they don't fit, together.
fails_with($node, "SELECT queue.create('all' || i) FROM generate_series(1, $queues) i", '53200', $no_locks, 'creating hundreds of queues at once');
is(sql($node, 'SELECT count(*) FROM queue.queues'), '0', 'leaves none');
sql($node, join('', map { "SELECT queue.create('m$_', vt => 600);\n" } 1 .. $queues));
is(sql($node, 'SELECT count(*) FROM queue.queues'), $queues, 'one after the other they can be made');
sql($node, join('', map { "SELECT queue.bind('all', 'm$_');\n" } 1 .. $queues));
fails_with($node, "SELECT queue.send('m' || i, '1') FROM generate_series(1, $queues) i", '53200', $no_locks, 'sending to all of them');
fails_with($node, "SELECT queue.publish('all', '1')", '53200', $no_locks, 'publishing to all of them');
is(sql($node, join('', map { "SELECT count(*) FROM queue.read('m$_');\n" } 1 .. $queues)) =~ tr/1-9//, 0, 'nothing is in any of them');
is(sql($node, join('', map { "SELECT queue.send('m$_', '$_');\n" } 1 .. $queues)) =~ tr/\n//, $queues - 1, 'sends one after the other');
fails_with($node, "SELECT r.msg_id FROM generate_series(1, $queues) i, queue.read('m' || i) r WHERE queue.archive('m' || i, r.msg_id) AND queue.send('m' || i, '0') > 0", '53200', $no_locks, 'reading, archiving and sending, in all of them');
is(sql($node, join('', map { "SELECT message, queue.delete('m$_', msg_id, receipt) FROM queue.read('m$_');\n" } 1 .. $queues)),
    join("\n", map { "$_|t" } 1 .. $queues), 'what that had leased is given back at once, and read');
my $shown = '';
$node->psql('postgres', 'SELECT count(*) FROM queue.metrics', stdout => \$shown, stderr => \my $why);
ok($shown eq $queues || $why =~ /out of shared memory/, 'figures of all of them, or the reason why not') or diag("$shown $why");
# One session takes all the locks there are: others are refused, and the worker goes on when it has gone.
my $hog = session($node);
$hog->query('BEGIN');
for my $i (1 .. $queues) {
    $hog->query("SELECT queue.send('m$i', '\"hog\"')");
    last if $hog->error;
}
like($hog->error, $no_locks, 'one that takes all the locks there are');
$hog->query('ROLLBACK');
$hog->quit;
is(sql($node, join('', map { "SELECT count(*) FROM queue.read('m$_');\n" } 1 .. $queues)) =~ tr/1-9//, 0, 'leaves nothing');

# Work on many queues at once, with groups, priorities, rollbacks and keys, beside jobs and the purge.
sql($node, <<'SQL');
CREATE TABLE sent (n bigserial, queue text, id bigint, client int);
CREATE TABLE done (n bigserial, queue text, id bigint, group_key text, client jsonb);
CREATE TABLE beats (job text);
SELECT queue.create('groups', fifo => true, vt => 3), queue.create('bands', vt => 3);
SELECT cron.create_job('job ' || i, '1 second', format('INSERT INTO beats VALUES (%s)', i)) FROM generate_series(1, 3) i;
SQL
# So many that the maps come and go, but a queue doesn't become longer than a map of this size can describe: then each read looks at all of it.
my $load = run_pgbench($node, 'load', <<'SQL', qw(-c 6 -t 250));
\set q random(1, 60)
\set fate random(1, 5)
\set key random(1, 5000)
BEGIN;
INSERT INTO sent (client, queue, id) SELECT :client_id, 'm' || :q, queue.send('m' || :q, '1');
INSERT INTO sent (client, queue, id) SELECT :client_id, 'groups', queue.send_batch('groups', array_fill(to_jsonb(:client_id), ARRAY[3]), group_keys => ARRAY['g' || :key, 'g' || :q, 'g1']);
INSERT INTO sent (client, queue, id) SELECT :client_id, 'bands', queue.send('bands', '1', priority => :q);
INSERT INTO done (queue, id) SELECT 'm' || :q, msg_id FROM queue.read('m' || :q, qty => 2) WHERE queue.delete('m' || :q, msg_id, receipt);
INSERT INTO done (queue, id, group_key, client) SELECT 'groups', msg_id, group_key, message FROM queue.read('groups', qty => 4) WHERE queue.delete('groups', msg_id, receipt);
INSERT INTO done (queue, id) SELECT 'bands', msg_id FROM queue.read('bands') WHERE queue.delete('bands', msg_id, receipt);
SELECT kv.set('k' || :key, '1', ttl => 0.5);
\if :fate = 1
ROLLBACK;
\else
COMMIT;
\endif
SELECT kv.incr('c' || :key);
SQL
finish_pgbench($load, qr/could not serialize|deadlock detected/);
note(sql($node, 'SELECT count(*), (SELECT count(*) FROM done) FROM sent'));
my $left = "SELECT 'm' || i AS queue FROM generate_series(1, 60) i UNION ALL VALUES ('groups'), ('bands')";
my @names = split /\n/, sql($node, $left);
ok(wait_for(sub {
            sql($node, join('', map { "INSERT INTO done (queue, id, group_key, client) SELECT '$_', msg_id, group_key, message FROM queue.read('$_', qty => 1000) WHERE queue.delete('$_', msg_id, receipt);\n" } @names));
            sql($node, 'SELECT count(*) - (SELECT count(*) FROM done) FROM sent') eq '0'
        }, 'the rest'), 'everything is worked off')
  or diag(sql($node, "SELECT 'sent', queue, id FROM (SELECT queue, id FROM sent EXCEPT ALL SELECT queue, id FROM done) x UNION ALL SELECT 'done', queue, id FROM (SELECT queue, id FROM done EXCEPT ALL SELECT queue, id FROM sent) x"));
is(sql($node, 'SELECT count(*) FROM ((SELECT queue, id FROM sent EXCEPT ALL SELECT queue, id FROM done) UNION ALL (SELECT queue, id FROM done EXCEPT ALL SELECT queue, id FROM sent)) x'), '0', 'each message once');
is(sql($node, "SELECT count(*) FROM (SELECT id < lag(id) OVER (PARTITION BY group_key, client ORDER BY n) AS wrong FROM done WHERE queue = 'groups') x WHERE wrong"), '0', 'groups in the order in which each client sent');
is(sql($node, 'SELECT count(*) FROM (SELECT id < lag(id) OVER (PARTITION BY queue, client ORDER BY n) AS wrong FROM sent) x WHERE wrong'), '0', 'ids rise for each client, though maps come and go');
ok(wait_for(sub { sql($node, "SELECT count(*) FROM kv.s_default") eq '0' }, 'the purge'), 'expired keys are purged, a page at a time');
ok(wait_for(sub { sql($node, 'SELECT count(DISTINCT job) FROM beats') eq '3' }, 'jobs'), 'jobs run, one at a time');
is(sql($node, "SELECT count(*) FROM cron.job_run_details a JOIN cron.job_run_details b ON a.runid < b.runid AND a.start_time < b.end_time AND b.start_time < a.end_time"), '0', 'never two');
sql($node, 'DELETE FROM cron.job');

# More leases rolled back than can be noted: the others run out.
sql($node, "SELECT queue.create('back', vt => 5); SELECT count(*) FROM queue.send_batch('back', array_fill('1'::jsonb, ARRAY[4000]))");
is(sql($node, "BEGIN; SELECT count(*) FROM queue.read('back', qty => 4000); ROLLBACK"), '4000', 'leases that are rolled back');
my $at_once = sql($node, "SELECT count(*) FROM queue.read('back', qty => 4000, vt => 600)");
cmp_ok($at_once, '<=', 4000, 'some come back at once') and note($at_once);
my $all = $at_once;
ok(wait_for(sub { ($all += sql($node, "SELECT count(*) FROM queue.read('back', qty => 4000, vt => 600)")) >= 4000 }, 'leases'), 'the others when their time is over');
is($all, 4000, 'each once');

# A key in the index where hints have no room; a second handler.
is(sql($node, "SELECT count(kv.set('p' || i, i::text)) FROM generate_series(1, 20000) i; SELECT count(*) FROM generate_series(1, 20000) i WHERE kv.get('p' || i) = i::text"), "20000\n20000", 'more keys than hints');
sql($node, <<'SQL');
CREATE TABLE log (queue text);
CREATE FUNCTION first(m queue.message) RETURNS void LANGUAGE sql AS $$INSERT INTO log VALUES ('first')$$;
CREATE FUNCTION second(m queue.message) RETURNS void LANGUAGE sql AS $$INSERT INTO log VALUES ('second')$$;
SELECT queue.attach('m1', 'first');
SQL
sql($node, "SELECT queue.send('m1', '1')");
ok(wait_for(sub { sql($node, 'SELECT * FROM log') eq 'first' }, 'the first'), 'a handler');
sql($node, "SELECT queue.attach('m2', 'second'), queue.send('m2', '1')");
ok(wait_for(sub { slurp_file($node->logfile) =~ /HINT:  Raise "pgqueue.max_handlers" and restart the server/ }, 'a hint'), 'a second one is too many, says the log');
sql($node, "SELECT queue.send('m1', '1')");
ok(wait_for(sub { sql($node, "SELECT count(*) FROM log WHERE queue = 'first'") eq '2' }, 'the first'), 'the first goes on');
is(sql($node, 'SELECT count(*) FROM queue.q_m2'), '1', "the second one's message waits");
sql($node, "SELECT queue.detach('m1')");
ok(wait_for(sub { sql($node, "SELECT count(*) FROM log WHERE queue = 'second'") eq '1' }, 'the second'), 'until there is room');
check_log($node);
done_testing();
