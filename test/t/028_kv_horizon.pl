# A snapshot that is kept open: hot keys are set, read and counted beside it, it reads what it saw, and all is swept up after it.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $node = queue_node('kv_horizon');
sql($node, "SELECT kv.create_store('s'); SELECT kv.set('hot' || i, 'old' || i, ttl => 3600, store => 's'), kv.incr('n' || i, store => 's') FROM generate_series(1, 5) i");
my $old = session($node);
$old->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
my $seen = "SELECT string_agg(key || '=' || value, ' ' ORDER BY key) FROM kv.s_s WHERE key LIKE 'hot%'";
my $gets = "SELECT string_agg(kv.get('hot' || i, 's'), ' ') FROM generate_series(1, 5) i";
my $first = $old->query($seen);

my $run = run_pgbench($node, 'hot', <<'SQL', '-c', 4, '-t', 1500);
\set k random(1, 5)
SELECT kv.set('hot' || :k, 'new ' || :client_id || ' of ' || :k, keep_ttl => true, store => 's');
SELECT 1 / (kv.get('hot' || :k, 's') LIKE 'new % of ' || :k)::int;
SELECT kv.incr('n' || :k, store => 's'), kv.touch('hot' || :k, 3600, 's');
SELECT kv.set('tmp' || :k, 'x', ttl => 0.001, store => 's'), kv.purge('s');
SQL
my $bad = 0;
while (pgbench_runs($run)) {
    $bad++ if $old->query($seen) ne $first || $old->query($gets) ne 'old1 old2 old3 old4 old5';
}
finish_pgbench($run);
is($bad, 0, 'the old snapshot reads what it saw, whatever happened since');
is(sql($node, "SELECT sum(kv.get('n' || i, 's')::int) FROM generate_series(1, 5) i"), 5 + 4 * 1500, 'the counters are exact');
is($old->query("SELECT sum(kv.get('n' || i, 's')::int) FROM generate_series(1, 5) i"), 5 + 4 * 1500, 'and seen as they are by the old snapshot too');
is(sql($node, "SELECT count(*) FROM kv.s_s WHERE key LIKE 'hot%'"), '5', 'one row of a key');
is(sql($node, q(SELECT pg_relation_size('kv.c_s') <= 2 * 8192)), 't', 'counters leave no dead rows behind');
$old->query("SELECT kv.set('hot1', 'mine', store => 's')");
like($old->error, qr/40001.*could not serialize/s, 'it does not change what it cannot see');
$old->query('ROLLBACK');
is($old->query($gets) =~ /^new \d of 1 new \d of 2 new/ ? 't' : 'f', 't', 'without it, the newest');
sql($node, 'VACUUM kv.s_s');
is(sql($node, "SELECT kv.set('hot1', 'last', store => 's'); SELECT kv.get('hot1', 's')"), "t\nlast", 'and all goes on after a VACUUM');

# Keys that are deleted and made again beside it.
$old->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($old->query("SELECT kv.get('hot2', 's') LIKE 'new%', (SELECT count(*) FROM kv.s_s WHERE key LIKE 'hot%')"), 't|5', 'a snapshot');
$run = run_pgbench($node, 'again', <<'SQL', '-c', 4, '-t', 500);
\set k random(1, 5)
SELECT kv.delete('hot' || :k, 's');
SELECT kv.set('hot' || :k, 'again', mode => 'nx', store => 's');
BEGIN;
SELECT kv.take('hot' || :k, 's');
SELECT kv.cas('hot' || :k, 'swapped', 0, store => 's');
ROLLBACK;
SQL
$bad = 0;
while (pgbench_runs($run)) {
    $bad++ if $old->query("SELECT kv.get('hot2', 's') LIKE 'new%', (SELECT count(*) FROM kv.s_s WHERE key LIKE 'hot%')") ne 't|5';
}
finish_pgbench($run);
is($bad, 0, 'it reads what it saw');
$old->query('COMMIT');
is(sql($node, "SELECT count(*) - count(DISTINCT key) FROM kv.s_s"), '0', 'one row of a key');
$old->quit;

# A purge looks at pages that are due and at no others, however many there are.
sql($node, "SELECT kv.create_store('p'); SELECT count(kv.set('k' || i, repeat('x', 1900), ttl => 3600, store => 'p')) FROM generate_series(1, 4000) i");
my $visits = sql($node, "SELECT kv.purge('p'); SELECT purge_visits FROM kv.stats WHERE store = 'p'");
$visits =~ s/.*\n//;
cmp_ok(sql($node, q(SELECT pg_relation_size('kv.s_p') / 8192)), '>=', 1000, 'a thousand pages');
is(sql($node, "SELECT kv.purge('p') FROM generate_series(1, 50)") =~ /[1-9]/ ? 'some' : 'none', 'none', 'nothing is due');
is(sql($node, "SELECT purge_visits - $visits FROM kv.stats WHERE store = 'p'"), '0', 'nothing is looked at');
sql($node, "SELECT kv.touch('k' || i, 0.001, 'p') FROM generate_series(100, 3900, 400) i");
sql($node, 'SELECT pg_sleep(0.003)');
is(sql($node, "SELECT kv.purge('p')"), '10', 'ten are due');
cmp_ok(sql($node, "SELECT purge_visits - $visits FROM kv.stats WHERE store = 'p'"), '<=', 20, 'about as many pages are looked at');
is(sql($node, "SELECT purged, entries, expired FROM kv.stats WHERE store = 'p'"), '10|3990|0', 'the figures');
check_log($node);
done_testing();
