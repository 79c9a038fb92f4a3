# VACUUM, VACUUM FULL, CLUSTER, REINDEX, ANALYZE and TRUNCATE beside traffic: sums are exact, no key has two rows, a lock has
# one holder, nothing is read that was never set, and no client sees an error.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $node = queue_node('kv_maintenance');
sql($node, <<'SQL');
SELECT kv.create_store('s'), kv.create_store('few', max_entries => 20), kv.create_store('l');
CREATE UNLOGGED TABLE done (what text, key text, n bigint);
CREATE TABLE held (token bigint, depth int);
INSERT INTO held VALUES (0, 0);
SQL

my $twice = <<'SQL';
SELECT (SELECT count(*) FROM (SELECT key FROM kv.s_s GROUP BY key HAVING count(*) > 1) v), (SELECT count(*) FROM (SELECT key FROM kv.c_s GROUP BY kind, key HAVING count(*) > 1) c),
       (SELECT count(*) FROM kv.s_s s JOIN kv.c_s c ON c.kind = 'c' AND c.key = s.key AND c.expires_at > clock_timestamp() WHERE s.expires_at > clock_timestamp())
SQL

# Counters of their own, values, keys that expire, conditional sets, a lock with a critical section, a bounded store.
my %traffic = (
    counts => <<'SQL',
\set k random(1, 20)
BEGIN;
SELECT kv.incr('c' || :k, store => 's');
INSERT INTO done VALUES ('count', 'c' || :k, 1);
COMMIT;
SQL
    values => <<'SQL',
\set k random(1, 50)
SELECT kv.set('v' || :k, 'v' || :k || ':' || repeat('x', :k * 20), store => 's');
SELECT 1 / (CASE WHEN kv.get('v' || :k, 's') IS NULL OR kv.get('v' || :k, 's') LIKE 'v' || :k || ':%' THEN 1 ELSE 0 END);
SELECT kv.touch('v' || :k, 600, 's');
SELECT kv.delete('v' || (:k % 7), 's');
SELECT count(*) FROM kv.scan('v', store => 's');
SELECT kv.mset(ARRAY['m' || :k, 'm' || :k % 5], ARRAY['1', '2'], store => 's');
SQL
    short => <<'SQL',
\set k random(1, 20)
SELECT kv.set('e' || :k, 'x', ttl => 0.002, store => 's'), kv.incr('f' || :k, ttl => 0.002, store => 's');
SELECT kv.set('e' || :k, 'y', ttl => 0.001, mode => 'nx', store => 's');
SELECT kv.getset('e' || :k, 'z', ttl => 0.003, store => 's'), kv.purge('s');
SELECT kv.take('e' || (:k % 3), 's');
SQL
    exclusive => <<'SQL',
DO $$
DECLARE t bigint := kv.lock('section', 600, wait => 60, store => 'l');
BEGIN
    IF t IS NULL THEN RAISE EXCEPTION 'no lock'; END IF;
    COMMIT;
    UPDATE held SET depth = depth + 1;
    COMMIT;
    IF (SELECT depth <> 1 OR token >= t FROM held) THEN RAISE EXCEPTION 'not alone'; END IF;
    UPDATE held SET depth = depth - 1, token = t;
    COMMIT;
    IF NOT kv.unlock('section', t, 'l') THEN RAISE EXCEPTION 'lost'; END IF;
END $$;
SQL
    swaps => <<'SQL',
DO $$
DECLARE e record;
BEGIN
    LOOP
        SELECT * INTO e FROM kv.get_entry('sum', 's');
        EXIT WHEN kv.cas('sum', (coalesce(e.value, '0')::bigint + 1)::text, coalesce(e.version, 0), store => 's') IS NOT NULL;
        COMMIT;
    END LOOP;
    INSERT INTO done VALUES ('swap', 'sum', 1);
END $$;
SQL
    bounded => <<'SQL');
\set k random(1, 1000)
SELECT kv.set('b' || :k, 'x', store => 'few');
SQL
my @runs = map { run_pgbench($node, $_, $traffic{$_}, '-c', 2, '-T', 6) } sort keys %traffic;
my $session = session($node);
my $rounds = 0;
my $trouble = '';
while (grep { pgbench_runs($_) } @runs) {
    for my $statement ('VACUUM kv.s_s', 'VACUUM (FREEZE) kv.c_s', 'VACUUM FULL kv.s_s', 'VACUUM FULL kv.c_s', 'REINDEX TABLE kv.s_s', 'REINDEX TABLE kv.c_s',
        'CLUSTER kv.s_s USING s_s_pkey', 'ANALYZE kv.s_s, kv.c_s', 'VACUUM FULL kv.s_few', 'VACUUM (FREEZE) kv.c_l', 'ALTER TABLE kv.s_s SET (fillfactor = 80)') {
        $session->query($statement);
        $trouble .= $session->error if $session->error =~ /ERROR/;
    }
    my $found = sql($node, $twice);
    $trouble .= "two rows: $found\n" if $found ne '0|0|0';
    $rounds++;
}
finish_pgbench($_) for @runs;
is($trouble, '', "no trouble in $rounds rounds of maintenance");
is(sql($node, "SELECT count(*) FROM (SELECT key, sum(n) FROM done WHERE what = 'count' GROUP BY key EXCEPT SELECT key, number FROM kv.c_s WHERE kind = 'c') d"), '0', 'the counters are exact');
is(sql($node, "SELECT kv.get('sum', 's')::bigint = (SELECT count(*) FROM done WHERE what = 'swap')"), 't', 'so is what was swapped');
is(sql($node, $twice), '0|0|0', 'no key has two rows, nor a value beside a counter');
is(sql($node, 'SELECT depth FROM held'), '0', 'the lock had one holder at a time');
cmp_ok(sql($node, "SELECT count(*) FROM kv.scan(store => 'few', qty => 1000)"), '<=', 100, 'a bounded store is about bounded');

# TRUNCATE and clear beside traffic: an empty store, not an error.
for my $emptying ([ 'TRUNCATE kv.s_s, kv.c_s', 'values', 'short' ], [ "SELECT kv.clear('s')", 'short' ]) {
    my ($statement, @names) = @$emptying;
    @runs = map { run_pgbench($node, "$_ beside " . substr($statement, 0, 8), $traffic{$_}, '-c', 2, '-T', 2) } @names;
    while (grep { pgbench_runs($_) } @runs) {
        $session->query($statement);
        $trouble .= $session->error;
    }
    finish_pgbench($_) for @runs;
}
is($trouble, '', 'TRUNCATE and clear beside traffic');
is(sql($node, $twice), '0|0|0', 'no key has two rows');
sql($node, 'TRUNCATE kv.s_s, kv.c_s');
is(sql($node, "SELECT kv.get('v1', 's'), kv.incr('c1', store => 's'), kv.set('v1', 'x', mode => 'nx', store => 's')"), '|1|t', 'an empty store goes on');

# VACUUM cuts the end off, and a session that knew a later page goes on; a place that was given to another key is not taken for the old one.
my $reader = session($node);
$reader->query("SELECT kv.set('p' || i, repeat('x', 1000), store => 's') FROM generate_series(1, 200) i");
$reader->query("SELECT count(kv.get('p' || i, 's')) FROM generate_series(1, 200) i");
sql($node, "SELECT kv.delete('p' || i, 's') FROM generate_series(2, 200) i");
sql($node, 'VACUUM (TRUNCATE) kv.s_s');
is($reader->query("SELECT count(kv.get('p' || i, 's')) FROM generate_series(1, 200) i"), '1', 'reads of keys whose pages are gone');
is($reader->query("SELECT count(*) FROM generate_series(2, 200) i WHERE kv.delete('p' || i, 's') OR kv.touch('p' || i, 5, 's')"), '0', 'nor are they deleted or touched');
sql($node, "SELECT kv.set('q' || i, 'q' || i, store => 's') FROM generate_series(1, 200) i");
is($reader->query("SELECT count(kv.get('p' || i, 's')) FROM generate_series(2, 200) i"), '0', 'other keys in their places');
is($reader->query("SELECT count(*) FROM generate_series(1, 200) i WHERE kv.get('q' || i, 's') = 'q' || i"), '200', 'are read by their names');
$reader->quit;

# What can't be used is found out by a session that knew the store.
sql($node, 'CREATE INDEX lies ON kv.s_s (expires_at)');
$session->query("SELECT kv.get('q1', 's')");
like($session->error, qr/further indexes/, 'an index that would lie');
sql($node, 'DROP INDEX kv.lies');
is($session->query("SELECT kv.get('q1', 's')"), 'q1', 'without it the store works');
$session->quit;
my $checks = sql($node, <<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS amcheck;
SELECT c.relname, v.* FROM pg_class c, LATERAL verify_heapam(c.oid) v WHERE relnamespace = 'kv'::regnamespace AND relkind = 'r';
SELECT bt_index_check(i.indexrelid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'kv'::regnamespace OR c.oid IN (SELECT reltoastrelid FROM pg_class WHERE relnamespace = 'kv'::regnamespace);
SQL
$checks =~ s/^\n+//;
is($checks, '', 'heaps and indexes are sound');
check_log($node);
done_testing();
