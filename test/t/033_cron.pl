# Jobs that run: what a run is (a session of the job's role, statement by statement), what the history says of it, and when
# it is done at all.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = queue_node('cron', conf => "max_worker_processes = 24\nmax_prepared_transactions = 5\ntimezone = 'UTC'");
sql($node, <<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
CREATE TABLE log (what text, at timestamptz DEFAULT clock_timestamp());
GRANT ALL ON log TO PUBLIC;
SELECT queue.create('q');
SQL

# A column of a run once it is over.
sub over {
    my ($run, $columns, $database, $on) = @_;
    $on //= $node;
    wait_for(sub { sql($on, "SELECT status NOT IN ('waiting', 'running') FROM cron.job_run_details WHERE runid = $run", $database) eq 't' },
        "end of run $run") or diag(sql($on, 'SELECT * FROM cron.job_run_details ORDER BY runid DESC LIMIT 5', $database));
    return sql($on, 'SELECT ' . ($columns // 'status, sqlstate, return_message') . " FROM cron.job_run_details WHERE runid = $run", $database);
}

# Runs a command now by a job that isn't due, with these settings (SQL), and waits for its end.
my $jobs = 0;
sub job {
    my ($command, $settings, $database) = @_;
    $jobs++;
    return sql($node, "SELECT cron.create_job('job $jobs', '\@yearly', \$command\$$command\$command\$" . ($settings ? ", $settings" : '') . ')', $database);
}
sub start { my ($job, $database) = @_; return sql($node, "SELECT cron.run($job)", $database); }
sub run { my ($command, $settings, $database) = @_; return over(start(job($command, $settings, $database), $database), undef, $database); }
sub logged { my $out = sql($node, "SELECT string_agg(what, ' ' ORDER BY at) FROM log"); sql($node, 'TRUNCATE log'); return $out; }
sub pid_of {
    my ($run) = @_;
    wait_for(sub { sql($node, "SELECT job_pid IS NOT NULL FROM cron.job_run_details WHERE runid = $run") eq 't' }, "process of run $run");
    return sql($node, "SELECT job_pid FROM cron.job_run_details WHERE runid = $run");
}

# Statements.
is(run('VACUUM'), 'succeeded||VACUUM', 'VACUUM');
is(run("VACUUM ANALYZE log;\nCREATE INDEX CONCURRENTLY ON log (at); DROP INDEX log_at_idx -- the end"), 'succeeded||VACUUM; CREATE INDEX; DROP INDEX', 'what may not be in a transaction block, several of it');
is(run("CREATE TABLE t AS SELECT generate_series(1, 3) i; INSERT INTO t VALUES (4), (5); UPDATE t SET i = i WHERE i > 2; DELETE FROM t WHERE i = 5; SELECT * FROM t; TABLE t; MERGE INTO t USING t s ON false WHEN NOT MATCHED THEN INSERT VALUES (9); DROP TABLE t"),
    'succeeded||SELECT 3; INSERT 0 2; UPDATE 3; DELETE 1; SELECT 4; SELECT 4; MERGE 4; DROP TABLE', 'command tags with row counts');
sql($node, <<'SQL');
CREATE PROCEDURE commits(fails boolean) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log VALUES ('one');
    COMMIT;
    INSERT INTO log VALUES ('two');
    ROLLBACK;
    INSERT INTO log VALUES ('three');
    COMMIT;
    INSERT INTO log VALUES ('four');
    IF fails THEN RAISE EXCEPTION 'no four'; END IF;
END $$;
SQL
is(run('CALL commits(false)'), 'succeeded||CALL', 'CALL of a procedure that commits');
is(logged(), 'one three four', 'which it did');
like(run("CALL commits(true); INSERT INTO log VALUES ('after')"), qr/^failed\|P0001\|ERROR:  no four\nCONTEXT:  PL\/pgSQL function commits\(boolean\) line 10 at RAISE$/, 'and one that fails after that');
is(logged(), 'one three', 'keeps what it committed, and nothing comes after it');
is(run("INSERT INTO log VALUES ('a'); INSERT INTO log VALUES ('b'); SELECT 1/0; INSERT INTO log VALUES ('c')"), 'failed|22012|ERROR:  division by zero', 'a statement that fails');
is(logged(), 'a b', 'stops the rest; those before stay');
is(run("BEGIN; INSERT INTO log VALUES ('a'); SAVEPOINT s; INSERT INTO log VALUES ('b'); ROLLBACK TO s; COMMIT; INSERT INTO log VALUES ('c')"), 'succeeded||BEGIN; INSERT 0 1; SAVEPOINT; INSERT 0 1; ROLLBACK; COMMIT; INSERT 0 1', 'a transaction block');
is(logged(), 'a c', 'is one');
is(run("BEGIN; INSERT INTO log VALUES ('a'); SELECT 1/0; COMMIT; INSERT INTO log VALUES ('c')"), 'failed|22012|ERROR:  division by zero', 'one that fails');
is(logged(), '', 'is rolled back');
is(run("INSERT INTO log VALUES ('a'); BEGIN; INSERT INTO log VALUES ('b')"), "failed|25001|ERROR:  the command left a transaction open, which was rolled back\nHINT:  End it with COMMIT.", 'one that is left open');
is(logged(), 'a', 'is rolled back and told of');
is(run("COMMIT; BEGIN; COMMIT AND CHAIN; ROLLBACK"), 'succeeded||COMMIT; BEGIN; COMMIT; ROLLBACK', 'transactions that are not there, and chained ones');
is(run("INSERT INTO log VALUES ('a'); SELEC 1"), "failed|42601|ERROR:  syntax error at or near \"SELEC\"", 'what does not parse');
is(logged(), '', 'is not begun');
is(run('COPY log FROM STDIN') =~ s/\n.*//sr, 'failed|0A000|ERROR:  COPY FROM STDIN and COPY TO STDOUT need a client', 'COPY FROM STDIN');
is(run('COPY log TO STDOUT') =~ s/\n.*//sr, 'failed|0A000|ERROR:  COPY FROM STDIN and COPY TO STDOUT need a client', 'COPY TO STDOUT');
is(run("COPY (SELECT 1) TO '/dev/null'; COPY log FROM '/dev/null'"), 'succeeded||COPY 1; COPY 0', 'COPY with files');
is(run("SELECT queue.send('q', '\"from a job\"')"), 'succeeded||SELECT 1', 'a message sent');
is(sql($node, "SELECT message FROM queue.read('q')"), '"from a job"', 'and read');
is(run("DO \$\$ BEGIN RAISE NOTICE 'note'; RAISE WARNING 'warning'; END \$\$"), 'succeeded||DO', 'notices and warnings');
is(run("DO \$\$ BEGIN RAISE EXCEPTION 'what' USING DETAIL = 'which', HINT = 'how', ERRCODE = 'ZZ123'; END \$\$"),
    "failed|ZZ123|ERROR:  what\nDETAIL:  which\nHINT:  how\nCONTEXT:  PL/pgSQL function inline_code_block line 1 at RAISE", 'message, detail, hint, context and SQLSTATE');
is(run("LISTEN x") =~ s/\|[^|]*$//r, 'failed|0A000', 'LISTEN, which nobody would hear');
is(run("NOTIFY x; SET work_mem = '1MB'; SHOW work_mem; EXPLAIN SELECT 1; PREPARE p AS SELECT 1; EXECUTE p; DECLARE c CURSOR WITH HOLD FOR SELECT 1; FETCH c; CLOSE c; LOCK TABLE log") =~ s/\n.*//sr,
    'failed|25P01|ERROR:  LOCK TABLE can only be used in transaction blocks', 'utility commands of all kinds');
is(run("SET work_mem = '1MB'; SHOW work_mem; EXPLAIN ANALYZE SELECT 1; PREPARE p AS SELECT 1; EXECUTE p; DECLARE c CURSOR WITH HOLD FOR SELECT 1; FETCH c; CLOSE c"),
    'succeeded||SET; SHOW; EXPLAIN; PREPARE; SELECT 1; DECLARE CURSOR; FETCH 1; CLOSE CURSOR', 'utility commands that work');
is(run("/* only a comment */ -- and another"), 'succeeded||', 'no statement at all');
is(run("CREATE TEMP TABLE mine (a int); SET work_mem = '3MB'; SELECT set_config('a.b', 'c', false)"), 'succeeded||CREATE TABLE; SET; SELECT 1', 'a temporary table and settings') for 1 .. 2;
my $long = 'x' x 1_000_000;
my $big = sql($node, "SELECT cron.create_job('big', '\@yearly', 'INSERT INTO log SELECT length(' || quote_literal(repeat('x', 1000000)) || ')', active => false)");
is(over(start($big)), 'succeeded||INSERT 0 1', 'a command of 1 MB');
is(logged(), '1000000', 'is run whole');
like(over(start(job("DO \$\$ BEGIN RAISE EXCEPTION '%', repeat('\x{c3}\x{bc}', 20000); END \$\$")), 'status, length(return_message) BETWEEN 3900 AND 8000'), qr/failed\|t/, 'a long message is cut at a character');
is(run(join(';', map { "SELECT $_" } 1 .. 2000)) =~ /^succeeded\|\|SELECT 1; SELECT 1/ ? 1 : 0, 1, '2000 statements');

# Who it is.
sql($node, <<'SQL');
CREATE SCHEMA s AUTHORIZATION alice;
ALTER ROLE alice SET search_path = s, public;
ALTER ROLE alice IN DATABASE postgres SET work_mem = '7MB';
SET ROLE alice;
CREATE TABLE s.here (a int);
SQL
is(run("INSERT INTO here VALUES (1); INSERT INTO log SELECT concat_ws(',', session_user, current_user, current_setting('search_path'), current_setting('work_mem'), current_setting('transaction_isolation'), current_database())", "run_as => 'alice'"), 'succeeded||INSERT 0 1; INSERT 0 1', 'a job of another role');
is(logged(), 'alice,alice,s, public,7MB,read committed,postgres', 'runs as that role with its settings');
is(run('TABLE here', "run_as => 'bob'") =~ s/\n.*//sr, 'failed|42P01|ERROR:  relation "here" does not exist', 'others have theirs');
like(run('SET SESSION AUTHORIZATION postgres', "run_as => 'bob'"), qr/^failed\|42501\|ERROR:  permission denied to set session authorization/, 'and stay who they are');
is(run('RESET ROLE; RESET SESSION AUTHORIZATION; SELECT 1 FROM pg_authid', "run_as => 'bob'") =~ s/\n.*//sr, 'failed|42501|ERROR:  permission denied for table pg_authid', 'whatever they reset');
is(over(start(job("SELECT 1", "run_as => 'bob'")), "database, username, command, job_pid > 0, start_time <= end_time, start_time >= due_time, attempt, reason"), 'postgres|bob|SELECT 1|t|t|t|1|manual', 'the history says who and when');

# Time limits and interference.
sql($node, "ALTER ROLE bob SET statement_timeout = '100ms'");
is(run('SELECT pg_sleep(0.02); SELECT pg_sleep(0.02); SELECT pg_sleep(100)', "run_as => 'bob'"), 'failed|57014|ERROR:  canceling statement due to statement timeout', 'statement_timeout of the role');
is(run('SELECT pg_sleep(0.05); SELECT pg_sleep(0.05); SELECT pg_sleep(0.05)', "run_as => 'bob'"), 'succeeded||SELECT 1; SELECT 1; SELECT 1', 'which counts for each statement') or note('slow machine?');
sql($node, 'ALTER ROLE bob RESET ALL');
is(run('SELECT pg_sleep(1000)', 'max_runtime => 0.3'), 'failed|57014|ERROR:  the run took longer than its max_runtime; canceling statement due to user request', 'max_runtime');
like(run("DO \$\$ BEGIN LOOP INSERT INTO log VALUES ('x'); COMMIT; END LOOP; END \$\$", 'max_runtime => 0.3'), qr/^failed\|57014\|ERROR:  the run took longer than its max_runtime/, 'max_runtime of a command that commits');
like(logged(), qr/^x x/, 'what it committed stays');
like(run("DO \$\$ BEGIN PERFORM pg_sleep(1000); EXCEPTION WHEN query_canceled THEN NULL; END \$\$; SELECT pg_sleep(1000)", 'max_runtime => 0.3'), qr/^failed\|57014\|ERROR:  the run took longer than its max_runtime/, 'max_runtime of a command that catches it');
is(run('SELECT pg_sleep(0.001)', 'max_runtime => 600'), 'succeeded||SELECT 1', 'a max_runtime that is long enough');
my $run = start(job("INSERT INTO log VALUES ('a'); SELECT pg_sleep(1000)"));
sql($node, 'SELECT pg_cancel_backend(' . pid_of($run) . ')');
is(over($run), 'failed|57014|ERROR:  canceling statement due to user request', 'pg_cancel_backend');
$run = start(job("INSERT INTO log VALUES ('b'); SELECT pg_sleep(1000)"));
is(sql($node, "SELECT status, job_pid IN (SELECT pid FROM pg_stat_activity WHERE query ~ 'pg_sleep' AND backend_type ~ 'cron job') FROM cron.job_run_details WHERE runid = $run"), 'running|t', 'a run that is under way is seen') if pid_of($run);
sql($node, 'SELECT pg_terminate_backend(' . pid_of($run) . ')');
like(over($run), qr/^failed\|57P01\|FATAL:  terminating background worker "pgqueue cron job \d+" due to administrator command$/, 'pg_terminate_backend');
is(logged(), 'a b', 'what was committed before stays');

# Retries.
sql($node, 'CREATE SEQUENCE tries; GRANT ALL ON tries TO PUBLIC');
my $job = job('SELECT 1 / (nextval($$tries$$) / 3)', 'retries => 5, retry_delay => 0.2');
$run = start($job);
ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job_run_details WHERE jobid = $job AND status = 'succeeded'") eq '1' }, 'a retry that succeeds'), 'a failed run is tried again');
is(sql($node, "SELECT string_agg(concat_ws(' ', attempt, reason, status), ', ' ORDER BY runid) FROM cron.job_run_details WHERE jobid = $job"), '1 manual failed, 2 retry failed, 3 retry succeeded', 'until it succeeds, each attempt a run of its own');
is(sql($node, "SELECT bool_and(start_time - before >= interval '0.2 s' AND start_after - before >= interval '0.2 s'), count(DISTINCT due_time) FROM (SELECT *, lag(end_time) OVER (ORDER BY runid) before FROM cron.job_run_details WHERE jobid = $job) r"), 't|1', 'after the delay, for the same due time');
$job = job('SELECT 1/0', 'retries => 2, retry_delay => 0');
start($job);
ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job_run_details WHERE jobid = $job AND status = 'failed'") eq '3' }, 'the last retry'), 'three attempts');
is(over(start(job('SELECT 1', 'active => false'))), 'succeeded||SELECT 1', 'some other job meanwhile, which is not active');
is(sql($node, "SELECT max(attempt), count(*) FROM cron.job_run_details WHERE jobid = $job"), '3|3', 'and no more than that');

# Once.
my $at = sql($node, "SELECT cron.at(clock_timestamp() + interval '1.5 s', 'INSERT INTO log VALUES (''at'')', 'later')");
my $past = sql($node, "SELECT cron.at('2001-01-01', 'INSERT INTO log VALUES (''past'')')");
my $fails = sql($node, "BEGIN; SELECT cron.at(now(), 'SELECT 1 / (nextval(''tries'') / 5)', 'fails', retries => 1); UPDATE cron.job SET retry_delay = 0.1 WHERE jobname = 'fails'; COMMIT");
ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job WHERE jobid IN ($at, $past, $fails)") eq '0' }, 'the end of three jobs that run once'), 'cron.at: the jobs are gone afterwards');
is(logged(), 'past at', 'cron.at: what is past runs at once, what is to come later');
is(sql($node, "SELECT bool_and(start_time >= due_time), bool_and(reason = 'schedule'), count(*) FROM cron.job_run_details WHERE jobid IN ($at, $past)"), 't|t|2', 'cron.at: not before its time, and once');
is(sql($node, "SELECT string_agg(concat_ws(' ', attempt, reason, status), ', ' ORDER BY runid) FROM cron.job_run_details WHERE jobid = $fails"), '1 schedule failed, 2 retry succeeded', 'cron.at: a retry comes before that');
my $gone = sql($node, "SELECT cron.at(now(), 'SELECT 1/0')");
ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job WHERE jobid = $gone") eq '0' }, 'the end of a job that fails'), 'cron.at: one that fails is gone too');
is(sql($node, "SELECT status FROM cron.job_run_details WHERE jobid = $gone"), 'failed', 'and told of');
# A run by hand before its time is beside it.
$at = sql($node, "SELECT cron.at(clock_timestamp() + interval '1 day', 'INSERT INTO log VALUES (''hand'')')");
is(over(start($at)), 'succeeded||INSERT 0 1', 'cron.at: run by hand before');
is(sql($node, "SELECT count(*) FROM cron.job WHERE jobid = $at"), '1', 'cron.at: still to come');
sql($node, "UPDATE cron.job SET run_at = clock_timestamp() WHERE jobid = $at");
ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job WHERE jobid = $at") eq '0' }, 'the end of a job that was run before'), 'cron.at: and then gone');
is(logged(), 'hand hand', 'cron.at: twice');

# Transactions.
my $session = session($node);
$session->query("BEGIN; SELECT cron.at(now(), 'INSERT INTO log VALUES (''rolled back'')'); SELECT cron.run($big)");
$session->query('ROLLBACK');
$session->query("BEGIN; SELECT cron.at(now(), 'INSERT INTO log VALUES (''prepared'')', 'prepared')");
$session->query_ok("PREPARE TRANSACTION 'p'", 'a job in a prepared transaction');
is(over(start(job('SELECT 1'))), 'succeeded||SELECT 1', 'some other job');
is(logged(), '', 'neither was run');
sql($node, "COMMIT PREPARED 'p'");
ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job WHERE jobname = 'prepared'") eq '0' }, 'the prepared job'), 'COMMIT PREPARED is noticed');
is(logged(), 'prepared', 'and what it brought is run');
$session->quit;

# Overlap. Each run notes when it began and ended, and lasts longer than the interval.
for my $overlap ('skip', 'queue', 'allow') {
    $job = sql($node, "SELECT cron.create_job('$overlap', '1 second', 'SELECT pg_sleep(1.6)', overlap => '$overlap')");
    ok(wait_for(sub { sql($node, "SELECT count(*) >= 3 FROM cron.job_run_details WHERE jobid = $job AND status = 'succeeded'") eq 't' }, "overlap $overlap"), "overlap $overlap");
    sql($node, "SELECT cron.change_job('$overlap', active => false)");
    my $overlaps = sql($node, "SELECT count(*) > 0 FROM cron.job_run_details a JOIN cron.job_run_details b USING (jobid) WHERE jobid = $job AND a.runid < b.runid AND b.start_time < a.end_time");
    is($overlaps, $overlap eq 'allow' ? 't' : 'f', "$overlap: runs beside each other");
    my $skipped = sql($node, "SELECT count(*) > 0, string_agg(DISTINCT return_message, ',') FROM cron.job_run_details WHERE jobid = $job AND status = 'skipped' AND return_message !~ 'deactivated'");
    is($skipped, { skip => 't|skipped: the run before was still under way', queue => 't|skipped: another run was waiting already', allow => 'f|' }->{$overlap}, "$overlap: what is skipped is told of");
    is(sql($node, "SELECT count(*) - count(DISTINCT due_time), bool_and(due_time > lag) IS NOT false FROM (SELECT due_time, lag(due_time) OVER (ORDER BY runid) FROM cron.job_run_details WHERE jobid = $job) r"), '0|t', "$overlap: each due time is dealt with once");
}
ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job_run_details WHERE status IN ('waiting', 'running')") eq '0' }, 'the last of them'), 'all come to an end');

# Databases, with their encodings. What can't be shown where the history is, is shown as ?.
sql($node, "CREATE DATABASE other");
sql($node, "CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
sql($node, "CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0");
sql($node, 'CREATE TABLE log (what text, at timestamptz DEFAULT clock_timestamp()); GRANT ALL ON log TO PUBLIC', $_) for 'other', 'latin1', 'ascii';
create_extension($node, $_) for 'latin1', 'ascii';
is(run("INSERT INTO log SELECT current_database()", "database => 'other', run_as => 'bob'"), 'succeeded||INSERT 0 1', 'a job in another database, which does not have the extension');
is(sql($node, 'SELECT what FROM log; TRUNCATE log', 'other'), 'other', 'ran there');
my $utf8 = "gr\xc3\xbcn";
my $fail = "DO \$\$ BEGIN RAISE EXCEPTION '$utf8'; END \$\$";
sub shows {
    my ($in, $to, $shown) = @_;
    $jobs++;
    my $job = sql($node, "SET client_encoding = UTF8; SELECT cron.create_job('job $jobs $utf8', '\@yearly', \$command\$INSERT INTO log VALUES ('$utf8'); $fail\$command\$, active => false, database => '$to')", $in);
    is(over(start($job, $in), "return_message", $in) =~ s/\n.*//sr, "ERROR:  $shown", "from $in in $to");
    is(sql($node, 'SET client_encoding = UTF8; SELECT what, octet_length(what) FROM log', $to), "$utf8|" . ($to eq 'latin1' ? 4 : 5), "from $in in $to: the characters themselves") if $in ne 'ascii' && $to ne 'ascii';
    sql($node, 'TRUNCATE log', $to);
}
shows('postgres', 'postgres', $utf8);
shows('postgres', 'other', $utf8);
shows('postgres', 'latin1', 'gr?n');
shows('postgres', 'ascii', 'gr??n');
shows('latin1', 'latin1', 'gr?n');
shows('latin1', 'postgres', 'gr??n');
shows('ascii', 'ascii', 'gr??n');
like(run("SELECT '\xe4\xb8\xad'", "database => 'latin1'"), qr/^failed\|22P05\|ERROR:  character with byte sequence 0xe4 0xb8 0xad in encoding "UTF8" has no equivalent in encoding "LATIN1"/, 'a character that the other database does not have');
like(run("SELECT '\xff\xfe'", "database => 'postgres'", 'ascii'), qr/^failed\|22021\|ERROR:  invalid byte sequence for encoding "UTF8"/, 'what is no character there');

# Rights that are lost, and roles and databases that go: the run fails with the reason, and other jobs go on.
sql($node, 'CREATE ROLE carol LOGIN; CREATE DATABASE doomed');
my %target = (
    'a role that may not log in' => [ "run_as => 'carol'", 'ALTER ROLE carol NOLOGIN', qr/^failed\|28000\|FATAL:  role "carol" is not permitted to log in$/, 'ALTER ROLE carol LOGIN' ],
    'a role without CONNECT' => [ "run_as => 'carol', database => 'doomed'", 'REVOKE CONNECT ON DATABASE doomed FROM PUBLIC', qr/^failed\|42501\|FATAL:  permission denied for database "doomed"\nDETAIL:  User does not have CONNECT privilege.$/, 'GRANT CONNECT ON DATABASE doomed TO PUBLIC' ],
    'a database that takes no connections' => [ "database => 'doomed'", 'ALTER DATABASE doomed ALLOW_CONNECTIONS false', qr/^failed\|55000\|FATAL:  database "doomed" is not currently accepting connections$/, 'ALTER DATABASE doomed ALLOW_CONNECTIONS true' ],
);
for my $what (sort keys %target) {
    my ($settings, $breaks, $message, $mends) = @{ $target{$what} };
    my $job = job('SELECT 1', $settings);
    sql($node, $breaks);
    like(over(start($job)), $message, $what);
    sql($node, $mends);
    is(over(start($job)), 'succeeded||SELECT 1', "$what: mended");
}
my $orphan = job('SELECT 1', "run_as => 'carol'");
my $homeless = job('SELECT 1', "database => 'doomed'");
sql($node, 'DROP DATABASE doomed');
sql($node, 'DROP ROLE carol');
sql($node, "UPDATE cron.job SET schedule = '1 second', active = true WHERE jobid IN ($orphan, $homeless)");
$job = sql($node, "SELECT cron.create_job('goes on', '1 second', 'SELECT 1')");
ok(wait_for(sub { sql($node, "SELECT count(*) >= 2 FROM cron.job_run_details WHERE jobid = $job AND status = 'succeeded'") eq 't' }, 'another job'), 'jobs of a role and of a database that are gone do not stop others');
is(sql($node, "SELECT DISTINCT status, sqlstate, return_message FROM cron.job_run_details WHERE jobid = $orphan AND status <> 'waiting' AND reason = 'schedule'"), 'failed|42704|FATAL:  role "carol" does not exist', 'the role is missed');
is(sql($node, "SELECT DISTINCT status, sqlstate, return_message FROM cron.job_run_details WHERE jobid = $homeless AND status <> 'waiting' AND reason = 'schedule'"), 'failed|3D000|FATAL:  database "doomed" does not exist', 'the database is missed');
sql($node, 'DELETE FROM cron.job');

# Jobs switched off for one database: nothing runs, nothing spins; later they go on.
sql($node, "SELECT cron.create_job('off', '1 second', 'SELECT 1')");
sql($node, 'ALTER DATABASE postgres SET pgqueue.cron_enabled = off');
my $waits = start(job("INSERT INTO log VALUES ('was off')"));
my $rounds = 'SELECT coalesce(sum(rounds), 0) FROM pgqueue.workers WHERE database = current_database()';
# Two due times of the job go by.
my $until = time + 2.5;
wait_for(sub { time > $until }, 'two seconds', 10);
cmp_ok(sql($node, $rounds), '<', 50, 'a worker without jobs to run sleeps');
is(sql($node, "SELECT status FROM cron.job_run_details WHERE runid = $waits"), 'waiting', 'a run waits');
sql($node, 'ALTER DATABASE postgres RESET pgqueue.cron_enabled');
is(over($waits), 'succeeded||INSERT 0 1', 'and is run when jobs are on again');
sql($node, 'DELETE FROM cron.job; TRUNCATE log');

# The history is bounded by age and by rows, per job; what is to come or under way stays. A new worker looks at once.
my $keeps = job('SELECT 1');
my $sleeps = start(job('SELECT pg_sleep(1000)'));
pid_of($sleeps);
sql($node, <<SQL);
DELETE FROM cron.job_run_details WHERE runid <> $sleeps;
INSERT INTO cron.job_run_details (jobid, database, username, command, status, due_time, start_after, end_time)
SELECT $keeps, 'postgres', 'postgres', i::text, 'succeeded', now() - i * interval '1 hour', now() - i * interval '1 hour', now() - i * interval '1 hour' FROM generate_series(40, 1, -1) i;
INSERT INTO cron.job_run_details (jobid, database, username, command, status, due_time, start_after)
SELECT 0, 'postgres', 'postgres', i::text, 'skipped', now() - i * interval '1 hour', now() - i * interval '1 hour' FROM generate_series(12, 1, -1) i;
ALTER SYSTEM SET pgqueue.cron_history_age = '30h';
SQL
$node->reload;
sub trimmed {
    my ($what, $expected) = @_;
    sql($node, 'SELECT pg_terminate_backend(pid) FROM pgqueue.workers');
    my $counts = sub { sql($node, "SELECT string_agg(concat_ws(' ', count, max), ', ' ORDER BY jobid) FROM (SELECT jobid, count(*), max(command::int) FROM cron.job_run_details WHERE runid <> $sleeps GROUP BY jobid) j") };
    wait_for(sub { $counts->() eq $expected }, $what, 60);
    is($counts->(), $expected, $what);
}
trimmed('by age', '12 12, 29 29');
sql($node, "ALTER SYSTEM SET pgqueue.cron_history_rows = 10");
$node->reload;
trimmed('by rows', '10 10, 10 10');
is(sql($node, "SELECT status FROM cron.job_run_details WHERE runid = $sleeps"), 'running', 'what is under way stays in the history');
sql($node, 'ALTER SYSTEM RESET ALL');
$node->reload;
# A worker that goes leaves its runs, and the next one hears of them.
sql($node, "SELECT pg_cancel_backend(job_pid) FROM cron.job_run_details WHERE runid = $sleeps");
is(over($sleeps), 'failed|57014|ERROR:  canceling statement due to user request', 'a run whose worker was ended meanwhile is told of');
check_log($node);
# A session that has rows in hand keeps nobody else's jobs from running.
{
    my $held = start(job('SELECT pg_sleep(1)'));
    pid_of($held);
    my $later = sql($node, "SELECT cron.at(clock_timestamp() + interval '500 ms', 'SELECT 1', 'later')");
    my $session = session($node);
    $session->query_ok("BEGIN; DELETE FROM cron.job_run_details WHERE runid = $held; SELECT FROM cron.job WHERE jobid = $later FOR UPDATE");
    is(over(start(job('SELECT pg_sleep(2)'))), 'succeeded||SELECT 1', 'a run ends while rows of others are locked');
    is(sql($node, "SELECT status FROM cron.job_run_details WHERE runid = $held"), 'running', 'a result waits for its row');
    is(sql($node, "SELECT status || ' ' || (start_time >= due_time) FROM cron.job_run_details WHERE jobid = $later"), 'succeeded true', 'cron.at() runs, and not before its time');
    is(sql($node, "SELECT count(*) FROM cron.job WHERE jobid = $later"), '1', 'its job is still there');
    $session->query_ok('ROLLBACK');
    $session->quit;
    is(over($held), 'succeeded||SELECT 1', 'then the result is written');
    ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job WHERE jobid = $later") eq '0' }, 'job that ran once'), 'and the job is gone');
}

$node->stop;

# No place for a run: they wait, and each runs once.
my $small = queue_node('cron_small', conf => 'pgqueue.cron_max_running = 1');
sub in_turn {
    my ($on, $what) = @_;
    sql($on, "CREATE TABLE log (what text, began timestamptz, ended timestamptz DEFAULT clock_timestamp())");
    sql($on, "SELECT cron.at(now(), format('SELECT pg_sleep(0.2); INSERT INTO log VALUES (%L, clock_timestamp())', i)) FROM generate_series(1, 8) i");
    ok(wait_for(sub { sql($on, 'SELECT count(*) FROM cron.job') eq '0' }, 'all eight'), "$what: late ones still run");
    is(sql($on, "SELECT count(*), count(DISTINCT what) FROM log"), '8|8', "$what: each once");
    is(sql($on, "SELECT count(*) FROM cron.job_run_details a JOIN cron.job_run_details b ON a.runid < b.runid AND a.start_time < b.end_time AND b.start_time < a.end_time"), '0', "$what: one at a time");
    is(sql($on, "SELECT DISTINCT status FROM cron.job_run_details"), 'succeeded', "$what: all well");
}
in_turn($small, 'cron_max_running = 1');
# Waiting runs that are no more wanted.
my $blocks = sql($small, "SELECT cron.create_job('blocks', '\@yearly', 'SELECT pg_sleep(1000)', active => false)");
my $block = sql($small, "SELECT cron.run($blocks)");
ok(wait_for(sub { sql($small, "SELECT status FROM cron.job_run_details WHERE runid = $block") eq 'running' }, 'the run that blocks'), 'the only place is taken');
sql($small, "TRUNCATE log; SELECT cron.create_job(name, '\@yearly', format('INSERT INTO log VALUES (%L)', name), active => false) FROM unnest('{deleted,unscheduled,stays,inactive}'::text[]) name");
my %waiting = map { $_ => sql($small, "SELECT cron.run(jobid) FROM cron.job WHERE jobname = '$_'") } 'deleted', 'unscheduled', 'stays';
sql($small, "SELECT cron.change_job('inactive', active => true, schedule => '1 second')");
ok(wait_for(sub { sql($small, "SELECT count(*) > 0 FROM cron.job_run_details WHERE jobname = 'inactive' AND status = 'waiting'") eq 't' }, 'a run that waits'), 'one that is due waits too');
sql($small, "SELECT cron.change_job('inactive', active => false)");
sql($small, "DELETE FROM cron.job_run_details WHERE runid = $waiting{deleted}");
sql($small, "SELECT cron.unschedule('unscheduled')");
sql($small, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'pg_sleep.1000' AND backend_type ~ 'cron'");
is(over($waiting{stays}, undef, undef, $small), 'succeeded||INSERT 0 1', 'one that is still wanted is run');
is(over($waiting{unscheduled}, undef, undef, $small), 'skipped||skipped: the job was unscheduled or deactivated', 'that of an unscheduled job is not');
ok(wait_for(sub { sql($small, "SELECT count(*) FROM cron.job_run_details WHERE status = 'waiting'") eq '0' }, 'the last one'), 'none is left');
is(sql($small, "SELECT string_agg(what, ' ') FROM log"), 'stays', 'nothing else was run');
check_log($small);
$small->stop;

# The same where the server has few places for background workers: its own, the launcher, the worker, and one more.
my $few = queue_node('cron_few', conf => "max_worker_processes = 4\npgqueue.databases = 'postgres'");
in_turn($few, 'max_worker_processes = 4');
check_log($few);
$few->stop;

done_testing();
