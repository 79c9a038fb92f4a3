# Ten thousand queues in one database, with room for the page maps of two hundred of them. PGQUEUE_TEST_QUEUES changes
# the number.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;
use Time::HiRes qw(time);

my $queues = $ENV{PGQUEUE_TEST_QUEUES} // 10_000;
my $half = int($queues / 2);
my $node = queue_node('many',
    conf => "pgqueue.max_segments = 200\nlog_statement = none\nshared_buffers = 128MB\nmax_wal_size = 4GB\nwal_buffers = 16MB");

# Runs a statement for each queue, from two sessions that meet in the middle, in transactions of a hundred queues.
sub each_queue {
    my ($what, $statement) = @_;
    my $start = time;
    my @sessions = map { session($node) } 1 .. 2;
    my @ranges = ([ 1, $half ], [ $half + 1, $queues ]);
    for my $n (0, 1) {
        my ($first, $last) = @{ $ranges[$n] };
        $sessions[$n]->start(<<SQL);
DO \$\$
BEGIN
    FOR i IN $first .. $last LOOP
        $statement;
        IF i % 100 = 0 THEN COMMIT; END IF;
    END LOOP;
END \$\$
SQL
    }
    for my $session (@sessions) {
        $session->finish;
        is($session->error, '', "$what for every queue");
        $session->quit;
    }
    diag(sprintf('%s: %d queues in %.1f s', $what, $queues, time - $start));
}

sql($node, 'CREATE TABLE got (queue int, msg_id bigint, message jsonb)');
each_queue('create', q(PERFORM queue.create('m' || i)));
is(sql($node, 'SELECT count(*) FROM queue.queues'), $queues, 'all are there');
each_queue('send', q(PERFORM queue.send('m' || i, to_jsonb(i))));
each_queue('read and delete',
    q(INSERT INTO got SELECT i, msg_id, message FROM queue.read('m' || i, qty => 9) WHERE queue.delete('m' || i, msg_id)));
is(sql($node, 'SELECT count(*), count(DISTINCT queue), bool_and(msg_id = 1 AND message = to_jsonb(queue)) FROM got'),
    "$queues|$queues|t", 'each gave its message, once');

# Clients all over them, so that maps are given up and made anew all the time, beside commits and rollbacks.
sql($node, 'TRUNCATE got; CREATE TABLE sent (queue int, msg_id bigint)');
my $mixed = <<SQL;
\\set q random(1, $queues)
\\set few random(1, 20)
\\set fate random(1, 4)
BEGIN;
INSERT INTO sent VALUES (:q, queue.send('m' || :q, to_jsonb(:q)));
INSERT INTO sent VALUES (:few, queue.send('m' || :few, to_jsonb(:few), delay => 0.01, priority => :fate));
INSERT INTO got SELECT :few, msg_id, message FROM queue.read('m' || :few, qty => 3) WHERE queue.delete('m' || :few, msg_id);
INSERT INTO got SELECT :q, msg_id, message FROM queue.read('m' || :q, qty => 3) WHERE queue.delete('m' || :q, msg_id);
\\if :fate = 1
ROLLBACK;
\\else
COMMIT;
\\endif
SQL
my $bench = run_pgbench($node, 'mixed', $mixed, '-c', 6, '-j', 2, '-t', 300);
my $waiter = session($node);
finish_pgbench($bench);

# What is left comes by and by: delays end, leases that were rolled back are given back.
my $left = 'SELECT count(*) FROM (SELECT * FROM sent EXCEPT SELECT queue, msg_id FROM got) x';
my $drain = <<'SQL';
INSERT INTO got SELECT q.queue, m.msg_id, m.message
FROM (SELECT DISTINCT queue FROM (SELECT * FROM sent EXCEPT SELECT queue, msg_id FROM got) x) q,
     LATERAL queue.read('m' || q.queue, qty => 100) m WHERE queue.delete('m' || q.queue, m.msg_id);
SQL
ok(wait_for(sub { sql($node, "$drain; $left") eq '0' }, 'the rest'), 'all that was sent is read');
is(sql($node, 'SELECT count(*), count(DISTINCT (queue, msg_id)), bool_and(message = to_jsonb(queue)) FROM got'),
    sql($node, 'SELECT count(*), count(*), true FROM sent'), 'once, and from its own queue');

# A waiting reader keeps its map while those of others come and go around it.
$waiter->start("SELECT message FROM queue.read('m7', wait => 120)");
$waiter->wait_asleep($node);
sql($node, "SELECT count(*) FROM generate_series(100, 700) i, queue.peek('m' || i)");
sql($node, "SELECT queue.send('m7', '\"woken\"')");
is($waiter->finish, '"woken"', 'a reader is woken though many maps were evicted while it slept');
$waiter->quit;

check_log($node);
$node->stop;
system('rm', '-rf', $node->data_dir); # a hundred thousand files: faster than the framework's way

# No more waiting queues than maps: the one too many gets an error that says what to do, the others go on.
$node = queue_node('few', conf => "pgqueue.max_segments = 16\nmax_connections = 40");
sql($node, "SELECT queue.create('w' || i) FROM generate_series(1, 18) i");
my @waiters = map { session($node)->start("SELECT message FROM queue.read('w$_', wait => 120)") } 1 .. 16;
$_->wait_asleep($node) for @waiters;
fails_with($node, "SELECT * FROM queue.read('w17')", '53400', qr/HINT:  .*max_segments/, 'a seventeenth queue');
sql($node, "SELECT queue.send('w3', '3')");
is($waiters[2]->finish, '3', 'a waiting reader is served');
is(sql($node, "SELECT queue.send('w17', '17')"), '1', 'which makes room');
is(sql($node, "SELECT message FROM queue.read('w17')"), '17', 'for the other queue');
sql($node, "SELECT queue.send('w$_', '$_')") for 1, 2, 4 .. 16;
is(join(' ', map { $_->finish } @waiters[ 0, 1, 3 .. 15 ]), join(' ', 1, 2, 4 .. 16), 'and all are served in the end');
$_->quit for @waiters;
check_log($node);
done_testing();
