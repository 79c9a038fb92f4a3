# A clean restart: a backlog is read on without a rebuild and in order, leases and prepared transactions stay.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $node = queue_node('restart', conf => 'max_prepared_transactions = 10');

# A backlog of many pages: the first ones done, some leased, some delayed, the rest waiting.
sql($node, <<SQL);
SELECT queue.create('q');
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 20000) i));
SELECT count(queue.delete('q', msg_id)) FROM queue.read('q', qty => 500);
SELECT count(*) FROM queue.read('q', qty => 100, vt => 900);
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 10) i), delay => 900);
SELECT queue.set_vt('q', 510, 1800);
SELECT queue.nack('q', 511);
SELECT queue.create('small');
SELECT queue.send('small', '1');
SELECT queue.create('empty');
SELECT queue.send('empty', '1');
SELECT queue.delete('empty', msg_id) FROM queue.read('empty');
SELECT queue.create('paused');
SELECT queue.send('paused', '1');
SELECT queue.pause('paused');
SQL

# Prepared transactions of each kind. Their backends end here.
sql($node, <<SQL);
SELECT queue.create('two');
SELECT count(*) FROM queue.send_batch('two', ARRAY['1', '2', '3', '4']::jsonb[]);
SELECT msg_id FROM queue.read('two', qty => 3, vt => 900);
BEGIN; SELECT queue.send('two', '5'); PREPARE TRANSACTION 'send kept';
BEGIN; SELECT queue.send('two', '6'); PREPARE TRANSACTION 'send undone';
BEGIN; SELECT queue.delete('two', 1); PREPARE TRANSACTION 'ack kept';
BEGIN; SELECT queue.archive('two', 2); PREPARE TRANSACTION 'ack undone';
SQL

my $rows = "SELECT msg_id, vt, last_read_at, receipt, read_ct FROM queue.q_q WHERE receipt <> 0 OR msg_id > 20000 ORDER BY 1";
my $settings = sql($node, 'SELECT * FROM queue.queues ORDER BY 1');
my $last_receipt = sql($node, "SELECT receipt FROM queue.read('q')");
my $receipt_510 = sql($node, 'SELECT receipt FROM queue.q_q WHERE msg_id = 510');
my $before = sql($node, $rows);

$node->restart;

same_lines(sql($node, $rows), $before, 'leases, delays and receipts are as they were');
is(sql($node, 'SELECT * FROM queue.queues ORDER BY 1'), $settings, 'settings too');

# The first read touches a page or two and the catalogs, not the backlog: hardly more than one from a queue of one message.
my ($small, $large) = map {
    my $explain = sql($node, "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY OFF) SELECT * FROM queue.read('$_')");
    my ($hit) = $explain =~ /Buffers: shared hit=(\d+)/;
    my ($read) = $explain =~ /Buffers: .*read=(\d+)/;
    ($hit // 0) + ($read // 0);
} 'small', 'q';
my $pages = sql($node, q(SELECT pg_relation_size('queue."q_q#1"') / 8192));
cmp_ok($pages, '>', 200, "the backlog has $pages pages");
cmp_ok($large, '<', $small + 50, "the first read touched $large buffers, of a small queue $small");

my @left = drain($node, 'q', 500);
is("@left[0, 1, -1]", '602 603 20000', 'the backlog is read from its oldest message to its newest');
same_lines(join("\n", @left), join("\n", sort { $a <=> $b } @left), 'in order');
is(scalar @left, 20000 - 601, 'and whole');
is( sql($node, 'SELECT count(*) FROM queue.q_q'), 111,
    'what is leased or delayed is left');
is(sql($node, "SELECT receipt FROM queue.set_vt('q', 510, 0)"), $receipt_510, 'a heartbeat keeps the receipt of before');
cmp_ok(sql($node, "SELECT receipt FROM queue.read('q')"), '>', $last_receipt, 'a new lease has a new one');

is(sql($node, "SELECT count(*) FROM queue.read('empty')"), '0', 'an empty queue is empty');
is(sql($node, "SELECT queue.send('empty', '2') > 1"), 't', 'and its ids go on');
is(sql($node, "SELECT message FROM queue.read('empty')"), '2', 'and it is read');
is(sql($node, "SELECT count(*) FROM queue.read('paused')"), '0', 'a paused queue is paused');
is(sql($node, "SELECT queue.resume('paused'); SELECT msg_id FROM queue.read('paused')"), "t\n1", 'and resumes');

# The prepared transactions.
is(sql($node, "SELECT array_agg(msg_id) FROM queue.read('two', qty => 9)"), '{4}', 'what is prepared is not read');
sql($node, $_) for "COMMIT PREPARED 'send kept'", "ROLLBACK PREPARED 'send undone'", "COMMIT PREPARED 'ack kept'",
  "ROLLBACK PREPARED 'ack undone'";
is(sql($node, "SELECT msg_id FROM queue.read('two', qty => 9, wait => 10)"), '5', 'a send that was committed is read');
is(sql($node, 'SELECT array_agg(msg_id ORDER BY msg_id) FROM queue.q_two'), '{2,3,4,5}', 'an ack that was committed counts');
is(sql($node, 'SELECT count(*) FROM queue.a_two'), '0', 'an archive that was rolled back does not');
is(sql($node, "SELECT queue.delete('two', 2)"), 't', 'its message can be acked');

# Priorities. What is known only after a look can't be sorted before it; but each priority's messages stay in order, and
# what is sent after the restart goes in front.
sql($node, <<SQL);
SELECT queue.create('prio');
SELECT count(*) FROM queue.send_batch('prio', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 2000) i));
SELECT count(*) FROM queue.send_batch('prio', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 1000) i), priority => 5);
SELECT count(*) FROM queue.send_batch('prio', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 1000) i), priority => -5);
SQL
$node->restart;
my $urgent = sql($node, "SELECT queue.send('prio', '\"urgent\"', priority => 9)");
@left = drain($node, 'prio', 300);
is($left[0], $urgent, 'what is urgent comes first after a restart too');
for my $range ([ 1, 2000 ], [ 2001, 3000 ], [ 3001, 4000 ]) {
    my ($first, $last) = @$range;
    same_lines(join("\n", grep { $_ >= $first && $_ <= $last } @left), join("\n", $first .. $last), "$first to $last in order");
}
is(scalar @left, 4001, 'and nothing else');

check_log($node);
done_testing();
