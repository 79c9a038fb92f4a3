# An archive with a retention is kept in parts, and what is too old goes with a whole table: nothing of it is deleted row
# by row, nothing goes too early, and old snapshots see what they should.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('parts', conf => "pgqueue.segment_size = 128kB\npgqueue.purge_interval = 100ms\nautovacuum = off");
my $filler = 'x' x 500;
my $sent = 0;

sub becomes {
    my ($query, $wanted, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok($node->poll_query_until('postgres', $query, $wanted), $what);
}
sub is_sql {
    my ($query, $wanted, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(sql($node, $query), $wanted, $what);
}
# Sends and archives so many.
sub archive {
    my ($queue, $count) = @_;
    sql($node, "SELECT count(*) FROM queue.send_batch('$queue', array_fill('\"$filler\"'::jsonb, ARRAY[$count]))");
    sql($node, "SELECT count(*) FROM queue.archive_batch('$queue', (SELECT array_agg(msg_id) FROM queue.q_$queue))");
    $sent += $count;
}
my $parts = "SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY substring(inhrelid::regclass::text FROM '#([0-9]+)')::int) FROM pg_inherits WHERE inhparent = 'queue.a_kept'::regclass";
# Where the newest archived message lies.
my $newest = "SELECT tableoid::regclass FROM queue.a_kept ORDER BY msg_id DESC LIMIT 1";
sub closed { return "SELECT count(*) FROM pg_constraint WHERE conname = 'pgqueue_closed' AND conrelid = 'queue.\"$_[0]\"'::regclass" }
sub pages { return "SELECT pg_relation_size('queue.\"$_[0]\"') / 8192" }

# One table while it is small, or young.
sql($node, "CREATE ROLE alice LOGIN; GRANT CREATE ON DATABASE postgres TO alice; CREATE ROLE bob LOGIN; SET ROLE alice; SELECT queue.create('kept', archive_retention => 3600); SELECT queue.grant('kept', 'bob', 'monitor')");
archive('kept', 205);
sql($node, "SELECT queue.create('other', archive_retention => 0); SELECT queue.send('other', '1'); SELECT queue.archive('other', 1)");
becomes('SELECT count(*) FROM queue.a_other', '0', 'the worker has been here');
is_sql("SELECT coalesce(($parts), '')", '', 'a young archive has no parts');

# Large, and a quarter of the retention old.
sql($node, "UPDATE queue.a_kept SET archived_at = now() - interval '16 minutes' WHERE ctid < '(1,0)'");
becomes($parts, 'queue."a_kept#1"', 'a part');
archive('kept', 100);
is_sql($newest, 'queue."a_kept#1"', 'takes what is archived now');
is_sql('SELECT count(*), count(DISTINCT msg_id) FROM queue.a_kept', "$sent|$sent", 'all of it is in the archive');
is_sql("SELECT archived_total, deleted_total FROM queue.metrics WHERE queue_name = 'kept'", "$sent|0", 'and is counted');
is_sql(q{SET ROLE bob; SELECT count(*) > 0 FROM queue.a_kept}, 't', 'who may look at the archive sees the parts');
is_sql(q{SELECT DISTINCT relowner::regrole FROM pg_class WHERE relname LIKE 'a_kept%' AND relkind = 'r'}, 'alice', 'they belong to the owner');

# A session that has archived into the part before goes over to the next one; the part is closed when it has ended.
my $session = session($node);
$session->query_ok("BEGIN; SELECT queue.send('kept', '1'); SELECT queue.archive('kept', (SELECT max(msg_id) FROM queue.q_kept))");
sql($node, "UPDATE queue.\"a_kept#1\" SET archived_at = now() - interval '16 minutes' WHERE ctid < '(1,0)'");
becomes($parts, 'queue."a_kept#1" queue."a_kept#2"', 'a second part');
is_sql(closed('a_kept#1'), '0', 'a part that somebody has is not closed');
$session->query_ok("COMMIT");
$sent++;
$session->query_ok("SELECT queue.send('kept', '2')"); $session->query_ok("SELECT queue.archive('kept', (SELECT max(msg_id) FROM queue.q_kept))");
$sent++;
is_sql($newest, 'queue."a_kept#2"', 'an old session finds the new part');
$session->quit;
becomes(closed('a_kept#1'), '1', 'the old part is closed');
my ($status, undef, $error) = $node->psql('postgres', "UPDATE queue.\"a_kept#1\" SET archived_at = now() + interval '1 day'");
like($error, qr/violates check constraint "pgqueue_closed"/, 'and takes no younger rows');

# With the retention over it goes as a whole, but not before those who might look.
my $old = session($node);
my $of_part = sql($node, 'SELECT count(*) FROM ONLY queue."a_kept#1"');
my $of_root = sql($node, 'SELECT count(*) FROM ONLY queue.a_kept');
$old->query_ok("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
archive('kept', 20);
sql($node, "SET ROLE alice; SELECT queue.alter('kept', archive_retention => 1)");
becomes('SELECT count(*) FROM ONLY queue.a_kept', '0', 'the first table is emptied by rows');
is_sql('SELECT count(*) FROM ONLY queue."a_kept#1"', $of_part, 'a part is not, while a snapshot may look');
is($old->query('SELECT count(*) FROM queue.a_kept') + 0, $sent - 20, 'and that sees all of its');
$old->query_ok('COMMIT');
becomes(pages('a_kept#1'), '0', 'then it is emptied');
is_sql("SELECT pg_stat_get_tuples_deleted('queue.\"a_kept#1\"'::regclass)", '0', 'no row was deleted for that');
becomes(q{SELECT count(*) FROM queue.a_kept}, '0', 'a small newest part is emptied by rows');

# Emptied parts are used again, and there are never many.
my $most = 0;
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
my $last = '';
until ($last =~ /#(\d+)/ && $1 > 8 || time > $deadline) {
    archive('kept', 50);
    $last = sql($node, $newest);
    my $count = () = sql($node, $parts) =~ /#/g;
    $most = $count if $count > $most;
}
like($last, qr/#(9|\d\d)/, 'part follows part');
cmp_ok($most, '<=', 12, 'there are never many');
is_sql("SELECT archived_total, deleted_total FROM queue.metrics WHERE queue_name = 'kept'", "$sent|0", 'all are counted still');

# Nothing goes early, whoever archives beside it.
sql($node, "SET ROLE alice; SELECT queue.alter('kept', archive_retention => 5)");
my $before = sql($node, 'SELECT clock_timestamp()');
my $ids_before = $sent;
archive('kept', 50) for 1 .. 30;
is_sql("SELECT count(*) >= count(*) FILTER (WHERE archived_at > now() - interval '5 seconds') AND (clock_timestamp() - '$before' > interval '5 seconds' OR count(*) FILTER (WHERE msg_id > $ids_before) = 1500) FROM queue.a_kept", 't', 'nothing is gone before its time');

# What an owner makes of a part is his: nobody waits for it, and nothing of it is lost.
sub newest_part { return (split / /, sql($node, $parts))[-1] }
my $part = newest_part();
my $keeper = session($node);
$keeper->query_ok("SELECT queue.send('kept', '1')");
$keeper->query_ok("SELECT queue.archive('kept', (SELECT max(msg_id) FROM queue.q_kept))");
sql($node, "ALTER TABLE $part NO INHERIT queue.a_kept");
my $rows = sql($node, "SELECT count(*) FROM $part");
my $id = $keeper->query("SELECT queue.send('kept', '1')") + 0;
$keeper->query_ok("SELECT queue.archive('kept', $id)");
$keeper->quit;
is_sql("SELECT count(*) FROM $part", $rows, 'a part that was taken out takes nothing more');
is_sql("SELECT count(*) FROM queue.a_kept WHERE msg_id = $id", '1', 'what comes later is in the archive');
sql($node, "DROP TABLE $part");
$part = newest_part();
sql($node, "ALTER TABLE $part ADD CONSTRAINT pgqueue_closed CHECK (archived_at <= '2001-01-01') NOT VALID") if sql($node, "SELECT count(*) FROM pg_constraint WHERE conname = 'pgqueue_closed' AND conrelid = '$part'::regclass") eq '0';
sql($node, "SELECT queue.send('kept', '1'); SELECT queue.archive('kept', (SELECT max(msg_id) FROM queue.q_kept))");
becomes("SELECT ($parts) LIKE '%$part queue.%'", 't', 'where the newest is closed there is a new one');
sql($node, "CREATE TABLE child () INHERITS ($part)");
my $locker = session($node);
$locker->query_ok('BEGIN; LOCK TABLE child IN ACCESS SHARE MODE');
sql($node, "SELECT queue.send('other', '1'); SELECT queue.archive('other', (SELECT max(msg_id) FROM queue.q_other))");
becomes('SELECT count(*) FROM queue.a_other', '0', 'the worker waits for no child of a part');
$locker->quit;
sql($node, 'DROP TABLE child');
sql($node, "CREATE FUNCTION pg_temp_raise() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION \$\$no\$\$; END'; CREATE TRIGGER t BEFORE TRUNCATE ON $part EXECUTE FUNCTION pg_temp_raise()");
sql($node, "SELECT queue.send('kept', '\"short\"', ttl => 0.01)");
becomes("SELECT count(*) FROM queue.q_kept WHERE message = '\"short\"'", '0', 'nor does a trigger keep it from its work');
sql($node, "DROP TRIGGER t ON $part");

# An index of the user's: no further parts, and rows are deleted one by one.
sql($node, 'CREATE INDEX ON queue.a_kept (archived_at)');
my $had = sql($node, $parts);
archive('kept', 200);
becomes("SELECT count(*) FROM queue.a_kept WHERE archived_at < now() - interval '20 seconds'", '0', 'with an index of the user it goes on');
is_sql($parts, $had, 'and gets no further part');
becomes('SELECT count(*) FROM queue.a_kept', '0', 'nothing stays');

# Dumped and restored; taken over; dropped.
sql($node, "SET ROLE alice; SELECT queue.alter('kept', archive_retention => 3600)");
archive('kept', 10);
my $count = sql($node, 'SELECT count(*) FROM queue.a_kept');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->command_ok(['pg_dump', '-h', $node->host, '-p', $node->port, '-Fc', '-f', $dump, 'postgres'], 'a dump');
sql($node, 'CREATE DATABASE again OWNER alice');
$node->command_ok(['pg_restore', '-h', $node->host, '-p', $node->port, '-d', 'again', $dump], 'is restored');
is(sql($node, 'SELECT count(*) FROM queue.a_kept', 'again'), $count, 'with the archive');
is(sql($node, $parts, 'again'), $had, 'in its parts');
sql($node, "SELECT queue.send('kept', '1'); SELECT queue.archive('kept', (SELECT max(msg_id) FROM queue.q_kept))", 'again');
is(sql($node, $newest, 'again'), (split / /, $had)[-1], 'which goes on in the newest');
my $highest = sql($node, 'SELECT max(msg_id) FROM queue.a_kept', 'again');
sql($node, "SET ROLE alice; DROP TABLE queue.q_kept CASCADE; SELECT queue.create('kept', archive_retention => 3600)", 'again');
is(sql($node, "SELECT queue.send('kept', '1')", 'again'), $highest + 1, 'ids go on behind those in a part');
sql($node, "SET ROLE alice; SELECT queue.drop('kept')", 'again');
is(sql($node, "SELECT count(*) FROM pg_class WHERE relname LIKE 'a_kept%'", 'again'), '0', 'parts are dropped with the queue');

check_storage($node);
check_log($node);
done_testing();
