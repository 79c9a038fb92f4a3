# Streaming replication: leases are replayed by a server that doesn't know the library, a standby refuses what it can't
# do, and a promoted one goes on with the leases it has and never repeats a receipt.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = queue_node('primary', streaming => 1, conf => "wal_keep_size = 128MB\nmax_prepared_transactions = 5");
$primary->backup('base');

# `stock` never loads the library: what it replays, it replays by itself.
my %standby;
for my $name ('standby', 'stock') {
    my $node = $standby{$name} = PostgreSQL::Test::Cluster->new($name);
    $node->init_from_backup($primary, 'base', has_streaming => 1);
    configure($node, "shared_preload_libraries = ''") if $name eq 'stock';
    $node->start;
}
my ($standby, $stock) = @standby{ 'standby', 'stock' };

# A commit flushes the WAL of the leases before it.
sub catch_up {
    sql($primary, "SELECT pg_logical_emit_message(true, '', '')");
    $primary->wait_for_catchup($_, 'replay', $primary->lsn('flush')) for @_;
}

my $rows = <<SQL;
SELECT msg_id, vt, last_read_at, receipt, read_ct, priority, md5(message::text) FROM queue.q_q ORDER BY 1;
SELECT msg_id, md5(message::text) FROM queue.a_q ORDER BY 1
SQL

sub same_rows {
    my ($what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    catch_up($standby, $stock);
    my $expected = sql($primary, $rows);
    same_lines(sql($standby, $rows), $expected, "$what: the standby has the same rows");
    same_lines(sql($stock, $rows), $expected, "$what: and so has one without the library");
}

sql($primary, <<SQL);
SELECT queue.create('q', vt => 600);
SELECT queue.create('u', unlogged => true);
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 1000) i));
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 50) i), priority => 4, delay => 500);
SELECT queue.send('q', jsonb_build_object('t', string_agg(md5(i::text), ''))) FROM generate_series(1, 2000) i;
CHECKPOINT;
SELECT count(*) FROM queue.read('q', qty => 300);
SELECT queue.set_vt('q', i, 900 + i) FROM generate_series(1, 30) i;
SELECT queue.nack('q', i, delay => i) FROM generate_series(31, 60) i;
SELECT queue.delete('q', i) FROM generate_series(61, 90) i;
SELECT queue.archive('q', i) FROM generate_series(91, 120) i;
SQL
same_rows('leases');

sql($primary, 'VACUUM queue."q_q#1"');
sql($primary, "SELECT count(*) FROM queue.read('q', qty => 300); SELECT queue.delete('q', i) FROM generate_series(121, 500) i");
sql($primary, "SELECT queue.send('q', to_jsonb(i)) FROM generate_series(1, 50) i");
sql($primary, 'VACUUM queue."q_q#1"; VACUUM FULL queue."q_q#1"');
sql($primary, "SELECT count(*) FROM queue.read('q', qty => 50)");
same_rows('leases after VACUUM FULL');
sql($primary, "BEGIN; SELECT msg_id FROM queue.read('q', qty => 20); ROLLBACK; SELECT msg_id FROM queue.read('q', qty => 3)");
same_rows('leases that were rolled back');

# What a standby refuses.
my $recovery = qr/cannot execute .* (in a read-only transaction|during recovery)/;
for my $call ("SELECT * FROM queue.read('q')", "SELECT queue.send('q', '1')", "SELECT queue.send_batch('q', ARRAY['1']::jsonb[])",
    "SELECT * FROM queue.peek('q')", "SELECT * FROM queue.pop('q')", "CALL queue.wait('q', 1)", "SELECT queue.create('r')",
    "SELECT queue.drop('q')", "SELECT queue.purge('q')", "SELECT queue.delete('q', 1)", "SELECT queue.archive('q', 1)",
    "SELECT queue.set_vt('q', 1, 0)", "SELECT queue.nack('q', 1)", "SELECT queue.pause('q')",
    "SELECT * FROM queue.read('q', wait => 5)") {
    fails_with($standby, $call, '25006', $recovery, "$call on a standby");
}
is(sql($standby, "SELECT queue_name FROM queue.queues ORDER BY 1"), "q\nu", 'the list of queues works there');
# Leases that a rollback gave back are known where that happened: 17 here.
my $figures = 'SELECT ready + %d, in_flight - %d, delayed FROM queue.metrics WHERE queue_name = $$q$$';
is(sql($standby, sprintf($figures, 17, 17)), sql($primary, sprintf($figures, 0, 0)), 'and the figures');

# What the primary gives out while its standby is away, past the range of receipts of which the standby knows.
my $session = session($standby);
$session->query("SELECT * FROM queue.read('q')");
like($session->error, $recovery, 'a session on the standby');
$session->quit;
catch_up($standby);
my $known = sql($standby, $rows);
$standby->stop;
my $first_receipt = sql($primary, "SELECT receipt FROM queue.read('q')");
sql($primary, "SELECT queue.create('many'); SELECT count(*) FROM queue.send_batch('many', array_fill('1'::jsonb, ARRAY[20000]))");
sql($primary, "SELECT count(*) FROM generate_series(1, 60) i, queue.read('many', qty => 20000, vt => i * 0)");
my $last_receipt = sql($primary, "SELECT receipt FROM queue.read('q')");
cmp_ok($last_receipt, '>', $first_receipt + 1_150_000, 'the primary has given out more than a range of receipts');
$primary->stop('immediate');
$standby->start;
$session = session($standby);
$session->query("SELECT * FROM queue.read('q')");
like($session->error, $recovery, 'a session that will see the promotion');
$standby->promote;

same_lines(sql($standby, $rows), $known, 'leases are as they were when the standby went');
my ($id, $receipt) = split /\|/, $session->query("SELECT msg_id, receipt FROM queue.read('q')");
is($session->error, '', 'a read works after the promotion, in a session from before');
cmp_ok($receipt, '>', $last_receipt, 'its receipt is beyond all of the old primary');
is($session->query("SELECT queue.delete('q', $id, $receipt)"), 't', 'an ack');
my ($held) = $known =~ /^(\d+)\|/m;
is(sql($standby, "SELECT receipt IS NOT NULL FROM queue.set_vt('q', $held, 0)"), 't', 'a lease of the old primary ends');
is(sql($standby, "SELECT msg_id FROM queue.read('q')"), $held, 'and the message is read');
cmp_ok(sql($standby, "SELECT queue.send('q', '\"new\"', priority => 9)"), '>', 1101, 'sends go on');
is(sql($standby, "SELECT message FROM queue.read('q')"), '"new"', 'and are read');
my @all = drain($standby, 'q');
same_lines(join("\n", @all), join("\n", sort { $a <=> $b } @all), 'the backlog is read in order');
is(sql($standby, 'SELECT count(*) FROM queue.q_q WHERE vt <= now()'), '0', 'and whole');
is(sql($standby, "SELECT queue.send('u', '1') > 0"), 't', 'an unlogged queue is empty there and usable');
is(sql($standby, "SELECT count(*) FROM queue.read('u')"), '1', 'its message is read');
$session->quit;

# The old primary comes back as a standby. pg_rewind finds the pages that leases changed by their WAL.
$stock->stop;
sql($standby, 'CHECKPOINT');
my $conf = slurp_file($primary->data_dir . '/postgresql.conf');
command_checks_all(
    [   'pg_rewind', '--target-pgdata', $primary->data_dir, '--source-server', $standby->connstr('postgres'), '--no-sync',
        '--config-file', $primary->data_dir . '/postgresql.conf'
    ],
    0, [], [qr/Done!/],
    'pg_rewind of the old primary');
unlink $primary->data_dir . '/postgresql.conf';
$primary->append_conf('postgresql.conf', $conf);
$primary->enable_streaming($standby);
$primary->set_standby_mode;
$primary->start;
sql($standby, "SELECT count(*) FROM queue.read('q', qty => 5); SELECT pg_logical_emit_message(true, '', '')");
$standby->wait_for_catchup($primary, 'replay', $standby->lsn('flush'));
same_lines(sql($primary, $rows), sql($standby, $rows), 'it has the rows of the new one');

check_storage($standby);
check_log($_) for $primary, $standby, $stock;
done_testing();
