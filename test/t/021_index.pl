# The entries of message ids go into the primary key many at a time, by the library and not by the server: the index must
# be what the server would have made of it, whatever else happens to it, after a crash and on a standby.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('primary', streaming => 1, conf => 'wal_keep_size = 512MB');

sub send_one { sql($node, "SELECT queue.send('$_[0]', '1') FROM generate_series(1, $_[1])") }
sub send_batch { sql($node, "SELECT count(*) FROM queue.send_batch('$_[0]', array_fill('1'::jsonb, ARRAY[$_[1]]))") }

# Ids as if earlier ones were free; the ids that are in shared memory are lost at a restart.
sub next_id {
    my ($queue, $id) = @_;
    $node->restart;
    sql($node, qq{SELECT setval('queue."q_$queue#ids"', $id, false)});
}

sub sound {
    my ($what, $where) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    check_storage($where // $node, "$what: heaps and indexes are sound");
}

# One by one and in batches that end anywhere on a leaf: the first leaf, which is the root, its split, many leaves.
sql($node, "SELECT queue.create('q')");
send_one('q', 300);
sound('single sends');
sql($node, "SELECT count(*) FROM generate_series(1, 200) n, LATERAL queue.send_batch('q', array_fill('1'::jsonb, ARRAY[n]))");
is(sql($node, 'SELECT count(*), min(msg_id), max(msg_id) FROM queue.q_q'), '20400|1|20400', 'ids without gaps');
sound('batches');

# Few records: the point of it all.
my @records = split /\n/, wal_of($node, 'queue."q_q#1_pkey"',
    "SELECT count(*) FROM queue.send_batch('q', array_fill('1'::jsonb, ARRAY[1000]))");
cmp_ok(scalar(@records), '<', 50, '1,000 messages change the index a few times') or diag(join "\n", @records);
ok((grep { /^Generic/ } @records), 'by records of the generic resource manager');

# Dead entries between the others, and leaves that VACUUM has emptied and taken out.
sql($node, "BEGIN; SELECT count(*) FROM queue.send_batch('q', array_fill('1'::jsonb, ARRAY[900])); ROLLBACK");
sql($node, "BEGIN; SAVEPOINT s; SELECT queue.send('q', '1'); ROLLBACK TO s; SELECT queue.send('q', '1'); COMMIT");
sound('rollbacks');
sql($node, $_) for 'DELETE FROM queue.q_q WHERE msg_id % 7 <> 0', 'VACUUM queue."q_q#1"';
send_batch('q', 2000);
sound('VACUUM');
sql($node, $_) for 'DELETE FROM queue.q_q', 'VACUUM queue."q_q#1"';
send_batch('q', 1000);
sound('an index that VACUUM has emptied');
sql($node, $_) for 'REINDEX TABLE queue."q_q#1"', 'VACUUM FULL queue."q_q#1"';
send_one('q', 500);
sound('REINDEX and VACUUM FULL');
sql($node, $_) for 'TRUNCATE queue.q_q';
send_batch('q', 1000);
sound('TRUNCATE');

# Ids that are lower than the last one: on an earlier leaf, between others of the last leaf, and taken already.
sql($node, "SELECT queue.create('back')");
send_batch('back', 10);
next_id('back', 1001);
send_batch('back', 1200);
next_id('back', 21);
send_batch('back', 30);
is(sql($node, 'SELECT count(*), min(msg_id), max(msg_id) FROM queue.q_back WHERE msg_id <= 50'), '40|1|50', 'ids of an earlier leaf');
sql($node, $_) for 'DELETE FROM queue.q_back WHERE msg_id BETWEEN 2180 AND 2190', 'VACUUM queue."q_back#1"';
next_id('back', 2180);
send_one('back', 3);
send_batch('back', 8);
is(sql($node, 'SELECT count(*), max(msg_id) FROM queue.q_back'), '1240|2200', 'ids between those of the last leaf');
fails_with($node, "SELECT queue.send('back', '1')", '23505', qr/duplicate key/, 'an id that is taken');
fails_with($node, "SELECT * FROM queue.send_batch('back', array_fill('1'::jsonb, ARRAY[50]))", '23505', qr/duplicate key/, 'also in a batch');
is(sql($node, 'SELECT count(*), count(DISTINCT msg_id) FROM queue.q_back'), '1240|1240', 'nothing of it stays');
sound('lower ids');

# Entries of rows without an id, dead and older than NOT NULL: NULLs come last in an index.
for my $how ('USING INDEX', 'a row that is still seen') {
    sql($node, "SELECT queue.drop('null'); SELECT queue.create('null')");
    sql($node, "SELECT queue.send('null', '1') FROM generate_series(1, 10)");
    my $null = sql($node, "SELECT queue.send('null', '1')");
    my $table = 'queue."q_null#1"';
    my $seen = session($node);
    sql($node, <<"SQL");
ALTER TABLE $table DROP CONSTRAINT "q_null#1_pkey";
ALTER TABLE queue.q_null ALTER msg_id DROP NOT NULL;
ALTER TABLE $table ALTER msg_id DROP NOT NULL; -- 18: a constraint of its own
ALTER TABLE $table DISABLE TRIGGER ALL;
CREATE UNIQUE INDEX new_key ON $table (msg_id);
UPDATE $table SET msg_id = NULL WHERE msg_id = $null;
SQL
    if ($how ne 'USING INDEX') {
        $seen->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
        $seen->query('SELECT pg_current_snapshot()');    # no lock on the table
        sql($node, 'DROP INDEX queue.new_key');
    }
    sql($node, "DELETE FROM $table WHERE msg_id IS NULL");
    sql($node, 'ALTER TABLE queue.q_null ALTER msg_id SET NOT NULL');
    sql($node, "ALTER TABLE $table ADD PRIMARY KEY " . ($how eq 'USING INDEX' ? 'USING INDEX new_key' : '(msg_id)'));
    for my $trigger ('insert', 'update', 'change') {
        sql($node, "ALTER TABLE $table ENABLE ALWAYS TRIGGER pgqueue_$trigger");
    }
    send_batch('null', 10);
    send_one('null', 1);
    is(sql($node, "SELECT count(*) FROM (VALUES (12), (16), (22)) v(i) WHERE queue.delete('null', i)"), '3', "$how: messages are found");
    sound($how);
    $seen->quit;
}

# SERIALIZABLE: each has read that nothing is behind an id, where the other one sends.
sql($node, "SELECT queue.create('s1'); SELECT queue.create('s2'); SELECT queue.send(q, '1') FROM (VALUES ('s1'), ('s2')) v(q)");
my @sessions = map { session($node) } 1 .. 2;
for my $i (0, 1) {
    $sessions[$i]->query_ok('SET enable_seqscan = off; SET enable_bitmapscan = off');
    $sessions[$i]->query_ok('BEGIN ISOLATION LEVEL SERIALIZABLE');
    $sessions[$i]->query_ok('SELECT count(*) FROM queue.q_s' . ($i + 1) . ' WHERE msg_id > 1');
}
my $failures = 0;
for my $step ([ 0, "SELECT queue.send('s2', '1')" ], [ 1, "SELECT queue.send('s1', '1')" ], [ 0, 'COMMIT' ], [ 1, 'COMMIT' ]) {
    $sessions[ $step->[0] ]->query($step->[1]);
    $failures++ if $sessions[ $step->[0] ]->error =~ /could not serialize access/;
}
is($failures, 1, 'write skew over ranges of ids is noticed');
$_->quit for @sessions;

# Beside each other, a crash, and a standby that takes over.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
sql($node, "SELECT queue.create('busy')");
my @runs = (
    run_pgbench($node, 'singles', "SELECT queue.send('busy', '1');\n", '-c', 6, '-j', 1, '-t', 2000),
    run_pgbench($node, 'batches', "SELECT count(*) FROM queue.send_batch('busy', array_fill('1'::jsonb, ARRAY[37]));\n", '-c', 3, '-t', 300),
    run_pgbench($node, 'pops', "SELECT count(*) FROM queue.pop('busy', 15);\n", '-c', 2, '-t', 1000),
    run_pgbench($node, 'vacuum', "VACUUM queue.\"q_busy#1\";\n", '-t', 20));
finish_pgbench($_) for @runs;
is(sql($node, 'SELECT max(msg_id), count(*) - count(DISTINCT msg_id) FROM queue.q_busy'),
    6 * 2000 + 3 * 300 * 37 . '|0', 'each id was given once');
sound('senders beside each other');
send_batch('busy', 5000);
sql($node, "SELECT pg_logical_emit_message(true, '', '')");
$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
$node->stop('immediate');
$node->start;
sound('a crash');
send_one('busy', 1);
$node->stop('fast');
$standby->promote;
sql($standby, "SELECT count(*) FROM queue.send_batch('busy', array_fill('1'::jsonb, ARRAY[1000]))");
sound('a promoted standby', $standby);
check_log($_) for $node, $standby;

done_testing();
