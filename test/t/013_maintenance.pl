# What administrators do to tables, beside traffic: VACUUM in all its kinds, CLUSTER, REINDEX, ALTER TABLE, plain DELETE and
# UPDATE, TRUNCATE. Nothing is lost, nothing comes twice, and nobody gets an error.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('care', conf => "log_statement = none\nmax_wal_size = 4GB\npgqueue.segment_size = '1GB'");
my $space = PostgreSQL::Test::Utils::tempdir();
sql($node, "CREATE TABLESPACE other LOCATION '$space'");

sub exactly_once {
    my ($queue, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    sql($node, "INSERT INTO got SELECT msg_id FROM queue.q_$queue");
    is(sql($node, 'SELECT count(*) FROM (SELECT msg_id FROM sent EXCEPT SELECT msg_id FROM got) x'), '0', "$what: nothing is lost");
    is(sql($node, 'SELECT count(*) FROM (SELECT msg_id FROM got EXCEPT SELECT msg_id FROM sent) x'), '0', "$what: nothing is new");
    is(sql($node, 'SELECT count(*) - count(DISTINCT msg_id) FROM got'), '0', "$what: nothing comes twice");
    diag("$what: " . sql($node, 'SELECT count(*) FROM got') . ' messages');
}

# Senders and consumers of one queue. Each ack is recorded in its own transaction.
sub traffic {
    my ($queue, @options) = @_;
    sql($node, <<SQL);
SELECT queue.create('$queue', vt => 600);
DROP TABLE IF EXISTS sent, got;
CREATE TABLE sent (msg_id bigint);
CREATE TABLE got (msg_id bigint);
SQL
    return run_pgbench($node, "traffic_$queue", <<SQL, '-c', 4, '-j', 2, '--max-tries=20', @options);
\\set kind random(1, 10)
\\set fate random(1, 5)
BEGIN;
\\if :kind < 4
INSERT INTO sent SELECT queue.send('$queue', to_jsonb(repeat(md5(i::text), 3)), priority => :fate / 4) FROM generate_series(1, 5) i;
\\elif :kind = 4
INSERT INTO sent SELECT queue.send_batch('$queue', (SELECT array_agg(to_jsonb(repeat('x', i * 10))) FROM generate_series(1, 100) i));
\\elif :kind < 9
INSERT INTO got SELECT msg_id FROM queue.read('$queue', qty => 40) WHERE queue.delete('$queue', msg_id, receipt);
\\elif :kind = 9
WITH m AS (SELECT * FROM queue.read('$queue', qty => 9)), a AS (SELECT queue.archive_batch('$queue', array_agg(msg_id), array_agg(receipt)) AS msg_id FROM m HAVING count(*) > 0)
INSERT INTO got SELECT msg_id FROM a;
\\else
INSERT INTO got SELECT msg_id FROM queue.pop('$queue', qty => 5);
\\endif
\\if :fate = 1
ROLLBACK;
\\else
COMMIT;
\\endif
SQL
}

my $table = 'queue."q_q#1"';
my $bench = traffic('q', '-T', 6);
my @care = (
    "VACUUM $table", "ANALYZE $table", "VACUUM (FREEZE, ANALYZE) $table", "VACUUM FULL $table",
    "CLUSTER $table USING \"q_q#1_pkey\"", "REINDEX TABLE $table", "REINDEX TABLE CONCURRENTLY $table",
    'ALTER TABLE queue.q_q ADD COLUMN note text', "ALTER TABLE $table SET TABLESPACE other",
    "CREATE INDEX care_index ON $table ((message ->> 0))", 'DROP INDEX queue.care_index',
    "ALTER TABLE $table ADD CONSTRAINT care CHECK (msg_id > 0)", "ALTER TABLE $table DROP CONSTRAINT care",
    "ALTER TABLE $table SET (fillfactor = 70)", "ALTER TABLE $table SET TABLESPACE pg_default",
    'ALTER TABLE queue.q_q DROP COLUMN note', "CREATE INDEX CONCURRENTLY care_index ON $table (group_key)",
    'DROP INDEX CONCURRENTLY queue.care_index',
    'WITH d AS (DELETE FROM queue.q_q WHERE msg_id IN (SELECT min(msg_id) FROM queue.q_q) RETURNING msg_id) INSERT INTO got SELECT msg_id FROM d',
    q(UPDATE queue.q_q SET headers = '{"seen": true}' WHERE msg_id IN (SELECT msg_id FROM queue.q_q ORDER BY 1 LIMIT 5)),
    'SELECT count(*) FROM queue.q_q', 'COPY queue.q_q TO STDOUT', "SELECT count(*) FROM queue.metrics", 'CHECKPOINT');
my $session = session($node);
my ($rounds, %failed) = (0);
while (pgbench_runs($bench)) {
    for my $care (@care) {
        $session->query($care);
        $failed{$care} = $session->error if $session->error ne '';
    }
    $rounds++;
}
is(join("\n", map { "$_: $failed{$_}" } sort keys %failed), '', 'every command works');
finish_pgbench($bench);
cmp_ok($rounds, '>', 0, "$rounds rounds of " . @care . ' commands');
my $errors = join("\n", grep { /ERROR:/ && !/ERROR:  (deadlock detected|could not serialize)/ } split /\n/, slurp_file($node->logfile));
is($errors, '', 'no error in the log');
exactly_once('q', 'care');
drain($node, 'q', 500);
is(sql($node, 'SELECT count(*) FROM queue.q_q WHERE vt <= now()'), '0', 'what is left can be read');
check_storage($node);

# VACUUM cuts off the end of the table, again and again, while others append to it.
$bench = traffic('v', '-T', 4, '-R', 300);
my ($size, $cuts) = (0, 0);
while (pgbench_runs($bench)) {
    $session->query('BEGIN; INSERT INTO got SELECT msg_id FROM queue.pop($$v$$, qty => 10000); COMMIT');
    $session->query('VACUUM (TRUNCATE) queue."q_v#1"');
    my $now = $session->query(q(SELECT pg_relation_size('queue."q_v#1"')));
    $cuts++ if $now < $size;
    $size = $now;
}
finish_pgbench($bench);
cmp_ok($cuts, '>', 0, "VACUUM cut the table's end off $cuts times");
exactly_once('v', 'cut off');
check_storage($node);

# The same step by step: sessions that remember where the end was and where messages lay.
my ($sender, $reader) = (session($node), session($node));
sql($node, "SELECT queue.create('cut')");
$sender->query("SELECT queue.send('cut', to_jsonb(repeat('x', 1000))) FROM generate_series(1, 300)");
is($reader->query("SELECT count(*) FROM queue.read('cut', qty => 300)"), '300', 'messages on many pages');
is($reader->query("SELECT count(*) FROM generate_series(1, 299) i WHERE queue.delete('cut', i)"), '299', 'all but one are acked');
sql($node, "SELECT queue.delete('cut', 300)");
sql($node, 'VACUUM (TRUNCATE) queue."q_cut#1"');
is(sql($node, q(SELECT pg_relation_size('queue."q_cut#1"'))), '0', 'the table is empty');
is($reader->query("SELECT queue.delete('cut', 300)"), 'f', 'an ack of a message whose page is gone');
is($reader->query("SELECT count(*) FROM queue.read('cut')"), '0', 'a read of pages that are gone');
is($sender->query("SELECT queue.send('cut', '\"first\"')"), '301', 'a send, by a session that knew a later page');
is(sql($node, q(SELECT ctid FROM queue."q_cut#1")), '(0,1)', 'it begins at the front again');
is($reader->query("SELECT message FROM queue.read('cut')"), '"first"', 'and is read by one that knew more pages');

# The end is cut off to the very page to which a session sent last, while the others' last page lies beyond.
$sender->query(<<'SQL');
SELECT queue.create('chance');
DO $$
BEGIN
    LOOP
        PERFORM queue.send('chance', to_jsonb(repeat('x', 1500)));
        EXIT WHEN (SELECT max(ctid) FROM queue."q_chance#1") >= '(5,1)';
    END LOOP;
END $$;
SQL
my $kept = sql($node, 'SELECT max(msg_id) FROM queue.q_chance');
$reader->query("SELECT queue.send('chance', to_jsonb(repeat('x', 1500))) FROM generate_series(1, 60)");
sql($node, "SELECT queue.delete('chance', msg_id) FROM queue.q_chance WHERE msg_id <> $kept");
sql($node, 'VACUUM (TRUNCATE) queue."q_chance#1"');
is(sql($node, q(SELECT pg_relation_size('queue."q_chance#1"') / 8192)), '6', 'six pages are left');
is($sender->query("SELECT msg_id FROM queue.read('chance', qty => 100)"), $kept, 'a read learns the new length');
is($sender->query_ok("SELECT queue.send('chance', '1') > $kept", 'and does not mislead the next send'), 't', 'which works');

# A place that was given to another message: an ack of the old one must not touch the new one.
sql($node, "SELECT queue.create('place')");
$sender->query("SELECT queue.send('place', to_jsonb(i)) FROM generate_series(1, 10) i");
$reader->query("SELECT * FROM queue.read('place', qty => 10)");
sql($node, "SELECT queue.delete('place', i) FROM generate_series(1, 9) i");
sql($node, 'VACUUM queue."q_place#1"');
$sender->query("SELECT queue.send('place', to_jsonb(i)) FROM generate_series(11, 19) i");
cmp_ok(sql($node, q(SELECT count(*) FROM queue."q_place#1" WHERE ctid <= '(0,10)')), '>', 8, 'new messages lie in old places');
is($reader->query("SELECT count(*) FROM generate_series(1, 9) i WHERE queue.delete('place', i)"), '0', 'acks of old messages');
is($reader->query("SELECT count(*) FROM generate_series(1, 9) i, queue.set_vt('place', i, 0)"), '0', 'heartbeats of old messages');
is($reader->query("SELECT count(*) FROM generate_series(1, 9) i WHERE queue.nack('place', i)"), '0', 'nacks of old messages');
is(sql($node, 'SELECT array_agg(msg_id ORDER BY msg_id), max(read_ct) FROM queue.q_place'),
    '{10,11,12,13,14,15,16,17,18,19}|1', 'touch nothing');
is($reader->query("SELECT queue.delete('place', 10)"), 't', 'the one that is there still can be acked');
is(join(' ', drain($node, 'place')), join(' ', 11 .. 19), 'the new ones are read in order, wherever they lie');
sql($node, 'VACUUM FULL queue."q_place#1"');
is($sender->query("SELECT queue.send('place', '\"full\"') > 19"), 't', 'after VACUUM FULL');
is($reader->query("SELECT message FROM queue.read('place')"), '"full"', 'the sessions go on');

# ALTER TABLE waits for a transaction that has read; that one looks at the table anew, since ANALYZE changed its figures,
# and neither waits for the other.
sql($node, "SELECT queue.create('alter'); SELECT queue.send('alter', '1')");
$reader->query("BEGIN; SELECT * FROM queue.read('alter')");
sql($node, 'ANALYZE queue."q_alter#1"; VACUUM queue."q_alter#1"');
$session->start('ALTER TABLE queue.q_alter ADD COLUMN note text');
ok(wait_for(sub { sql($node, 'SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = ' . $session->pid) eq '1' },
        'a lock that is waited for'), 'ALTER TABLE waits');
is($reader->query_ok("SELECT queue.delete('alter', 1); COMMIT", 'an ack meanwhile'), 't', 'is an ack');
$session->finish;
is($session->error, '', 'and ALTER TABLE has its turn');
is($reader->query_ok("SELECT queue.send('alter', '2')", 'a send after it'), '2', 'goes on');

# TRUNCATE beside traffic.
$bench = traffic('t', '-T', 3);
my $truncated = 0;
while (pgbench_runs($bench)) {
    $session->query('TRUNCATE queue.q_t');
    is($session->error, '', 'TRUNCATE') if $session->error ne '';
    $truncated++;
    $session->query('SELECT count(*) FROM queue.q_t');
}
finish_pgbench($bench);
cmp_ok($truncated, '>', 3, "TRUNCATE $truncated times");
sql($node, 'TRUNCATE queue.q_t; INSERT INTO got SELECT msg_id FROM queue.q_t');
is(sql($node, 'SELECT count(*) - count(DISTINCT msg_id) FROM got'), '0', 'nothing comes twice');
is(sql($node, 'SELECT count(*) FROM (SELECT msg_id FROM got EXCEPT SELECT msg_id FROM sent) x'), '0', 'nothing is new');
is(sql($node, "SELECT count(*) FROM queue.read('t', qty => 10)"), '0', 'a truncated queue is empty');
$sender->query_ok("BEGIN; SELECT queue.send('t', '\"a\"'); TRUNCATE queue.q_t; SELECT queue.send('t', '\"b\"'); ROLLBACK",
    'a TRUNCATE that is rolled back');
$sender->query("BEGIN; SELECT queue.send('t', '\"a\"'); TRUNCATE queue.q_t; SELECT queue.send('t', '\"b\"'); COMMIT");
is($reader->query("SELECT array_agg(message) FROM queue.read('t', qty => 9)"), '{"\"b\""}', 'and one between two sends');

# An index that would lie is found out, and the queue works again without it.
sql($node, "SELECT queue.create('i'); SELECT queue.send('i', '1'); CREATE INDEX lies ON queue.\"q_i#1\" (vt)");
for my $call ("queue.read('i')", "queue.send('i', '2')", "queue.delete('i', 1)", "queue.peek('i')") {
    fails_with($node, "SELECT * FROM $call", '42809', qr/index "lies" covers column "vt".*HINT:  DROP INDEX queue.lies/s, "$call beside an index on vt");
}
$reader->query("SELECT * FROM queue.read('i')");
like($reader->error, qr/index "lies"/, 'a session that knew the queue too');
sql($node, 'DROP INDEX queue.lies');
is($reader->query("SELECT msg_id FROM queue.read('i')"), '1', 'without it the queue works');
sql($node, 'CREATE INDEX lies ON queue."q_i#1" (msg_id) WHERE read_ct > 0');
$reader->query("SELECT * FROM queue.read('i')");
like($reader->error, qr/index "lies" covers column "read_ct"/, 'a condition over such a column');
sql($node, 'DROP INDEX queue.lies; ALTER TABLE queue."q_i#1" DROP CONSTRAINT "q_i#1_pkey"');
$reader->query("SELECT * FROM queue.read('i')");
like($reader->error, qr/no primary key.*HINT:  ALTER TABLE.*ADD PRIMARY KEY/s, 'a queue without its primary key');
sql($node, 'ALTER TABLE queue."q_i#1" ADD PRIMARY KEY (msg_id)');
is($reader->query("SELECT queue.delete('i', 1)"), 't', 'with a new one it works');

$_->quit for $session, $sender, $reader;
check_storage($node);
check_log($node);
done_testing();
