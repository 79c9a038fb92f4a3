# Stores over restarts, crashes, a standby and its promotion, dumps, prepared transactions and maintenance beside traffic.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;

my $node = queue_node('main', streaming => 1, conf => "max_prepared_transactions = 5\nwal_level = replica");
sql($node, "SELECT kv.create_store('free', unlogged => true), kv.create_store('st', default_ttl => 1000)");

# A restart and a crash.
sql($node, "SELECT kv.set('a', 'one'), kv.set_json('j', '{\"n\": 1}'), kv.set('a', 'free', store => 'free'), kv.incr('n', 41), kv.incr('n', store => 'free')");
my $version = sql($node, "SELECT version FROM kv.get_entry('a')");
my $token = sql($node, "SELECT kv.lock('l', 1000)");
sql($node, "SELECT kv.touch('j', 500)");
$node->restart;
is(sql($node, "SELECT kv.get('a'), kv.get('j'), kv.get('n'), kv.get('a', 'free'), kv.get('n', 'free')"),
    'one|{"n": 1}|41|free|1', 'all is there after a restart');
is(sql($node, "SELECT kv.lock('l', 1000) IS NULL, kv.renew('l', $token, 1000)"), 't|t', 'the lock is held still');

# Each of these is on disk before it answers; nothing else flushes.
sql($node, "SET synchronous_commit = on; SELECT kv.incr('n')");
my $other = sql($node, "SET synchronous_commit = off; SELECT kv.lock('m', 1000)");
ok(sql($node, "SET synchronous_commit = off; SELECT kv.unlock('l', $token)") eq 't', 'given back');
$node->stop('immediate');
$node->start;
is(sql($node, "SELECT kv.get('a'), kv.get('n'), kv.get('a', 'free'), kv.get('n', 'free')"),
    'one|42||', 'after a crash: logged stores have all that was flushed, unlogged ones are empty');
is(sql($node, "SELECT kv.lock('m', 1000) IS NULL, kv.renew('m', $other, 1000)"), 't|t', 'a lock that was granted under synchronous_commit = off is held');
my $next = sql($node, "SELECT kv.lock('l', 1000)");
ok($next > $token && $next > $other, 'one that was given back is free, and the token is new');
my $new_version = sql($node, "SELECT kv.cas('a', 'two', $version)");
ok($new_version > $version && $new_version > $next, 'versions go on');
is(sql($node, "SELECT kv.incr('n', 5, store => 'free'), kv.set('x', 'y', store => 'free')"), '5|t', 'the unlogged store works');

# A cell that a rolled-back or prepared transaction has made is there, whatever becomes of the transaction.
sql($node, "BEGIN; SELECT kv.incr('rolled', 3); ROLLBACK");
sql($node, "BEGIN; SELECT kv.incr('prepared', 4), kv.set('p1', 'x', 1000), kv.delete('a'); PREPARE TRANSACTION 'one'");
sql($node, "BEGIN; SELECT kv.set('p2', 'x'), kv.delete('n'); PREPARE TRANSACTION 'two'");
$node->stop('immediate');
$node->start;
is(sql($node, "SELECT kv.get('rolled'), kv.incr('prepared'), kv.get('p1'), kv.get('a'), kv.incr('n')"), '3|5||two|43',
    'prepared: counters go on, values wait');
fails_with($node, "SELECT kv.incr('p2')", '55P03', qr/being given a value/, 'a counter does not wait for a prepared set');
sql($node, "COMMIT PREPARED 'one'");
sql($node, "ROLLBACK PREPARED 'two'");
is(sql($node, "SELECT kv.get('p1'), kv.get('a'), kv.get('p2'), kv.get('n')"), 'x|||43', 'and are done or undone');
# A purge that is prepared and rolled back: the next one finds what it found.
sql($node, "SELECT kv.set('short', 'x', 0.001)");
ok(wait_for(sub { sql($node, "SELECT kv.get('short') IS NULL") eq 't' }, 'the end of a key'), 'over');
sql($node, "BEGIN; SELECT kv.purge(); PREPARE TRANSACTION 'three'");
sql($node, "ROLLBACK PREPARED 'three'");
ok(wait_for(sub { sql($node, "SELECT kv.purge('default'); SELECT count(*) FROM kv.s_default WHERE key = 'short'") =~ /\n0$/ }, 'a purge'),
    'what a rolled-back purge left is purged');

# A standby reads, and refuses to write; promoted, it goes on with new numbers.
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
sql($node, "SELECT kv.set('a', 'streamed'), kv.incr('n')");
$token = sql($node, "SELECT kv.lock('s', 1000)");
$version = sql($node, "SELECT version FROM kv.get_entry('a')");
$node->wait_for_catchup($standby);
is(sql($standby, "SELECT kv.get('a'), kv.get('n'), kv.ttl('a'), (SELECT count(*) > 3 FROM kv.scan()), (SELECT value FROM kv.mget('{a}'))"),
    'streamed|44|-1|t|streamed', 'a standby reads');
fails_with($standby, $_, '25006', qr/recovery|read-only/, "a standby refuses: $_")
  for "SELECT kv.set('a', 'x')", "SELECT kv.incr('n')", "SELECT * FROM kv.rate_limit('r', 1, 1)", "SELECT kv.lock('l', 1)", "SELECT kv.purge()";
$node->stop('immediate');
$standby->promote;
is(sql($standby, "SELECT kv.lock('s', 1000) IS NULL, kv.renew('s', $token, 1000), kv.unlock('s', $token), kv.incr('n')"), 't|t|t|45', 'promoted: locks and counters as they were');
ok(sql($standby, "SELECT kv.lock('s', 1000)") > $token + 1_000_000, 'a new token leaps over those that the standby has not seen');
ok(sql($standby, "SELECT kv.cas('a', 'x', $version)") > $version + 1_000_000, 'and so does a version');
$node = $standby;

# A dump travels, into an empty database and with changed settings of the store that comes with the extension.
sql($node, "SELECT kv.alter_store('default', default_ttl => 77), kv.set('k', 'v', store => 'st'), kv.set_bytes('b', '\\x00', store => 'st'), kv.incr('c', 7, store => 'st')");
sql($node, 'CREATE DATABASE copy');
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'dumped');
$node->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('copy') ], 'restored');
is(sql($node, "SELECT kv.get('a'), kv.get('n'), kv.get('k', 'st'), kv.get('b', 'st'), kv.incr('c', store => 'st'), kv.ttl('k', 'st') BETWEEN 1 AND 1000", 'copy'),
    'x|45|v|\x00|8|t', 'with values, counters and ttls');
is(sql($node, "SELECT store, default_ttl FROM kv.stores ORDER BY store", 'copy'), "default|77\nfree|\nst|1000", 'and settings');
ok(sql($node, "SELECT (SELECT version FROM kv.get_entry('a')) AS was, kv.cas('a', 'y', version) FROM kv.get_entry('a')", 'copy') =~ /^(\d+)\|(\d+)$/ && $2 > $1,
    'versions go on');

# A dump's snapshot sees one row of a counter that is deleted and made again under it.
my $old = session($node);
$old->query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM kv.c_st");
for (1 .. 2) {
    sql($node, "SELECT kv.delete('c', 'st')");
    sql($node, "SELECT kv.incr('c', store => 'st')");
}
is($old->query("SELECT number FROM kv.c_st WHERE key = 'c'"), 7, 'an old snapshot sees the old row alone');
$old->query('COMMIT');
is($old->query("SELECT number FROM kv.c_st WHERE key = 'c'"), 1, 'a new one the new');
$old->quit;

# Maintenance beside traffic: nothing is lost or doubled.
sql($node, "SELECT kv.incr('busy', 0)");
my $traffic = run_pgbench($node, 'traffic', <<'SQL', qw(-c 4 -t 1500 -M prepared));
\set k random(1, 200)
SELECT kv.incr('busy');
SELECT kv.set(:k::text, 'v', 0.05);
SELECT kv.get(:k::text);
SELECT kv.incr('c' || :k, ttl => 0.05);
SELECT kv.set(:k::text, 'w', keep_ttl => true, mode => 'xx'), kv.touch(:k::text, 0.1);
SELECT allowed FROM kv.rate_limit('r' || :k, 10, 0.01);
SQL
my $rounds = 0;
while (pgbench_runs($traffic)) {
    sql($node, $_) for 'VACUUM kv.s_default', 'VACUUM FREEZE kv.c_default', 'SELECT kv.purge()', 'VACUUM FULL kv.c_default', 'VACUUM FULL kv.s_default',
      'REINDEX TABLE kv.s_default', 'REINDEX TABLE kv.c_default', 'CLUSTER kv.s_default USING s_default_pkey';
    $rounds++;
}
finish_pgbench($traffic);
ok($rounds > 0, "maintenance went on beside it ($rounds rounds)");
is(sql($node, "SELECT kv.get('busy')"), 6000, 'every increment counted');
ok(wait_for(sub {
            sql($node, 'SELECT kv.purge()');
            sql($node, "SELECT count(*) FROM kv.v_default WHERE expires_at IS NOT NULL AND (key ~ '^c?[0-9]+\$')") eq '0'
              && sql($node, "SELECT count(*) FROM kv.c_default WHERE key ~ '^[cr][0-9]+\$'") eq '0';
        }, 'the end of all'), 'all that had an end is purged');
is(sql($node, "SELECT count(*) - count(DISTINCT key) FROM kv.s_default"), 0, 'no key twice');
is(sql($node, "SELECT count(*) - count(DISTINCT (kind, key)) FROM kv.c_default"), 0, 'no cell twice');
sql($node, 'REINDEX TABLE kv.s_default; REINDEX TABLE kv.c_default; VACUUM FREEZE kv.s_default; VACUUM FREEZE kv.c_default');

# A value of 200 MB.
sql($node, "SELECT kv.set('huge', repeat('0123456789abcdef', 13107200))");
is(sql($node, "SELECT length(kv.get('huge')), md5(kv.get('huge')) = md5(repeat('0123456789abcdef', 13107200))"), '209715200|t', 'a value of 200 MB');
is(sql($node, "SELECT length(kv.take('huge'))"), 209715200, 'and it can be taken');

# A purge looks only where something is due.
sql($node, "SELECT kv.create_store('pages')");
sql($node, "SELECT count(kv.set(i::text, repeat('x', 100), CASE WHEN i <= 1000 THEN 0.001 ELSE 3600 END, store => 'pages')) FROM generate_series(1, 20000) i");
my $due = sql($node, "SELECT count(DISTINCT (ctid::text::point)[0]) FROM kv.s_pages WHERE expires_at < clock_timestamp() + interval '1 hour' AND version <= (SELECT min(version) + 999 FROM kv.s_pages)");
is(sql($node, "SELECT kv.purge('pages')"), 1000, 'purged');
my $visits = sql($node, "SELECT purge_visits FROM kv.stats WHERE store = 'pages'");
cmp_ok($visits, '<=', $due * 1.1 + 1, "$visits pages visited for $due that had something due");
is(sql($node, "SELECT kv.purge('pages')"), 0, 'and no more');
is(sql($node, "SELECT purge_visits FROM kv.stats WHERE store = 'pages'"), $visits, 'without a look');

# One waits for a lock, and has it when it is given back.
$token = sql($node, "SELECT kv.lock('w', 1000)");
my $waiter = run_pgbench($node, 'waiter', "SELECT 1 / (kv.lock('w', 1000, wait => 100) > $token)::int;", qw(-c 1 -t 1));
ok(wait_for(sub { sql($node, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND query LIKE '%kv.lock(''w''%' AND pid <> pg_backend_pid()") eq '1' },
        'a session that waits for the lock'), 'waits');
sql($node, "SELECT kv.unlock('w', $token)");
finish_pgbench($waiter);
$node->stop;
done_testing();
