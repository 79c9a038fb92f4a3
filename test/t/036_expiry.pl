# Keys vanish by themselves: the background worker purges what has expired, and nothing else, beside traffic.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Few pages at a time, so that a round takes many transactions.
my $node = queue_node('expiry', conf => "pgqueue.purge_interval = 100\npgqueue.purge_pages = 3\nautovacuum = on\nautovacuum_naptime = 1\nautovacuum_vacuum_cost_delay = 0");
my $worker = "FROM pgqueue.workers WHERE database = 'postgres'";

sub becomes {
    my ($query, $wanted, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok($node->poll_query_until('postgres', $query, $wanted), $what) or diag(sql($node, "SELECT * $worker"));
}

# Several stores and owners.
sql($node, <<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
GRANT CREATE ON DATABASE postgres TO alice, bob;
SET ROLE alice;
SELECT kv.create_store('alices');
RESET ROLE;
SET ROLE bob;
SELECT kv.create_store('bobs', unlogged => true);
REVOKE DELETE ON kv.s_bobs FROM bob;
RESET ROLE;
SELECT count(kv.set('t' || i, repeat('x', 100), ttl => 0.2 + random(), store => s)), count(kv.set('f' || i, 'stays', store => s)),
    count(kv.set('h' || i, 'stays an hour', ttl => 3600, store => s)), count(kv.incr('n' || i, ttl => 0.2, store => s))
FROM generate_series(1, 2000) i, unnest('{default,alices,bobs}'::text[]) s;
SQL
for my $store ('default', 'alices') {
    becomes("SELECT (SELECT count(*) FROM kv.s_$store) || ' ' || (SELECT count(*) FROM kv.c_$store)", '4000 0', "$store: what has expired is gone, the rest is there");
}
is(sql($node, "SELECT count(*) FROM kv.s_bobs"), '6000', 'an owner who may not delete keeps it');
is(sql($node, "SELECT errors $worker"), '0', 'which is no error');
sql($node, 'GRANT DELETE ON kv.s_bobs TO bob');
becomes('SELECT count(*) FROM kv.s_bobs', '4000', 'until he may');
is(sql($node, "SELECT keys_purged >= 3 * 4000 $worker"), 't', 'the view says how many');

# Refreshed in between: never removed.
sql($node, "SELECT kv.set('live' || i, 'x', ttl => 30) FROM generate_series(1, 500) i");
my $refreshed = run_pgbench($node, 'refresh', "\\set i random(1, 500)\nSELECT kv.touch('live' || :i, 30);\nSELECT kv.set('live' || :i, 'y', ttl => 30);\n", qw(-c 2 -T 12));
my $before = sql($node, "SELECT keys_purged $worker");
my @sizes;
for my $round (1 .. 3) {
    my $load = run_pgbench($node, "traffic $round", "\\set i random(1, 20000)\n\\set ttl random(1, 10)\nSELECT kv.set('t' || :i, repeat('x', 200), ttl => :ttl / 10.0);\n", qw(-c 2 -T 4));
    finish_pgbench($load, 'traffic');
    push @sizes, sql($node, "SELECT pg_total_relation_size('kv.s_default')");
}
finish_pgbench($refreshed, 'refreshing');
is(sql($node, "SELECT count(*) FROM kv.s_default WHERE key LIKE 'live%'"), '500', 'what is refreshed stays');
cmp_ok(sql($node, "SELECT keys_purged $worker"), '>', $before, 'others went meanwhile');
cmp_ok($sizes[2], '<', 2 * $sizes[0] + 1048576, "the table's size is bounded: @sizes");
becomes("SELECT count(*) FROM kv.s_default WHERE key LIKE 't%'", '0', 'all of them, in the end');

# A session that locks a store holds up nothing else.
my $session = session($node);
$session->query_ok('BEGIN; LOCK TABLE kv.s_alices');
sql($node, "SELECT kv.set('t beside', 'x', ttl => 0.1); SELECT cron.at(now(), 'SELECT 1')");
becomes("SELECT count(*) FROM kv.s_default WHERE key = 't beside'", '0', 'a locked store does not keep others from their purge');
becomes('SELECT count(*) FROM cron.job', '0', 'nor jobs from their runs');
$session->query_ok('ROLLBACK');
$session->quit;

# Off, and on again.
sql($node, "ALTER DATABASE postgres SET pgqueue.purge_interval = 0");
becomes("SELECT count(*) = 1 AND max(state) = 'idle' $worker AND started_at > now() - interval '1 minute'", 't', 'a worker with the new setting');
sql($node, "SELECT kv.set('late', 'x', ttl => 0.01)");
becomes("SELECT kv.get('late') IS NULL", 't', 'expired is gone for all functions');
is(sql($node, "SELECT count(*) FROM kv.s_default WHERE key = 'late'"), '1', 'purged or not');
sql($node, 'ALTER DATABASE postgres RESET pgqueue.purge_interval');
becomes("SELECT count(*) FROM kv.s_default WHERE key = 'late'", '0', 'purged when it is on again');
check_log($node);
done_testing();
