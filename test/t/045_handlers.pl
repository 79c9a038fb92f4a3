# Handlers: each message is processed exactly once, whatever the function, the queue or somebody else does meanwhile.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('handlers', conf => "max_worker_processes = 16\npgqueue.handler_idle_time = 500\nmax_prepared_transactions = 5");
sql($node, <<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
CREATE ROLE group_of_alice NOLOGIN;
CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY, msg_id bigint, message jsonb, role name DEFAULT current_user, pid int DEFAULT pg_backend_pid());
GRANT ALL ON log TO PUBLIC;
CREATE FUNCTION handle(m queue.message) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (msg_id, message) VALUES (m.msg_id, m.message);
    IF m.message ? 'sleep' THEN PERFORM pg_sleep((m.message->>'sleep')::float8); END IF;
    IF m.message ? 'fail' AND m.read_ct <= (m.message->>'fail')::int THEN RAISE EXCEPTION 'attempt % of %', m.read_ct, m.msg_id; END IF;
END $$;
SQL

sub state { my ($queue, $columns) = @_; return sql($node, "SELECT " . ($columns // 'state, processes') . " FROM queue.handlers WHERE queue_name = '$queue'"); }
sub is_soon {
    my ($sql, $expected, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $got = '';
    wait_for(sub { ($got = sql($node, $sql)) eq $expected }, $what);
    is($got, $expected, $what);
}
sub create { sql($node, "SELECT queue.create('$_')") for @_; }
my $empty = "SELECT count(*) FROM queue.q_";

# The plain course of things.
create('q');
sql($node, "SELECT queue.send('q', '{\"before\": 1}')");
sql($node, "SELECT queue.attach('q', 'handle')");
is_soon("SELECT string_agg(message::text, ' ') FROM log", '{"before": 1}', 'what was there before is handled');
sql($node, "SELECT queue.send('q', '2')");
is_soon("SELECT count(*) FROM log", '2', 'and what comes after');
sql($node, "BEGIN; SELECT queue.send('q', '3'); ROLLBACK; SELECT queue.send('q', '4')");
is_soon("SELECT string_agg(message::text, ' ' ORDER BY id) FROM log", '{"before": 1} 2 4', 'what was rolled back is not');
is_soon("${empty}q", '0', 'messages are gone from the queue');
is(state('q', 'handler, concurrency, run_as, batch, vt, processed, failed, lost, last_error'), 'public.handle|1|postgres|1||3|0|0|', 'the view');
is_soon("SELECT state, processes FROM queue.handlers", 'idle|0', 'an idle process ends');
sql($node, "SELECT queue.send('q', '5', delay => 0.3)");
is_soon("SELECT count(*) FROM log", '4', 'and comes again when a delay ends');
sql($node, "BEGIN; SELECT queue.send('q', '6'); PREPARE TRANSACTION 'p'");
sql($node, "COMMIT PREPARED 'p'");
is_soon("SELECT count(*) FROM log", '5', 'a prepared send');

# Errors.
sql($node, "TRUNCATE log; SELECT queue.send('q', '{\"fail\": 2}')");
is_soon("SELECT count(*) FROM log", '1', 'a message that fails twice is handled once');
is_soon("${empty}q", '0', 'and gone');
is(state('q', 'processed, failed, last_error'), '6|2|attempt 2 of ' . sql($node, 'SELECT msg_id FROM log'), 'its errors were counted and are shown');
sql($node, "TRUNCATE log; SELECT queue.send_batch('q', ARRAY['{\"fail\": 1000}', '1', '2']::jsonb[])");
is_soon("SELECT string_agg(message::text, ' ' ORDER BY id) FROM log", '1 2', 'one that always fails does not keep the others');
is_soon("SELECT count(*) FROM queue.q_q WHERE read_ct > 2", '1', 'and is tried again');
# What a function has leased by itself is not kept when it fails.
sql($node, "SELECT queue.create('side', vt => 3600); SELECT queue.send('side', '1'); SELECT queue.create('grab', backoff => 3600)");
sql($node, "CREATE FUNCTION grab(m queue.message) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM FROM queue.read(''side''); RAISE ''grabbed''; END'");
sql($node, "SELECT queue.attach('grab', 'grab'); SELECT queue.send('grab', '1')");
is_soon("SELECT failed FROM queue.handlers WHERE queue_name = 'grab'", '1', 'a function that reads another queue and fails');
is(sql($node, "SELECT message, read_ct FROM queue.read('side')"), '1|2', 'gives back what it has read');
sql($node, "SELECT queue.drop('grab'), queue.drop('side'); DROP FUNCTION grab(queue.message)");
sql($node, "SELECT queue.purge('q')");
sql($node, <<'SQL');
CREATE TABLE unique_once (a int UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO unique_once VALUES (1);
GRANT ALL ON unique_once TO PUBLIC;
CREATE FUNCTION deferred(m queue.message) RETURNS void LANGUAGE sql AS 'INSERT INTO unique_once VALUES (m.message::int); INSERT INTO log (message) VALUES (m.message)';
TRUNCATE log;
SELECT queue.attach('q', 'deferred');
SELECT queue.send_batch('q', ARRAY['2', '1', '3']::jsonb[]);
SQL
is_soon("SELECT string_agg(message::text, ' ' ORDER BY id) FROM log", '2 3', 'an error at the commit');
like(state('q', 'last_error'), qr/duplicate key/, 'is an error as any other');
sql($node, "SELECT queue.purge('q')");

# Batches.
sql($node, "TRUNCATE log; SELECT queue.attach('q', 'handle', batch => 10)");
sql($node, "SELECT count(*) FROM queue.send_batch('q', array(SELECT CASE WHEN i % 7 = 0 THEN '{\"fail\": 1}' ELSE to_jsonb(i) END FROM generate_series(1, 100) i))");
is_soon("${empty}q", '0', 'batches with failures are handled whole');
is(sql($node, "SELECT count(*), count(DISTINCT msg_id) FROM log"), '100|100', 'each message once');
is(sql($node, "SELECT count(DISTINCT xmin::text) < 100 FROM log"), 't', 'several in a transaction');

# Of a group nothing is called after one that failed; that they were in its batch costs the others no attempt.
sql($node, <<'SQL');
TRUNCATE log;
SELECT queue.create('f_dead');
SELECT queue.create('f', fifo => true, max_attempts => 3, dead_letter => 'f_dead', backoff => 0.01);
SELECT count(*) FROM queue.send_batch('f', ARRAY['{"fail": 1000}', '2', '{"fail": 1}', '4']::jsonb[], group_keys => array_fill('g'::text, ARRAY[4]));
SELECT queue.attach('f', 'handle', batch => 10);
SQL
is_soon("${empty}f", '0', 'a group behind a message that always fails');
is(sql($node, "SELECT string_agg(msg_id::text, ' ' ORDER BY id) FROM log"), '2 3 4', 'is handled, in order');
is(sql($node, "SELECT string_agg(headers->'dead_letter'->>'msg_id', ' ') FROM queue.q_f_dead"), '1', 'and only that one is a dead letter');
sql($node, "SELECT queue.drop('f'), queue.drop('f_dead')");

# Many processes.
sql($node, "TRUNCATE log; SELECT queue.attach('q', 'handle', 4)");
sql($node, "SELECT count(*) FROM queue.send_batch('q', array(SELECT '{\"sleep\": 0.2}'::jsonb FROM generate_series(1, 24)))");
is_soon("${empty}q", '0', 'several processes');
is(sql($node, "SELECT count(*), count(DISTINCT msg_id), count(DISTINCT pid) FROM log"), '24|24|4', 'as many as there is work for');
my $load = run_pgbench($node, 'senders', "SELECT queue.send('q', '1');\n", qw(-c 4 -t 500));
finish_pgbench($load);
is_soon("${empty}q", '0', 'under load');
is(sql($node, "SELECT count(*), count(DISTINCT msg_id) FROM log"), '2024|2024', 'each message once');

# A call that takes longer than the lease.
sql($node, "TRUNCATE log; SELECT queue.attach('q', 'handle', 2, vt => 0.2)");
sql($node, "SELECT queue.send('q', '{\"sleep\": 1.5}')");
is_soon("SELECT count(*) FROM log", '1', 'a call that outlives its lease');
is_soon("${empty}q", '0', 'ends its message');
is(state('q', 'lost'), '0', 'which nobody else had');

# Detach, pause, drop.
sql($node, "TRUNCATE log; SELECT queue.attach('q', 'handle'); SELECT queue.send('q', '{\"sleep\": 0.5}'); SELECT queue.send('q', '1')");
is_soon("SELECT state FROM queue.handlers", 'running', 'a process at work');
is(sql($node, "SELECT queue.detach('q'), queue.detach('q')"), 't|f', 'detach answers whether there was a handler');
is_soon("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pgqueue handler'", '0', 'its process ends');
is(sql($node, "SELECT count(*) FROM log"), '1', 'after the message that it had in hand');
is(sql($node, "${empty}q"), '1', 'and takes no other');
sql($node, "SELECT queue.pause('q'); SELECT queue.attach('q', 'handle')");
sleep 1;
is(sql($node, "${empty}q"), '1', 'a paused queue is not handled');
sql($node, "SELECT queue.resume('q')");
is_soon("${empty}q", '0', 'until it is resumed');
sql($node, "SELECT queue.pause('q'); SELECT queue.send('q', '1')");
sleep 1;
is(sql($node, "${empty}q"), '1', 'nor one that is paused while a process waits');
sql($node, "SELECT queue.resume('q')");
is_soon("${empty}q", '0', 'until it is resumed');
sql($node, "SELECT queue.send('q', '{\"sleep\": 0.5}')");
is_soon("SELECT state FROM queue.handlers", 'running', 'a process at work');
sql($node, "SELECT queue.drop('q')");
is_soon("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pgqueue handler'", '0', 'a dropped queue has no processes');
is(sql($node, "SELECT count(*) FROM queue.handlers"), '0', 'and no handler');

# The function and the role.
create('q');
sql($node, "TRUNCATE log; CREATE SCHEMA other; CREATE FUNCTION other.\"The Handler\"(m queue.message) RETURNS int LANGUAGE sql AS 'INSERT INTO log (message) VALUES (to_jsonb(m)) RETURNING 1'");
sql($node, "SET search_path = other; SELECT queue.attach('q', '\"The Handler\"')");
is(state('q', 'handler'), 'other."The Handler"', 'a function found by the search_path');
sql($node, "SELECT queue.send('q', '{\"a\": 1}', '{\"h\": 2}', priority => 3, group_key => 'g')");
is_soon("SELECT count(*) FROM log", '1', 'is called');
is(sql($node, "SELECT message - 'enqueued_at' - 'last_read_at' - 'vt' - 'receipt' FROM log"),
    '{"msg_id": 1, "headers": {"h": 2}, "message": {"a": 1}, "read_ct": 1, "priority": 3, "group_key": "g"}', 'with all of the message');
sql($node, "TRUNCATE log; SELECT queue.send('q', to_jsonb(repeat(md5('x'), 100000)))");
is_soon("SELECT length(message->>'message') FROM log", '3200000', 'a big one, too');
sql($node, "TRUNCATE log; CREATE OR REPLACE FUNCTION other.\"The Handler\"(m queue.message) RETURNS int LANGUAGE sql AS 'INSERT INTO log (message) VALUES (''\"new\"'') RETURNING 1'; SELECT queue.send('q', '1')");
is_soon("SELECT message FROM log", '"new"', 'a replaced function');
sql($node, "TRUNCATE log; DROP FUNCTION other.\"The Handler\"; SELECT queue.send('q', '1')");
is_soon("SELECT state, last_error FROM queue.handlers", 'broken|function other.The Handler(queue.message) does not exist', 'a dropped one');
sql($node, "CREATE FUNCTION other.\"The Handler\"(m queue.message) RETURNS int LANGUAGE sql AS 'INSERT INTO log (message) VALUES (''\"again\"'') RETURNING 1'");
is_soon("SELECT message FROM log", '"again"', 'that comes again');
is_soon("SELECT state FROM queue.handlers", 'idle', 'is no longer broken');
sql($node, "SELECT queue.detach('q')");

sub alice { return "SET SESSION AUTHORIZATION alice; $_[0]"; }
fails_with($node, alice("SELECT queue.attach('q', 'public.handle')"), '42501', qr/permission denied for queue q/, 'attach needs the right to consume');
sql($node, "SELECT queue.grant('q', 'alice', 'consume'); SELECT queue.grant('q', 'bob', 'consume'); TRUNCATE log");
fails_with($node, alice("SELECT queue.attach('q', 'public.handle', run_as => 'bob')"), '42501', qr/permission denied to run handlers as role "bob"/, 'another role needs membership');
fails_with($node, "SELECT queue.attach('q', 'handle', run_as => 'group_of_alice')", '28000', qr/not permitted to log in/, 'a role that can not log in');
sql($node, "REVOKE EXECUTE ON FUNCTION handle FROM PUBLIC");
fails_with($node, alice("SELECT queue.attach('q', 'public.handle')"), '42501', qr/permission denied for function public.handle/, 'attach needs EXECUTE');
sql($node, "GRANT EXECUTE ON FUNCTION handle TO alice");
sql($node, alice("SELECT queue.attach('q', 'public.handle'); SELECT queue.send('q', '1')") =~ s/SELECT queue.send.*//r);
sql($node, "SELECT queue.send('q', '1')");
is_soon("SELECT role FROM log", 'alice', 'the function is called as the role');
fails_with($node, "SET SESSION AUTHORIZATION bob; SELECT queue.detach('q')", '42501', qr/has a handler of role "alice"/, 'nobody else takes it away');
sql($node, "GRANT EXECUTE ON FUNCTION handle TO bob");
fails_with($node, "SET SESSION AUTHORIZATION bob; SELECT queue.attach('q', 'handle')", '42501', qr/has a handler of role "alice"/, 'nor puts another in its place');
sql($node, "TRUNCATE log; REVOKE EXECUTE ON FUNCTION handle FROM alice; SELECT queue.send('q', '{\"fail\": 1000}')");
is_soon("SELECT state, last_error FROM queue.handlers", 'broken|permission denied for function public.handle', 'a right that was revoked');
is(sql($node, "SET SESSION AUTHORIZATION bob; SELECT last_error IS NULL, last_error_at IS NOT NULL FROM queue.handlers"), 't|t', 'errors are not shown to others');
is(sql($node, alice("SELECT last_error FROM queue.handlers")), 'permission denied for function public.handle', 'but to the role itself');
sql($node, "GRANT EXECUTE ON FUNCTION handle TO alice; SELECT queue.purge('q'); SELECT queue.send('q', '2')");
sql($node, "SELECT queue.attach('q', 'handle', run_as => 'alice')");
is_soon("SELECT string_agg(role, ' ') FROM log", 'alice', 'the owner attaches for another role');
sql($node, "ALTER ROLE alice SET statement_timeout = '300ms'; TRUNCATE log; SELECT queue.attach('q', 'handle', run_as => 'alice', vt => 20)");
sql($node, "SELECT queue.send('q', '{\"sleep\": 30}')");
is_soon("SELECT last_error FROM queue.handlers", 'canceling statement due to statement timeout', "the role's statement_timeout ends a call");
sql($node, "ALTER ROLE alice RESET statement_timeout; SELECT queue.purge('q')");
sql($node, "ALTER ROLE alice NOLOGIN; SELECT queue.attach('q', 'handle'); SELECT queue.detach('q')");
fails_with($node, "SELECT queue.attach('q', 'handle', run_as => 'nobody_of_the_name')", '42704', qr/role .* does not exist/, 'a role that does not exist');
sql($node, "ALTER ROLE alice LOGIN; SELECT queue.attach('q', 'handle', run_as => 'alice')");
sql($node, "SELECT queue.revoke('q', 'alice', 'consume'); REVOKE EXECUTE ON FUNCTION handle FROM alice; REVOKE ALL ON log FROM alice; DROP ROLE alice");
is_soon("SELECT state, last_error FROM queue.handlers", 'broken|role "alice" does not exist', 'a role that was dropped');
sql($node, "SELECT queue.detach('q')");

# What is refused.
sql($node, "CREATE FUNCTION many(m queue.message) RETURNS SETOF int LANGUAGE sql AS 'SELECT 1'; CREATE PROCEDURE proc(m queue.message) LANGUAGE sql AS 'SELECT 1'");
fails_with($node, "SELECT queue.attach('q', 'no_such')", '42883', qr/function no_such\(queue.message\) does not exist/, 'no such function');
fails_with($node, "SELECT queue.attach('q', 'many')", '42809', qr/not a plain function/, 'a function with a set');
fails_with($node, "SELECT queue.attach('q', 'proc')", '42883', qr/function proc.* does not exist/, 'a procedure');
fails_with($node, "SELECT queue.attach('none', 'handle')", '42P01', qr/does not exist/, 'no such queue');
fails_with($node, "SELECT queue.detach('none')", '42P01', qr/does not exist/, 'no such queue to detach from');
fails_with($node, "SELECT queue.attach('q', 'handle', 0)", '22023', qr/concurrency must be 1 to 1000/, 'no process');
fails_with($node, "SELECT queue.attach('q', 'handle', batch => 0)", '22023', qr/batch must be 1 to 10000/, 'an empty batch');
fails_with($node, "SELECT queue.attach('q', 'handle', vt => 0)", '22023', qr/vt/, 'no lease');
fails_with($node, "SELECT queue.attach('q', NULL)", '22004', qr/handler must not be null/, 'NULL for the handler');
fails_with($node, "SELECT queue.attach(NULL, 'handle')", '22004', qr/queue_name must not be null/, 'NULL for the queue');
sql($node, "SELECT queue.attach('q', 'handle', NULL, NULL, NULL, NULL)");
is(state('q', 'concurrency, run_as, batch, vt'), '1|postgres|1|', 'NULL is the default');
fails_with($node, "BEGIN READ ONLY; SELECT queue.attach('q', 'handle')", '25006', qr/read-only/, 'not read-only');

# Other queues go on while one is broken.
create('r');
sql($node, "TRUNCATE log; SELECT queue.attach('r', 'handle'); CREATE INDEX spoiler ON queue.\"q_q#1\" (vt); SELECT queue.send('r', '1')");
is_soon("SELECT count(*) FROM log", '1', 'a spoilt queue keeps no other from its handler');
is_soon("SELECT state, last_error ~ 'covers column' FROM queue.handlers WHERE queue_name = 'q'", 'broken|t', 'and says so');
sql($node, "DROP INDEX queue.spoiler; TRUNCATE log; SELECT queue.send('q', '1'); SELECT queue.attach('q', 'handle', 2)");
is_soon("SELECT count(*) FROM log", '1', 'until it is whole again');
my $locker = session($node);
$locker->query_ok('BEGIN; LOCK TABLE queue."q_q#1"', 'somebody has a queue locked');
sql($node, "SELECT queue.send('r', '2')");
is_soon("SELECT count(*) FROM log", '2', 'the others go on');
$locker->query_ok('COMMIT', 'unlocked');
sql($node, "SELECT queue.send('q', '3')");
is_soon("SELECT count(*) FROM log", '3', 'that one, too');
$locker->quit;

# A new file under a watched queue.
is_soon("SELECT sum(processes) FROM queue.handlers", '0', 'all are idle');
sql($node, "TRUNCATE log; VACUUM FULL queue.\"q_q#1\"; SELECT queue.send('q', '4')");
is_soon("SELECT count(*) FROM log", '1', 'VACUUM FULL');
check_log($node);
check_storage($node);
$node->stop;
done_testing();
