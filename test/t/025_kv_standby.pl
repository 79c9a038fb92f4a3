# Stores on a standby: reads work, writes are refused; once it is promoted the values are there and the numbers grow.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $primary = queue_node('kv_primary', streaming => 1, conf => "wal_keep_size = 128MB\nmax_prepared_transactions = 5");
$primary->backup('base');
my %standby;
for my $name ('kv_standby', 'kv_stock') {
    my $node = $standby{$name} = PostgreSQL::Test::Cluster->new($name);
    $node->init_from_backup($primary, 'base', has_streaming => 1);
    configure($node, "shared_preload_libraries = ''") if $name eq 'kv_stock';
    $node->start;
}
my ($standby, $stock) = @standby{ 'kv_standby', 'kv_stock' };

sub catch_up {
    sql($primary, "SELECT pg_logical_emit_message(true, '', '')");
    $primary->wait_for_catchup($_, 'replay', $primary->lsn('flush')) for $standby, $stock;
}

my $rows = <<SQL;
SELECT key, version, expires_at, type, md5(value), value_json, value_bytes FROM kv.s_s ORDER BY 1;
SELECT kind, key, number, expires_at, owner FROM kv.c_s ORDER BY 1, 2
SQL

sub same_rows {
    my ($what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    catch_up();
    my $expected = sql($primary, $rows);
    same_lines(sql($standby, $rows), $expected, "$what: the standby has the same rows");
    same_lines(sql($stock, $rows), $expected, "$what: and so has one without the library");
}

sql($primary, <<SQL);
SELECT kv.create_store('s', max_entries => 100000);
SELECT kv.create_store('u', unlogged => true);
SELECT count(kv.set('k' || i, md5(i::text), ttl => 1000 + i, store => 's')) FROM generate_series(1, 1000) i;
SELECT count(kv.incr('n' || i % 10, store => 's')) FROM generate_series(1, 1000) i;
SELECT kv.set_json('j', '{"a": 1}', store => 's'), kv.set_bytes('b', '\\x00ff', store => 's'), kv.set('big', repeat(md5('x'), 10000), store => 's');
SELECT kv.set('d', 'in default');
SQL
my $token = sql($primary, "SELECT kv.lock('job', 3600, 'me', store => 's')");
same_rows('entries');
sql($primary, <<SQL);
CHECKPOINT;
SELECT kv.touch('k' || i, 9000, 's') FROM generate_series(1, 100) i;
SELECT kv.delete('k' || i, 's') FROM generate_series(101, 200) i;
SELECT kv.incr('n1', store => 's'), kv.touch('n2', 500, 's'), (kv.rate_limit('r', 5, 3600, store => 's')).allowed, kv.set('n3', 'text', store => 's');
SELECT kv.set('short', 'x', ttl => 0.001, store => 's'), kv.incr('shortn', ttl => 0.001, store => 's');
SELECT pg_sleep(0.003);
BEGIN; SELECT kv.purge('s'), kv.incr('shortn', store => 's'); COMMIT;
BEGIN; SELECT kv.delete('n4', 's'), kv.incr('n4', 3, store => 's'), kv.set('k300', 'lost', store => 's'); ROLLBACK;
VACUUM kv.s_s;
VACUUM FREEZE kv.c_s;
SQL
same_rows('changes in place');

# What a standby answers, and what it refuses.
is(sql($standby, "SELECT kv.get('k500', 's'), kv.get('n1', 's'), kv.get_json('j', 's'), kv.get_bytes('b', 's'), kv.get('k150', 's'), kv.exists('k1', 's'), kv.ttl('k1', 's') > 8000, length(kv.get('big', 's')), kv.get('d')"),
    sql($primary, q(SELECT md5('500'), '101', '{"a": 1}'::jsonb, '\x00ff'::bytea, NULL, true, true, 320000, 'in default')), 'reads on a standby');
is(sql($standby, "SELECT * FROM kv.mget(ARRAY['k300', 'n4', 'n3', 'none'], 's')"), sql($primary, "SELECT * FROM kv.mget(ARRAY['k300', 'n4', 'n3', 'none'], 's')"), 'mget on a standby');
is(sql($standby, "SELECT count(*), min(key) FROM kv.scan('k', qty => 5000, store => 's')"), '900|k1', 'scan on a standby');
is(sql($standby, "SELECT value FROM kv.get_entry('k500', 's')"), sql($primary, q(SELECT md5('500'))), 'get_entry on a standby');
is(sql($standby, "SELECT kv.assert_lock('job', $token, 's')"), '', 'assert_lock on a standby');
is(sql($standby, "SELECT store, entries, expired FROM kv.stats WHERE store = 's'"), sql($primary, "SELECT store, entries, expired FROM kv.stats WHERE store = 's'"), 'figures on a standby');
is(sql($standby, 'SELECT store FROM kv.stores ORDER BY 1'), "default\ns\nu", 'the list of stores on a standby');
my $recovery = qr/cannot execute .* (in a read-only transaction|during recovery)/;
for my $call ("set('a', 'b', store => 's')", "set_json('a', '1', store => 's')", "set_bytes('a', 'b', store => 's')", "cas('a', 'b', 0, store => 's')", "mset('{a}', '{b}', store => 's')", "getset('a', 'b', store => 's')", "take('k1', 's')",
    "delete('k1', 's')", "delete_batch('{k1}', 's')", "touch('k1', 5, 's')", "incr('n1', store => 's')", "rate_limit('r', 5, 60, store => 's')", "lock('x', 5, store => 's')", "renew('job', $token, 5, 's')", "unlock('job', $token, 's')",
    "purge('s')", "purge()", "clear('s')", "create_store('x')", "drop_store('s')", "alter_store('s', default_ttl => 5)") {
    fails_with($standby, "SELECT kv.$call", '25006', $recovery, "$call on a standby");
}

# Sessions that read before and go on after the promotion.
my $session = session($standby);
$session->query("SELECT kv.get('k500', 's'), kv.get('n1', 's')");
catch_up();
my $known = sql($standby, $rows);
my $highest = sql($primary, "SELECT max(kv.lock('t' || i, 3600, store => 's')) FROM generate_series(1, 500) i");
catch_up();
$primary->stop('immediate');
$standby->promote;
is($session->query("SELECT kv.get('k500', 's'), kv.get('n1', 's')"), sql($standby, q(SELECT md5('500'), 101)), 'promoted: values and counters');
cmp_ok($session->query("SELECT kv.lock('new', 60, store => 's')"), '>', $highest, 'promoted: tokens grow');
is($session->query("SELECT kv.lock('job', 60, store => 's')"), '', 'promoted: a lock is held');
is($session->query("SELECT kv.unlock('job', $token, 's')"), 't', 'promoted: and its holder gives it back');
is($session->query("SELECT kv.set('k500', 'new', store => 's')"), 't', 'promoted: a set');
is($session->query("SELECT value, version > $highest FROM kv.get_entry('k500', 's')"), 'new|t', 'promoted: versions grow');
is($session->query("SELECT kv.incr('n1', store => 's'), (kv.rate_limit('r', 5, 3600, store => 's')).remaining"), '102|3', 'promoted: counters and limits go on');
is($session->query("SELECT kv.touch('k600', 0.001, 's')"), 't', 'promoted: a touch');
$session->query('SELECT pg_sleep(0.003)');
is($session->query("SELECT kv.purge('s')"), '2', 'promoted: a purge of it and of the lock that was given back');
is($session->query("SELECT kv.get('x', 'u'), kv.set('x', '1', store => 'u'), kv.incr('n', store => 'u')"), '|t|1', 'promoted: an unlogged store is empty and works');
is($session->error, '', 'promoted: without an error');
$session->quit;
check_log($_) for $primary, $standby, $stock;
done_testing();
