# Jobs and the clock: downtimes, daylight saving, a clock that jumps. pgqueue.clock_offset moves the clock that jobs go by.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use Time::Local 'timegm_modern';

my $node = queue_node('cron_clock', conf => "max_worker_processes = 40\ntimezone = 'UTC'\npgqueue.cron_history_age = 0\npgqueue.cron_history_rows = 0");

my $offset = 0;
# Puts the jobs' clock to a time of UTC, from which it goes on. Also while the server is down.
sub set_clock {
    my ($time) = @_;
    my ($year, $month, $day, $hour, $minute, $second) = split /\D/, $time;
    $offset = timegm_modern($second, $minute, $hour, $day, $month - 1, $year) - time;
    configure($node, sprintf('pgqueue.clock_offset = %.6f', $offset));
    return unless -e $node->data_dir . '/postmaster.pid';
    $node->reload;
    wait_for(\&seen, 'the worker with this clock'); # or it would find new jobs from another time
}
sub now { return "(clock_timestamp() + interval '1 s' * $offset)" }
# New jobs count from what the session's clock shows.
sub add {
    my ($name, $schedule, $settings) = @_;
    return sql($node, "SET pgqueue.clock_offset = $offset; SELECT cron.create_job('$name', '$schedule', 'SELECT 1'" . ($settings ? ", $settings" : '') . ')');
}
# due time and status of a job's first runs, once there are that many that are over.
sub runs {
    my ($job, $count, $columns) = @_;
    $columns //= "to_char(due_time, 'YYYY-MM-DD HH24:MI:SS'), status";
    wait_for(sub { sql($node, "SELECT count(*) >= $count FROM cron.job_run_details WHERE jobid = $job AND status NOT IN ('waiting', 'running')") eq 't' }, "$count runs of job $job")
      or diag(sql($node, "SELECT * FROM cron.job_run_details WHERE jobid = $job"));
    return sql($node, "SELECT $columns FROM cron.job_run_details WHERE jobid = $job ORDER BY runid");
}
# The worker has seen the clock and decided all that it makes due: another job that is due now has been run, at that time.
sub seen {
    my $mark = sql($node, "SET pgqueue.clock_offset = $offset; SELECT cron.at(" . now() . " - interval '1 s', 'SELECT 1')");
    wait_for(sub { sql($node, "SELECT count(*) FROM cron.job WHERE jobid = $mark") eq '0' }, 'the worker');
    return sql($node, "DELETE FROM cron.job_run_details WHERE jobid = $mark RETURNING abs(extract(epoch FROM start_time - " . now() . ")) < 5") eq 't';
}
sub passed {
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(wait_for(\&seen, 'the worker with this clock'), 'the worker has passed that time');
}
sub empty { sql($node, 'DELETE FROM cron.job; DELETE FROM cron.job_run_details') }

# A downtime. Each job is at minute 30; the server stands still over three of its times.
set_clock('2027-05-10 10:15:00');
my %job = map { $_ => add($_, '30 * * * *', "catch_up => '$_'") } 'none', 'once', 'all';
$job{reboot} = add('reboot', '@reboot');
$job{interval} = add('interval', '@every 30m', "catch_up => 'once'");
$job{inactive} = add('inactive', '30 * * * *', "catch_up => 'all', active => false");
$node->stop;
set_clock('2027-05-10 13:00:00');
$node->start;
is(runs($job{none}, 1), '2027-05-10 12:30:00|skipped', 'catch_up none: nothing is run, one line in the history');
is(runs($job{none}, 1, 'return_message'), 'missed: 3 due times from 2027-05-10 10:30:00+00 to 2027-05-10 12:30:00+00', 'which says how many and when');
is(runs($job{once}, 2), "2027-05-10 11:30:00|skipped\n2027-05-10 12:30:00|succeeded", 'catch_up once: one run for all, the last');
is(runs($job{once}, 2, 'return_message'), "missed: 2 due times from 2027-05-10 10:30:00+00 to 2027-05-10 11:30:00+00\nSELECT 1", 'and a line for the others');
is(runs($job{all}, 3), "2027-05-10 10:30:00|succeeded\n2027-05-10 11:30:00|succeeded\n2027-05-10 12:30:00|succeeded", 'catch_up all: each, although they may not overlap');
is(sql($node, "SELECT count(*) FROM cron.job_run_details a JOIN cron.job_run_details b USING (jobid) WHERE jobid = $job{all} AND a.runid < b.runid AND b.start_time < a.end_time"), '0', 'one after the other');
is(runs($job{interval}, 2, "to_char(due_time, 'MI:SS') ~ '^(15|45):', status"), "t|skipped\nt|succeeded", 'an interval counts from the due time before');
is(runs($job{reboot}, 1, 'status, reason'), 'succeeded|schedule', '@reboot: once');
passed();
is(sql($node, "SELECT count(*) FROM cron.job_run_details WHERE jobid = $job{inactive}"), '0', 'an inactive job misses nothing');
sql($node, "SET pgqueue.clock_offset = $offset; SELECT cron.change_job('inactive', active => true)");
my $before = sql($node, 'SELECT count(*) FROM cron.job_run_details');
# Starts are told apart by the second.
ok(wait_for(sub { sql($node, "SELECT clock_timestamp() > pg_postmaster_start_time() + interval '1 s'") eq 't' }, 'the next second'), 'a second later');
$node->restart;
ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job_run_details WHERE jobid = $job{reboot}") eq '2' }, '@reboot'), '@reboot: again after a restart');
sql($node, 'SELECT pg_terminate_backend(pid) FROM pgqueue.workers');
passed();
is(sql($node, "SELECT count(*) - $before FROM cron.job_run_details"), '1', 'and not after the worker was ended; nothing else is made up for twice, nor for the time when a job was not active');
# Each goes on with its next time.
set_clock('2027-05-10 13:30:00');
is((split /\n/, runs($job{none}, 2))[-1], '2027-05-10 13:30:00|succeeded', 'none: the next time on time');
is((split /\n/, runs($job{inactive}, 1))[-1], '2027-05-10 13:30:00|succeeded', 'one that was activated too');
empty();

# A changed schedule is not retroactive, nor is an activated one, whatever catch_up says.
set_clock('2027-06-01 12:00:00');
my $changed = add('changed', '0 18 * * *', "catch_up => 'all'");
my $zoned = add('zoned', '30 12 * * *', "catch_up => 'all'");
set_clock('2027-06-01 13:00:00');
passed();
sql($node, "SET pgqueue.clock_offset = $offset; SELECT cron.change_job('changed', schedule => '*/10 * * * *'), cron.change_job('zoned', timezone => 'Europe/London')");
passed();
is(sql($node, "SELECT count(*) FROM cron.job_run_details WHERE jobid = $changed"), '0', 'a changed schedule is not retroactive');
is(runs($zoned, 1), '2027-06-01 12:30:00|succeeded', 'a changed zone neither repeats what was run');
sql($node, "SELECT cron.change_job('changed', active => false)");
set_clock('2027-09-01 12:05:00');
sql($node, "SET pgqueue.clock_offset = $offset; SELECT cron.change_job('changed', active => true)");
passed();
is(sql($node, "SELECT count(*) FROM cron.job_run_details WHERE jobid = $changed"), '0', 'nor is one that was not active for long');
set_clock('2027-09-01 12:10:00');
is((split /\n/, runs($changed, 1))[-1], '2027-09-01 12:10:00|succeeded', 'it goes on from there');
empty();

# Daylight saving in Berlin: 02:00 to 03:00 on 28 March 2027, 03:00 to 02:00 on 31 October.
set_clock('2027-03-28 00:50:00');
my $fixed = add('fixed', '30 2 * * *', "timezone => 'Europe/Berlin'");
my $several = add('several', '0,20,40 2 * * *', "timezone => 'Europe/Berlin'");
my $wild = add('wild', '*/30 * * * *', "timezone => 'Europe/Berlin'");
set_clock('2027-03-28 01:00:00');
is(runs($fixed, 1), '2027-03-28 01:00:00|succeeded', 'spring: a fixed time in the gap runs right after it');
is(runs($several, 1), '2027-03-28 01:00:00|succeeded', 'spring: several times in the gap are one run');
is(runs($wild, 1), '2027-03-28 01:00:00|succeeded', 'spring: a wildcard job runs at its time');
for my $time ('01:30', '02:00') {
    set_clock("2027-03-28 $time:00+00");
    is((split /\n/, runs($wild, $time eq '01:30' ? 2 : 3))[-1], "2027-03-28 $time:00|succeeded", "spring: a wildcard job at $time UTC");
}
passed();
is(runs($fixed, 1) =~ tr/\n//, 0, 'spring: the fixed job ran once');
is(runs($several, 1) =~ tr/\n//, 0, 'spring: that of several times too');
empty();
set_clock('2027-10-31 00:20:00');
($fixed, $wild) = (add('fixed', '30 2 * * *', "timezone => 'Europe/Berlin', catch_up => 'all'"), add('wild', '*/30 * * * *', "timezone => 'Europe/Berlin'"));
for my $time ('00:30', '01:00', '01:30', '02:00') {
    set_clock("2027-10-31 $time:00+00");
    passed();
}
is(runs($wild, 4) =~ s/\|succeeded//gr, join("\n", map { "2027-10-31 $_:00" } '00:30', '01:00', '01:30', '02:00'), 'autumn: a wildcard job goes on running');
is(runs($fixed, 1), '2027-10-31 00:30:00|succeeded', 'autumn: a fixed time that comes twice runs once, the first time');
empty();
# The leap day.
set_clock('2028-02-28 23:59:00');
my $leap = add('leap', '0 0 29 2 *', "catch_up => 'all'");
my $last = add('last', '0 0 L 2 *');
set_clock('2028-02-29 00:00:00');
is(runs($leap, 1), '2028-02-29 00:00:00|succeeded', 'a leap day');
is(runs($last, 1), '2028-02-29 00:00:00|succeeded', 'which is the last of February');
set_clock('2036-03-01 00:00:00');
is(runs($leap, 3), "2028-02-29 00:00:00|succeeded\n2032-02-29 00:00:00|succeeded\n2036-02-29 00:00:00|succeeded", 'and the next ones after eight years');
empty();

# Forward by years with jobs of every second: bounded work, and on it goes.
set_clock('2030-01-01 00:00:00');
%job = map { $_ => add($_, '1 second', "catch_up => '$_', overlap => 'allow'") } 'none', 'once', 'all';
$job{fields} = add('fields', '* * * * * *', "catch_up => 'all', overlap => 'allow'");
runs($job{$_}, 1) for sort keys %job;
set_clock('2045-01-01 00:00:00');
ok(wait_for(sub { sql($node, "SELECT count(DISTINCT jobid) FROM cron.job_run_details WHERE status = 'succeeded' AND due_time >= '2045-01-01 00:00:02+00'") eq '4' }, 'runs in 2045'), 'fifteen years later they all run again');
sql($node, "UPDATE cron.job SET active = false");
ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job_run_details WHERE status IN ('waiting', 'running')") eq '0' }, 'the end of all runs'), 'all come to an end');
my $missed = "status = 'skipped' AND return_message ~ '^missed: more than \\d+ due times|^missed: 4\\d{8} due times'";
for my $name (sort keys %job) {
    is(sql($node, "SELECT count(*) FROM cron.job_run_details WHERE jobid = $job{$name} AND $missed"), '1', "$name: one line for all that were missed");
    is(sql($node, "SELECT count(*) - count(DISTINCT due_time) FROM cron.job_run_details WHERE jobid = $job{$name}"), '0', "$name: no time twice");
    my $made_up = sql($node, "SELECT count(*) FROM cron.job_run_details WHERE jobid = $job{$name} AND status = 'succeeded' AND due_time > '2031-01-01' AND due_time < timestamptz '2045-01-01 00:00:00+00' - interval '60 s'");
    cmp_ok($made_up, '<=', 100, "$name: $made_up made up for");
}
# Back by years: they go on from there.
sql($node, "SET pgqueue.clock_offset = $offset; UPDATE cron.job SET active = true");
ok(wait_for(sub { sql($node, "SELECT count(DISTINCT jobid) FROM cron.job_run_details WHERE status = 'succeeded' AND start_time > (SELECT max(counts_from) FROM cron.job)") eq '4' }, 'runs'), 'active again');
set_clock('2029-01-01 00:00:00');
ok(wait_for(sub { sql($node, "SELECT count(DISTINCT jobid) FROM cron.job_run_details WHERE status = 'succeeded' AND due_time BETWEEN '2029-01-01' AND '2029-01-02'") eq '4' }, 'runs in 2029'), 'back by sixteen years they run');
is(sql($node, "SELECT count(*) FROM cron.job_run_details WHERE due_time BETWEEN '2029-01-01' AND '2029-01-02' GROUP BY jobid, due_time HAVING count(*) > 1"), '', 'each time once');
$node->stop;
set_clock('2029-01-01 06:00:00');
$node->start;
ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job_run_details WHERE jobid = $job{none} AND return_message ~ '^missed: .* from 2029-01-01 00:0'") eq '1' }, 'what was missed'), 'and a downtime after that is noticed');
empty();

# Back by an hour: a job at a fixed time is not repeated, one of every minute doesn't wait an hour.
set_clock('2031-03-04 12:00:30');
my $daily = add('daily', '1 12 * * *');
my $minutes = add('minutes', '* * * * *');
set_clock('2031-03-04 12:01:00');
is(runs($daily, 1), '2031-03-04 12:01:00|succeeded', 'a daily job');
is(runs($minutes, 1), '2031-03-04 12:01:00|succeeded', 'a job of every minute');
set_clock('2031-03-04 11:01:59');
passed();
set_clock('2031-03-04 11:02:00');
is(runs($minutes, 2), "2031-03-04 12:01:00|succeeded\n2031-03-04 11:02:00|succeeded", 'back by an hour: the job of every minute goes on');
set_clock('2031-03-04 12:01:00');
passed();
is(runs($daily, 1), '2031-03-04 12:01:00|succeeded', 'back by an hour: the daily one is not repeated');
set_clock('2031-03-05 12:01:00');
is(runs($daily, 2), "2031-03-04 12:01:00|succeeded\n2031-03-05 12:01:00|succeeded", 'and runs the next day');
# Back by seconds, as a clock is set: no minute twice.
sql($node, "SELECT cron.unschedule('minutes')");
$minutes = add('again', '* * * * *');
set_clock('2031-03-05 12:05:00');
runs($minutes, 1);
set_clock('2031-03-05 12:04:50');
passed();
set_clock('2031-03-05 12:05:00');
passed();
set_clock('2031-03-05 12:06:00');
ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job_run_details WHERE jobid = $minutes AND due_time = '2031-03-05 12:06:00+00'") eq '1' }, '12:06'), 'back by seconds: the next minute comes');
is(sql($node, "SELECT count(*) - count(DISTINCT due_time), count(*) FILTER (WHERE due_time = '2031-03-05 12:05:00+00') FROM cron.job_run_details WHERE jobid = $minutes"), '0|1', 'back by seconds: no minute twice');
empty();

# Seconds: each counts from the one before, whatever the run takes.
set_clock('2031-05-06 12:00:00');
my $seconds = add('seconds', '2 seconds', "overlap => 'allow'");
sql($node, "SELECT cron.change_job('seconds', command => 'SELECT pg_sleep(0.7)')");
runs($seconds, 4);
is(sql($node, "SELECT DISTINCT due_time - lag FROM (SELECT due_time, lag(due_time) OVER (ORDER BY runid) FROM cron.job_run_details WHERE jobid = $seconds) r WHERE lag IS NOT NULL"), '00:00:02', 'seconds count from due time to due time');
is(sql($node, "SELECT bool_and(start_time >= due_time) FROM cron.job_run_details WHERE jobid = $seconds AND start_time IS NOT NULL"), 't', 'and none runs before it');
empty();

# Jitter: within its bound, not always the same, the same for the same time after a restart.
set_clock('2031-07-08 11:59:50');
my $jitter = sql($node, "SET pgqueue.clock_offset = $offset; SELECT min(cron.create_job('jitter' || i, '0 * * * *', 'SELECT 1', jitter => 30)) FROM generate_series(1, 20) i");
set_clock('2031-07-08 12:00:00');
ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job_run_details WHERE jobid >= $jitter") eq '20' }, 'twenty runs'), 'jobs with jitter are due');
my $starts = 'SELECT jobid, due_time, start_after FROM cron.job_run_details WHERE jobid >= ' . $jitter . ' ORDER BY 1, 2';
my $planned = sql($node, $starts);
is(sql($node, "SELECT bool_and(start_after - due_time BETWEEN interval '0' AND interval '30 s'), count(DISTINCT start_after) > 10, max(start_after) - min(start_after) > interval '10 s' FROM cron.job_run_details"), 't|t|t', 'spread within the bound');
$node->restart;
passed();
same_lines(sql($node, $starts), $planned, 'a restart changes nothing of it');
set_clock('2031-07-08 12:00:40');
ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job_run_details WHERE jobid >= $jitter AND status = 'succeeded'") eq '20' }, 'twenty runs'), 'all are run');
is(sql($node, "SELECT bool_and(start_time >= start_after) FROM cron.job_run_details"), 't', 'none before its time');

check_log($node);
done_testing();
