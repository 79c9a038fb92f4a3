# The background workers: one in each database that has the extension, through all that may happen to one.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('workers', conf => "max_prepared_transactions = 5\npgqueue.purge_interval = 200ms\nmax_worker_processes = 12\nrestart_after_crash = on");
sub log_lines { return scalar grep { $_ =~ $_[0] } split /\n/, slurp_file($node->logfile) }

# With the extension.
served_are($node, 'postgres', 'a worker where the extension is, none where it is not');
sql($node, 'CREATE DATABASE a');
my $session = session($node, database => 'a');
$session->query_ok('BEGIN; CREATE EXTENSION pgqueue');
is(served($node), 'postgres', 'none before CREATE EXTENSION commits');
$session->query_ok('ROLLBACK');
$session->query_ok('BEGIN; CREATE EXTENSION pgqueue; COMMIT');
served_are($node, 'a postgres', 'one when it has');
is(sql($node, "SELECT database, w.state, errors, last_error IS NULL FROM pgqueue.workers w JOIN pg_stat_activity USING (pid) WHERE database = datname AND next_round_at > started_at ORDER BY 1"),
    "a|idle|0|t\npostgres|idle|0|t", 'the view shows them');
sql($node, "SELECT cron.schedule('tick', '1 second', 'SELECT 1')", $_) for 'a', 'postgres';
job_runs($node, $_) for 'a', 'postgres';

my $pid = worker_pid($node, 'a');
$session->query_ok('BEGIN; DROP EXTENSION pgqueue; ROLLBACK');
job_runs($node, 'a', 'DROP EXTENSION that is rolled back');
is(worker_pid($node, 'a'), $pid, 'by the same worker');
$session->query_ok('BEGIN; DROP EXTENSION pgqueue; CREATE EXTENSION pgqueue; COMMIT');
sql($node, "SELECT cron.schedule('tick', '1 second', 'SELECT 1')", 'a');
job_runs($node, 'a', 'dropped and created in one transaction');
$session->query_ok('DROP EXTENSION pgqueue');
served_are($node, 'postgres', 'none after DROP EXTENSION');
$session->query_ok("BEGIN; CREATE EXTENSION pgqueue; PREPARE TRANSACTION 'p'");
is(served($node), 'postgres', 'none when CREATE EXTENSION is prepared');
$session->query_ok("COMMIT PREPARED 'p'");
served_are($node, 'a postgres', 'one after COMMIT PREPARED');
$session->query_ok("BEGIN; DROP EXTENSION pgqueue; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'");
served_are($node, 'postgres', 'none after a DROP EXTENSION that was prepared');
$session->query_ok('CREATE EXTENSION pgqueue; DROP EXTENSION pgqueue') for 1 .. 30;
$session->query_ok('CREATE EXTENSION pgqueue');
served_are($node, 'a postgres', 'dropped and created again and again');
$session->query_ok('DROP EXTENSION pgqueue');
sql($node, 'CREATE ROLE eve SUPERUSER');
$session->query_ok('SET ROLE eve; CREATE EXTENSION pgqueue; RESET ROLE');
served_are($node, 'a postgres', 'of another owner');
$session->query_ok('DROP OWNED BY eve');
served_are($node, 'postgres', 'none after DROP OWNED');
$session->query_ok('CREATE EXTENSION pgqueue');
sql($node, "SELECT cron.schedule('tick', '1 second', 'SELECT 1')", 'a');
job_runs($node, 'a', 'back again');
$session->quit;

# Settings.
sub started_again {
    my ($what, $sql, $database) = @_;
    my $before = worker_pid($node, $database);
    sql($node, $sql);
    ok(wait_for(sub { my $now = worker_pid($node, $database); $now ne '' && $now ne $before }, $what), $what);
}
started_again('ALTER DATABASE SET starts its worker again', 'ALTER DATABASE a SET pgqueue.cron_enabled = off', 'a');
my $cpu = -e '/proc/self/stat' ? cpu_ticks(worker_pid($node, 'a')) : 0;
my $runs = sql($node, 'SELECT count(*) FROM cron.job_run_details', 'a');
job_runs($node, 'postgres') for 1 .. 3;
is(sql($node, 'SELECT count(*) FROM cron.job_run_details', 'a'), $runs, 'no jobs run where they are switched off');
SKIP: {
    skip 'no /proc here', 1 unless -e '/proc/self/stat';
    cmp_ok(cpu_ticks(worker_pid($node, 'a')) - $cpu, '<', 50, 'and the worker sleeps');
}
started_again('so does RESET', 'ALTER DATABASE a RESET pgqueue.cron_enabled', 'a');
job_runs($node, 'a', 'and they run again');
started_again('ALTER ROLE ALL SET', 'ALTER ROLE ALL SET pgqueue.purge_pages = 100', $_) for 'a', 'postgres';
started_again('a default of read-only transactions', 'ALTER DATABASE a SET default_transaction_read_only = on', 'a');
job_runs($node, 'a', 'does not stop jobs');
started_again('nor a stricter isolation', 'ALTER DATABASE a RESET default_transaction_read_only; ALTER DATABASE a SET default_transaction_isolation = serializable', 'a');
job_runs($node, 'a');
sql($node, 'ALTER DATABASE a RESET ALL; ALTER ROLE ALL RESET ALL; CREATE ROLE joe LOGIN');
served_are($node, 'a postgres');
job_runs($node, 'postgres');
$pid = worker_pid($node, 'postgres');
sql($node, 'SET SESSION AUTHORIZATION joe; ALTER ROLE joe SET work_mem = 1024');
job_runs($node, 'postgres');
is(worker_pid($node, 'postgres'), $pid, "a user's own settings do not concern the worker");

sub reload { sql($node, "ALTER SYSTEM SET $_[0]"); sql($node, 'SELECT pg_reload_conf()') }
reload('pgqueue.workers = off');
served_are($node, '', 'pgqueue.workers = off');
reload('pgqueue.workers = on');
served_are($node, 'a postgres', 'on');
reload("pgqueue.databases = 'a, b'");
served_are($node, 'a', 'a list of databases');
reload("pgqueue.databases = 'nobody'");
served_are($node, '', 'a list without any of them');
reload("pgqueue.databases = '*'");
served_are($node, 'a postgres', 'all');
reload('pgqueue.workers = off'), reload('pgqueue.workers = on') for 1 .. 10;
reload('pgqueue.workers = off');
served_are($node, '', 'none, however fast it changes');
reload('pgqueue.workers = on');
job_runs($node, 'a');

# The library's version.
sql($node, "UPDATE pg_extension SET extversion = '0.0' WHERE extname = 'pgqueue'; ALTER EXTENSION plpgsql UPDATE", 'a');
sub state_is {
    my ($state, $what) = @_;
    ok(wait_for(sub { sql($node, "SELECT state FROM pgqueue.workers WHERE database = 'a'") eq $state }, $what), $what);
}
state_is('version mismatch', 'an extension of another version');
sql($node, 'ALTER EXTENSION plpgsql UPDATE', 'a') for 1 .. 5;
$runs = sql($node, 'SELECT count(*) FROM cron.job_run_details', 'a');
job_runs($node, 'postgres') for 1 .. 2;
is(sql($node, 'SELECT count(*) FROM cron.job_run_details', 'a'), $runs, 'is left alone');
is(log_lines(qr/LOG:  pgqueue: this database's extension is of a version that the library, 0\.2, doesn't serve/), 1, 'which is said once');
sql($node, "UPDATE pg_extension SET extversion = '0.2' WHERE extname = 'pgqueue'; ALTER EXTENSION plpgsql UPDATE", 'a');
job_runs($node, 'a', 'until it is of one that the library serves');

# Killed.
sub replaced {
    my ($what, $type, $kill) = @_;
    my $find = "SELECT min(pid) FROM pg_stat_activity WHERE backend_type = '$type' AND coalesce(datname, 'a') = 'a'";
    my $before = sql($node, $find);
    $kill->($before);
    ok(wait_for(sub { my $now = eval { sql($node, $find) } // ''; $now ne '' && $now ne $before }, $what), $what);
    ok(wait_for(sub { eval { served($node) eq q(a postgres) } }, q(workers)), q(one worker a database));
}
my $terminate = sub { sql($node, "SELECT pg_terminate_backend($_[0])") };
my $cancel = sub { sql($node, "SELECT pg_cancel_backend($_[0])") };
replaced('a worker that was terminated comes back', 'pgqueue worker', $terminate) for 1 .. 3;
replaced('the launcher too', 'pgqueue launcher', $terminate);
sql($node, 'CREATE DATABASE b');
create_extension($node, 'b');
served_are($node, 'a b postgres', 'and does its work');
sql($node, 'DROP DATABASE b');
$cancel->(worker_pid($node, 'a'));
$cancel->(sql($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgqueue launcher'"));
job_runs($node, 'a', 'cancelled workers');
served_are($node, 'a postgres');
replaced('a crash', 'pgqueue worker', sub { kill 'KILL', $_[0] });
job_runs($node, "a", "jobs go on after a crash");

# A run that is under way when its database's worker is replaced.
sub last_run { return sql($node, "SELECT status FROM cron.job_run_details WHERE command ~ 'pg_sleep' ORDER BY runid DESC LIMIT 1", $_[0]) }
sub long_run {
    my ($seconds, $database) = @_;
    sql($node, "SELECT cron.run(cron.schedule('long', '0 0 1 1 *', 'SELECT pg_sleep($seconds)'))", $database);
    ok(wait_for(sub { sql($node, "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep' AND backend_type ~ 'cron job'") eq '1' }, 'a long run'), 'a long run');
}
long_run(5, 'a');
replaced('a worker whose job runs', 'pgqueue worker', $terminate);
ok(wait_for(sub { last_run('a') eq 'succeeded' }, 'its end'), 'the next one gets the result');

# Errors.
sql($node, "SELECT kv.create_store('s')", 'a');
sql($node, "ALTER TABLE cron.job RENAME TO hidden; SELECT pgqueue.wake()", 'a');
ok(wait_for(sub { sql($node, "SELECT errors > 0 AND last_error_at > started_at AND last_error = 'jobs: relation \"cron.job\" does not exist' FROM pgqueue.workers WHERE database = 'a'") eq 't' }, 'an error'),
    'an error is shown');
is(sql($node, "SET SESSION AUTHORIZATION joe; SELECT errors > 0, last_error FROM pgqueue.workers WHERE database = 'a'", 'a'), 't|', 'not to everybody');
sql($node, "SELECT kv.set('k', 'v', ttl => 0.2, store => 's')", 'a');
ok(wait_for(sub { sql($node, 'SELECT count(*) FROM kv.s_s', 'a') eq '0' }, 'a purge'), 'purges go on');
sql($node, "ALTER TABLE cron.hidden RENAME TO job; SELECT pgqueue.wake()", 'a');
job_runs($node, 'a', 'so do jobs when the cause is gone');

# Nothing to do.
sql($node, "SELECT cron.unschedule('tick')", $_) for 'a', 'postgres';
reload('pgqueue.purge_interval = 10000');
sub wakes {
    my $status = slurp_file("/proc/$_[0]/status");
    return $status =~ /^voluntary_ctxt_switches:\s+(\d+)/m ? $1 : die $status;
}
SKIP: {
    skip 'no /proc here', 1 unless -e '/proc/self/status';
    ok(wait_for(sub { sql($node, "SELECT count(*) FROM pgqueue.workers WHERE next_round_at > now() + interval '8 s'") eq '2' }, 'quiet'), 'all is done');
    my @pids = split /\n/, sql($node, "SELECT pid FROM pg_stat_activity WHERE backend_type ~ '^pgqueue'");
    my @before = map { wakes($_) } @pids;
    sql($node, 'SELECT pg_sleep(20)');
    my @woken = map { wakes($pids[$_]) - $before[$_] } 0 .. $#pids;
    is(scalar(grep { $_ > 4 } @woken), 0, 'idle processes sleep') or diag("@woken");
}

check_log_but_kill();
done_testing();

# The process that was killed here is the only one.
sub check_log_but_kill {
    is(log_lines(qr/PANIC:|TRAP:|corrupt|ERROR:  XX/), 0, 'no corruption in the log');
    is(log_lines(qr/was terminated by signal/), 1, 'one crash, which was ours');
}
