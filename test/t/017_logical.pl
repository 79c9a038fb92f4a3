# Logical replication into a queue: rows that the apply worker writes are messages there, and wake readers.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $source = queue_node('source', streaming => 'logical', conf => 'max_connections = 40');
my $target = queue_node('target', streaming => 'logical', conf => 'max_connections = 40');
sql($_, "SELECT queue.create('q', vt => 600)") for $source, $target;
sql($source, "SELECT queue.send('q', '\"before\"')");
sql($source, 'CREATE PUBLICATION p FOR TABLE queue."q_q#1"');
my $reader = session($target);
is($reader->query("SELECT count(*) FROM queue.read('q')"), '0', 'the target is empty');
sql($target, "CREATE SUBSCRIPTION s CONNECTION '" . $source->connstr . " dbname=postgres' PUBLICATION p");

# The copy of the table, by COPY in a worker.
is($reader->query("SELECT message FROM queue.read('q', wait => 120)"), '"before"', 'the initial copy wakes a reader');

# Rows that are applied one by one.
$reader->start("SELECT message FROM queue.read('q', wait => 120)");
$reader->wait_asleep($target);
sql($source, "SELECT queue.send('q', '\"single\"')");
is($reader->finish, '"single"', 'so does a message that is applied');
$reader->start("SELECT message FROM queue.read('q', wait => 120)");
$reader->wait_asleep($target);
sql($source, "SELECT count(*) FROM queue.send_batch('q', ARRAY['\"low\"', '\"low2\"']::jsonb[]); SELECT queue.send('q', '\"late\"', delay => 1)");
is($reader->finish, '"low"', 'a batch');
is($reader->query("SELECT message FROM queue.read('q', wait => 120)"), '"low2"', 'in order');
is($reader->query("SELECT message FROM queue.read('q', wait => 120)"), '"late"', 'and a delayed one in its time');

# A transaction that is rolled back at the source never shows; a big one does.
sql($source, "BEGIN; SELECT queue.send('q', '\"undone\"'); ROLLBACK");
sql($source, "SELECT queue.send('q', to_jsonb(string_agg(md5(i::text), ''))) FROM generate_series(1, 20000) i");
is($reader->query("SELECT length(message ->> 0) FROM queue.read('q', wait => 120)"), 640000, 'a big one, and none that was rolled back');

# Acks at the source are deletes; leases stay where they are.
sql($source, "SELECT queue.send('q', '\"two\"') FROM generate_series(1, 2)");
is($reader->query("SELECT count(*) FROM queue.read('q', wait => 120)"), '1', 'one of two is leased at the target');
ok($target->poll_query_until('postgres', 'SELECT count(*) = 1 FROM queue.q_q WHERE receipt = 0'), 'the other is there');
is(sql($source, "SELECT count(*) FROM queue.read('q', qty => 100) m WHERE queue.delete('q', m.msg_id)"), '8', 'all are acked at the source');
ok($target->poll_query_until('postgres', 'SELECT count(*) = 0 FROM queue.q_q'), 'which empties the target');
is($reader->query("SELECT count(*) FROM queue.read('q')"), '0', 'for readers too');

# After the subscription ends the target goes on by itself: its ids must not collide with those that it was sent.
sql($target, 'DROP SUBSCRIPTION s');
sql($source, 'DROP PUBLICATION p');
is(sql($target, "SELECT queue.send('q', '\"own\"') > 0"), 't', 'a send at the target');
is($reader->query("SELECT message FROM queue.read('q')"), '"own"', 'is read');
$reader->quit;

check_storage($target);
check_log($_) for $source, $target;
done_testing();
