# Dead letters and error texts through crashes, dumps and a promotion: a message is in one place, never in two or none.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('retries', streaming => 1, conf => 'wal_keep_size = 128MB');
my $where = <<'SQL';
SELECT (SELECT string_agg(message::text, ' ' ORDER BY msg_id) FROM queue.q_q) || '|' ||
    coalesce((SELECT string_agg(message::text, ' ' ORDER BY msg_id) FROM queue.q_dead), '')
SQL

sub crash {
    $node->stop('immediate');
    $node->start;
}

# All WAL so far reaches the disk.
sub flush_wal { sql($node, "SELECT pg_logical_emit_message(true, '', '')"); }

sql($node, <<'SQL');
SELECT queue.create('dead');
SELECT queue.create('q', vt => 0, max_attempts => 1, dead_letter => 'dead', backoff => 3600);
SELECT count(*) FROM queue.send_batch('q', '{1,2,3,4,5}');
SELECT count(*) FROM queue.read('q', qty => 5);
SELECT queue.nack('q', 1, error => 'broken: ' || repeat('x', 3000));
CHECKPOINT;
SQL
is(sql($node, $where), '2 3 4 5|1', 'a nack of the last attempt');

# A move that is not committed when the server falls over: the lease is on disk, the move is not.
my $session = session($node);
$session->query_ok('BEGIN');
is($session->query_ok("SELECT queue.nack('q', 2, error => 'lost')"), 't', 'a move under way');
$session->query_ok("SELECT count(*) FROM queue.read('q', qty => 9)");
flush_wal();
crash();
eval { $session->quit };
is(sql($node, $where), '2 3 4 5|1', 'after a crash it has not happened');
is(sql($node, "SELECT count(*) FROM queue.read('q', qty => 9)"), '0', 'the leases of those who moved them are there');
is(sql($node, "SELECT max(vt) < now() + interval '31 s' FROM queue.q_q"), 't', 'and short');
is(sql($node, "SELECT count(*) FROM queue.set_vt_batch('q', '{2,3}', 0)"), '2', 'when they have ended');
is(sql($node, "SELECT count(*) FROM queue.read('q', qty => 9)"), '0', 'the next read');
is(sql($node, $where), '4 5|1 2 3', 'moves them');
is(sql($node, "SELECT count(*), min(length(error)) FROM queue.errors('q', 1)"), '1|3008', 'the error text is there');
is(sql($node, "SELECT count(*) FROM queue.errors('q', 2)"), '0', 'that of the lost transaction is not');
flush_wal();
crash();
is(sql($node, $where), '4 5|1 2 3', 'moved once');
is(sql($node, "SELECT count(*) FROM queue.read('dead', qty => 9)"), '3', 'and read by who looks after them');
is(sql($node, "SELECT dead_total >= 3 FROM queue.settings WHERE queue_name = 'q'"), 't', 'counted');

# A pause after a rollback is only in memory: a crash forgets it, and the lease runs out as it would have.
sql($node, <<'SQL');
SELECT queue.alter('q', max_attempts => 100);
SELECT count(*) FROM queue.set_vt_batch('q', '{4,5}', 0);
BEGIN;
SELECT count(*) FROM queue.read('q', qty => 9);
ROLLBACK;
SQL
is(sql($node, "SELECT count(*) FROM queue.read('q', qty => 9)"), '0', 'given back after a pause');
flush_wal();
crash();
is(sql($node, "SELECT count(*) FROM queue.read('q', qty => 9, vt => 600)"), '2', 'which a crash forgets');

# A dump takes the texts along.
my $dir = $node->basedir;
my $errors = "SELECT queue_name, msg_id, attempt, at, md5(error) FROM queue.failures ORDER BY 1, 2, 4";
sql($node, "SELECT queue.nack('q', 4, delay => 0, error => 'ü')");
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/all.dump", 'postgres' ], 'pg_dump');
sql($node, 'CREATE DATABASE copy TEMPLATE template0');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'copy', "$dir/all.dump" ], 'pg_restore');
same_lines(sql($node, $errors, 'copy'), sql($node, $errors), 'queue.failures travels');
is(sql($node, "SELECT error FROM queue.errors('q', 4)", 'copy'), 'ü', 'and can be asked');
is(sql($node, $where, 'copy'), sql($node, $where), 'dead letters too');
is(sql($node, "SELECT count(*) FROM queue.q_dead d, queue.set_vt('dead', d.msg_id, 0); SELECT queue.redrive('dead')", 'copy'), "3\n3", 'redrive finds where they came from');
is(sql($node, "SELECT dead_total FROM queue.settings WHERE queue_name = 'q'", 'copy'), sql($node, "SELECT dead_total FROM queue.settings WHERE queue_name = 'q'"), 'totals travel');

# A standby, and after its promotion.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
sql($node, "SELECT queue.alter('q', max_attempts => 2); SELECT count(*) FROM queue.read('q', qty => 9); SELECT queue.nack('q', 5, delay => 0, error => 'five')");
flush_wal();
$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
is(sql($standby, "SELECT error FROM queue.errors('q', 5)"), 'five', 'a standby shows error texts');
fails_with($standby, "SELECT queue.nack('q', 5, error => 'x')", '25006', qr/recovery|read-only/, 'and takes none');
fails_with($standby, "SELECT queue.redrive('dead')", '25006', qr/recovery|read-only/, 'nor moves anything');
$node->stop('immediate');
$standby->promote;
sql($standby, "SELECT count(*) FROM queue.set_vt_batch('q', '{4,5}', 0); SELECT count(*) FROM queue.q_dead d, queue.set_vt('dead', d.msg_id, 0)");
is(sql($standby, "SELECT count(*) FROM queue.read('q', qty => 9); SELECT count(*) FROM queue.q_q"), "0\n0",
    'promoted, it moves what has had its attempts');
is(sql($standby, "SELECT queue.redrive('dead') >= 3; SELECT count(*) FROM queue.q_dead"), "t\n0", 'and back');
check_storage($standby);
check_log($_) for $node, $standby;
done_testing();
