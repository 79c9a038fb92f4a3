# An immediate shutdown: leases are replayed from the WAL as they were, receipts don't repeat even where the WAL of a
# lease was lost, what was committed is there and what was acked stays away. With full-page writes and without, with
# checksums and without.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $rows = 'SELECT msg_id, vt, last_read_at, receipt, read_ct FROM queue.q_q ORDER BY msg_id';

sub crash {
    my ($node) = @_;
    $node->stop('immediate');
    $node->start;
}

# All WAL so far reaches the disk: a commit waits for it.
sub flush_wal { sql($_[0], "SELECT queue.send('flush', '1')"); }

sub leases_survive {
    my ($node) = @_;
    sql($node, <<SQL);
SELECT queue.create('q');
SELECT queue.create('flush');
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 300) i));
CHECKPOINT;
SELECT count(*) FROM queue.read('q', qty => 30, vt => 600);
SELECT count(*) FROM queue.read('q', qty => 100, vt => 700);
SELECT queue.set_vt('q', i, 1000 + i) FROM generate_series(3, 40, 7) i;
SELECT queue.nack('q', i, delay => i) FROM generate_series(5, 60, 11) i;
SQL
    flush_wal($node);
    my $before = sql($node, $rows);
    crash($node);
    same_lines(sql($node, $rows), $before, 'leases, heartbeats and nacks are replayed');
    is(sql($node, "SELECT min(msg_id) FROM queue.read('q', vt => 600)"), '131', 'a read goes on behind them');

    # On disk by a checkpoint, and more changes behind it.
    sql($node, <<SQL);
SELECT count(*) FROM queue.read('q', qty => 20, vt => 600);
CHECKPOINT;
SELECT queue.set_vt('q', i, 2000) FROM generate_series(131, 140) i;
SELECT count(*) FROM queue.read('q', qty => 20, vt => 600);
SQL
    flush_wal($node);
    $before = sql($node, $rows);
    crash($node);
    same_lines(sql($node, $rows), $before, 'leases from before and after a checkpoint');
}

# A lease takes no commit that waits for the disk. If its WAL is lost, so is the lease, but never its receipt.
sub receipts_dont_repeat {
    my ($node) = @_;
    my %seen;
    my $highest = 0;
    for my $round (1 .. 3) {
        my $reader = session($node);
        my @receipts = split /\n/, $reader->query("SELECT receipt FROM queue.read('q', qty => 10, vt => 600)");
        push @receipts, split /\n/, $reader->query("SELECT receipt FROM queue.read('q', qty => 10, vt => 0)") for 1 .. 3;
        is($reader->query('SELECT pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()'), 't',
            "round $round: the leases' WAL is not on disk");
        is(scalar @receipts, 40, 'forty leases');
        is(scalar(grep { $_ <= $highest || $seen{$_}++ } @receipts), 0, 'each with a new receipt');
        cmp_ok((sort { $b <=> $a } @receipts)[0], '<', 2**53, 'that a double can hold');
        ($highest) = sort { $b <=> $a } $highest, @receipts;
        crash($node);
        $reader->quit;
    }
    sql($node, "SELECT queue.purge('q')");
}

sub transactions_count {
    my ($node) = @_;
    sql($node, <<SQL);
SELECT queue.create('t');
SELECT count(*) FROM queue.send_batch('t', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 100) i));
SELECT count(queue.delete('t', msg_id)) FROM queue.read('t', qty => 20);
SELECT count(queue.archive('t', msg_id)) FROM queue.read('t', qty => 20);
SQL
    my $open = session($node);
    $open->query_ok(<<SQL, 'a transaction is open at the crash');
BEGIN;
SELECT queue.send('t', '"never"');
SELECT msg_id FROM queue.read('t', qty => 5, vt => 600);
SELECT queue.delete('t', 41);
SELECT queue.archive('t', 42);
SQL
    sql($node, "SELECT queue.send('t', '101')");
    crash($node);
    $open->quit;
    is(sql($node, 'SELECT count(*), min(msg_id), max(message::int) FROM queue.q_t'), '61|41|101',
        'what was committed is there, what was acked is not');
    is(sql($node, 'SELECT count(*), min(msg_id), max(msg_id) FROM queue.a_t'), '20|21|40', 'nor in two places');
    is(sql($node, 'SELECT msg_id, read_ct, vt > now() FROM queue.q_t WHERE receipt <> 0 ORDER BY 1'),
        join("\n", map { "$_|1|t" } 41 .. 45), 'the leases of the open transaction run out by themselves');
    is(sql($node, "SELECT queue.send('t', '102') > 101"), 't', 'ids go on');
    is(join(' ', (drain($node, 't'))[ 0 .. 54 ]), join(' ', 46 .. 100), 'what was not leased is read in order');
    is(sql($node, "SELECT count(*) FROM generate_series(41, 45) i, queue.set_vt('t', i, 0)"), '5', 'the leased ones end');
    is(join(' ', drain($node, 't')), '41 42 43 44 45', 'and come again');
}

# A table that is made, filled and read in one transaction is not logged where wal_level is minimal.
sub young_tables {
    my ($node) = @_;
    is(sql($node, 'SHOW wal_level'), 'minimal', 'WAL is minimal');
    sql($node, <<SQL);
BEGIN;
SELECT queue.create('young');
SELECT count(*) FROM queue.send_batch('young', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 50) i));
SAVEPOINT s;
SELECT queue.send('young', '51');
ROLLBACK TO s;
COMMIT;
SQL
    is(sql($node, "SELECT count(*) FROM queue.read('young', qty => 10, vt => 600)"), '10', 'some are leased');
    sql($node, <<SQL);
BEGIN;
TRUNCATE queue.q_young;
SELECT queue.send('young', '52');
COMMIT;
SQL
    flush_wal($node);
    crash($node);
    is(sql($node, "SELECT msg_id > 51, message FROM queue.read('young', qty => 10)"), 't|52', 'filled in one transaction');
}

my @cases = (
    {   name => 'plain',
        init => [],
        conf => 'full_page_writes = on'
    },
    {   name => 'bare',
        init => [],
        conf => "full_page_writes = off\nsynchronous_commit = on"
    },
    {   name => 'checked',
        init => ['--data-checksums'],
        conf => "wal_log_hints = on\nfull_page_writes = on"
    });
for my $case (@cases) {
    subtest $case->{name} => sub {
        my $node = queue_node($case->{name}, init => $case->{init},
            conf => "wal_writer_delay = 10s\nwal_writer_flush_after = 1GB\nbgwriter_lru_maxpages = 0\n$case->{conf}");
        leases_survive($node);
        receipts_dont_repeat($node);
        transactions_count($node);
        young_tables($node);
        check_storage($node);
        check_log($node);
        $node->stop;
    };
}

done_testing();
