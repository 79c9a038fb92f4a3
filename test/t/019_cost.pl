# What a call costs, counted in pages and WAL records, so that no clock is needed: a read looks at what it needs, whatever
# lies around it. Leases write in place.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $node = queue_node('cost', conf => "shared_buffers = 128MB\nlog_statement = none\npgqueue.released_leases = 1024");
my $worker = session($node);

# Pages that the call touches in a session that has done the same before, so that catalogs don't count.
sub pages {
    my ($call) = @_;
    my $explain = $worker->query("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY OFF, COSTS OFF) SELECT * FROM $call");
    my ($top) = split /Planning:/, $explain;
    my ($hit) = $top =~ /Buffers: .*hit=(\d+)/;
    my ($read) = $top =~ /Buffers: .*read=(\d+)/;
    return ($hit // 0) + ($read // 0);
}

sub few_pages {
    my ($call, $limit, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $pages = pages($call);
    cmp_ok($pages, '<=', $limit, "$what: $pages pages");
}

my $batch = 'queue.send_batch(%s, (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, %d) i))';
sub send_many { my ($queue, $count) = @_; sql($node, 'SELECT count(*) FROM ' . sprintf($batch, "'$queue'", $count)); }

# A lease is no new row version: no transaction id, the same place, one WAL record for all leases of a page.
sql($node, "SELECT queue.create('q', vt => 600)");
send_many('q', 40);
is(wal_of($node, 'queue."q_q#1"', "SELECT * FROM queue.read('q', qty => 30)"), 'Generic|Generic', 'one WAL record for thirty leases');
is(sql($node, q(SELECT count(DISTINCT xmin::text), max(xmax::text), max(ctid) FROM queue.q_q)), '1|0|(0,40)', 'no new row versions');
is(sql($node, "BEGIN; SELECT count(*) FROM queue.read('q', qty => 2); SELECT pg_current_xact_id_if_assigned() IS NULL"), "2\nt", 'no transaction id');
is(sql($node, "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM queue.set_vt('q', 1, 700); SELECT pg_current_xact_id_if_assigned() IS NULL"),
    "1\nt", 'nor for a heartbeat');
sql($node, "SELECT queue.purge('q')");

# Many in flight, many delayed, many waiting.
send_many('q', 30000);
pages("queue.read('q', qty => 2)"); # the catalogs
few_pages("queue.read('q')", 10, 'a read with 30,000 waiting');
few_pages("queue.send('q', '1')", 20, 'a send');
sql($node, "SELECT count(*) FROM queue.read('q', qty => 25000)");
few_pages("queue.read('q')", 10, 'a read with 25,000 in flight');
few_pages("queue.read('q', qty => 50)", 12, 'fifty of them');
sql($node, 'SELECT count(*) FROM ' . sprintf($batch =~ s/\)\)$/), delay => 600)/r, "'q'", 10000));
few_pages("queue.read('q')", 10, 'a read beside 10,000 delayed');
sql($node, "SELECT count(*) FROM queue.read('q', qty => 25000)");
pages("queue.read('q')");
few_pages("queue.read('q')", 10, 'a read in vain');
sql($node, "SELECT queue.send('q', '2')");
few_pages("queue.read('q')", 10, 'a read of the only one');
few_pages("queue.delete('q', 12345)", 30, 'an ack of one out of the middle');
few_pages("queue.delete('q', 99999999)", 10, 'an ack of none');

# A batch that is rolled back: its pages are looked at once.
sql($node, "SELECT queue.create('r', vt => 600)");
send_many('r', 10);
pages("queue.read('r')");
$worker->query_ok('BEGIN; SELECT count(*) FROM ' . sprintf($batch, "'r'", 20000) . '; ROLLBACK', '20,000 messages that are rolled back');
sql($node, "SELECT queue.send('r', '\"after\"')");
is(sql($node, "SELECT count(*) FROM queue.read('r', qty => 100)"), '10', 'the others are read');
pages("queue.read('r')");
few_pages("queue.read('r', wait => 1.5)", 10, 'a read that waits after it, in vain');
sql($node, "SELECT queue.send('r', '\"again\"')");
few_pages("queue.read('r')", 10, 'a read behind it');

# An old snapshot that keeps all dead rows: the pages of a call stay the same, however many there are.
sql($node, "SELECT queue.create('h', vt => 600); CREATE TABLE t ()");
$worker->query("SELECT queue.send('h', '1'); SELECT queue.delete('h', msg_id) FROM queue.read('h')");
my $holder = session($node);
$holder->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t');
isnt(sql($node, 'SELECT backend_xmin FROM pg_stat_activity WHERE pid = ' . $holder->pid), '', 'the horizon is held');
my %flat;
for my $round (1 .. 4) {
    sql($node, "SELECT queue.send('h', '1')") for 1 .. 2;
    pages("queue.peek('h')"); # the catalogs, since VACUUM changed them
    push @{ $flat{read} }, pages("queue.read('h')");
    push @{ $flat{delete} }, pages("queue.delete('h', (SELECT min(msg_id) FROM queue.q_h WHERE receipt <> 0))");
    push @{ $flat{pop} }, pages("queue.pop('h')");
    send_many('h', 5000);
    sql($node, "SELECT count(*) FROM queue.read('h', qty => 10000) m WHERE queue.delete('h', m.msg_id)");
    sql($node, 'VACUUM queue."q_h#1"');
}
is(sql($node, q(SELECT pg_stat_get_live_tuples('queue."q_h#1"'::regclass) < 10)), 't', 'all is acked');
cmp_ok($flat{$_}[3], '<', $flat{$_}[0] + 8, "$_ under a held horizon: pages @{$flat{$_}}") for 'read', 'pop';
$holder->quit;

# Sends fill their pages, from many sessions, by ones and in batches.
sql($node, "SELECT queue.create('f')");
my $bench = run_pgbench($node, 'fill', <<'SQL', '-c', 6, '-j', 2, '-t', 40, '-C');
SELECT queue.send('f', '1');
SELECT count(*) FROM queue.send_batch('f', array_fill('2'::jsonb, ARRAY[20]));
SQL
finish_pgbench($bench);
my ($rows, $least, $has) = split /\|/, sql($node, <<'SQL');
SELECT count(*), ceil(sum(pg_column_size(q.*) + 4) / 8100.0), pg_relation_size('queue."q_f#1"') / 8192 FROM queue."q_f#1" q
SQL
is($rows, 6 * 40 * 21, 'all were sent');
cmp_ok($has, '<=', 1.5 * $least + 40, "on $has pages, at least $least are needed");
my ($one) = sql($node, 'SELECT count(DISTINCT (ctid::text::point)[0]) FROM queue."q_f#1"');
cmp_ok($has, '<=', $one + 40, "of which $one have messages");

# More leases rolled back than can be noted: the rest of them runs out.
sql($node, "SELECT queue.create('n')");
send_many('n', 5000);
$worker->query_ok("BEGIN; SELECT count(*) FROM queue.read('n', qty => 5000, vt => 4); ROLLBACK", '5,000 leases that are rolled back');
my %read = map { $_ => 1 } drain($node, 'n', 500);
cmp_ok(scalar keys %read, '>', 500, keys(%read) . ' of them come back at once');
my $twice = 0;
ok( wait_for(
        sub {
            for my $id (drain($node, 'n', 500)) { $twice++ if $read{$id}++; }
            sql($node, 'SELECT count(*) FROM queue.q_n') eq '0';
        },
        'the end of all leases'),
    'all of them in the end');
is(keys(%read) . " $twice", '5000 0', 'each once');

$worker->quit;
check_log($node);
done_testing();
