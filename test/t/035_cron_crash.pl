# Jobs across crashes: a due time is never run twice and never forgotten, and what was cut off is told of. Each run writes its
# own row, which must agree with the history.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('cron_crash', streaming => 1, conf => "max_worker_processes = 60\nrestart_after_crash = on\ntimezone = 'UTC'\npgqueue.cron_history_rows = 0\npgqueue.cron_max_running = 40");
# What a run writes: the job and when its process began. A run's process has one such row at most.
sql($node, 'CREATE TABLE log (job text, pid int DEFAULT pg_backend_pid(), at timestamptz DEFAULT clock_timestamp())');
sub schedule {
    my ($on, $count, $schedule, $last) = @_;
    sql($on, "SELECT count(cron.create_job('j' || i, '$schedule', format('INSERT INTO log VALUES (%L); SELECT pg_sleep($last)', 'j' || i), overlap => 'allow', catch_up => 'all')) FROM generate_series(1, $count) i");
}
sub count_of { my ($on, $status) = @_; return sql($on, "SELECT count(*) FROM cron.job_run_details WHERE status = '$status'"); }
# After a crash: the next connections may be ones that it ends, or that come too early.
sub up {
    my ($condition) = @_;
    return wait_for(sub { my $out = ''; $node->psql('postgres', $condition, stdout => \$out, stderr => \my $err) == 0 && $out eq 't' }, $condition);
}
sub settled { my ($on) = @_; return wait_for(sub { sql($on, "SELECT count(*) FROM cron.job_run_details WHERE status IN ('waiting', 'running')") eq '0' }, 'the end of all runs'); }
# The history against what it says of itself, and against what the runs wrote.
sub agrees {
    my ($on, $what, $exact) = @_;
    is(sql($on, "SELECT count(*) FROM (SELECT FROM cron.job_run_details WHERE attempt = 1 AND reason = 'schedule' GROUP BY jobid, due_time HAVING count(*) > 1) d"), '0', "$what: no due time twice");
    is(sql($on, "SELECT count(*) FROM (SELECT due_time - lag(due_time) OVER (PARTITION BY jobid ORDER BY due_time) gap FROM cron.job_run_details WHERE reason = 'schedule') g WHERE gap > interval '1 s'"), '0', "$what: none left out");
    is(sql($on, "SELECT count(*) FROM cron.job_run_details WHERE status = 'skipped'"), '0', "$what: none skipped");
    is(sql($on, "SELECT DISTINCT return_message FROM cron.job_run_details WHERE status NOT IN ('succeeded', 'waiting', 'running')") =~ s/^the run was cut off.*$//r, '', "$what: nothing failed but what was cut off");
    # A run that was told to have succeeded has written its row, once; one that was cut off may have.
    my ($succeeded, $failed, $rows) = split /\|/, sql($on, "SELECT count(*) FILTER (WHERE status = 'succeeded'), count(*) FILTER (WHERE status = 'failed'), (SELECT count(*) FROM log) FROM cron.job_run_details");
    note("$what: $succeeded succeeded, $failed cut off, $rows rows");
    cmp_ok($rows, '>=', $succeeded, "$what: what succeeded was done");
    cmp_ok($rows, '<=', $succeeded + $failed, "$what: and nothing more");
    is(sql($on, "SELECT count(*) FROM (SELECT jobname, count(*) FILTER (WHERE status = 'succeeded') s, count(*) n FROM cron.job_run_details GROUP BY 1) h FULL JOIN (SELECT job, count(*) r FROM log GROUP BY 1) l ON job = jobname WHERE coalesce(r, 0) NOT BETWEEN coalesce(s, 0) AND coalesce(n, 0)"), '0', "$what: job by job");
}
sub empty {
    my ($on) = @_;
    sql($on, 'UPDATE cron.job SET active = false');
    settled($on);
    sql($on, 'DELETE FROM cron.job; DELETE FROM cron.job_run_details; TRUNCATE log');
}

# Many jobs every second, nothing skipped: each due time is run once. One place a job.
schedule($node, 200, '1 second', 0);
ok(wait_for(sub { sql($node, "SELECT count(*) > 0 FROM (SELECT FROM cron.job_run_details WHERE status = 'succeeded' GROUP BY jobid HAVING count(*) >= 5) j") eq 't' && sql($node, "SELECT count(DISTINCT jobid) FROM cron.job_run_details WHERE status = 'succeeded'") eq '200' }, 'five rounds', 300), '200 jobs every second');
sql($node, "UPDATE cron.job SET schedule = '\@yearly'");
ok(settled($node), '200 jobs: all come to their end');
agrees($node, '200 jobs');
is(count_of($node, 'failed'), '0', '200 jobs: none failed');
is(sql($node, "SELECT count(*) = (SELECT count(*) FROM log) FROM cron.job_run_details"), 't', '200 jobs: each due time wrote its row');
is(sql($node, "SELECT max(n) FROM (SELECT count(*) n FROM cron.job_run_details a JOIN cron.job_run_details b ON a.start_time BETWEEN b.start_time AND b.end_time GROUP BY a.runid) m") <= 40 ? 't' : 'f', 't', '200 jobs: never more than allowed at one time');
empty($node);

# A run that is under way when the server's processes are killed.
my $cut = sql($node, "SELECT cron.create_job('cut', '\@yearly', 'INSERT INTO log VALUES (''cut''); SELECT pg_sleep(1000)')");
my $again = sql($node, "SELECT cron.create_job('again', '\@yearly', 'INSERT INTO log VALUES (''again''); SELECT pg_sleep(CASE WHEN count(*) = 1 THEN 1000 ELSE 0 END) FROM log WHERE job = ''again''', retries => 1, retry_delay => 0)");
my $once = sql($node, "SELECT cron.at(now(), 'INSERT INTO log VALUES (''once''); SELECT pg_sleep(1000)')");
sql($node, "SELECT cron.run(jobid) FROM cron.job WHERE jobid <> $once");
ok(wait_for(sub { sql($node, "SELECT count(DISTINCT job) FROM log") eq '3' }, 'three runs'), 'runs under way');
my ($victim) = split /\n/, sql($node, "SELECT pid FROM pg_stat_activity WHERE backend_type ~ 'cron job'");
kill 'KILL', $victim;
ok(up("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $victim"), 'the server is back');
ok(settled($node), 'after a crash all runs come to an end');
is(sql($node, "SELECT string_agg(concat_ws(' ', CASE jobid WHEN $cut THEN 'cut' WHEN $again THEN 'again' ELSE 'once' END, attempt, reason, status, start_time <= end_time), ', ' ORDER BY jobid, runid) FROM cron.job_run_details"),
    'cut 1 manual failed t, again 1 manual failed t, again 2 retry succeeded t, once 1 schedule failed t', 'what was cut off has failed, and is tried again where that is wanted');
is(sql($node, "SELECT DISTINCT return_message FROM cron.job_run_details WHERE status = 'failed'"), 'the run was cut off: the server or its worker ended meanwhile', 'and says why');
is(sql($node, "SELECT count(*) FROM cron.job WHERE jobid = $once"), '0', 'a job that runs once has had its run');
is(sql($node, "SELECT string_agg(concat_ws(' ', job, count), ', ' ORDER BY job) FROM (SELECT job, count(*) FROM log GROUP BY job) l"), 'again 2, cut 1, once 1', 'none was run twice');
empty($node);

# Crashes one after the other with jobs every second: kill -9 of any process, and immediate shutdowns.
schedule($node, 20, '1 second', 'random()');
for my $round (1 .. 5) {
    my $before = count_of($node, 'succeeded');
    ok(wait_for(sub { count_of($node, 'succeeded') >= $before + 20 }, 'twenty runs'), "round $round: jobs run");
    if ($round % 2) {
        my $worker = { 1 => 'launcher', 3 => 'worker', 5 => 'run' }->{$round};
        my $pid;
        ok(wait_for(sub { ($pid) = split /\n/, sql($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgqueue $worker' OR '$worker' = 'run' AND backend_type ~ 'cron job'") }, "a $worker"), "round $round: kill -9 of the $worker");
        kill 'KILL', $pid;
        ok(up("SELECT count(*) FILTER (WHERE pid = $pid) = 0 AND count(*) FILTER (WHERE backend_type = 'pgqueue worker') > 0 FROM pg_stat_activity"), "round $round: the server is back");
    } else {
        $node->stop('immediate');
        $node->start;
    }
}
my $before = count_of($node, 'succeeded');
ok(wait_for(sub { count_of($node, 'succeeded') >= $before + 40 }, 'forty more'), 'after five crashes the jobs go on');
sql($node, "UPDATE cron.job SET schedule = '\@yearly'");
ok(settled($node), 'five crashes: all come to their end');
agrees($node, 'five crashes');
empty($node);

# The worker is ended in the middle of runs, in good order. They go on, and the next worker writes what became of them.
my $long = sql($node, "SELECT cron.create_job('long', '\@yearly', 'INSERT INTO log VALUES (''long''); SELECT pg_sleep(1.5); SELECT 7 AS a INTO TEMP t', overlap => 'allow')");
my $fails = sql($node, "SELECT cron.create_job('fails', '\@yearly', 'SELECT pg_sleep(1); SELECT 1/0')");
schedule($node, 10, '1 second', 'random()');
for my $round (1 .. 5) {
    my $run = sql($node, "SELECT cron.run($long)");
    my $failing = sql($node, "SELECT cron.run($fails)") if $round == 1;
    ok(wait_for(sub { sql($node, "SELECT status FROM cron.job_run_details WHERE runid = $run") eq 'running' }, 'a run'), "round $round: a run is under way");
    my $worker = sql($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgqueue worker' AND datname = 'postgres'");
    sql($node, "SELECT pg_terminate_backend($worker)") if $worker;
    pid_gone($node, $worker) if $worker;
}
ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job_run_details WHERE jobid IN ($long, $fails) AND status IN ('waiting', 'running')") eq '0' }, 'the long ones'), 'runs go on without the worker that started them');
is(sql($node, "SELECT status, sqlstate, return_message, count(*) FROM cron.job_run_details WHERE jobid IN ($long, $fails) GROUP BY 1, 2, 3 ORDER BY 1"), "failed|22012|ERROR:  division by zero|1\nsucceeded||INSERT 0 1; SELECT 1; SELECT 1|5", 'and the next one writes their results');
sql($node, "DELETE FROM cron.job_run_details WHERE jobid IN ($long, $fails); DELETE FROM log WHERE job = 'long'; UPDATE cron.job SET schedule = '\@yearly'");
ok(settled($node), 'the others end');
agrees($node, 'worker ended');
is(count_of($node, 'failed'), '0', 'worker ended: no run is lost');
empty($node);

# A standby runs nothing, and goes on where the primary was as far as it heard.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('cron_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
schedule($node, 10, '1 second', 'random()');
ok(wait_for(sub { count_of($node, 'succeeded') >= 30 }, 'thirty runs'), 'jobs run on the primary');
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^pgqueue (worker|cron)'"), '0', 'a standby runs no jobs');
fails_with($standby, "SELECT cron.schedule('* * * * *', 'SELECT 1')", '25006', qr/cannot execute cron.schedule/, 'nor takes them');
$node->stop('immediate');
my $due = $standby->safe_psql('postgres', 'SELECT max(due_time) FROM cron.job_run_details');
$standby->promote;
ok(wait_for(sub { sql($standby, "SELECT count(*) FROM cron.job_run_details WHERE status = 'succeeded' AND due_time > '$due'") >= 20 }, 'runs after promotion'), 'once promoted it does');
sql($standby, "UPDATE cron.job SET schedule = '\@yearly'");
ok(settled($standby), 'promoted: all come to their end');
agrees($standby, 'promoted');
check_log($standby);
$standby->stop;
$node->start;
settled($node);
empty($node);

# Dump and restore: settings, state and history travel; local jobs run in the database of the new name.
sql($node, 'CREATE DATABASE elsewhere; CREATE TABLE elsewhere (a int)');
sql($node, 'CREATE TABLE log (job text)', 'elsewhere');
sql($node, <<'SQL');
SELECT cron.create_job('local', '1 second', 'INSERT INTO log SELECT current_database()', timezone => 'Europe/Berlin', catch_up => 'all', jitter => 0.1);
SELECT cron.create_job('remote', '@yearly', 'INSERT INTO log SELECT current_database()', database => 'elsewhere', active => false);
SELECT cron.create_job('daily', '0 3 * * *', 'SELECT 1', timezone => 'Asia/Tokyo', overlap => 'queue', retries => 3, retry_delay => 5, max_runtime => 9);
SELECT cron.at('2200-01-01', 'SELECT 1', 'at');
SQL
ok(wait_for(sub { count_of($node, 'succeeded') >= 2 }, 'two runs'), 'a job before the dump');
sql($node, "SELECT cron.change_job('local', active => false)");
ok(settled($node), 'all ended');
my %look = (
    jobs => "SELECT jobid, schedule, command, username, active, jobname, timezone, overlap, catch_up, max_runtime, retries, retry_delay, jitter, run_at, is_local, counts_from FROM cron.job ORDER BY jobid",
    state => 'SELECT * FROM cron.job_state WHERE jobid IN (SELECT jobid FROM cron.job) ORDER BY 1',
    history => 'SELECT * FROM cron.job_run_details ORDER BY runid',
);
my %source = map { $_ => sql($node, $look{$_}) } keys %look;
my ($last_job, $last_run) = split /\|/, sql($node, 'SELECT (SELECT max(jobid) FROM cron.job), (SELECT max(runid) FROM cron.job_run_details)');
for my $how ('plain', 'inserts') {
    my $file = $node->basedir . "/$how.sql";
    $node->command_ok([ 'pg_dump', '-f', $file, $how eq 'inserts' ? '--inserts' : (), 'postgres' ], "pg_dump, $how");
    sql($node, "CREATE DATABASE $how TEMPLATE template0");
    $node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file, $how ], "$how: restored");
    same_lines(sql($node, $look{$_}, $how), $source{$_}, "$how: $_") for sort keys %look;
    my ($job, $run) = split /\|/, sql($node, "SELECT cron.schedule('new', '\@yearly', 'SELECT 1'), cron.run((SELECT jobid FROM cron.job WHERE jobname = 'local'))", $how);
    cmp_ok($job, '>', $last_job, "$how: ids of jobs go on");
    cmp_ok($run, '>', $last_run, "$how: ids of runs go on");
    sql($node, "SELECT cron.run(jobid) FROM cron.job WHERE jobname = 'remote'", $how);
    ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job_run_details WHERE runid >= $run AND status = 'succeeded'", $how) eq '2' }, 'both runs'), "$how: jobs run");
    is(sql($node, 'SELECT job FROM log WHERE job !~ $$postgres$$', $how), $how, "$how: the local one in the restored database");
    is(sql($node, 'SELECT job FROM log; TRUNCATE log', 'elsewhere'), 'elsewhere', "$how: the other one where it ran before");
    is(sql($node, "SELECT DISTINCT database FROM cron.job WHERE is_local", $how), $how, "$how: local jobs show its name");
    sql($node, "ALTER DATABASE $how RENAME TO ${how}_renamed");
    sql($node, "SELECT cron.run(jobid) FROM cron.job WHERE jobname = 'local'", "${how}_renamed");
    ok(wait_for(sub { sql($node, "SELECT count(*) FROM log WHERE job = '${how}_renamed'", "${how}_renamed") eq '1' }, 'a run'), "$how: also after a rename");
}
my $log = slurp_file($node->logfile);
$log =~ s/.*was terminated by signal 9.*//g;
unlike($log, qr/PANIC|TRAP:|was terminated by signal|ERROR:  XX/, 'no other crash');
done_testing();
