# The smallest page map there can be, beside a queue of thousands of pages: coarse, but every message is read exactly once,
# with priorities, delays, rollbacks and several readers.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $node = queue_node('small',
    conf => "pgqueue.page_map_size = 64kB\npgqueue.max_segments = 16\nlog_statement = none\nmax_wal_size = 4GB\n"
      . "shared_buffers = 128MB");
is(sql($node, 'SHOW pgqueue.page_map_size'), '64kB', 'a small map');

# 200,000 messages on some 3,000 pages; more than the map has words for.
sql($node, <<'SQL');
SELECT queue.create('q', vt => 600);
SELECT queue.create('other');
SELECT count(*) FROM generate_series(0, 19) b,
    queue.send_batch('q', (SELECT array_agg(to_jsonb(b * 10000 + i)) FROM generate_series(1, 10000) i));
CREATE TABLE got (n bigserial, msg_id bigint, priority int);
SQL
cmp_ok(sql($node, q(SELECT pg_relation_size('queue."q_q#1"') / 8192)), '>', 2000, 'many pages');

# A head of the queue, in order, while later pages are coarse.
same_lines(sql($node, "SELECT msg_id FROM queue.read('q', qty => 5000)"), join("\n", 1 .. 5000), 'the first are read in order');
sql($node, 'SELECT queue.delete_batch($$q$$, array_agg(i)) FROM generate_series(1, 5000) i');

# Several readers at once, some of whose transactions are rolled back.
my $read = <<'SQL';
\set fate random(1, 5)
BEGIN;
WITH m AS (SELECT msg_id, priority FROM queue.read('q', qty => 500)), d AS (SELECT queue.delete_batch('q', coalesce(array_agg(msg_id), '{}')) FROM m)
INSERT INTO got (msg_id, priority) SELECT m.msg_id, m.priority FROM m, (SELECT count(*) FROM d) n;
\if :fate = 1
ROLLBACK;
\else
COMMIT;
\endif
SQL
my $bench = run_pgbench($node, 'readers', $read, '-c', 4, '-j', 2, '-t', 120);
finish_pgbench($bench);
ok(wait_for(sub {
            sql($node, "INSERT INTO got (msg_id, priority) SELECT msg_id, priority FROM queue.pop('q', qty => 20000)");
            sql($node, 'SELECT count(*) FROM queue.q_q') eq '0'
        }, 'the queue is empty'), 'everything is read');
is(sql($node, 'SELECT count(*), count(DISTINCT msg_id), min(msg_id), max(msg_id) FROM got'), '195000|195000|5001|200000',
    'exactly once');

# Priorities and delays all over the pages, in a map without room for a tree.
sql($node, <<'SQL');
TRUNCATE got;
SELECT count(*) FROM generate_series(1, 300) b,
    queue.send_batch('q', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 100) i), priority => b % 20,
                     delay => CASE WHEN b % 7 = 0 THEN 900 WHEN b % 3 = 0 THEN 0.5 ELSE 0 END);
SQL
my $waiter = session($node);
sql($node, "SELECT queue.send('other', '1'); SELECT count(*) FROM queue.pop('other')");
ok( wait_for(
        sub {
            sql($node, "INSERT INTO got (msg_id, priority) SELECT msg_id, priority FROM queue.pop('q', qty => 4000)");
            sql($node, 'SELECT count(*) FROM queue.q_q') eq sql($node, 'SELECT count(*) FROM queue.q_q WHERE vt > now() + $$1 min$$');
        },
        'what is due'),
    'everything that is due is read');
is(sql($node, 'SELECT count(*), count(DISTINCT msg_id) FROM got'), '25800|25800', 'exactly once');

# A delayed one in the middle of a coarse range still wakes a waiting reader.
$waiter->start("SELECT message FROM queue.read('q', wait => 120)");
$waiter->wait_asleep($node);
sql($node, "SELECT queue.send('q', '\"late\"', delay => 1)");
is($waiter->finish, '"late"', 'a delay ends for a waiting reader');
sql($node, 'SELECT queue.set_vt($$q$$, msg_id, 1) FROM (SELECT min(msg_id) AS msg_id FROM queue.q_q WHERE receipt = 0) x');
is($waiter->query("SELECT count(*) FROM queue.read('q', wait => 120)"), '1', 'a heartbeat shortens one in the middle');
$waiter->quit;

# The rest, when its time has come.
sql($node, "SELECT count(*) FROM (SELECT msg_id FROM queue.q_q) m, queue.set_vt('q', m.msg_id, 0)");
sql($node, 'TRUNCATE got');
sql($node, "INSERT INTO got (msg_id, priority) SELECT msg_id, priority FROM queue.pop('q', qty => 2000)") for 1 .. 3;
is(sql($node, 'SELECT count(*), count(DISTINCT msg_id) FROM got'), '4201|4201', 'the delayed ones come too');
is(sql($node, 'SELECT count(*) FROM queue.q_q'), '0', 'and nothing is left');

check_log($node);
done_testing();
