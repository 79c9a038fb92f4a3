# A queue goes on in a new table when the newest is long enough; tables whose messages are gone are emptied and used
# again, whatever else is open. Nothing is lost, doubled or out of order on the way, and old snapshots see what they
# should.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = queue_node('segments', streaming => 1, conf => "pgqueue.segment_size = 128kB\nmax_prepared_transactions = 5\nwal_keep_size = 256MB\npgqueue.purge_interval = 200ms");
my $filler = 'x' x 200;

sub segments {
    my ($queue, $at, $database) = @_;
    return sql($at // $node, "SELECT string_agg(split_part(relname, '#', 2), ',' ORDER BY split_part(relname, '#', 2)::int) FROM pg_class WHERE relkind = 'r' AND relname ~ '^q_$queue#[0-9]+\$'", $database);
}
sub newest { return (split /,/, segments(@_))[-1]; }
sub bytes {
    my ($queue) = @_;
    return sql($node, "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class WHERE relkind = 'r' AND relname ~ '^q_$queue#[0-9]+\$'");
}
sub count_of { return scalar(my @all = segments(@_) =~ /\d+/g); }
# Sends batches until the queue has as many segments, and a message to the last; the ids in order.
sub fill {
    my ($queue, $segments, $args) = @_;
    $args //= '';
    my @ids;
    my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
    while (count_of($queue) < $segments && time < $deadline) {
        push @ids, split /\n/, sql($node, "SELECT queue.send_batch('$queue', array_fill('\"$filler\"'::jsonb, ARRAY[200])$args)");
        usleep(200_000);
    }
    push @ids, split /\n/, sql($node, "SELECT queue.send_batch('$queue', array_fill('\"$filler\"'::jsonb, ARRAY[200])$args)");
    return @ids;
}
# Reads and deletes all, in many transactions.
sub consume {
    my ($queue, $at, $database) = @_;
    my ($all, $some) = ('', '');
    do {
        $some = sql($at // $node, "SELECT string_agg(d::text, ',') FROM (SELECT queue.delete_batch('$queue', (SELECT coalesce(array_agg(msg_id), '{}') FROM queue.read('$queue', qty => 97, vt => 600))) d) x", $database);
        $all .= ",$some" if $some ne '';
    } while ($some ne '');
    return split /,/, substr($all, 1);
}
sub becomes {
    my ($what, $condition) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(wait_for($condition, $what), $what);
}

# Beside eight consumers in transactions of 50 ms
sql($node, 'CREATE TABLE sent (msg_id bigint); CREATE TABLE got (msg_id bigint)');
sql($node, "SELECT queue.create('steady', vt => 600)");
my $sender = run_pgbench($node, 'sender', <<SQL, '-T', 8, '-c', 2);
INSERT INTO sent SELECT queue.send_batch('steady', array_fill('"$filler"'::jsonb, ARRAY[20]));
\\sleep 5 ms
SQL
my $consumers = run_pgbench($node, 'consumers', <<'SQL', '-T', 10, '-c', 8);
BEGIN;
INSERT INTO got SELECT queue.delete_batch('steady', (SELECT coalesce(array_agg(msg_id), '{}') FROM queue.read('steady', qty => 100)));
SELECT pg_sleep(0.05);
COMMIT;
SQL
finish_pgbench($sender);
finish_pgbench($consumers);
sql($node, "INSERT INTO got SELECT unnest(ARRAY[" . join(',', drain($node, 'steady')) . "]::bigint[])");
is(sql($node, 'SELECT count(*) FROM (SELECT msg_id FROM sent EXCEPT ALL SELECT msg_id FROM got) x'), '0', 'steady traffic: nothing is lost');
is(sql($node, 'SELECT count(*) FROM (SELECT msg_id FROM got EXCEPT ALL SELECT msg_id FROM sent) x'), '0', 'nothing comes twice');
cmp_ok(newest('steady'), '>', 4, 'it has gone through several segments');
becomes('what is drained is emptied', sub { bytes('steady') < 1_000_000 });
becomes('an idle queue has one table', sub { segments('steady') !~ /,/ });
is(sql($node, "SELECT relname || ' ' || reloptions::text FROM pg_class WHERE relname = 'q_steady#" . newest('steady') . "'"), 'q_steady#' . newest('steady') . ' {autovacuum_enabled=false}', 'with nothing for autovacuum');

# In order, by id and by place
sql($node, "SELECT queue.create('ordered')");
my @ids = fill('ordered', 3);
cmp_ok(count_of('ordered'), '>=', 3, 'several segments with messages');
is(join(',', drain($node, 'ordered', 77)), join(',', @ids), 'read in the order in which they were sent');
sql($node, "SELECT queue.create('groups', fifo => true)");
my @grouped = fill('groups', 3, ", group_keys => (SELECT array_agg('g' || i % 7) FROM generate_series(1, 200) i)");
my @last = split /\n/, sql($node, "SELECT msg_id FROM queue.read('groups', qty => 3, vt => 600)");
is("@last", "@grouped[0 .. 2]", 'groups: the first');
is(sql($node, "SELECT count(*) FROM (SELECT queue.delete('groups', unnest(ARRAY[" . join(',', @last) . "]))) d"), '3', 'gone');
is(join(',', consume('groups')), join(',', @grouped[3 .. $#grouped]), 'and the others in order');
sql($node, "SELECT queue.create('held', fifo => true)");
@grouped = fill('held', 3, ", group_keys => array_fill('one'::text, ARRAY[200])");
is(sql($node, "SELECT msg_id FROM queue.read('held', qty => 1, vt => 600)"), $grouped[0], 'one group: its first is out');
is(sql($node, "SELECT count(*) FROM queue.read('held', qty => 10)"), '0', 'and keeps those in all segments waiting');
$node->restart;
is(sql($node, "SELECT count(*) FROM queue.read('held', qty => 10)"), '0', 'after a restart, too');
$node->stop('immediate');
$node->start;
is(sql($node, "SELECT count(*) FROM queue.read('held', qty => 10)"), '0', 'and after a crash');
is(sql($node, "SELECT msg_id FROM queue.set_vt('held', $grouped[0], 0)"), $grouped[0], 'put back');
is(join(',', consume('held')), join(',', @grouped), 'all in order');

# By id, wherever it lies
sql($node, "SELECT queue.create('ids', dead_letter => 'ordered', max_attempts => 3)");
@ids = fill('ids', 3);
my ($old, $mid, $new) = @ids[ 5, $#ids / 2, -1 ];
my $metrics = 'SELECT ready, in_flight, delayed, segments >= 3 FROM queue.metrics WHERE queue_name = ';
is(sql($node, "$metrics 'ids'"), @ids . '|0|0|t', 'metrics count all segments');
for my $id ($old, $mid, $new) {
    my $session = session($node);
    is($session->query("SELECT extract(epoch FROM vt - now())::int > 80 FROM queue.set_vt('ids', $id, 100)"), 't', 'set_vt');
    $session->quit;
    is(sql($node, "SELECT queue.nack('ids', $id, delay => 0)"), 't', 'nack');
    is(sql($node, "SELECT queue.archive('ids', $id)"), 't', 'archive');
    is(sql($node, "SELECT queue.delete('ids', $id)"), 'f', 'once');
    is(sql($node, "SELECT count(*) FROM queue.a_ids WHERE msg_id = $id"), '1', 'it is in the archive');
}
is(sql($node, "SELECT count(*) FROM queue.delete_batch('ids', ARRAY[$ids[0], $ids[1000], $ids[-2], 999999999])"), '3', 'a batch over all of them');
is(sql($node, "SELECT count(*) FROM queue.peek('ids', 1000)"), '1000', 'peek');
is(sql($node, "BEGIN; SELECT count(*) FROM queue.read('ids', qty => 100000, vt => 600); ROLLBACK; SELECT ready FROM queue.metrics WHERE queue_name = 'ids'"), @ids - 6 . "\n" . (@ids - 6), 'leases of all segments are given back by a rollback');
is(sql($node, "SELECT queue.purge('ids')"), @ids - 6, 'purge');
sql($node, "SELECT queue.create('later')");
fill('later', 3);
sql($node, "UPDATE queue.q_later SET headers = '{\"dead_letter\": {\"queue\": \"ids\"}}' WHERE msg_id % 2 = 0");
my $redriven = sql($node, "SELECT queue.redrive('later', 'ids')");
is(sql($node, "SELECT count(*), bool_and(headers IS NULL) FROM queue.q_ids"), "$redriven|t", 'redrive');
is(sql($node, "SELECT queue.drop('later'); SELECT count(*) FROM pg_class WHERE relname LIKE 'q\\_later%'"), "t\n0", 'dropped with all its tables');

# Priorities come before segments.
sql($node, "SELECT queue.create('urgent')");
@ids = fill('urgent', 3, ', priority => 0');
my $first = sql($node, "SELECT queue.send('urgent', '1', priority => 5)");
for (1 .. 2) {
    is(sql($node, "SELECT msg_id FROM queue.peek('urgent', 1)"), $first, 'the urgent one in the newest segment comes first');
    $node->restart if $_ == 1;
}
is(join(',', drain($node, 'urgent', 50)), join(',', $first, @ids), 'then the others in order');

# What is delayed for long is moved, and keeps no segment.
sql($node, "SELECT queue.create('late')");
my @late;
for my $n (1 .. 4) {
    push @late, split /\n/, sql($node, "SELECT queue.send('late', to_jsonb(repeat('y', 5000 * $n)), '{\"h\": $n}', delay => 86400, ttl => 86400), queue.send('late', '2', delay => 3600, priority => 0)") =~ s/\|/\n/r;
    fill('late', count_of('late') + 1);
    drain($node, 'late');
}
my $rows = "SELECT msg_id, md5(message::text), headers, vt, expires_at, read_ct FROM queue.q_late ORDER BY 1";
my $before = sql($node, $rows);
becomes('stragglers are moved together', sub { sql($node, 'SELECT count(DISTINCT tableoid) FROM queue.q_late') eq '1' });
is(sql($node, $rows), $before, 'as they were');
is(sql($node, 'SELECT string_agg(msg_id::text, \',\' ORDER BY msg_id) FROM queue.q_late'), join(',', sort { $a <=> $b } @late), 'all of them');
becomes('their segments are emptied', sub { bytes('late') < 700_000 });
is(sql($node, "SELECT queue.delete('late', $late[0])"), 't', 'found by its id');
is(sql($node, "SELECT msg_id FROM queue.set_vt('late', $late[1], 0)"), $late[1], 'and made due');
is(sql($node, "SELECT msg_id FROM queue.read('late', qty => 10)"), $late[1], 'and read');

# Snapshots
sub churn {
    my ($queue, $rounds) = @_;
    for (1 .. $rounds) {
        sql($node, "SELECT count(*) FROM queue.send_batch('$queue', array_fill('\"$filler\"'::jsonb, ARRAY[500]))");
        drain($node, $queue, 500);
    }
}
sql($node, "SELECT queue.create('seen'); SELECT queue.send('seen', '1')");
my $reader = session($node);
is($reader->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*), min(message::text) FROM queue.q_seen'), '1|1', 'an old snapshot has looked');
my $blind = session($node);
$blind->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM sent');
churn('seen', 4);
is($reader->query('SELECT count(*), min(message::text) FROM queue.q_seen'), '1|1', 'it sees what it saw');
my $kept = bytes('seen');
cmp_ok($kept, '>', 700_000, 'what it might see is kept');
$reader->query('COMMIT');
is($blind->query('SELECT count(*) FROM queue.q_seen'), '1', 'so does one that looks only now');
$blind->query('COMMIT');
becomes('then it goes', sub { bytes('seen') < 500_000 });

# A horizon that is held for long: beyond pgqueue.max_dead_bytes it doesn't matter.
sql($node, "SELECT queue.create('bounded')");
churn('bounded', 2);  # its first segment was made by nobody who knows
sql($node, "ALTER SYSTEM SET pgqueue.max_dead_bytes = '1MB'");
$node->reload;
$blind->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM sent');
my ($most, $rounds) = (0, 80);
for (1 .. $rounds) {
    churn('bounded', 1);
    my $now = bytes('bounded');
    $most = $now if $now > $most;
    becomes('bounded', sub { bytes('bounded') < 3_000_000 }) if $_ % 5 == 0;
}
# Each message takes 300 bytes and more.
cmp_ok($rounds * 500 * 300, '>', 2 * $most, 'far more went through it than it ever took');
like($blind->query('SELECT count(*) >= 0 FROM queue.q_bounded'), qr/^t$/, 'the old snapshot can look');
$blind->query('COMMIT');
$reader->quit;
sql($node, 'ALTER SYSTEM RESET pgqueue.max_dead_bytes');
$node->reload;

# DDL on the parent, which locks all segments, beside transactions that use several
sql($node, "SELECT queue.create('ddl')");
my $users = run_pgbench($node, 'users', <<SQL, '-T', 6, '-c', 4);
BEGIN;
SELECT count(*) FROM queue.send_batch('ddl', array_fill('"$filler"'::jsonb, ARRAY[20]));
SELECT count(*) FROM queue.read('ddl', qty => 15) r WHERE queue.delete('ddl', r.msg_id, r.receipt);
COMMIT;
SQL
my $altered = 0;
while (pgbench_runs($users)) {
    sql($node, 'ALTER TABLE queue.q_ddl ADD COLUMN note text');
    sql($node, 'ALTER TABLE queue.q_ddl DROP COLUMN note');
    $altered++;
    usleep(100_000);
}
finish_pgbench($users);
cmp_ok($altered, '>', 5, 'columns came and went');
cmp_ok(count_of('ddl'), '>', 1, 'in several segments');

# A session idle in a transaction that has used the newest segment, and one that waits for a message: neither keeps old segments, nor are they
# kept waiting, nor anybody else by them.
sql($node, "SELECT queue.create('idle', vt => 600)");
$blind->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM sent');
fill('idle', 3);
consume('idle');
my $idle = session($node);
$idle->query_ok(q[BEGIN; SELECT queue.send('idle', '"of an idle one"') > 0], 'a session sends, and stays in its transaction');
my $sleeper = session($node);
$sleeper->start("SELECT message FROM queue.read('idle', wait => 60)");
becomes('a sleeper has no lock', sub { sql($node, "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE pid = $sleeper->{pid} AND wait_event_type = 'Extension' AND relation IN (SELECT oid FROM pg_class WHERE relnamespace = 'queue'::regnamespace)") eq '0' && sql($node, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $sleeper->{pid}") eq 'Extension' });
my $drained = segments('idle');
$blind->query('COMMIT');
becomes('segments are emptied all the same', sub { segments('idle') ne $drained || sql($node, q[SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^q_idle#[0-9]+$' AND pg_relation_size(oid) = 0]) ne '0' });
sql($node, "SELECT queue.create('other'); SELECT cron.schedule('beside', '1 second', \$\$SELECT queue.send('other', '1')\$\$)");
job_runs($node, 'postgres', 'and jobs run');
$idle->query_ok("SELECT queue.delete('idle', 1)", 'it looks for a message in all of them');
is(sql($node, q[SELECT queue.send('idle', '"wakes"') > 0]), 't', 'somebody else sends');
is($sleeper->finish, '"wakes"', 'which the sleeper gets');
$idle->query_ok('COMMIT', 'it ends');
$_->quit for $idle, $sleeper;
sql($node, "SELECT cron.unschedule('beside')");
$blind->quit;
is(sql($node, "SELECT count(*) FROM queue.read('idle')"), '1', 'its message is there');

# Locks and prepared transactions keep a segment, and stop nothing.
sql($node, "SELECT queue.create('locked')");
fill('locked', 2);
my $oldest = (split /,/, segments('locked'))[0];
my $locker = session($node);
$locker->query("BEGIN; LOCK TABLE queue.\"q_locked#$oldest\" IN ACCESS SHARE MODE");
my $prepared = sql($node, "BEGIN; SELECT queue.send('locked', '\"prepared\"'); PREPARE TRANSACTION 'p'");
drain($node, 'locked');
churn('locked', 2);
like(segments('locked'), qr/^$oldest,/, 'one that is locked stays, and the queue goes on');
$locker->query('COMMIT');
$locker->quit;
sql($node, "COMMIT PREPARED 'p'");
is(join(',', drain($node, 'locked')), $prepared, 'what was prepared is there');
becomes('the segment goes when nobody holds it', sub { segments('locked') !~ /^$oldest,/ || sql($node, "SELECT pg_relation_size('queue.\"q_locked#$oldest\"')") eq '0' });

# COPY brings rows into an old segment: a restore.
sql($node, "SELECT queue.create('copied')");
fill('copied', 3);
my @tables = split /,/, segments('copied');
my $copy = $node->basedir . '/copied';
sql($node, "COPY queue.\"q_copied#$tables[0]\" TO '$copy'");
my $copied = sql($node, "SELECT count(*) FROM queue.\"q_copied#$tables[0]\"");
sql($node, "SELECT queue.purge('copied')");
becomes('emptied', sub { sql($node, 'SELECT count(*) FROM queue.q_copied') eq '0' });
my $target = (split /,/, segments('copied'))[0];
sql($node, "COPY queue.\"q_copied#$target\" FROM '$copy'");
is(scalar(drain($node, 'copied')), $copied, 'what was copied is read');

# Dump and restore, standby, promotion
sql($node, "SELECT queue.create('moved', fifo => true)");
@grouped = fill('moved', 3, ", group_keys => (SELECT array_agg('g' || i % 3) FROM generate_series(1, 200) i)");
my $dump = $node->basedir . '/segments.dump';
sql($node, 'CREATE DATABASE other');
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-Fc', '-f', $dump ], 'dumped');
command_ok([ 'pg_restore', '-d', $node->connstr('other'), '--exit-on-error', $dump ], 'restored');
is(segments('moved', $node, 'other'), segments('moved'), 'with its segments');
is(join(',', consume('moved', $node, 'other')), join(',', @grouped), 'in order');
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
churn('bounded', 3);
sql($node, "SELECT queue.send('bounded', '\"last\"')");
$node->wait_for_catchup($standby);
is(sql($standby, 'SELECT string_agg(message::text, \',\') FROM queue.q_bounded'), '"last"', 'a standby sees what is there');
fails_with($standby, "SELECT * FROM queue.read('moved')", '25006', qr/read-only|recovery/, 'and reads nothing');
$node->stop('immediate');
$standby->promote;
is(join(',', consume('moved', $standby)), join(',', @grouped), 'promoted: in order');
becomes('and its worker goes on', sub { sql($standby, "SELECT count(*) FROM pg_class WHERE relname ~ '^q_moved#' AND relkind = 'r' AND pg_relation_size(oid) > 0") <= 1 });
check_log($standby);
check_log($node);
done_testing();
