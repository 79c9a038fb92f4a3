# What the background worker removes from queues: expired messages, archives with a retention, old error texts. It visits
# pages that are due and waits for nobody.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Few pages at a time, so that a round takes many transactions.
my $node = queue_node('messages', streaming => 1, conf => "pgqueue.purge_interval = 100\npgqueue.purge_pages = 3\nwal_keep_size = 128MB");
my $worker = "FROM pgqueue.workers WHERE database = 'postgres'";

sub becomes {
    my ($query, $wanted, $what, $at) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $at //= $node;
    ok($at->poll_query_until('postgres', $query, $wanted), $what) or diag(sql($at, "SELECT * $worker"));
}

sql($node, <<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
GRANT CREATE ON DATABASE postgres TO alice, bob;
SET ROLE alice;
SELECT queue.create('alices');
RESET ROLE;
SET ROLE bob;
SELECT queue.create('bobs', unlogged => true);
REVOKE DELETE ON queue.q_bobs FROM bob;
RESET ROLE;
SELECT count(*) FROM queue.send_batch('alices', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 3000) i), ttl => 0.2);
SELECT count(*) FROM queue.send_batch('alices', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 100) i));
SELECT count(*) FROM queue.send_batch('alices', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 100) i), ttl => 3600);
SELECT queue.send('alices', jsonb_build_object('t', string_agg(md5(i::text), '')), ttl => 0.1) FROM generate_series(1, 2000) i;
SELECT count(*) FROM queue.send_batch('bobs', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 100) i), ttl => 0.1, priority => 3);
SQL
becomes('SELECT count(*) FROM queue.q_alices', '200', 'what has expired is gone, the rest is there');
is(sql($node, "SELECT expired_total FROM queue.settings WHERE queue_name = 'alices'"), '3001', 'and counted');
is(sql($node, 'SELECT count(*) FROM queue.q_bobs'), '100', 'an owner who may not delete keeps it');
is(sql($node, "SELECT errors $worker"), '0', 'which is no error');
sql($node, 'GRANT DELETE ON queue.q_bobs TO bob');
becomes('SELECT count(*) FROM queue.q_bobs', '0', 'until he may');

# One that is out stays until its lease has ended; acked or rolled back meanwhile.
sql($node, "SELECT count(*) FROM queue.purge('alices'); SELECT count(*) FROM queue.send_batch('alices', '{1,2,3,4}', ttl => 4)");
my $session = session($node);
$session->query_ok('BEGIN');
is($session->query_ok("SELECT count(*) FROM queue.read('alices', vt => 600)"), '1', 'one in an open transaction');
is(sql($node, "SELECT count(*) FROM queue.read('alices', vt => 600, qty => 2)"), '2', 'two are out');
becomes("SELECT count(*) FROM queue.q_alices", '3', 'expired, and not out: gone');
sql($node, "SELECT count(*) FROM queue.send_batch('alices', '{5,6}', ttl => 0.01)");
becomes("SELECT count(*) FROM queue.q_alices WHERE message IN ('5', '6')", '0', 'as are others');
is(sql($node, 'SELECT count(*) FROM queue.q_alices'), '3', 'those that are out stay');
is(sql($node, "SELECT queue.delete('alices', msg_id) FROM queue.q_alices WHERE message = '2'"), 't', 'one is acked');
sql($node, "SELECT queue.nack('alices', msg_id, delay => 0) FROM queue.q_alices WHERE message = '3'");
becomes("SELECT count(*) FROM queue.q_alices WHERE message = '3'", '0', 'one is given up');
$session->query_ok('ROLLBACK');
becomes('SELECT count(*) FROM queue.q_alices', '0', 'one is rolled back');

# A row or a table that a session has in hand holds up nothing else.
sql($node, "SELECT count(*) FROM queue.send_batch('alices', '{7,8}', ttl => 0.5); SELECT queue.create('locked'); SELECT queue.send('locked', '1', ttl => 0.01)");
$session->query_ok("BEGIN; SELECT FROM queue.q_alices WHERE message = '7' FOR UPDATE");
my $locker = session($node);
$locker->query_ok('BEGIN; LOCK TABLE queue.q_locked');
sql($node, "SELECT queue.create('free'); SELECT queue.send('free', '1', ttl => 0.01)");
becomes("SELECT (SELECT count(*) FROM queue.q_alices) + (SELECT count(*) FROM queue.q_free)", '1', 'a locked row or table keeps nothing else');
$session->query_ok('COMMIT');
$locker->query_ok('COMMIT');
becomes("SELECT (SELECT count(*) FROM queue.q_alices) + (SELECT count(*) FROM queue.q_locked)", '0', 'and goes when it is free');

# A restart: the map is unknown, so all is looked at; what expires while the server is down goes at once.
sql($node, <<'SQL');
SELECT count(*) FROM queue.send_batch('alices', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 1000) i), ttl => 1.5);
SELECT count(*) FROM queue.send_batch('alices', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 10) i), ttl => 3600);
SQL
$node->restart;
becomes('SELECT count(*) FROM queue.q_alices', '10', 'after a restart');
sql($node, "SELECT count(*) FROM queue.send_batch('alices', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 1000) i), ttl => 1.5)");
$node->stop('immediate');
$node->start;
becomes('SELECT count(*) FROM queue.q_alices WHERE expires_at < now()', '0', 'after a crash');

# Prepared transactions tell nobody: looked at again.
configure($node, 'max_prepared_transactions = 5');
$node->restart;
sql($node, "BEGIN; SELECT queue.send('alices', '\"prepared\"', ttl => 0.01); PREPARE TRANSACTION 'p'");
sql($node, "COMMIT PREPARED 'p'");
becomes("SELECT count(*) FROM queue.q_alices WHERE message = '\"prepared\"'", '0', 'one that was prepared');

# Archives. The retention comes last: a worker that has seen only young rows has no reason to look again so soon.
sql($node, <<'SQL');
SELECT queue.create('kept');
SELECT count(*) FROM queue.send_batch('kept', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 5000) i));
SELECT count(*) FROM queue.archive_batch('kept', (SELECT array_agg(i::bigint) FROM generate_series(1, 4000) i));
UPDATE queue.a_kept SET archived_at = now() - interval '2 hours' WHERE msg_id <= 3000;
VACUUM queue.a_kept;
SELECT queue.alter('kept', archive_retention => 3600);
SQL
becomes('SELECT count(*), min(msg_id) FROM queue.a_kept', '1000|3001', 'archived messages that are older than the retention are gone');
sql($node, "UPDATE queue.a_kept SET archived_at = now() - interval '2 hours' WHERE msg_id % 10 = 0; SELECT queue.alter('kept', archive_retention => 0)");
becomes('SELECT count(*) FROM queue.a_kept', '0', 'a retention of 0 keeps nothing');
sql($node, "SELECT count(*) FROM queue.archive_batch('kept', (SELECT array_agg(i::bigint) FROM generate_series(4001, 4500) i))");
becomes('SELECT count(*) FROM queue.a_kept', '0', 'nor what comes later');
sql($node, "SELECT queue.alter('kept', reset => '{archive_retention}'); SELECT queue.archive('kept', 4501)");
is(sql($node, 'SELECT count(*) FROM queue.a_kept'), '1', 'without one all is kept');

# Error texts.
sql($node, "SELECT queue.nack('kept', 4600, error => 'old'); SELECT queue.nack('kept', 4601, error => 'new')");
sql($node, "UPDATE queue.failures SET at = now() - interval '8 days' WHERE msg_id = 4600");
becomes("SELECT string_agg(error, ' ') FROM queue.failures", 'new', 'error texts older than a week are gone');
is(sql($node, "SELECT count(*) FROM queue.errors('kept', 4600)"), '0', 'for queue.errors too');

# Nothing to do: pages are not looked at.
sql($node, "SELECT count(*) FROM queue.send_batch('kept', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 20000) i), ttl => 3600)");
is(sql($node, "SELECT errors $worker"), '0', 'no error in all that time');

# A standby has no worker; a promoted one goes on.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
sql($node, "SELECT count(*) FROM queue.send_batch('alices', (SELECT array_agg(to_jsonb('s' || i)) FROM generate_series(1, 500) i), ttl => 1)");
sql($node, "ALTER SYSTEM SET pgqueue.workers = off; SELECT pg_reload_conf()");
sql($node, "SELECT pg_logical_emit_message(true, '', '')");
$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
$node->stop('immediate');
$standby->promote;
becomes("SELECT count(*) FROM queue.q_alices WHERE message::text LIKE '\"s%'", '0', 'a promoted standby', $standby);
check_storage($standby);
check_log($_) for $node, $standby;
done_testing();
