# Readers that wait: many at once get one message each; one that is cancelled takes nobody's wake-up with it, not even
# when it kept the timer; none of them is in the way of DDL.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $node = queue_node('wait', conf => "max_connections = 130");
sql($node, "SELECT queue.create('q', vt => 600); CREATE TABLE got (n bigserial, msg_id bigint, at timestamptz DEFAULT clock_timestamp())");

sub asleep {
    my ($count) = @_;
    my $sleeping = q(SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND backend_type = 'client backend');
    wait_for(sub { sql($node, $sleeping) eq $count }, "$count sleepers") or die 'readers do not wait';
}

# A hundred readers, a hundred messages, that come in several ways.
my %ways = (
    'in one batch' => "SELECT count(*) FROM queue.send_batch('q', array_fill('1'::jsonb, ARRAY[100]))",
    'one by one' => join(";\n", ("SELECT queue.send('q', '1')") x 100),
    'in one batch with a delay' => "SELECT count(*) FROM queue.send_batch('q', array_fill('1'::jsonb, ARRAY[100]), delay => 0.5)",
    'by a lease that is rolled back' => <<SQL);
BEGIN;
SELECT count(*) FROM queue.send_batch('q', array_fill('1'::jsonb, ARRAY[100]));
SAVEPOINT s;
SELECT count(*) FROM queue.read('q', qty => 100);
ROLLBACK TO s;
COMMIT
SQL
for my $way (sort keys %ways) {
    sql($node, 'TRUNCATE got');
    my $bench = run_pgbench($node, 'readers',
        "INSERT INTO got (msg_id) SELECT msg_id FROM queue.read('q', wait => 150);\n", '-c', 100, '-j', 2, '-t', 1);
    asleep(100);
    sql($node, $ways{$way});
    finish_pgbench($bench);
    is(sql($node, 'SELECT count(*), count(DISTINCT msg_id) FROM got'), '100|100', "100 readers, 100 messages $way: one each");
    sql($node, "SELECT queue.purge('q')");
}

my ($first, $second, $third, $admin) = map { session($node) } 1 .. 4;
my $read = "SELECT msg_id, message FROM queue.read('q', wait => 120)";

# A wait that ends with nothing.
is($first->query("SELECT count(*) FROM queue.read('q', wait => 0.2)"), '0', 'a wait in vain');
$first->query_ok("CALL queue.wait('q', 0.2)", 'CALL queue.wait in vain');

# Cancelled in several ways, while others wait: each message still finds one of them.
my %ends = (
    pg_cancel_backend => sub { sql($node, "SELECT pg_cancel_backend($_[0])"); },
    pg_terminate_backend => sub { sql($node, "SELECT pg_terminate_backend($_[0])"); },
    statement_timeout => sub { });
for my $end (sort keys %ends) {
    my $victim = session($node);
    $victim->query("SET statement_timeout = '300ms'") if $end eq 'statement_timeout';
    $victim->start($read);
    $victim->wait_asleep($node) if $end ne 'statement_timeout';
    $_->start($read) for $second, $third;
    $_->wait_asleep($node) for $second, $third;
    $ends{$end}->($victim->pid);
    if ($end eq 'pg_terminate_backend') {
        pid_gone($node, $victim->pid);
    }
    else {
        is($victim->finish, '', "$end: the wait ends");
        like($victim->error, qr/57014: canceling statement/, "$end: with the usual error");
        is($victim->query('SELECT 1'), '1', "$end: the session lives");
    }
    sql($node, "SELECT queue.send('q', '1')");
    sql($node, "SELECT queue.send('q', '2')");
    is(join(' ', sort map { (split /\|/, $_->finish)[1] } $second, $third), '1 2', "$end: the other two get their messages");
    $victim->quit;
}

# The one that keeps the timer for a delayed message goes; another one must take it over and read in time. A sleeper that
# was never told looks again after five seconds of its own.
my $late = q(SELECT extract(epoch FROM last_read_at - enqueued_at - '2 s'::interval)::numeric(9, 3));
for my $end (sort keys %ends) {
    my ($victim, $taken);
    for my $try (1 .. 10) { # on a slow machine the message may come before the cancel
        $victim = session($node);
        sql($node, "SELECT queue.send('q', '3', delay => 2)");
        $victim->query("SET statement_timeout = '1s'") if $end eq 'statement_timeout';
        $victim->start($read);
        $victim->wait_asleep($node);
        $second->start("$late FROM queue.read('q', wait => 120)");
        $second->wait_asleep($node);
        $ends{$end}->($victim->pid);
        $taken = $end eq 'pg_terminate_backend' ? '' : $victim->finish;
        last if $taken eq '';
        sql($node, "SELECT queue.send('q', '4')");
        $second->finish;
        $victim->quit;
    }
    my $seconds = $second->finish;
    cmp_ok($seconds, '<', 2.5, "$end of who kept the timer: another one reads the delayed message, $seconds s after its time");
    $victim->quit;
}

# Who kept the timer gets another message and leaves.
$first->start($read);
$first->wait_asleep($node);
sql($node, "SELECT queue.send('q', '5', delay => 2)");
$second->start("$late FROM queue.read('q', wait => 120)");
$second->wait_asleep($node);
sql($node, "SELECT queue.send('q', '6')");
ok(wait_for(sub { $first->done || $second->done }, 'the message at once'), 'one of two gets a message at once');
my ($got, $waits) = $first->done ? ($first, $second) : ($second, $first);
$got->finish;
$waits->finish;
is(sql($node, "SELECT last_read_at - enqueued_at < '4.5 s' FROM queue.q_q WHERE message = '5'"), 't', 'the other one the delayed message, in time');

# Everything that makes a message readable wakes a reader. The latter is given as a lease of its own first.
my $id = sql($node, "SELECT queue.purge('q') IS NULL; SELECT queue.send('q', '7')");
$id =~ s/.*\n//;
my %wakes = (
    'the end of a lease' => [ "SELECT * FROM queue.read('q', vt => 1)", 'SELECT 1' ],
    'a nack' => [ "SELECT * FROM queue.read('q')", "SELECT queue.nack('q', $id)" ],
    'a heartbeat' => [ "SELECT * FROM queue.read('q')", "SELECT * FROM queue.set_vt('q', $id, 0.1)" ],
    'an UPDATE of vt' => [ "SELECT * FROM queue.read('q')", 'UPDATE queue.q_q SET vt = now()' ],
    'queue.resume' => [ "SELECT queue.pause('q')", "SELECT queue.resume('q')" ],
    'an ack that is rolled back' => [ "SELECT * FROM queue.read('q', vt => 0)", "BEGIN; SELECT queue.delete('q', $id); ROLLBACK" ]);
for my $what (sort keys %wakes) {
    my ($before, $wake) = @{ $wakes{$what} };
    sql($node, $before);
    next if $what =~ /rolled back/ && $admin->query("BEGIN; SELECT queue.delete('q', $id)") ne 't';
    $first->start($read);
    $first->wait_asleep($node);
    $what =~ /rolled back/ ? $admin->query('ROLLBACK') : sql($node, $wake);
    is($first->finish, "$id|7", "$what wakes a reader");
    sql($node, "SELECT * FROM queue.set_vt('q', $id, 0)");
}
sql($node, "SELECT queue.purge('q')");

# DDL doesn't wait for those who wait, and they notice what it did.
sql($node, "SELECT queue.create('d')");
$first->start($read);
$second->start("CALL queue.wait('d', 120)");
$third->start("SELECT * FROM queue.read('d', wait => 120)");
$_->wait_asleep($node) for $first, $second, $third;
$admin->query_ok("SET lock_timeout = '20s'");
$admin->query_ok($_)
  for 'VACUUM FULL queue."q_q#1"', 'ALTER TABLE queue.q_q ADD COLUMN more int', 'TRUNCATE queue.q_q',
  'CREATE INDEX more ON queue."q_q#1" (more)', 'REINDEX TABLE queue."q_q#1"', "SELECT queue.drop('d')";
is($first->done ? 1 : 0, 0, 'a reader waits on');
sql($node, "SELECT queue.send('q', '\"after\"')");
like($first->finish, qr/^\d+\|"after"$/, 'and reads from the table as it is now');
$_->finish for $second, $third;
like($_->error, qr/42P01: queue "d" does not exist/, 'a queue that is dropped: they are told') for $second, $third;

# Cancels at random, from outside, while senders send: no message lies about while somebody waits.
sql($node, <<'SQL');
SELECT queue.purge('q');
TRUNCATE got;
CREATE TABLE sent (msg_id bigint);
CREATE FUNCTION take() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE id bigint;
BEGIN
    SELECT msg_id INTO id FROM queue.read('q', wait => 2);
    IF id IS NOT NULL AND queue.delete('q', id) THEN INSERT INTO got (msg_id) VALUES (id); END IF;
    RETURN id;
EXCEPTION WHEN query_canceled THEN RETURN NULL;
END $$;
SQL
my $readers = run_pgbench($node, 'takers', "SELECT take();\n", '-c', 10, '-j', 1, '-T', 3);
my $senders = run_pgbench($node, 'senders', "INSERT INTO sent SELECT queue.send('q', '1');\n", '-c', 2, '-j', 1, '-T', 3, '-R', 300);
my $cancelled = 0;
while (pgbench_runs($senders)) {
    $cancelled += $admin->query(<<'SQL') // 0;
SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
WHERE wait_event_type = 'Extension' AND query ~ 'take' AND pid % 3 = (random() * 3)::int
SQL
}
finish_pgbench($senders);
finish_pgbench($readers, qr/canceling statement/); # one that came too late, after the wait
cmp_ok($cancelled, '>', 10, "$cancelled waits were cancelled");
ok(wait_for(sub {
            sql($node, "INSERT INTO got (msg_id) SELECT msg_id FROM queue.pop('q', qty => 1000)");
            sql($node, 'SELECT count(*) FROM queue.q_q') eq '0'
        }, 'the rest'), 'what is left is read');
is(sql($node, 'SELECT count(*), count(DISTINCT msg_id) FROM got'), sql($node, 'SELECT count(*), count(*) FROM sent'), 'all messages, once each');

# A server that stops doesn't wait for those who wait.
$first->start("SELECT * FROM queue.read('q', wait => 300)");
$second->start("CALL queue.wait('q', 300)");
$_->wait_asleep($node) for $first, $second;
$node->stop('fast');
$_->quit for $first, $second, $third, $admin;
ok(!-e $node->data_dir . '/postmaster.pid', 'a fast shutdown ends waits');
check_log($node);
done_testing();
