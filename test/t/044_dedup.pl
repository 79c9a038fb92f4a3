# Deduplication keys: they travel with a dump, survive a restart and a crash, are swept by the worker when they don't count any more, and
# hold beside many senders.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('dedup', conf => "max_prepared_transactions = 5\ndeadlock_timeout = 100ms");
my $dir = $node->basedir;

# As if all had happened ten minutes earlier.
sub age {
    my ($db) = @_;
    sql($node, <<'SQL', $db);
UPDATE queue.settings SET created_at = created_at - interval '10 min';
UPDATE queue.dedup_keys SET sent_at = sent_at - interval '10 min';
SELECT queue.pause(queue_name), queue.resume(queue_name) FROM queue.queues;
SQL
}

sql($node, 'CREATE DATABASE src');
create_extension($node, 'src');
sql($node, <<'SQL', 'src');
SELECT queue.create('q'), queue.create('other');
SELECT queue.send('q', '1', dedup_key => 'there'), queue.send('q', '2', dedup_key => 'gone'), queue.send('q', '3', dedup_key => E'odd\t\\N "ü');
SELECT queue.send('other', '1'), queue.send('other', '1', dedup_key => 'there');
SELECT queue.delete('q', 2);
SQL
age('src');
sql($node, "SELECT queue.send('q', '4', dedup_key => 'recent'); SELECT queue.delete('q', 4)", 'src');
my $keys = 'SELECT queue_name, dedup_key, msg_id, sent_at FROM queue.dedup_keys ORDER BY 1, 2';
my $before = sql($node, $keys, 'src');
my $again = q(SELECT queue.send('q', '9', dedup_key => 'there'), queue.send('q', '9', dedup_key => E'odd\t\\\\N "ü'), queue.send('other', '9', dedup_key => 'there'), queue.send('q', '9', dedup_key => 'recent'));

# Dumps
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/src.dump", 'src' ], 'pg_dump');
sql($node, "CREATE DATABASE $_") for qw(fresh has one);
$node->command_ok([ 'pg_restore', '-e', '-d', 'fresh', "$dir/src.dump" ], 'restored');
create_extension($node, 'has');
$node->command_ok([ 'pg_restore', '-e', '-d', 'has', "$dir/src.dump" ], 'restored into a database with the extension');
for my $db (qw(fresh has)) {
    same_lines(sql($node, $keys, $db), $before, "$db: the keys");
    is(sql($node, $again, $db), '1|3|2|4', "$db: they lead to their messages");
    is(sql($node, "SELECT queue.send('q', '9', dedup_key => 'gone') > 4", $db), 't', "$db: one that doesn't count is replaced");
    is(sql($node, "SELECT queue.drop('q'), queue.create('q'); SELECT queue.send('q', '9', dedup_key => 'there') = 1, count(*) FROM queue.q_q", $db), "t|t\nt|0", "$db: a new queue of the name knows none");
}
# One queue by itself comes without keys. Its messages are there.
create_extension($node, 'one');
$node->command_ok([ 'pg_dump', '-t', 'queue.q_q', '-t', 'queue."q_q#1"', '-t', 'queue.a_q', '-t', 'queue."q_q#ids"', '-f', "$dir/one.sql", 'src' ], 'pg_dump of one queue');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', 'one', '-f', "$dir/one.sql" ], 'restored');
is(sql($node, "SELECT queue.create('q'); SELECT queue.send('q', '9', dedup_key => 'there') > 4", 'one'), "t\nt", 'sent anew');

# Restart and crash
$node->restart;
is(sql($node, $again, 'src'), '1|3|2|4', 'after a restart');
sql($node, "SELECT queue.send('q', '5', dedup_key => 'committed')", 'src');
my $open = session($node, database => 'src');
$open->query("BEGIN; SELECT queue.send('q', '6', dedup_key => 'lost')");
$node->stop('immediate');
$open->quit;
$node->start;
is(sql($node, $again, 'src'), '1|3|2|4', 'after a crash');
is(sql($node, "SELECT queue.send('q', '9', dedup_key => 'committed') = max(msg_id) FROM queue.q_q", 'src'), 't', 'a committed key too');
is(sql($node, "SELECT queue.send('q', '9', dedup_key => 'lost') > max(msg_id) FROM queue.q_q", 'src'), 't', 'one that was not committed is free');

# A prepared transaction is waited for.
sql($node, "BEGIN; SELECT queue.send('q', '7', dedup_key => 'prepared'); PREPARE TRANSACTION 'p'", 'src');
my $waiter = session($node, database => 'src');
fails_with($node, "SET statement_timeout = 200; SELECT queue.send('q', '8', dedup_key => 'prepared')", '57014', qr/statement timeout/, 'a prepared transaction is waited for', 'src');
sql($node, "COMMIT PREPARED 'p'", 'src');
is($waiter->query("SELECT queue.send('q', '8', dedup_key => 'prepared') = msg_id FROM queue.q_q WHERE dedup_key = 'prepared'"), 't', 'and counts once it is committed');
$waiter->quit;

# The sweep: what is gone goes; what is there, recent, or in somebody's hand stays. A queue that its owner has spoilt doesn't stop it.
sql($node, <<'SQL', 'src');
SELECT queue.create('spoilt'), queue.create('handdropped');
SELECT queue.send('spoilt', '1', dedup_key => 'there'), queue.send('handdropped', '1', dedup_key => 'x');
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg('0'::jsonb) FROM generate_series(1, 10000)), dedup_keys => (SELECT array_agg('bulk' || i) FROM generate_series(1, 10000) i));
SELECT count(*) FROM queue.delete_batch('q', (SELECT array_agg(msg_id) FROM queue.q_q WHERE dedup_key LIKE 'bulk%' AND dedup_key <> 'bulk77'));
SQL
age('src');
sql($node, 'ALTER TABLE queue."q_spoilt#1" DROP CONSTRAINT "q_spoilt#1_pkey"; DROP TABLE queue.q_handdropped CASCADE', 'src');
sql($node, "SELECT queue.send('q', '0', dedup_key => 'bulk1'); SELECT queue.delete('q', max(msg_id)) FROM queue.q_q WHERE dedup_key = 'bulk1'", 'src');
my $holder = session($node, database => 'src');
my $deleted = $holder->query("BEGIN; SELECT queue.delete('q', msg_id) FROM queue.q_q WHERE dedup_key = 'committed'");
is($deleted, 't', 'a message that is being deleted');
sql($node, "ALTER SYSTEM SET pgqueue.purge_interval = 100; SELECT pg_reload_conf()", 'src');
my $left = "SELECT string_agg(queue_name || ':' || dedup_key, ' ' ORDER BY queue_name, dedup_key) FROM queue.dedup_keys";
my $wanted = "other:there q:bulk1 q:bulk77 q:committed q:lost q:odd\t\\N \"ü q:prepared q:there spoilt:there";
ok($node->poll_query_until('src', $left, $wanted), 'swept') or diag(sql($node, $left, 'src'));
is(sql($node, "SELECT errors FROM pgqueue.workers WHERE database = 'src'"), '0', 'without an error');
is(sql($node, "SELECT queue.send('q', '9', dedup_key => 'bulk77') = msg_id FROM queue.q_q WHERE dedup_key = 'bulk77'", 'src'), 't', 'what is left counts');
$holder->query('ROLLBACK');
$holder->quit;

# Many senders, few keys, rollbacks, batches in any order, acks and the sweep: never two messages of a key within five minutes, and no
# error. The journal holds what was answered: one id for a key.
sql($node, "CREATE TABLE sent (k text, id bigint); SELECT queue.create('q')");
my @runs;
push @runs, run_pgbench($node, 'single', <<'SQL', '-T', 5, '-c', 4);
\set k random(1, 2000)
\set r random(1, 4)
INSERT INTO sent SELECT 'r' || :k, queue.send('q', to_jsonb(:k), dedup_key => 'r' || :k);
BEGIN;
SAVEPOINT s;
SELECT queue.send('q', to_jsonb(:k), dedup_key => 'r' || (:k + 1));
ROLLBACK TO s;
INSERT INTO sent SELECT 'r' || (:k + 1), queue.send('q', to_jsonb(:k), dedup_key => 'r' || (:k + 1));
\if :r = 1
ROLLBACK;
\else
COMMIT;
\endif
SQL
push @runs, run_pgbench($node, 'batch', <<'SQL', '-T', 5, '-c', 4);
WITH keys AS MATERIALIZED (SELECT array_agg('r' || (1 + random() * 2000)::int) AS k FROM generate_series(1, 20))
INSERT INTO sent
SELECT (keys.k)[s.n], s.id FROM keys, LATERAL queue.send_batch('q', array_fill('0'::jsonb, ARRAY[20]), dedup_keys => keys.k) WITH ORDINALITY AS s(id, n);
SQL
push @runs, run_pgbench($node, 'acks', <<'SQL', '-T', 5, '-c', 1);
SELECT count(queue.delete('q', msg_id)) FROM queue.read('q', qty => 10);
\sleep 10 ms
SQL
finish_pgbench($_) for @runs;
is(sql($node, 'SELECT count(*) FROM (SELECT FROM sent GROUP BY k HAVING count(DISTINCT id) > 1) x'), '0', 'one message for each key');
cmp_ok(sql($node, 'SELECT count(*) FROM sent'), '>', 2000, 'of many sends');
is(sql($node, "SELECT count(*) FROM (SELECT FROM queue.q_q WHERE dedup_key LIKE 'r%' GROUP BY dedup_key HAVING count(*) > 1) x"), '0', 'none is there twice');
check_log($node);
done_testing();
