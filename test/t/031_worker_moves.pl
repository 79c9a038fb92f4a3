# Databases that are copied, renamed, moved, closed and dropped while their workers and jobs run.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('moves', conf => "max_prepared_transactions = 5\nmax_worker_processes = 16\npgqueue.cron_max_running = 2");
sub long_run {
    my ($database) = @_;
    sql($node, "SELECT cron.run(cron.schedule('long', '0 0 1 1 *', 'SELECT pg_sleep(600)'))", $database);
    ok(wait_for(sub { sql($node, "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep' AND backend_type ~ 'cron job'") eq '1' }, 'a long run'), 'a long run');
}

sql($node, 'CREATE DATABASE a');
create_extension($node, 'a');
sql($node, "SELECT cron.schedule('tick', '1 second', 'SELECT current_database()')", $_) for 'a', 'postgres';
job_runs($node, 'a');

# Copies.
sql($node, 'CREATE DATABASE b TEMPLATE a');
sql($node, 'CREATE DATABASE c TEMPLATE a');
served_are($node, 'a b c postgres', 'copies get workers');
job_runs($node, $_) for 'a', 'b', 'c';
is(sql($node, "SELECT DISTINCT database FROM cron.job", 'c'), 'c', "the copy's jobs are its own");
is(sql($node, "SELECT DISTINCT database FROM cron.job_run_details WHERE runid = (SELECT max(runid) FROM cron.job_run_details WHERE status = 'succeeded')", 'c'), 'c', 'and run there');
is(sql($node, 'SELECT count(*) FROM cron.job', 'a'), '1', 'the template has what it had');

# Forms that fail.
my $guest = session($node, database => 'a');
for my $sql ('DROP DATABASE a', 'ALTER DATABASE a RENAME TO z', 'CREATE DATABASE d TEMPLATE a', 'BEGIN; DROP DATABASE a; COMMIT') {
    my $state = $sql =~ /BEGIN/ ? '25001' : '55006';
    fails_with($node, $sql, $state, qr/being accessed by other users|cannot run inside/, "$sql fails");
    served_are($node, 'a b c postgres', 'and the worker is back');
}
job_runs($node, 'a');
$guest->quit;
pid_gone($node, $guest->pid) or die;
sql($node, 'CREATE ROLE joe LOGIN; CREATE ROLE maker LOGIN CREATEDB');
my $pid = worker_pid($node, 'a');
fails_with($node, "SET SESSION AUTHORIZATION $_->[0]; $_->[1]", '42501', qr/must be owner|permission denied/, "$_->[1] by $_->[0]")
  for [ 'joe', 'DROP DATABASE a' ], [ 'joe', 'ALTER DATABASE a RENAME TO z' ], [ 'joe', 'CREATE DATABASE d TEMPLATE a' ],
  [ 'joe', "ALTER DATABASE a SET pgqueue.purge_pages = 1" ], [ 'maker', 'DROP DATABASE a' ], [ 'maker', 'CREATE DATABASE d TEMPLATE a' ];
job_runs($node, 'a');
is(worker_pid($node, q(a)), $pid, "does not send the worker away");
sql($node, 'ALTER DATABASE a IS_TEMPLATE true');
sql($node, 'SET SESSION AUTHORIZATION maker; CREATE DATABASE d TEMPLATE a');
served_are($node, 'a b c d postgres', 'a template may be copied');
sql($node, 'DROP DATABASE d; ALTER DATABASE a IS_TEMPLATE false');

# Renamed.
sql($node, 'ALTER DATABASE b RENAME TO bb');
served_are($node, 'a bb c postgres', 'renamed');
job_runs($node, 'bb');
is(sql($node, "SELECT database FROM cron.job", 'bb'), 'bb', 'its jobs show the new name');
is(sql($node, "SELECT database FROM cron.job_run_details WHERE status = 'succeeded' ORDER BY runid DESC LIMIT 1", 'bb'), 'bb', 'and their runs');
my $session = session($node);
$session->query_ok('BEGIN; ALTER DATABASE bb RENAME TO b; ALTER DATABASE c RENAME TO cc; ROLLBACK');
served_are($node, 'a bb c postgres', 'renames that are rolled back');
job_runs($node, $_) for 'bb', 'c';
sql($node, "ALTER SYSTEM SET pgqueue.databases = 'a, b, postgres'");
sql($node, 'SELECT pg_reload_conf()');
served_are($node, 'a postgres', 'a list of databases');
$session->query_ok('BEGIN; ALTER DATABASE bb RENAME TO b');
job_runs($node, 'a');
is(served($node), 'a postgres', 'a new name');
$session->query_ok('COMMIT');
served_are($node, 'a b postgres', 'counts when it is committed');
sql($node, "ALTER SYSTEM RESET pgqueue.databases");
sql($node, 'SELECT pg_reload_conf()');
served_are($node, 'a b c postgres');

# Moved.
my $space = PostgreSQL::Test::Utils::tempdir();
sql($node, "CREATE TABLESPACE other LOCATION '$space'");
sql($node, 'ALTER DATABASE b SET TABLESPACE other');
served_are($node, 'a b c postgres', 'moved');
job_runs($node, 'b');

# Closed.
sql($node, 'ALTER DATABASE b ALLOW_CONNECTIONS false');
served_are($node, 'a c postgres', 'closed');
sql($node, 'ALTER DATABASE b ALLOW_CONNECTIONS true');
served_are($node, 'a b c postgres', 'open again');
job_runs($node, 'b');

# Everything at once, with jobs that run all the time.
my @sessions = map { session($node) } 1 .. 3;
for my $round (1 .. 5) {
    $sessions[0]->start("CREATE DATABASE x$round TEMPLATE a");
    $sessions[1]->start('ALTER DATABASE b RENAME TO bb; ALTER DATABASE bb RENAME TO b');
    $sessions[2]->start("CREATE DATABASE y$round TEMPLATE c");
    for (@sessions) { $_->finish; is($_->error, '', "round $round") }
    $sessions[0]->start("DROP DATABASE x$round");
    $sessions[2]->start("DROP DATABASE y$round WITH (FORCE)");
    for (@sessions[ 0, 2 ]) { $_->finish; is($_->error, '', 'dropped') }
}
$_->quit for @sessions;
served_are($node, 'a b c postgres', 'one each in the end');
job_runs($node, $_) for 'a', 'b', 'c', 'postgres';

# Dropped.
sql($node, 'DROP DATABASE b');
served_are($node, 'a c postgres', 'DROP DATABASE');
sql($node, "SELECT cron.unschedule('tick')", 'c');
for (1 .. 3) {
    sql($node, 'CREATE DATABASE b TEMPLATE c');
    served_are($node, 'a b c postgres');
    long_run('b');
    fails_with($node, 'DROP DATABASE b', '55006', qr/being accessed/, 'a job in it keeps a database') if $_ == 1;
    sql($node, 'DROP DATABASE b WITH (FORCE)');
    served_are($node, 'a c postgres', 'WITH (FORCE) ends the job');
}
job_runs($node, $_, 'whose place another job gets') for 'a', 'postgres';
for (1 .. 3) {
    long_run('c');
    sql($node, 'DROP EXTENSION pgqueue; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type ~ $$cron job$$ AND datname = current_database()', 'c');
    served_are($node, 'a postgres', 'the extension is dropped while its job runs');
    create_extension($node, 'c');
    served_are($node, 'a c postgres');
}
job_runs($node, $_, 'whose place another job gets') for 'a', 'postgres';

# A rename that is prepared holds the database: nobody gets in, and the server stops nevertheless.
$session->query_ok("BEGIN; ALTER DATABASE c RENAME TO cc; PREPARE TRANSACTION 'p'");
job_runs($node, 'a');
$session->quit;
$node->restart;
job_runs($node, 'a');
sql($node, "COMMIT PREPARED 'p'");
served_are($node, 'a cc postgres', 'it is there when that is over');

check_log($node);
done_testing();
