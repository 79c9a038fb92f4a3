# Several databases on one server: a copy by CREATE DATABASE TEMPLATE has queues with the same object ids and files, and
# still they are others.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $node = queue_node('databases');
sql($node, 'CREATE DATABASE a');
create_extension($node, 'a');
sql($node, <<'SQL', 'a');
SELECT queue.create('q', vt => 600);
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 1000) i));
SELECT count(*) FROM queue.read('q', qty => 10);
SQL
my $at_once = session($node, database => 'a');
$at_once->query("BEGIN; SELECT msg_id FROM queue.read('q', qty => 5)");
$at_once->quit; # the server rolls back: five leases that were given back are noted, for this database
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'a' AND backend_type = 'client backend'"), 'nobody is connected');
sql($node, "CREATE DATABASE b TEMPLATE a");
is(sql($node, q(SELECT 'queue."q_q#1"'::regclass::oid, pg_relation_filenode('queue."q_q#1"')), 'a'),
    sql($node, q(SELECT 'queue."q_q#1"'::regclass::oid, pg_relation_filenode('queue."q_q#1"')), 'b'), 'ids and files are the same');

my ($in_a, $in_b) = map { session($node, database => $_) } 'a', 'b';
is($in_a->query("SELECT min(msg_id), max(msg_id) FROM queue.read('q', qty => 20)"), '11|30', 'the first goes on where it was');
is($in_b->query("SELECT min(msg_id), max(msg_id) FROM queue.read('q', qty => 20)"), '16|35', 'the copy has the leases of its template');
is($in_b->query("SELECT queue.delete('q', i) FROM generate_series(1, 1000) i") =~ tr/t//, 1000, 'all acked in the copy');
is($in_a->query("SELECT count(*) FROM queue.read('q', qty => 2000)"), '970', 'which the first does not notice');
is($in_b->query("SELECT count(*) FROM queue.read('q')"), '0', 'the copy is empty');

$in_b->start("SELECT message FROM queue.read('q', wait => 120)");
$in_b->wait_asleep($node);
is($in_a->query("SELECT queue.send('q', '\"for a\"') > 1000"), 't', 'a send in the first');
is($in_a->query("SELECT message FROM queue.read('q')"), '"for a"', 'is read there');
is($in_b->done ? 1 : 0, 0, 'not by the reader in the copy');
sql($node, "SELECT queue.send('q', '\"for b\"')", 'b');
is($in_b->finish, '"for b"', 'who gets his own');

# Receipts are a database's own, and don't repeat in either.
for my $database ('a', 'b') {
    sql($node, "SELECT count(*) FROM queue.send_batch('q', array_fill('1'::jsonb, ARRAY[50]))", $database);
    is(sql($node, "SELECT min(m.receipt) > (SELECT max(receipt) FROM queue.q_q WHERE msg_id < 1000) OR NOT EXISTS (SELECT FROM queue.q_q WHERE msg_id < 1000) FROM queue.read('q', qty => 50) m", $database),
        't', "new receipts in $database");
}
$_->quit for $in_a, $in_b;

# Databases that are renamed, moved and dropped.
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname IN ('a', 'b') AND backend_type = 'client backend'"), 'nobody is connected');
sql($node, 'ALTER DATABASE b RENAME TO c');
is(sql($node, "SELECT queue.send('q', '\"c\"') > 1; SELECT message FROM queue.read('q')", 'c'), "t\n\"c\"", 'a renamed one works');
my $space = PostgreSQL::Test::Utils::tempdir();
sql($node, "CREATE TABLESPACE other LOCATION '$space'");
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'c' AND backend_type = 'client backend'"), 'nobody is connected');
sql($node, 'ALTER DATABASE c SET TABLESPACE other');
is(sql($node, "SELECT queue.send('q', '\"moved\"') > 1; SELECT message FROM queue.read('q')", 'c'), "t\n\"moved\"", 'a moved one too');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'c' AND backend_type = 'client backend'"), 'nobody is connected');
sql($node, 'DROP DATABASE c');
is(sql($node, "SELECT queue.send('q', '\"still\"') > 1; SELECT message FROM queue.read('q')", 'a'), "t\n\"still\"", 'and the first goes on');

check_log($node);
done_testing();
