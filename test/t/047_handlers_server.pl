# Handlers and the server around them: restarts, crashes, killed processes, a promotion, databases that go or are copied,
# dumps, worker processes that are used up.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('handlers_server', streaming => 1, conf => "max_worker_processes = 8\nwal_level = replica\nmax_wal_senders = 4\nhot_standby = on");
my $setup = <<'SQL';
CREATE TABLE calm ();
CREATE TABLE log (msg_id bigint, message jsonb, pid int DEFAULT pg_backend_pid());
CREATE FUNCTION handle(m queue.message) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (msg_id, message) VALUES (m.msg_id, m.message);
    IF m.message ? 'sleep' AND m.read_ct = 1 THEN
        -- A crash may have lost that it was read before.
        WHILE NOT EXISTS (SELECT FROM calm) AND clock_timestamp() < now() + (m.message->>'sleep')::float8 * interval '1 s' LOOP
            PERFORM pg_sleep(0.1);
        END LOOP;
    END IF;
END $$;
SELECT queue.create('q');
SELECT queue.attach('q', 'handle', 2, vt => 2);
SQL
sql($node, $setup);

sub is_soon {
    my ($on, $sql, $expected, $what, $database) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $got = '';
    wait_for(sub { $got = eval { sql($on, $sql, $database) } // ''; $got eq $expected }, $what);
    is($got, $expected, $what);
}
my $processes = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pgqueue handler'";
my $pid = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgqueue handler' AND state <> 'idle' LIMIT 1";
sub send_long { my ($on, $seconds, $database) = @_; sql($on, "SELECT queue.send('q', '{\"sleep\": $seconds}')", $database); is_soon($on, "SELECT state FROM queue.handlers", 'running', 'a process at work', $database); }

# A process that is ended in the middle.
send_long($node, 60);
sql($node, "SELECT pg_terminate_backend(($pid))");
is_soon($node, "SELECT count(*) FROM log", '1', 'terminated: the message goes to another');
is(sql($node, "SELECT count(*) FROM queue.q_q"), '0', 'and is done');
sql($node, 'TRUNCATE log');
send_long($node, 60);
sql($node, "SELECT pg_cancel_backend(($pid))");
is_soon($node, "SELECT count(*) FROM log", '1', 'cancelled: an error as any other');
is(sql($node, "SELECT failed, last_error FROM queue.handlers"), '1|canceling statement due to user request', 'which is counted');
sql($node, 'TRUNCATE log');
send_long($node, 60);
sql($node, "SELECT pg_terminate_backend(" . worker_pid($node, 'postgres') . ")");
is_soon($node, "SELECT count(*) FROM log", '1', "the worker's end");

# A function that ends its own process, again and again.
sql($node, "CREATE FUNCTION die(m queue.message) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); END'");
sql($node, "SELECT queue.create('die'); SELECT queue.attach('die', 'die'); SELECT queue.send('die', '1')");
is_soon($node, "SELECT read_ct > 2 FROM queue.q_die", 't', 'a function that ends its own process');
sql($node, 'SELECT pg_sleep(2)');
cmp_ok(sql($node, 'SELECT read_ct FROM queue.q_die'), '<', 10, 'gets another one ever later');
is_soon($node, "SELECT state, last_error FROM queue.handlers WHERE queue_name = 'die'", 'broken|terminating background worker "pgqueue handler" due to administrator command', 'and is seen to be broken');
sql($node, "SELECT queue.drop('die'); DROP FUNCTION die(queue.message)");

# Shutdown and restart.
sql($node, 'TRUNCATE log');
send_long($node, 600);
$node->stop('fast');
ok(1, 'a fast shutdown waits for no handler');
$node->start;
is_soon($node, "SELECT count(*) FROM log", '1', 'after a restart');
sql($node, 'TRUNCATE log');
send_long($node, 600);
$node->stop('immediate');
$node->start;
sql($node, 'INSERT INTO calm DEFAULT VALUES');
is_soon($node, "SELECT count(*) FROM log", '1', 'after a crash, when the lease has run out');
is(sql($node, "SELECT count(*) FROM queue.q_q"), '0', 'and done');

# Settings of the session.
sql($node, "TRUNCATE log; ALTER DATABASE postgres SET my.setting = 'x'; CREATE OR REPLACE FUNCTION handle(m queue.message) RETURNS void LANGUAGE sql AS \$\$INSERT INTO log (message) VALUES (to_jsonb(current_setting('my.setting', true)))\$\$; SELECT queue.attach('q', 'handle')");
sql($node, "SELECT queue.send('q', '1')");
is_soon($node, "SELECT message FROM log", '"x"', "the database's settings hold");
$node->reload;
sql($node, "SELECT queue.send('q', '1')");
is_soon($node, "SELECT count(*) FROM log", '2', 'after a reload');

# Databases.
sql($node, 'CREATE DATABASE d1');
create_extension($node, 'd1');
sql($node, $setup, 'd1');
send_long($node, 600, 'd1');
sql($node, 'CREATE DATABASE d2 TEMPLATE d1');
ok(1, 'CREATE DATABASE from one with a handler at work');
is_soon($node, "SELECT count(*) FROM log", '1', 'whose message is done afterwards', 'd1');
is_soon($node, "SELECT count(*) FROM queue.q_q", '0', 'in the copy, too', 'd2');
send_long($node, 600, 'd1');
sql($node, 'ALTER DATABASE d1 RENAME TO d3');
is_soon($node, "SELECT count(*) FROM log", '2', 'renamed', 'd3');
send_long($node, 600, 'd3');
sql($node, 'DROP DATABASE d3; DROP DATABASE d2');
ok(1, 'DROP DATABASE');
is_soon($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pgqueue handler' AND datname <> 'postgres'", '0', 'no process is left');

# The extension.
sql($node, 'CREATE DATABASE d1');
create_extension($node, 'd1');
sql($node, $setup =~ s/\QSELECT queue.attach\E/SELECT queue.send('q', '1'); SELECT queue.attach/r, 'd1');
is_soon($node, "SELECT count(*) FROM log", '1', 'a handler', 'd1');
sql($node, 'SET client_min_messages = warning; DROP EXTENSION pgqueue CASCADE', 'd1');
is_soon($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'pgqueue (handler|worker)' AND datname = 'd1'", '0', 'goes with the extension', 'd1');
sql($node, "CREATE EXTENSION pgqueue; SELECT queue.create('q'); CREATE FUNCTION handle(m queue.message) RETURNS void LANGUAGE sql AS \$\$INSERT INTO log VALUES (2)\$\$; SELECT queue.attach('q', 'handle'); SELECT queue.send('q', '1')", 'd1');
is_soon($node, "SELECT count(*) FROM log", '2', 'another extension, another handler', 'd1');

# A dump.
my $file = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $file, $node->connstr('d1') ], 'pg_dump');
sql($node, 'DROP DATABASE d1; CREATE DATABASE d4');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file, $node->connstr('d4') ], 'restored');
is(sql($node, 'SELECT queue_name, handler, concurrency, run_as, batch, vt FROM queue.handlers', 'd4'), 'q|public.handle|1|' . sql($node, 'SELECT current_user') . '|1|', 'handlers travel with a dump');
sql($node, "SELECT queue.send('q', '1')", 'd4');
is_soon($node, "SELECT count(*) FROM log", '3', 'and work', 'd4');
sql($node, 'DROP DATABASE d4');

# Worker processes are used up: eight for the launcher, a worker, the replication's launcher and five more.
sql($node, "SELECT queue.create('r'); CREATE FUNCTION slow(m queue.message) RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(2)'; SELECT queue.attach('r', 'slow', 20)");
sql($node, "SELECT count(*) FROM queue.send_batch('r', array(SELECT '1'::jsonb FROM generate_series(1, 20)))");
is_soon($node, "SELECT processes >= 4 FROM queue.handlers WHERE queue_name = 'r'", 't', 'one queue has all processes');
is_soon($node, $processes, sql($node, $processes), 'they are as many as there can be');
sql($node, "TRUNCATE log; SELECT queue.send('q', '1')");
my $waited = wait_for(sub { sql($node, "SELECT state FROM queue.handlers WHERE queue_name = 'q'") eq 'waiting for a worker process' || sql($node, 'SELECT count(*) FROM log') > 0 }, 'state');
ok($waited, 'a queue whose handler finds no process says so');
SKIP: {
    skip 'a process was free in time', 1 if sql($node, 'SELECT count(*) FROM log') > 0;
    like(slurp_file($node->logfile), qr/no background worker is free for the handler of queue/, 'and so does the log');
}
is_soon($node, "SELECT count(*) FROM log", '1', 'it is served when there is one again');
is_soon($node, "SELECT count(*) FROM queue.q_r", '0', 'all are done');

# A standby runs nothing, until it is promoted.
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
sql($node, "TRUNCATE log; SELECT queue.pause('q'); SELECT queue.send('q', '1'); SELECT queue.resume('q')");
is_soon($node, "SELECT count(*) FROM log", '1', 'the primary works');
sql($node, "SELECT queue.detach('q'); SELECT queue.send('q', '1'); SELECT queue.attach('q', 'handle'); SELECT queue.pause('q')");
$node->wait_for_catchup($standby);
is(sql($standby, $processes), '0', 'a standby has no handlers at work');
$node->stop;
$standby->promote;
sql($standby, "SELECT queue.resume('q'); SELECT queue.send('q', '2')");
is_soon($standby, "SELECT count(*) FROM queue.q_q", '0', 'a promotion starts them');
cmp_ok(sql($standby, "SELECT count(*) FROM log"), '>=', 2, 'and they do their work');
check_log($node);
check_log($standby);
$standby->stop;
done_testing();
