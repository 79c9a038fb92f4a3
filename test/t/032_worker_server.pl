# Workers and the server: too few slots for them, shutdowns, a standby, pg_upgrade.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('server', streaming => 1, conf => "max_worker_processes = 4\nmax_logical_replication_workers = 0");
sub log_lines { return scalar grep { $_ =~ $_[0] } split /\n/, slurp_file($node->logfile) }
sub workers { return sql($_[0], "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pgqueue worker'") }

# Three databases can have workers beside the launcher, and all of the server's slots are in use then.
served_are($node, 'postgres');
for my $database ('a', 'b') {
    sql($node, "CREATE DATABASE $database");
    create_extension($node, $database);
}
served_are($node, 'a b postgres');
my $short = qr/no background worker slot is free for database/;
is(log_lines($short), 0, 'slots for all');
for (1 .. 5) {
    my $pid = worker_pid($node, 'a');
    sql($node, 'ALTER DATABASE a SET pgqueue.purge_pages = 100');
    ok(wait_for(sub { my $now = worker_pid($node, 'a'); $now ne '' && $now ne $pid }, 'another worker'), 'a worker takes its own slot again');
}
is(log_lines($short), 0, 'which is free by then');
for my $database ('c', 'd') {
    sql($node, "CREATE DATABASE $database");
    create_extension($node, $database);
}
ok(wait_for(sub { log_lines($short) > 0 }, 'a line in the log'), 'no slots');
like(slurp_file($node->logfile), qr/$short.*?\n.*?It is tried again.*?\n.*?HINT:  You may need to raise "max_worker_processes" \(now 4\)/s, 'the log says what to do');
is(workers($node), '3', 'the others have workers');
SKIP: {
    skip 'no /proc here', 1 unless -e '/proc/self/stat';
    my $launcher = sql($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgqueue launcher'");
    my $before = cpu_ticks($launcher);
    sql($node, 'SELECT pg_sleep(3)');
    cmp_ok(cpu_ticks($launcher) - $before, '<', 20, 'the launcher does not spin');
}
is(log_lines($short), 1, 'and says it once');
sql($node, 'DROP DATABASE b');
ok(wait_for(sub { served($node) =~ /^a [cd] postgres$/ }, 'the next'), 'a slot that becomes free is used');
sql($node, 'DROP DATABASE a');
served_are($node, 'c d postgres', 'and the next one');
is(log_lines($short), 1, 'in one episode');

# Ways to stop, with a job under way.
sub long_run {
    sql($node, "SELECT cron.unschedule('long') FROM cron.job WHERE jobname = 'long'");
    sql($node, "SELECT cron.run(cron.schedule('long', '0 0 1 1 *', 'SELECT pg_sleep(600)'))");
    ok(wait_for(sub { sql($node, "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'") eq '1' }, 'a long run'), 'a long run');
}
configure($node, 'max_worker_processes = 8');
$node->restart;
sql($node, "SELECT cron.schedule('tick', '1 second', 'SELECT 1')");
for my $mode ('fast', 'smart', 'immediate') {
    long_run();
    $node->stop($mode);
    $node->start;
    job_runs($node, 'postgres', "jobs go on after a $mode shutdown");
    is(sql($node, "SELECT status FROM cron.job_run_details WHERE command ~ 'pg_sleep' ORDER BY runid DESC LIMIT 1"), 'failed', 'the run that was cut off failed');
    served_are($node, 'c d postgres');
}

# A standby.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
is(sql($standby, "SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^pgqueue'"), '0', 'nothing on a standby');
is(sql($standby, 'SELECT count(*) FROM pgqueue.workers'), '0', 'as the view shows');
my $last = sql($standby, "SELECT max(runid) FROM cron.job_run_details WHERE status = 'succeeded'");
ok(wait_for(sub { sql($standby, "SELECT max(runid) FROM cron.job_run_details WHERE status = 'succeeded'") > $last }, 'replay'), 'it sees the runs of the primary');
$node->stop;
$standby->promote;
served_are($standby, 'c d postgres', 'workers after its promotion');
job_runs($standby, 'postgres', 'and jobs');
is(sql($standby, "SELECT count(*) FROM (SELECT FROM cron.job_run_details WHERE jobname = 'tick' AND status <> 'skipped' GROUP BY due_time HAVING count(*) > 1) d"), '0', 'none twice');
check_log($standby);
$standby->stop;

# pg_upgrade looks at a server that runs, and runs one without workers.
$node->start;
my $new = queue_node('server_new', start => 0);
served_are($node, 'c d postgres');
chdir $new->basedir or die $!;
command_ok(
    [   'pg_upgrade', '--check', '--old-datadir', $node->data_dir, '--new-datadir', $new->data_dir,
        '--old-bindir', $node->config_data('--bindir'), '--new-bindir', $new->config_data('--bindir'),
        '--socketdir', $new->host, '--old-port', $node->port, '--new-port', $new->port
    ],
    'pg_upgrade --check beside workers');
job_runs($node, 'postgres');
$node->stop;
command_ok([ 'pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile, '-o', '-b', 'start' ], 'binary upgrade mode');
is(sql($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^pgqueue'"), '0', 'has no workers');
command_ok([ 'pg_ctl', '-w', '-D', $node->data_dir, 'stop' ], 'and stops');

# No worker processes at all.
configure($node, 'max_worker_processes = 0');
my $before = log_lines(qr/too many background workers/);
$node->start;
is(sql($node, "SELECT kv.set('k', 'v'), queue.create('q'); SELECT kv.get('k'), queue.send('q', '1') > 0"), "t|t\nv|t", 'stores and queues work without workers');
is(sql($node, "SELECT count(*) FROM queue.read('q')"), '1', 'and read');
is(log_lines(qr/too many background workers/), $before + 1, 'the log says that there is no launcher');
like(slurp_file($node->logfile), qr/pgqueue: there are no background workers, since "max_worker_processes" is 0/, 'and what that means');
is(sql($node, 'SELECT count(*) FROM pgqueue.workers'), '0', 'the view is empty');
sql($node, 'CREATE DATABASE e TEMPLATE c; ALTER DATABASE e RENAME TO f; DROP DATABASE f');

check_log($node);
done_testing();
