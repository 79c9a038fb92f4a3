# Failover to a synchronous standby in the middle of load, there and back again: whatever a client was told is so on the promoted server,
# leases, attempts and locks too; receipts and tokens don't repeat; jobs go on without a due time lost or doubled, and not before
# the promotion; the old primary is rewound and follows.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = queue_node('alpha', streaming => 1, conf => "wal_keep_size = 256MB\nmax_worker_processes = 40\ntimezone = 'UTC'\nhot_standby_feedback = on");
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('beta');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

sub synchronous {
    my ($node, $names) = @_;
    configure($node, "synchronous_standby_names = '$names'");
    $node->reload;
}
synchronous($primary, '*');
ok(wait_for(sub { sql($primary, "SELECT string_agg(sync_state, ' ') FROM pg_stat_replication") eq 'sync' }, 'sync'), 'a synchronous standby');
sql($primary, <<'SQL');
CREATE TABLE sent (id bigint);
CREATE TABLE done (id bigint, receipt bigint);
CREATE TABLE beats (at timestamptz DEFAULT clock_timestamp());
SELECT queue.create('q', vt => 2), queue.create('held', vt => 86400), queue.create('dead'), queue.create('tries', max_attempts => 3, dead_letter => 'dead', vt => 0);
SELECT count(*) FROM queue.send_batch('held', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 1000) i));
SELECT cron.create_job('beat', '1 second', 'INSERT INTO beats DEFAULT VALUES', overlap => 'allow', catch_up => 'all');
SQL

# A client that repeats a statement and keeps what it was told, until the server goes.
sub client {
    my ($node, $name, $statement) = @_;
    my $file = $node->basedir . "/$name.sql";
    unlink $file;
    append_to_file($file, "$statement;\n" x 200_000);
    my %client = (name => $name, out => '', err => '');
    $client{handle} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file ],
        '<', \undef, '>', \$client{out}, '2>', \$client{err}, IPC::Run::timeout(3 * $PostgreSQL::Test::Utils::timeout_default));
    return \%client;
}
sub told {
    my ($client) = @_;
    $client->{handle}->finish;
    like($client->{err}, qr/terminating connection|server closed the connection|connection to server was lost|could not (send|receive)/, "$client->{name} was cut off");
    return split /\n/, $client->{out};
}
sub values_of { return @_ ? 'VALUES ' . join(', ', map { '(' . join(', ', split /\|/) . ')' } @_) : 'SELECT NULL, NULL WHERE false'; }

my %receipts;    # all that anybody was told
my $token = 0;
for my $round (1 .. 4) {
    my $what = "round $round";
    my @senders = map { client($primary, "sender $_", "INSERT INTO sent SELECT queue.send('q', '$_') RETURNING id") } 1 .. 2;
    my @batches = client($primary, 'batches', "INSERT INTO sent SELECT queue.send_batch('q', '{1,2,3}') RETURNING id");
    my @consumers = map { client($primary, "consumer $_", "INSERT INTO done SELECT msg_id, receipt FROM queue.read('q', qty => 2) WHERE queue.delete('q', msg_id, receipt) RETURNING id, receipt") } 1 .. 2;
    my $counting = client($primary, 'counter', "SELECT kv.incr('n')");
    my $done = sql($primary, 'SELECT count(*) FROM done');
    ok(wait_for(sub { sql($primary, 'SELECT count(*) FROM done') > $done + 300 }, 'load'), "$what: load");
    is(sql($standby, "SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^pgqueue'"), '0', "$what: nothing of ours runs on the standby");

    # Leases, attempts and a lock that the clients know of when a later commit has been answered.
    my @held = split /\n/, sql($primary, "SELECT msg_id, receipt FROM queue.read('held', qty => 20)");
    is(scalar(@held), 20, "$what: leases");
    my $tries = sql($primary, "SELECT queue.send('tries', '$round')");
    sql($primary, "SELECT read_ct FROM queue.read('tries', qty => 10)") for 1 .. 2;
    my $lock = sql($primary, "SELECT kv.lock('job $round', 86400)");
    cmp_ok($lock, '>', $token, "$what: tokens grow");
    $token = $lock;
    job_runs($primary, 'postgres', "$what: jobs run");
    sql($primary, "SELECT queue.send('dead', '\"mark\"')");

    # The primary goes, with whatever it had in hand.
    $primary->stop('immediate');
    my $due = sql($standby, 'SELECT max(due_time) FROM cron.job_run_details');
    is(sql($standby, "SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^pgqueue'"), '0', "$what: nothing runs before the promotion");
    synchronous($standby, '');
    $standby->promote;
    my @sent = map { told($_) } @senders, @batches;
    my @acked = map { told($_) } @consumers;
    my @counted = told($counting);
    note("$what: told of " . @sent . ' sends, ' . @acked . ' acks, ' . @counted . ' counts');
    cmp_ok(@sent * @acked * @counted, '>', 0, "$what: clients were told something");
    is(sql($standby, 'SELECT count(*) FROM (' . values_of(@sent) . ') AS told (id) WHERE NOT EXISTS (SELECT FROM sent WHERE sent.id = told.id)'), '0', "$what: no send lost");
    is(sql($standby, 'SELECT count(*) FROM (' . values_of(@acked) . ') AS told (id, receipt) WHERE NOT EXISTS (SELECT FROM done WHERE done.id = told.id AND done.receipt = told.receipt)'), '0', "$what: no ack lost");
    is(sql($standby, 'SELECT count(*) FROM ((SELECT id FROM sent) EXCEPT ALL (SELECT id FROM done UNION ALL SELECT msg_id FROM queue.q_q)) x'), '0', "$what: each message or its effect is there");
    is(sql($standby, 'SELECT count(*) FROM ((SELECT id FROM done UNION ALL SELECT msg_id FROM queue.q_q) EXCEPT ALL (SELECT id FROM sent)) x'), '0', "$what: and not both");
    cmp_ok(sql($standby, "SELECT kv.get('n')"), '>=', $counted[-1], "$what: no count lost");
    is(sql($standby, 'SELECT count(*) FROM (' . values_of(@held) . ") AS told (id, receipt) JOIN queue.q_held h ON h.msg_id = id AND h.receipt = told.receipt AND vt > now() + interval '23 hours' AND read_ct = 1"), '20', "$what: leases are there");
    is(sql($standby, "SELECT read_ct FROM queue.q_tries WHERE msg_id = $tries"), '2', "$what: attempts too");
    is(sql($standby, "SELECT count(*) FROM queue.read('tries', qty => 10); SELECT count(*) FROM queue.read('tries', qty => 10)"), "1\n0", "$what: one is left");
    is(sql($standby, "SELECT count(*) FROM queue.q_dead WHERE message = '$round'"), '1', "$what: then it is dead");
    is(sql($standby, "SELECT kv.lock('job $round', 60) IS NULL, kv.lock('other $round', 60) > $token"), 't|t', "$what: a lock is held, tokens grow");
    is(sql($standby, "SELECT count(*) FILTER (WHERE queue.delete('held', id, told.receipt)) FROM (" . values_of(@held[ 0 .. 9 ]) . ') AS told (id, receipt)'), '10', "$what: leases are acked");
    my @new = split /\n/, sql($standby, "SELECT receipt FROM queue.read('held', qty => 20)");
    is(scalar(grep { $receipts{$_}++ } @new, map { (split /\|/)[1] } @held, @acked), 0, "$what: no receipt twice");

    # Jobs go on.
    ok(wait_for(sub { sql($standby, "SELECT count(*) FROM cron.job_run_details WHERE status = 'succeeded' AND due_time > '$due'") >= 3 }, 'runs'), "$what: jobs go on");
    is(sql($standby, "SELECT count(*) FROM (SELECT FROM cron.job_run_details WHERE reason = 'schedule' GROUP BY jobid, due_time HAVING count(*) > 1) d"), '0', "$what: no due time twice");
    is(sql($standby, "SELECT count(*) FROM (SELECT due_time - lag(due_time) OVER (ORDER BY due_time) gap FROM cron.job_run_details WHERE reason = 'schedule') g WHERE gap > interval '1 s'"), '0', "$what: none left out");

    # The old primary is rewound. Its own settings stay.
    sql($standby, 'CHECKPOINT');
    my $conf = slurp_file($primary->data_dir . '/postgresql.conf');
    command_checks_all(
        [ 'pg_rewind', '--target-pgdata', $primary->data_dir, '--source-server', $standby->connstr('postgres'), '--no-sync', '--config-file', $primary->data_dir . '/postgresql.conf' ],
        0, [], [qr/Done!|no rewind required/], "$what: pg_rewind");
    unlink $primary->data_dir . '/postgresql.conf';
    $primary->append_conf('postgresql.conf', $conf);
    $primary->enable_streaming($standby);
    $primary->set_standby_mode;
    $primary->start;
    ($primary, $standby) = ($standby, $primary);
    synchronous($primary, '*');
    sql($primary, "SELECT queue.send('dead', '\"mark\"')");
    $primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));
    my $rows = 'SELECT msg_id, vt, receipt, read_ct FROM queue.q_held ORDER BY 1; SELECT msg_id FROM queue.q_q ORDER BY 1; SELECT key, number, expires_at FROM kv.c_default ORDER BY kind, key';
    same_lines(sql($standby, $rows), sql($primary, $rows), "$what: the old primary follows");
}
# All of it is worked off.
ok(wait_for(sub { sql($primary, "INSERT INTO done SELECT msg_id, receipt FROM queue.read('q', qty => 1000000, vt => 600) WHERE queue.delete('q', msg_id)"); sql($primary, 'SELECT count(*) FROM queue.q_q') eq '0' }, 'all'), 'the rest is worked off');
is(sql($primary, 'SELECT count(*) - count(DISTINCT id) = 0 AND count(*) = (SELECT count(*) FROM sent) FROM done'), 't', 'each message once');
check_storage($primary);
check_log($_) for $primary, $standby;
done_testing();
