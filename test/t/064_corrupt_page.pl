# A page that the disk has spoilt, in one queue's table, in an index, in a store (data checksums are on): who comes upon it gets a clear
# error; other queues, stores, handlers and jobs go on, and so does the worker, which says so once. And a way back.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('corrupt', init => ['--data-checksums'], conf => "pgqueue.workers = off\npgqueue.purge_interval = 200\nmax_worker_processes = 40");
sql($node, <<'SQL');
CREATE TABLE log (queue text, message jsonb);
CREATE FUNCTION handle_bad(m queue.message) RETURNS void LANGUAGE sql AS $$INSERT INTO log VALUES ('bad', m.message)$$;
CREATE FUNCTION handle_good(m queue.message) RETURNS void LANGUAGE sql AS $$INSERT INTO log VALUES ('good', m.message)$$;
SELECT queue.create(kind || '_' || state, vt => 600) FROM unnest('{plain,index,handler,expiring}'::text[]) kind, unnest('{bad,good}'::text[]) state;
SELECT kv.create_store('bad'), kv.create_store('good');
SELECT queue.attach('handler_bad', 'handle_bad'), queue.attach('handler_good', 'handle_good');
SELECT queue.pause('handler_bad'), queue.pause('handler_good');
SELECT count(*) FROM unnest('{plain,index,handler}'::text[]) kind, unnest('{bad,good}'::text[]) state,
    queue.send_batch(kind || '_' || state, (SELECT array_agg(to_jsonb(i || repeat('x', 1000))) FROM generate_series(1, 100) i));
SELECT count(*) FROM unnest('{bad,good}'::text[]) state,
    queue.send_batch('expiring_' || state, (SELECT array_agg(to_jsonb(i || repeat('x', 1000))) FROM generate_series(1, 100) i), ttl => 0.001);
SELECT count(kv.set('k' || i, repeat('x', 500), ttl => CASE i % 2 WHEN 0 THEN 0.001 END, store => s)) FROM unnest('{bad,good}'::text[]) s, generate_series(1, 1000) i;
SELECT cron.schedule('beat', '1 second', 'SELECT 1');
SQL
sub spoil {
    my ($relation, $block) = @_;
    my $path = $node->data_dir . '/' . $relation;
    open(my $file, '+<:raw', $path) or die "$path: $!";
    die "$path is too short" if -s $path < ($block + 1) * 8192;
    seek($file, $block * 8192 + 4000, 0);
    syswrite($file, 'spoilt' x 10);
    close($file);
}
my @spoilt = (
    [ 'queue."q_plain_bad#1"', 5 ], [ 'queue."q_handler_bad#1"', 3 ], [ 'queue."q_expiring_bad#1"', 4 ],
    [ 'kv.s_bad', 7 ], [ 'queue."q_index_bad#1_pkey"', 1 ]);
my @paths = map { sql($node, "SELECT pg_relation_filepath('$_->[0]')") } @spoilt;
$node->stop;
spoil($paths[$_], $spoilt[$_][1]) for 0 .. $#spoilt;
configure($node, 'pgqueue.workers = on');
$node->start;
sub invalid { my ($i) = @_; return qr/invalid page in block $spoilt[$i][1] of relation "?\Q$paths[$i]\E/; }

# Reads come as far as the page, and then say where it is. What they had taken before it is given back.
is(sql($node, "SELECT count(*) FROM queue.read('plain_bad', qty => 30)"), '30', 'messages before the page are read');
fails_with($node, "SELECT count(*) FROM queue.read('plain_bad', qty => 30)", 'XX001', invalid(0), 'a read that comes to it');
fails_with($node, "SELECT count(*) FROM queue.read('plain_bad', qty => 30)", 'XX001', invalid(0), 'and every one after it');
is(sql($node, "SELECT count(*) FROM queue.read('plain_bad', qty => 5)"), '5', 'what it had taken was given back');
is(sql($node, "SELECT queue.send('plain_bad', '\"new\"')"), '101', 'sends go on');
is(sql($node, "SELECT queue.delete('plain_bad', 1), queue.archive('plain_bad', 2), queue.delete('plain_bad', 100), count(*) FROM queue.set_vt('plain_bad', 99, 600)"), 't|t|t|1', 'so do acks of other messages');
fails_with($node, "SELECT queue.delete('plain_bad', 40)", 'XX001', invalid(0), 'an ack of one that lies on it');
fails_with($node, 'SELECT count(*) FROM queue.q_plain_bad', 'XX001', invalid(0), 'plain SQL');
my $sick = sql($node, "SELECT count(*) FILTER (WHERE queue_name <> 'plain_bad'), count(*) FILTER (WHERE queue_name = 'plain_bad') FROM queue.metrics");
is($sick, '7|1', 'figures of all queues are shown');
like(sql($node, "SELECT severity, problem FROM queue.health() WHERE queue_name = 'plain_bad'"), qr/^critical\|invalid page in block 5/, 'queue.health() says which queue is spoilt');

# A spoilt index: reads don't need it, a send and an ack by a session that doesn't know the message's place do.
is(sql($node, "SELECT count(*) FROM queue.read('index_bad', qty => 10)"), '10', 'a read needs no index');
fails_with($node, "SELECT queue.delete('index_bad', 50)", 'XX001', invalid(4), 'an ack by id does');
fails_with($node, "SELECT queue.send('index_bad', '1')", 'XX001', invalid(4), 'a send too');
is(sql($node, "SELECT queue.delete('index_bad', msg_id, receipt) FROM queue.read('index_bad')"), 't', 'who has just read a message can ack it');
sql($node, 'REINDEX TABLE queue."q_index_bad#1"');
is(sql($node, "SELECT queue.delete('index_bad', 50), queue.send('index_bad', '1') > 100"), 't|t', 'REINDEX mends it');

# Everybody else goes on; handlers, the purge of messages and that of keys too.
is(sql($node, "SELECT count(queue.delete('plain_good', msg_id)) FROM queue.read('plain_good', qty => 200)"), '100', 'the queue beside it');
is(sql($node, "SELECT queue.resume('handler_bad'), queue.resume('handler_good')"), 't|t', 'handlers');
ok(wait_for(sub { sql($node, "SELECT count(*) FROM log WHERE queue = 'good'") eq '100' }, 'the good handler'), 'the handler beside it works');
ok(wait_for(sub { sql($node, "SELECT count(*) > 0 FROM log WHERE queue = 'bad'") eq 't' }, 'the bad handler'), 'the one of a spoilt queue works as far as the page');
ok(wait_for(sub { sql($node, "SELECT coalesce(last_error, '') FROM queue.handlers WHERE queue_name = 'handler_bad'") =~ invalid(1) }, 'an error'), 'and then says why not')
  or diag(sql($node, 'SELECT * FROM queue.handlers'));
ok(wait_for(sub { sql($node, 'SELECT count(*) FROM queue.q_expiring_good') eq '0' }, 'the purge'), 'expired messages beside it are removed');
ok(wait_for(sub { sql($node, 'SELECT count(*) FROM kv.s_good') eq '500' }, 'the purge'), 'so are expired keys');
sql($node, "SELECT count(*) FROM queue.send_batch('expiring_good', '{1,2}', ttl => 0.001); SELECT kv.set('late', 'x', ttl => 0.001, store => 'good')");
ok(wait_for(sub { sql($node, "SELECT (SELECT count(*) FROM queue.q_expiring_good), (SELECT count(*) FROM kv.s_good WHERE key = 'late')") eq '0|0' }, 'the purge'), 'again and again');
my $session = session($node);
my ($bad_key) = grep { $session->query("SELECT kv.get('k$_', 'bad')") eq '' } map { 2 * $_ + 1 } 0 .. 499;
$session->quit;
ok($bad_key, "a key on a spoilt page can't be read");
fails_with($node, "SELECT kv.get('k$bad_key', 'bad')", 'XX001', invalid(3), 'and says why');
fails_with($node, "SELECT kv.set('k$bad_key', 'x', store => 'bad')", 'XX001', invalid(3), 'nor be set');
is(sql($node, "SELECT kv.set('new', 'x', store => 'bad'), kv.incr('n', store => 'bad'), kv.set('k$bad_key', 'x', store => 'good'); SELECT kv.get('new', 'bad')"), "t|1|t\nx", 'others can, and counters count');
job_runs($node, 'postgres');
is(sql($node, "SELECT errors FROM pgqueue.workers WHERE database = 'postgres'"), '0', 'the worker has no error of its own');
my $log = slurp_file($node->logfile);
is(scalar(() = $log =~ /pgqueue: queue "expiring_bad" can't be looked after: invalid page in block 4/g), 1, 'its log names the queue, once');
is(scalar(() = $log =~ /pgqueue: store "bad" can't be looked after: invalid page in block 7/g), 1, 'and the store');

# The way back, without the page: as with any table. What was on other pages is there, and nothing twice.
sql($node, 'SET zero_damaged_pages = on; SET client_min_messages = error; VACUUM FULL queue."q_plain_bad#1"; VACUUM FULL queue."q_handler_bad#1"; VACUUM FULL queue."q_expiring_bad#1"; VACUUM FULL kv.s_bad');
my $left = sql($node, 'SELECT count(*) FROM queue.q_plain_bad');
cmp_ok($left, '>=', 98 - 8, 'one page of messages is lost');
cmp_ok($left, '<', 98, 'and only that');
sql($node, "SELECT count(*) FROM queue.q_plain_bad q, queue.set_vt('plain_bad', q.msg_id, 0)");
is(sql($node, "SELECT count(*), count(DISTINCT msg_id) FROM queue.read('plain_bad', qty => 1000) WHERE queue.delete('plain_bad', msg_id, receipt)"), "$left|$left", 'all the others are read and acked');
ok(wait_for(sub { sql($node, 'SELECT count(*) FROM queue.q_handler_bad') eq '0' }, 'the handler'), 'the handler goes on');
ok(wait_for(sub { sql($node, 'SELECT count(*) FROM queue.q_expiring_bad') eq '0' }, 'the purge'), 'the purge too');
is(sql($node, "SELECT kv.set('k$bad_key', 'again', store => 'bad'); SELECT kv.get('k$bad_key', 'bad')"), "t\nagain", 'and keys');
check_storage($node);
$log = slurp_file($node->logfile);
unlike($log, qr/PANIC:|TRAP:|was terminated by signal/, 'no crash');
my $all = join '|', map { quotemeta } @paths;
is(join("\n", grep { /invalid page/ && !/$all/ } split /\n/, $log), '', 'no other page');
done_testing();
