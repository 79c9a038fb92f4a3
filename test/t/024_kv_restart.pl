# Stores across a restart and a crash: what was committed is there, locks and counters as they were answered, versions and
# tokens only grow; unlogged stores are kept by a restart and emptied by a crash.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $node = queue_node('kv_restart', conf => 'max_prepared_transactions = 5');
sql($node, <<'SQL');
SELECT kv.create_store('s', default_ttl => 3600);
SELECT kv.create_store('u', unlogged => true);
SELECT kv.create_store('few', max_entries => 10);
SELECT count(kv.set('k' || i, md5(i::text), ttl => 100 + i, store => 's')) FROM generate_series(1, 1000) i;
SELECT kv.set('big', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 20000) i), store => 's');
SELECT kv.set('ever', 'x', ttl => -1, store => 's'), kv.set_json('j', '{"a": 1}', store => 's'), kv.set_bytes('b', '\x00ff', store => 's');
SELECT count(kv.incr('n' || i % 10, store => 's')) FROM generate_series(1, 1000) i;
SELECT kv.delete('k' || i, 's') FROM generate_series(1, 100) i;
SELECT kv.set('u', '1', store => 'u'), kv.incr('n', 5, store => 'u'), kv.lock('l', 3600, store => 'u');
SELECT kv.set('d', 'in default'), kv.incr('dn', 7);
SELECT count(kv.set('f' || i, 'x', store => 'few')) FROM generate_series(1, 10) i;
SQL
my $lock = sql($node, "SELECT kv.lock('job', 3600, 'me', store => 's')");
my $look = <<'SQL';
SELECT key, version, expires_at, type, value, value_json, value_bytes FROM kv.s_s ORDER BY key;
SELECT kind, key, number, expires_at, owner FROM kv.c_s WHERE kind <> 'l' ORDER BY kind, key;
SELECT key, value FROM kv.v_default ORDER BY key
SQL

sub goes_on {
    my ($what, $before) = @_;
    same_lines(sql($node, $look), $before, "$what: the same entries");
    is(sql($node, "SELECT kv.get('k500', 's'), length(kv.get('big', 's')), kv.ttl('ever', 's'), kv.get('n3', 's'), kv.get('k50', 's')"),
        sql($node, q(SELECT md5('500'), 640000, -1, 100, NULL)), "$what: read by the functions");
    is(sql($node, "SELECT kv.lock('job', 60, store => 's')"), '', "$what: the lock is held");
    is(sql($node, "SELECT kv.renew('job', $lock, 3600, 's')"), 't', "$what: by its holder");
    my ($max) = sql($node, 'SELECT greatest(max(version), (SELECT max(number) FROM kv.c_s WHERE kind = $$l$$)) FROM kv.s_s');
    is(sql($node, "SELECT kv.set('ever', 'x', ttl => -1, store => 's'); SELECT version > $max FROM kv.get_entry('ever', 's')"), "t\nt", "$what: versions grow");
    cmp_ok(sql($node, "SELECT kv.lock('other', 0.001, store => 's')"), '>', $max, "$what: tokens grow");
    is(sql($node, "SELECT kv.set('f11', 'x', store => 'few'); SELECT count(*) FROM kv.scan(store => 'few')"), "t\n10", "$what: a bound is kept");
    sql($node, "SELECT kv.set('f10', 'x', store => 'few')");
}

my $before = sql($node, $look);
$node->restart;
goes_on('restart', $before);
is(sql($node, "SELECT kv.get('u', 'u'), kv.get('n', 'u'), kv.lock('l', 60, store => 'u')"), '1|5|', 'restart: an unlogged store is kept');
# What expired is found without the map, which the restart emptied.
sql($node, "SELECT kv.touch('k' || i, 0.001, 's') FROM generate_series(500, 509) i");
$node->restart;
is(sql($node, "SELECT kv.purge('s')") >= 10 ? 't' : 'f', 't', 'restart: a purge finds what has expired');

# A crash.
sql($node, 'CHECKPOINT');
sql($node, "SELECT kv.set('k500', md5('500'), store => 's'); SELECT kv.touch('k600', 7200, 's'); SELECT kv.delete('k700', 's')");
$before = sql($node, $look);
$node->stop('immediate');
$node->start;
goes_on('crash', $before);
is(sql($node, "SELECT kv.get('u', 'u'), kv.get('n', 'u'), kv.incr('n', store => 'u')"), '||1', 'crash: an unlogged store is empty, and works');
cmp_ok(sql($node, "SELECT kv.lock('l', 60, store => 'u')"), '>', $lock, 'crash: its locks are free, with newer tokens');

# Each answer of a committed call survives a crash: a lock, a counter, a set; on other sessions' rows and in a transaction
# that rolls back. And no number comes twice.
my %seen;
my $highest = 0;
for my $round (1 .. 5) {
    my $session = session($node);
    my $token = $session->query("BEGIN; SELECT kv.lock('round', 3600, store => 's'); ROLLBACK");
    my $sum = $session->query("SELECT kv.incr('sum', store => 's')");
    $session->query("BEGIN; SELECT kv.set('lost', 'x', store => 's')");
    my $lost = $session->query("SELECT version FROM kv.get_entry('lost', 's')");
    $node->stop('immediate');
    $session->quit;
    $node->start;
    is(sql($node, "SELECT kv.incr('sum', 0, store => 's'), kv.get('lost', 's')"), "$sum|", "round $round: the sum that was answered, and not what was not committed");
    is(sql($node, "SELECT kv.lock('round', 60, store => 's')"), '', "round $round: a crash does not free a lock");
    is(sql($node, "SELECT kv.unlock('round', $token, 's')"), 't', "round $round: its token does");
    ok(!grep({ $_ <= $highest || $seen{$_}++ } $token, $lost), "round $round: new numbers") or diag("$token $lost, $highest before");
    $highest = $lost;
}
is(sql($node, "SELECT kv.incr('sum', 0, store => 's')"), '5', 'the sum is exact');

# Not flushed: with synchronous_commit off a set or a sum may be lost, but a lock is on disk, and numbers don't repeat.
for my $round (1 .. 3) {
    my $session = session($node);
    $session->query("SET synchronous_commit = off");
    my $sum = $session->query("SELECT kv.incr('async', store => 's')");
    $session->query("SELECT kv.set('async', 'x', store => 'u')");
    my $token = $session->query("SELECT kv.lock('async$round', 3600, store => 's')");
    $node->stop('immediate');
    $session->quit;
    $node->start;
    cmp_ok(sql($node, "SELECT kv.incr('async', 0, store => 's')"), '<=', $sum, "asynchronous round $round: no more than was counted");
    is(sql($node, "SELECT kv.renew('async$round', $token, 60, 's')"), 't', "asynchronous round $round: the lock is held");
    cmp_ok($token, '>', $highest, "asynchronous round $round: by a new token");
    $highest = $token;
}

# Two-phase commit across a crash: the values are in hand until it ends, the counter was at once.
for my $end ('COMMIT', 'ROLLBACK') {
    sql($node, "SELECT kv.set('p', 'old', store => 's'), kv.set('q', 'old', store => 's'), kv.set('r', 'old', store => 's')");
    my $sum = sql($node, "SELECT kv.incr('two', 0, store => 's')");
    sql($node, <<SQL);
BEGIN;
SELECT kv.set('p', 'new', store => 's'), kv.delete('q', 's'), kv.take('r', 's'), kv.set('r', 'new', mode => 'nx', ttl => 3600, store => 's'), kv.incr('two', 5, store => 's');
PREPARE TRANSACTION 'two';
SQL
    $node->stop('immediate');
    $node->start;
    is(sql($node, "SELECT kv.get('p', 's'), kv.get('q', 's'), kv.get('r', 's'), kv.incr('two', 0, store => 's') - $sum"), 'old|old|old|5', "prepared, before $end");
    fails_with($node, "SET lock_timeout = 50; SELECT kv.set('p', 'x', store => 's')", '55P03', qr/lock timeout/, "prepared, a set waits for $end");
    sql($node, "$end PREPARED 'two'");
    is(sql($node, "SELECT kv.get('p', 's'), kv.get('q', 's'), kv.get('r', 's'), kv.set('p', 'x', mode => 'xx', store => 's')"), $end eq 'COMMIT' ? 'new||new|t' : 'old|old|old|t', "$end PREPARED");
}

is(sql($node, "SELECT count(*) FROM (SELECT key FROM kv.s_s GROUP BY key HAVING count(*) > 1 UNION ALL SELECT key FROM kv.c_s GROUP BY kind, key HAVING count(*) > 1) d"), '0', 'no key has two rows');
check_log($node);
done_testing();
