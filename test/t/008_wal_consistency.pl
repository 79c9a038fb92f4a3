# wal_consistency_checking over generic records would stop recovery at a lease. So leases are refused while it is on, and
# nothing else suffers.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $node = queue_node('consistency');
sql($node, <<SQL);
SELECT queue.create('q', vt => 600);
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 100) i));
SELECT count(*) FROM queue.read('q', qty => 10);
SQL
my $receipt = sql($node, 'SELECT receipt FROM queue.q_q WHERE msg_id = 1');

my @refused = (
    "SELECT * FROM queue.read('q')", "SELECT * FROM queue.pop('q')", "SELECT * FROM queue.read('q', wait => 3)",
    "SELECT queue.nack('q', 1)", "SELECT * FROM queue.set_vt('q', 1, 5)");
for my $value ('generic', 'all', 'heap,generic') {
    fails_with($node, "SET wal_consistency_checking = '$value'; $_", '0A000',
        qr/wal_consistency_checking.*HINT:  .*wal_consistency_checking/s, "$value: $_")
      for @refused;
}
is(sql($node, "SET wal_consistency_checking = 'heap,btree,heap2'; SELECT msg_id FROM queue.read('q')"), '11',
    'other resource managers are no hindrance');
is(sql($node, "SET wal_consistency_checking = 'all'; SELECT msg_id FROM queue.peek('q')"), '12', 'looking is allowed');
is(sql($node, "SET wal_consistency_checking = 'all'; SELECT queue.delete('q', 5)"), 't', 'an ack is an ordinary delete');

# A whole server with it, that crashes.
configure($node, "wal_consistency_checking = 'all'");
$node->restart;
fails_with($node, $refused[0], '0A000', qr/HINT/, 'for the whole server');
sql($node, "SELECT queue.delete('q', i) FROM generate_series(20, 30) i; CHECKPOINT; SELECT queue.delete('q', 31)");
my $rows = 'SELECT * FROM queue.q_q ORDER BY 1';
my $before = sql($node, $rows);
$node->stop('immediate');
$node->start;
same_lines(sql($node, $rows), $before, 'recovery checks every record and finds nothing');

# Without it everything goes on.
configure($node, "wal_consistency_checking = ''");
$node->restart;
is(sql($node, "SELECT queue.delete('q', 1, $receipt)"), 't', 'a lease from before is acked');
is(sql($node, "SELECT count(*) FROM queue.read('q', qty => 100)"), 100 - 11 - 12, 'and the rest is read');
check_storage($node);
check_log($node);
done_testing();
