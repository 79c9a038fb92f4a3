# Unlogged queues: whole after a clean stop, empty but usable after a crash, and no id ever twice.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $node = queue_node('unlogged');

sql($node, <<SQL);
SELECT queue.create('u', unlogged => true);
SELECT queue.create('logged');
SELECT count(*) FROM queue.send_batch('u', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 2000) i));
SELECT count(*) FROM queue.send_batch('u', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 100) i), priority => 3);
SELECT count(queue.archive('u', msg_id)) FROM queue.read('u', qty => 5);
SELECT count(*) FROM queue.read('u', qty => 10, vt => 600);
SQL
is(sql($node, q(SELECT array_agg(DISTINCT relpersistence) FROM pg_class WHERE relname IN ('q_u', 'q_u#1', 'a_u'))), '{u}',
    'its tables are unlogged');

# No WAL for an unlogged queue's rows: neither sends nor leases.
my $work = "SELECT queue.send('u', '1'); SELECT queue.read('u', qty => 10, vt => 600); SELECT queue.delete('u', 2000)";
is(wal_of($node, 'queue."q_u#1"', $work), '', 'nothing of the rows is logged');

# A clean stop.
my $rows = 'SELECT msg_id, vt, receipt, read_ct FROM queue.q_u ORDER BY 1';
my $before = sql($node, $rows);
$node->restart;
same_lines(sql($node, $rows), $before, 'a clean restart keeps messages and leases');
is(sql($node, 'SELECT count(*) FROM queue.a_u'), '5', 'and the archive');

# A crash, with sessions in the middle of it.
my $session = session($node);
my $last = $session->query("SELECT queue.send('u', '\"last\"')");
my ($receipt) = split /\n/, $session->query("SELECT receipt FROM queue.read('u', qty => 5) ORDER BY 1 DESC LIMIT 1");
$session->query_ok("BEGIN; SELECT queue.send('u', '\"open\"')");
sql($node, "SELECT queue.send('logged', '1')");
$node->stop('immediate');
$session->quit;
$node->start;

is(sql($node, 'SELECT count(*) FROM queue.q_u'), '0', 'after a crash it is empty');
is(sql($node, 'SELECT count(*) FROM queue.a_u'), '0', 'its archive too');
is(sql($node, "SELECT count(*) FROM queue.read('u')"), '0', 'a read finds nothing');
is(sql($node, "SELECT queue.delete('u', 20)"), 'f', 'what was leased is gone');
is(sql($node, "SELECT msg_id FROM queue.read('logged')"), '1', 'a logged queue beside it is whole');
is(sql($node, "SELECT unlogged FROM queue.queues WHERE queue_name = 'u'"), 't', 'it is unlogged still');
cmp_ok(sql($node, "SELECT queue.send('u', '\"new\"')"), '>', $last, 'ids go on where they were');
my ($message, $new_receipt) = split /\|/, sql($node, "SELECT message, receipt FROM queue.read('u')");
is($message, '"new"', 'it can be sent to and read from');
cmp_ok($new_receipt, '>', $receipt, 'and receipts go on too');

# The same again, from a fresh sequence and several sessions: no id twice over three crashes.
sql($node, "SELECT queue.create('v', unlogged => true)");
my %seen;
for my $round (1 .. 3) {
    my @sessions = map { session($node) } 1 .. 2;
    my @ids = map { split /\n/, $_->query("SELECT queue.send_batch('v', array_fill('1'::jsonb, ARRAY[7]))") } @sessions,
      @sessions;
    push @ids, map { $_->query("SELECT queue.send('v', '1')") } @sessions;
    is(scalar @ids, 30, "round $round: ids of two sessions");
    is(join(' ', grep { $seen{$_}++ } @ids), '', 'none of them twice');
    $node->stop('immediate');
    $_->quit for @sessions;
    $node->start;
}

# A message that is too big for a page, and a table that changes its kind.
sql($node, "SELECT queue.send('v', jsonb_build_object('t', string_agg(md5(i::text), ''))) FROM generate_series(1, 3000) i");
is(sql($node, "SELECT length(message ->> 't') FROM queue.read('v', vt => 0)"), 3000 * 32, 'a big message');
sql($node, 'ALTER TABLE queue."q_v#1" SET LOGGED; ALTER TABLE queue.q_v SET LOGGED; ALTER TABLE queue.a_v SET LOGGED');
is(sql($node, "SELECT unlogged FROM queue.queues WHERE queue_name = 'v'"), 'f', 'SET LOGGED');
is(sql($node, "SELECT count(*) FROM queue.read('v', vt => 600)"), '1', 'a lease of a logged queue');
sql($node, "SELECT queue.send('v', '2')");
$before = sql($node, 'SELECT msg_id, vt, receipt, read_ct FROM queue.q_v ORDER BY 1');
$node->stop('immediate');
$node->start;
is(sql($node, 'SELECT msg_id, vt, receipt, read_ct FROM queue.q_v ORDER BY 1'), $before, 'survives a crash');

check_storage($node);
check_log($node);
done_testing();
