# Groups over restarts, crashes, a failover, maintenance of the table, and with little shared memory.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $node = queue_node('fifo', streaming => 1, conf => "max_prepared_transactions = 10\npgqueue.group_holds = 1024");

my $fill = <<SQL;
SELECT queue.create('q', fifo => true, vt => 900);
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 1000) i),
    group_keys => (SELECT array_agg('g' || i % 10) FROM generate_series(1, 1000) i));
-- Group 1 is out, group 2 has a delayed head, group 3's was nacked with a delay, group 4's was acked.
SELECT message FROM queue.read('q');
SELECT queue.set_vt('q', msg_id, 900) FROM queue.read('q');
SELECT queue.nack('q', msg_id, delay => 900) FROM queue.read('q');
SELECT queue.delete('q', msg_id) FROM queue.read('q');
SQL
my $heads = "SELECT string_agg(message::text, ' ' ORDER BY msg_id) FROM (SELECT * FROM queue.read('q', qty => 6)) r";

sub fresh { sql($node, "SELECT queue.drop('q')"); sql($node, $fill); }

sql($node, $fill);
$node->restart;
is(sql($node, $heads), '5 6 7 8 9 10', 'after a restart the groups that were out still are');

# Nor is one free whose message somebody is about to ack when the groups are looked for.
sql($node, "SELECT queue.create('hand', vt => 3600); SELECT count(*) FROM queue.send_batch('hand', '{1,2}', group_keys => '{a,a}')");
my $second = sql($node, "SELECT receipt FROM queue.read('hand', qty => 2) ORDER BY msg_id DESC LIMIT 1");
sql($node, "SELECT queue.nack('hand', 1)");
$node->restart;
my $acker = session($node);
$acker->query_ok('BEGIN');
is($acker->query("SELECT queue.delete('hand', 2, $second)"), 't', 'a message is being acked');
is(sql($node, "SELECT count(*) FROM queue.read('hand', grouped => true)"), '0', 'its group is out');
is($acker->query("SELECT count(*) FROM queue.read('hand', grouped => true)"), '0', 'for who acks it, too');
$acker->query_ok('ROLLBACK');
is(sql($node, "SELECT count(*) FROM queue.read('hand', grouped => true)"), '0', 'and stays so when that is rolled back');
sql($node, "SELECT queue.delete('hand', 2, $second)");
is(sql($node, "SELECT message FROM queue.read('hand', grouped => true)"), '1', 'when it is acked the group is free');
$acker->quit;

fresh();
sql($node, 'CHECKPOINT');
$node->stop('immediate');
$node->start;
is(sql($node, $heads), '5 6 7 8 9 10', 'after a crash, too');
# Group 4 goes on with 14, in its turn.
sql($node, "SELECT queue.delete('q', msg_id) FROM queue.q_q WHERE message IN ('5', '1')");
is(sql($node, "SELECT string_agg(message::text, ' ') FROM queue.read('q', qty => 2)"), '11 14', 'acks free the next ones');

# Maintenance gives the table a new file, and so a new map.
for my $command ('VACUUM FULL queue."q_q#1"', 'CLUSTER queue."q_q#1" USING "q_q#1_pkey"') {
    fresh();
    sql($node, $command);
    is(sql($node, $heads), '5 6 7 8 9 10', "after $command");
}

# A message that is gone by plain SQL doesn't hold its group; one that was moved keeps it waiting.
fresh();
sql($node, "UPDATE queue.q_q SET headers = '{}' WHERE message = '1'");
is(sql($node, $heads), '5 6 7 8 9 10', 'a row with a lease was moved by an UPDATE');
sql($node, "DELETE FROM queue.q_q WHERE message IN ('1', '2', '3')");
is(sql($node, "SELECT count(*) FROM queue.read('q', qty => 3, wait => 60)") > 0, 1, 'rows deleted by plain SQL free their groups');

# Prepared transactions: what they send comes in its turn, what they ack holds its group until they end.
sql($node, "SELECT queue.create('p', fifo => true, vt => 1)");
sql($node, "SELECT queue.send('p', '1', group_key => 'a')");
sql($node, "BEGIN; SELECT queue.send('p', '2', group_key => 'a'); PREPARE TRANSACTION 'two'");
sql($node, "SELECT queue.send('p', '3', group_key => 'b')");
sql($node, "BEGIN; SELECT queue.delete('p', 1) FROM queue.read('p', vt => 900); PREPARE TRANSACTION 'one'");
sql($node, "COMMIT PREPARED 'two'");
sql($node, "SELECT queue.send('p', '4', group_key => 'a')");
is(sql($node, "SELECT message FROM queue.read('p', qty => 10)"), '3', 'the group of an ack in a prepared transaction is out');
sql($node, "COMMIT PREPARED 'one'");
sql($node, "SELECT queue.set_vt('p', msg_id, 900) FROM queue.q_p WHERE message = '3'");
is(sql($node, "SELECT string_agg(message::text, ' ') FROM queue.read('p', qty => 10, wait => 60)"), '2 4', 'and goes on when that ends');

# A reader that waits is woken by the ack of the one before.
my $waiting = session($node);
sql($node, "SELECT queue.create('w', fifo => true, vt => 900)");
sql($node, "SELECT queue.send('w', '1', group_key => 'a'); SELECT queue.send('w', '2', group_key => 'a')");
is(sql($node, "SELECT message FROM queue.read('w')"), '1', 'one is out');
$waiting->start("SELECT message FROM queue.read('w', wait => 300)");
$waiting->wait_asleep($node);
sql($node, "SELECT queue.delete('w', 1)");
is($waiting->finish, '2', 'an ack wakes who waits for the next one');
$waiting->quit;

# More groups out than there is room for: no order is broken, nothing is lost, and it goes on when there is room.
sql($node, "SELECT queue.create('many', fifo => true, vt => 900)");
sql($node, <<SQL);
SELECT count(*) FROM queue.send_batch('many', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 4000) i),
    group_keys => (SELECT array_agg('g' || i % 2000) FROM generate_series(1, 4000) i));
SQL
my $out = sql($node, "SELECT count(*) FROM queue.read('many', qty => 4000)");
cmp_ok($out, '<=', 1024, 'no more are out than pgqueue.group_holds allows');
cmp_ok($out, '>', 200, 'but many');
is(sql($node, "SELECT count(*) FROM queue.q_many WHERE receipt <> 0 AND message::int > 2000 AND NOT EXISTS (
    SELECT FROM queue.q_many e WHERE e.group_key = q_many.group_key AND e.msg_id < q_many.msg_id AND e.receipt <> 0)"), 0,
    'none before the first of its group');
my $rounds = 0;
my $done = 0;
while ($done < 4000 && $rounds++ < 1000) {
    $done += sql($node, <<SQL);
WITH acked AS (SELECT queue.delete_batch('many', (SELECT array_agg(msg_id) FROM queue.q_many WHERE receipt <> 0))),
     counted AS MATERIALIZED (SELECT count(*) AS n FROM acked)
SELECT n FROM counted
SQL
    sql($node, "SELECT count(*) FROM queue.read('many', qty => 4000)");
}
is($done, 4000, 'all were handed out in the end');

# Failover: the leases are in the WAL, so the groups are out on the new primary.
fresh();
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('fifo_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
sql($node, "SELECT message FROM queue.read('q')");
sql($node, 'CREATE TABLE flushed ()');    # a lease is flushed with the next commit that is
$node->wait_for_catchup($standby);
$node->stop('immediate');
$standby->promote;
is(sql($standby, "SELECT string_agg(message::text, ' ' ORDER BY msg_id) FROM (SELECT * FROM queue.read('q', qty => 5)) r"), '6 7 8 9 10',
    'after a promotion');

done_testing();
