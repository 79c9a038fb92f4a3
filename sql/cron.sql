-- Jobs: the functions of the schema cron, what they refuse, and the tables as plain SQL sees them. Nothing runs here.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
CREATE FUNCTION pg_temp.attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; message text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', state, message, nullif(hint, ''));
END $$;
\pset format unaligned
\pset tuples_only on
\pset null NULL
SET timezone = 'UTC';
-- The worker that comes with the setting runs no jobs.
SET client_min_messages = warning;
ALTER DATABASE contrib_regression SET pgqueue.cron_enabled = off;
DO $$
DECLARE before timestamptz := clock_timestamp();
BEGIN
    WHILE NOT EXISTS (SELECT FROM pgqueue.workers WHERE database = current_database() AND started_at > before - interval '1 s' AND state = 'idle')
          AND clock_timestamp() < before + interval '60 s' LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
RESET client_min_messages;

-- The signatures are a contract.
SELECT format('%s(%s) -> %s', proname, replace(replace(pg_get_function_arguments(oid), 'double precision', 'float8'), 'timestamp with time zone', 'timestamptz'), pg_get_function_result(oid))
FROM pg_proc WHERE pronamespace = 'cron'::regnamespace AND prorettype <> 'trigger'::regtype ORDER BY proname COLLATE "C", pronargs, prosrc COLLATE "C";
SELECT proname FROM pg_proc WHERE pronamespace = 'cron'::regnamespace AND (proisstrict OR prosecdef OR proparallel <> 'u');
SELECT proname, provolatile FROM pg_proc WHERE pronamespace = 'cron'::regnamespace AND provolatile <> 'v' ORDER BY proname COLLATE "C";
-- So are the columns that pg_cron's users know, by place.
SELECT attrelid::regclass, string_agg(attname || ' ' || atttypid::regtype, ', ' ORDER BY attnum)
FROM pg_attribute
WHERE attrelid IN ('cron.job'::regclass, 'cron.job_run_details'::regclass) AND attnum BETWEEN 1 AND CASE attrelid WHEN 'cron.job'::regclass THEN 9 ELSE 10 END
GROUP BY attrelid ORDER BY attrelid::regclass::text;

-- As in pg_cron's manual.
SELECT cron.schedule('30 3 * * 6', $$DELETE FROM events WHERE event_time < now() - interval '1 week'$$) AS first_id \gset
SELECT cron.schedule('nightly-vacuum', '0 10 * * *', 'VACUUM') - :first_id;
SELECT cron.schedule('nightly-vacuum', '0 3 * * *', 'VACUUM') - :first_id;
SELECT cron.schedule('process-updates', '5 seconds', 'CALL process_updates()') - :first_id;
SELECT cron.schedule_in_database('weekly-vacuum', '0 4 * * 0', 'VACUUM', 'postgres') - :first_id;
SELECT cron.schedule('process-month-end', '0 12 $ * *', 'CALL process_month_end()') - :first_id;
SELECT jobid - :first_id, schedule, command, nodename, nodeport = current_setting('port')::int, database, username, active, jobname FROM cron.job ORDER BY jobid;
SELECT cron.unschedule('nightly-vacuum');
SELECT cron.unschedule(:first_id);
SELECT cron.schedule('a', '@daily', 'SELECT 1') AS id \gset
-- An id as an untyped literal, a number of either size, and a prepared statement's parameter of no stated type.
SELECT pg_temp.attempt(format('SELECT cron.unschedule(%L)', :id));
SELECT cron.schedule('a', '@daily', 'SELECT 1') AS id \gset
SELECT cron.unschedule(:id::int);
SELECT cron.schedule('a', '@daily', 'SELECT 1') AS id \gset
SELECT cron.unschedule(:id::bigint);
SELECT cron.schedule('a', '@daily', 'SELECT 1') AS id \gset
PREPARE unschedule AS SELECT cron.unschedule($1);
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'unschedule';
EXECUTE unschedule(:id);
PREPARE schedule2 AS SELECT cron.schedule($1, $2) > 0;
PREPARE schedule3 AS SELECT cron.schedule($1, $2, $3) > 0;
PREPARE create_job AS SELECT cron.create_job($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) > 0;
PREPARE change_job AS SELECT cron.change_job($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);
PREPARE at AS SELECT cron.at($1, $2, $3, $4, $5, $6) > 0;
PREPARE in_database AS SELECT cron.schedule_in_database($1, $2, $3, $4, $5, $6) > 0;
PREPARE alter_job AS SELECT cron.alter_job($1, $2, $3, $4, $5, $6);
PREPARE next_runs AS SELECT * FROM cron.next_runs($1, $2, $3, $4);
PREPARE run AS SELECT cron.run($1) > 0;
SELECT name, parameter_types FROM pg_prepared_statements WHERE name <> 'unschedule' ORDER BY name COLLATE "C";
EXECUTE schedule2('@daily', 'SELECT 2');
EXECUTE schedule3('s3', '@daily', 'SELECT 3');
EXECUTE create_job('c', '@daily', 'SELECT 4', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
EXECUTE at('9999-01-01', 'SELECT 5', NULL, NULL, NULL, NULL);
EXECUTE in_database('d', '@daily', 'SELECT 6', 'postgres', NULL, NULL);
SELECT schedule, command, database, username, active, jobname, timezone, overlap, catch_up, max_runtime, retries, retry_delay, jitter, run_at FROM cron.job WHERE command ~ '^SELECT' ORDER BY jobid;
DELETE FROM cron.job;

-- Named notation, every argument.
SELECT cron.schedule(command => 'SELECT 1', schedule => '@hourly') > 0;
SELECT cron.schedule(command => 'SELECT 1', schedule => '@hourly', job_name => 'n') > 0;
SELECT cron.create_job(job_name => 'all', schedule => '0 3 * * *', command => 'SELECT 1', timezone => 'Europe/Berlin', overlap => 'queue', catch_up => 'once', max_runtime => 600,
    retries => 3, retry_delay => 0.5, jitter => 30, run_as => CURRENT_USER, database => 'postgres', active => false) > 0;
SELECT cron.at(run_at => '2200-02-03 04:05:06+00', command => 'SELECT 1', job_name => 'at', max_runtime => 5, retries => 2, run_as => CURRENT_USER) > 0;
SELECT cron.schedule_in_database(job_name => 'in', schedule => '@hourly', command => 'SELECT 1', database => 'postgres', username => CURRENT_USER, active => false) > 0;
SELECT schedule, command, database, username, active, jobname, timezone, overlap, catch_up, max_runtime, retries, retry_delay, jitter, run_at FROM cron.job ORDER BY jobid;

-- The same name again: schedule and command, and nothing else.
SELECT jobid AS id FROM cron.job WHERE jobname = 'all' \gset
SELECT cron.schedule('all', '@weekly', 'SELECT 2') = :id;
SELECT schedule, command, database, active, timezone, overlap, catch_up, max_runtime, retries, retry_delay, jitter FROM cron.job WHERE jobname = 'all';
SELECT cron.schedule_in_database('all', '@weekly', 'SELECT 3', 'contrib_regression') = :id;
SELECT schedule, command, database, active, timezone, overlap FROM cron.job WHERE jobname = 'all';
-- create_job is for new ones.
SELECT pg_temp.attempt($$SELECT cron.create_job('all', '@daily', 'SELECT 1')$$);
SELECT pg_temp.attempt($$SELECT cron.at('2200-01-01', 'SELECT 1', 'all')$$);
-- change_job and alter_job: NULL leaves as it is.
EXECUTE change_job('all', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT cron.change_job('all');
SELECT schedule, command, database, active, timezone, overlap, catch_up, max_runtime, retries, retry_delay, jitter FROM cron.job WHERE jobname = 'all';
SELECT cron.change_job('all', schedule => '@daily', command => 'SELECT 4', timezone => 'UTC', overlap => 'allow', catch_up => 'all', max_runtime => 1.5, retries => 0, retry_delay => 0, jitter => 0,
    run_as => CURRENT_USER, database => 'postgres', active => false);
SELECT schedule, command, database, active, timezone, overlap, catch_up, max_runtime, retries, retry_delay, jitter FROM cron.job WHERE jobname = 'all';
SELECT cron.alter_job(:id, active => true);
SELECT cron.alter_job(job_id => :id, schedule => '1 second', command => 'SELECT 5', database => 'contrib_regression', username => CURRENT_USER, active => false);
EXECUTE alter_job(:id, NULL, NULL, NULL, NULL, NULL);
SELECT schedule, command, database, active, timezone, overlap, catch_up, max_runtime FROM cron.job WHERE jobname = 'all';
SELECT pg_temp.attempt($$SELECT cron.change_job('none', active => true)$$), pg_temp.attempt($$SELECT cron.change_job('none')$$);
SELECT pg_temp.attempt('SELECT cron.alter_job(0, active => true)'), pg_temp.attempt('SELECT cron.alter_job(0)'), pg_temp.attempt($$SELECT cron.alter_job(0, database => 'postgres')$$);
SELECT pg_temp.attempt('SELECT cron.unschedule(0)'), pg_temp.attempt($$SELECT cron.unschedule('0')$$), pg_temp.attempt($$SELECT cron.unschedule('none')$$), pg_temp.attempt($$SELECT cron.unschedule('')$$);
SELECT pg_temp.attempt($$SELECT cron.unschedule('99999999999999999999')$$), pg_temp.attempt('SELECT cron.run(0)');
-- A one-shot job becomes a common one and keeps its id.
SELECT jobid AS id FROM cron.job WHERE jobname = 'at' \gset
SELECT cron.schedule('at', '@daily', 'SELECT 6') = :id;
SELECT schedule, run_at, retries FROM cron.job WHERE jobid = :id;
SELECT pg_temp.attempt($$SELECT cron.change_job('at', schedule => '@once')$$);

-- NULL where something is required.
SELECT statement, pg_temp.attempt('SELECT cron.' || statement) FROM unnest(ARRAY['schedule(NULL, ''x'')', 'schedule(''* * * * *'', NULL)', 'schedule(NULL, ''* * * * *'', ''x'')', 'schedule(''n'', NULL, ''x'')', 'schedule(''n'', ''* * * * *'', NULL)',
    'create_job(NULL, ''* * * * *'', ''x'')', 'create_job(''n'', NULL, ''x'')', 'create_job(''n'', ''* * * * *'', NULL)', 'change_job(NULL)', 'at(NULL, ''x'')', 'at(now(), NULL)',
    'schedule_in_database(NULL, ''* * * * *'', ''x'', ''postgres'')', 'schedule_in_database(''n'', NULL, ''x'', ''postgres'')', 'schedule_in_database(''n'', ''* * * * *'', NULL, ''postgres'')', 'schedule_in_database(''n'', ''* * * * *'', ''x'', NULL)',
    'alter_job(NULL)', 'unschedule(NULL::bigint)', 'unschedule(NULL::text)', 'run(NULL)', 'next_runs(NULL)']) statement;
-- A schedule that doesn't parse names the field and the token.
SELECT pg_temp.attempt($$SELECT cron.schedule('60 * * * *', 'SELECT 1')$$);
SELECT schedule, replace(regexp_replace(pg_temp.attempt(format('SELECT cron.schedule(%L, ''SELECT 1'')', schedule)), ' \| Five fields.*', ''), '22023 | invalid schedule: ', '')
FROM unnest(ARRAY['', ' ', '* * * *', '* * * * * * *', '60 * * * *', '* 24 * * *', '* * 0 * *', '* * 32 * *', '* * * 13 * ', '* * * 0 *', '* * * * 8', '60 * * * * *', '-1 * * * *', '*/0 * * * *', '*/61 * * * *', '5-1 * * * *', '1- * * * *', '1,, * * * *', ', * * * *', '1,x * * * *',
    '* * * foo *', '* * * * monday', '* * * * 1#6', '* * * * 1#', '* * 32W * *', '* * L-31 * *', '* * LX * *', '1.5 * * * *', '0x1 * * * *', '99999999999999999999 * * * *', '0 0 30 2 *', '0 0 31 feb,apr,jun,sep,nov *', '0 */2 * * * * trailing', '@dail', '@daily x', '@every', '@every 0s', '@every 5', '@every 1s1h', '@every 99999d', '@once',
    '0 seconds', '60 seconds', '2 second', '-1 seconds', '1.5 seconds', '5 minutes', '5 seconds x', 'every day', E'* * * * *\n* * * * *', '＊ * * * *', '٣ * * * *']) schedule;
-- And these do.
SELECT schedule, cron.schedule(schedule, 'SELECT 1') > 0
FROM unnest(ARRAY['  0   3 * *   1-5 ', E'\t0\t3\n* * *', '*/5 * * * *', '0-30/10 * * * *', '5/10 * * * *', '1,2,5-9 * * * *', '* * * JAN-mar Mon', '* * * * 0,7', '* * * * fri-mon', '* * * nov-feb *', '0 0 L * *', '0 0 L-3 * *', '0 0 15W * *', '0 0 LW * *', '0 0 $ * *', '0 0 * * 5#2', '0 0 * * friL', '0 0 29 2 *',
    '30 * * * * *', '@YEARLY', '@annually', '@monthly', '@weekly', '@midnight', '@hourly', '@reboot', '@restart', '1 second', '59 SECONDS', '@every 90s', '@every 1h30m', '@every 1d', '@every 3650d']) schedule;
-- Swapped arguments.
SELECT pg_temp.attempt($$SELECT cron.schedule('VACUUM', '0 3 * * *')$$), pg_temp.attempt($$SELECT cron.schedule('n', 'VACUUM', '0 3 * * *')$$);
SELECT pg_temp.attempt($$SELECT cron.create_job('n', 'VACUUM', '@daily')$$), pg_temp.attempt($$SELECT cron.schedule('0 3 * * *', 'n', 'VACUUM')$$);
DELETE FROM cron.job;

-- Names, zones, words, numbers, commands.
SELECT pg_temp.attempt($$SELECT cron.schedule('42', '@daily', 'x')$$), pg_temp.attempt($$SELECT cron.schedule('', '@daily', 'x')$$), pg_temp.attempt($$SELECT cron.schedule(repeat('n', 256), '@daily', 'x')$$);
SELECT pg_temp.attempt($$SELECT cron.schedule('4 2', '@daily', 'x')$$), pg_temp.attempt($$SELECT cron.schedule('Ünïcode "quoted"', '@daily', 'x')$$), pg_temp.attempt($$SELECT cron.schedule(repeat('n', 255), '@daily', 'x')$$);
SELECT arguments, pg_temp.attempt(format('SELECT cron.create_job(''bad'', ''@daily'', ''x'', %s)', arguments)) FROM unnest(ARRAY['timezone => ''Mars/Olympus''', 'timezone => ''''', 'timezone => repeat(''x'', 1000)', 'overlap => ''sometimes''', 'overlap => ''SKIP''', 'catch_up => ''twice''', 'catch_up => ''''',
    'max_runtime => 0', 'max_runtime => -1', 'max_runtime => ''NaN''', 'max_runtime => ''Infinity''', 'max_runtime => 1e12', 'retries => -1', 'retries => 1001', 'retries => 9223372036854775807', 'retry_delay => -0.1', 'retry_delay => ''NaN''', 'retry_delay => ''Infinity''',
    'jitter => -1', 'jitter => ''NaN''', 'jitter => 1e9', 'run_as => ''regress_cron_none''', 'database => ''regress_cron_none''']) arguments;
SELECT command, pg_temp.attempt(format('SELECT cron.schedule(''@daily'', %L)', command)) FROM unnest(ARRAY['', ' ', E' ;\n;\t']) command;
SELECT pg_temp.attempt($$SELECT cron.at('infinity', 'x')$$), pg_temp.attempt($$SELECT cron.at('-infinity', 'x')$$), pg_temp.attempt($$SELECT cron.at('2200-01-01', '')$$), pg_temp.attempt($$SELECT cron.at('2200-01-01', 'x', '7')$$), pg_temp.attempt($$SELECT cron.at('2200-01-01', 'x', retries => -1)$$);
SELECT count(*) FROM cron.job WHERE jobname = 'bad';
-- In the past: as soon as may be, and only noted here.
SELECT cron.at('2000-01-01', 'SELECT 1', 'past') > 0;
SELECT schedule, run_at, active FROM cron.job WHERE jobname = 'past';
DELETE FROM cron.job;

-- next_runs.
SELECT * FROM cron.next_runs('30 3 * * 1-5', after => '2026-01-02 03:30:00+00');
SELECT * FROM cron.next_runs('30 3 * * *', 2, 'America/New_York', '2026-07-01 00:00+00');
SELECT * FROM cron.next_runs(schedule => '0 0 29 2 *', qty => 3, after => '2024-02-29 00:00+00');
SELECT * FROM cron.next_runs('0 0 29 2 *', 2, after => '2096-02-29 00:00+00');
SELECT * FROM cron.next_runs('0 12 L * *', 3, after => '2027-12-31 12:00+00');
SELECT * FROM cron.next_runs('0 0 13 * fri', 3, after => '2026-02-01 00:00+00');
SELECT * FROM cron.next_runs('0 0 */2 * sun', 3, after => '2026-02-01 00:00+00');
SELECT * FROM cron.next_runs('*/20 10 * * * *', 4, after => '2026-02-01 23:10:39.5+00');
SELECT * FROM cron.next_runs('@every 90s', 3, after => '2026-02-01 23:59:00+00');
SELECT * FROM cron.next_runs('10 seconds', 2, after => '2026-02-01 23:59:59.9+00');
SELECT * FROM cron.next_runs('@reboot', after => '2026-02-01 00:00+00');
SELECT * FROM cron.next_runs('0 0 1 1 *', 3, after => '9997-06-01 00:00+00');
-- Daylight saving: a job at a fixed time in the gap runs once, right after it; in the repeated hour once, the first time; one with a wildcard follows elapsed time.
SELECT * FROM cron.next_runs('30 2 * * *', 3, 'Europe/Berlin', '2026-03-28 12:00+00');
SELECT * FROM cron.next_runs('0,15,30 2 * * *', 4, 'Europe/Berlin', '2026-03-29 00:00+00');
SELECT * FROM cron.next_runs('*/30 * * * *', 4, 'Europe/Berlin', '2026-03-29 00:00+00');
SELECT * FROM cron.next_runs('30 2 * * *', 2, 'Europe/Berlin', '2026-10-24 12:00+00');
SELECT * FROM cron.next_runs('30 * * * *', 3, 'Europe/Berlin', '2026-10-25 00:00+00');
SELECT * FROM cron.next_runs('30 */2 * * *', 3, 'Europe/Berlin', '2026-10-24 22:30+00');
SELECT * FROM cron.next_runs('15 2 * * *', 3, 'Australia/Lord_Howe', '2026-10-02 16:00+00');
SELECT * FROM cron.next_runs('0 12 * * *', 2, 'Pacific/Apia', '2011-12-29 00:00+00');
SET timezone = 'Asia/Kathmandu';
SELECT * FROM cron.next_runs('30 3 * * *', 1, after => '2026-01-02 03:30:00+00') a, cron.next_runs('30 3 * * *', 1, 'UTC', '2026-01-02 03:30:00+00') b;
SET timezone = 'UTC';
SELECT count(*), bool_and(n > now()) FROM cron.next_runs('@daily') n;
SELECT count(*) FROM cron.next_runs('@hourly', NULL, NULL, NULL);
SELECT count(*), max(n) - min(n) FROM cron.next_runs('1 second', 100000) n;
SELECT arguments, pg_temp.attempt(format('SELECT * FROM cron.next_runs(''@daily'', %s)', arguments)) FROM unnest(ARRAY['0', '-1', '1, ''Mars/Olympus''', '1, after => ''infinity''', '1, after => ''-infinity''']) arguments;
SELECT pg_temp.attempt($$SELECT cron.next_runs('VACUUM')$$), pg_temp.attempt($$SELECT cron.next_runs('@once')$$);
SELECT * FROM cron.next_runs('@yearly', 1, after => '4713-01-01 00:00+00 BC');
EXECUTE next_runs('@yearly', 1, NULL, '2026-01-01');

-- Plain SQL by a role of no privileges.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_cron_plain;
RESET client_min_messages;
CREATE ROLE regress_cron_plain LOGIN;
SET ROLE regress_cron_plain;
INSERT INTO cron.job (schedule, command) VALUES ('@daily', 'SELECT 1') RETURNING schedule, command, nodename, database, username, active, jobname, timezone, overlap, catch_up, max_runtime, retries, retry_delay, jitter, run_at, is_local, counts_from <= clock_timestamp();
INSERT INTO cron.job (schedule, command, jobname, timezone, overlap, catch_up, max_runtime, retries, retry_delay, jitter, active, username) VALUES
    ('@daily', 'SELECT 2', 'p', 'Europe/Berlin', 'allow', 'all', 9, 1, 2, 3, false, 'regress_cron_plain') RETURNING schedule, jobname, timezone, overlap, catch_up, max_runtime, retries, retry_delay, jitter, active;
SELECT counts_from AS counted FROM cron.job WHERE jobname = 'p' \gset
UPDATE cron.job SET command = 'SELECT 3', jobname = 'q', retries = 5 WHERE jobname = 'p' RETURNING command, jobname, retries, counts_from = :'counted';
-- A new schedule, another zone or being activated counts from now on.
UPDATE cron.job SET schedule = '@hourly' WHERE jobname = 'q' RETURNING counts_from > :'counted';
SELECT counts_from AS counted FROM cron.job WHERE jobname = 'q' \gset
UPDATE cron.job SET timezone = NULL WHERE jobname = 'q' RETURNING counts_from > :'counted';
SELECT counts_from AS counted FROM cron.job WHERE jobname = 'q' \gset
UPDATE cron.job SET active = true WHERE jobname = 'q' RETURNING counts_from > :'counted';
SELECT counts_from AS counted FROM cron.job WHERE jobname = 'q' \gset
UPDATE cron.job SET active = true, schedule = schedule, jitter = 0 WHERE jobname = 'q' RETURNING counts_from = :'counted';
UPDATE cron.job SET active = false WHERE jobname = 'q' RETURNING counts_from = :'counted';
-- What functions refuse the table does.
SELECT assignment, pg_temp.attempt('UPDATE cron.job SET ' || assignment || ' WHERE jobname = ''q''') FROM unnest(ARRAY['schedule = ''61 * * * *''', 'schedule = NULL', 'command = NULL', 'command = '' ''', 'jobname = ''42''', 'jobname = ''''', 'timezone = ''Mars/Olympus''', 'overlap = ''x''', 'overlap = NULL', 'catch_up = ''x''',
    'max_runtime = 0', 'retries = -1', 'retries = NULL', 'retry_delay = ''NaN''', 'jitter = NULL', 'active = NULL', 'database = NULL', 'database = ''regress_cron_none''', 'username = NULL', 'username = ''regress_cron_none''', 'username = ''postgres''', 'schedule = ''@once''', 'run_at = ''infinity'', schedule = ''@once''']) assignment;
SELECT assignment, pg_temp.attempt('UPDATE cron.job SET ' || assignment) FROM unnest(ARRAY['jobid = 1', 'nodename = ''x''', 'nodeport = 1', 'is_local = false', 'counts_from = now()']) assignment;
SELECT columns, pg_temp.attempt(format('INSERT INTO cron.job (schedule, command, %s', columns)) FROM unnest(ARRAY['jobid) VALUES (''@daily'', ''x'', 1)', 'nodename) VALUES (''@daily'', ''x'', ''x'')', 'nodeport) VALUES (''@daily'', ''x'', 1)', 'is_local) VALUES (''@daily'', ''x'', false)', 'counts_from) VALUES (''@daily'', ''x'', now())',
    'jobname) VALUES (''@daily'', ''x'', ''q'')', 'jobname) VALUES (''61 * * * *'', ''x'', ''y'')', 'username) VALUES (''@daily'', ''x'', ''postgres'')']) columns;
SELECT pg_temp.attempt('TRUNCATE cron.job'), pg_temp.attempt('SELECT * FROM cron.job_state'), pg_temp.attempt('UPDATE cron.job_run_details SET status = ''succeeded'''), pg_temp.attempt('LOCK cron.job IN ACCESS EXCLUSIVE MODE'),
    pg_temp.attempt('ALTER TABLE cron.job ADD x int'), pg_temp.attempt('CREATE TABLE cron.mine (a int)'), pg_temp.attempt('CREATE TRIGGER mine BEFORE INSERT ON cron.job EXECUTE FUNCTION suppress_redundant_updates_trigger()'),
    pg_temp.attempt('CREATE TABLE mine (a int) INHERITS (cron.job)');
-- A one-shot job by plain SQL.
INSERT INTO cron.job (schedule, command, run_at) VALUES ('@once', 'SELECT 1', '2200-01-01 00:00+00') RETURNING schedule, run_at;
INSERT INTO cron.job (schedule, command, run_at) VALUES ('@daily', 'SELECT 1', '2200-01-01 00:00+00') RETURNING schedule, run_at;
DELETE FROM cron.job WHERE jobname = 'q' RETURNING jobname;
-- The triggers are for their tables.
SELECT pg_temp.attempt('CREATE TEMP TABLE other (a int)'), pg_temp.attempt('CREATE TRIGGER t BEFORE INSERT ON other FOR EACH ROW EXECUTE FUNCTION cron.check_job()'), pg_temp.attempt('INSERT INTO other VALUES (1)');

-- Run now: a row of the history that waits; rolled back there is none.
SELECT cron.create_job('now', '@daily', 'SELECT 1', active => false) AS id \gset
SELECT cron.run(:id) AS run \gset
SELECT jobid = :id, job_pid, database, username, command, status, return_message, start_time, end_time, jobname, due_time = start_after, attempt, sqlstate, reason FROM cron.job_run_details WHERE runid = :run;
BEGIN;
SELECT cron.run(:id) > :run;
ROLLBACK;
SELECT count(*) FROM cron.job_run_details WHERE jobid = :id;
SELECT cron.unschedule('now');
SELECT count(*) FROM cron.job_run_details WHERE jobid = :id;
DELETE FROM cron.job_run_details WHERE runid = :run RETURNING jobname;
-- A rollback takes all back.
BEGIN;
SELECT cron.schedule('rolled', '@daily', 'SELECT 1') > 0;
SAVEPOINT s;
SELECT cron.change_job('rolled', schedule => '@hourly');
SELECT cron.unschedule('rolled');
ROLLBACK TO s;
SELECT schedule FROM cron.job WHERE jobname = 'rolled';
ROLLBACK;
SELECT count(*) FROM cron.job WHERE jobname = 'rolled';
-- Nothing writes in a read-only transaction; what reads does.
SELECT cron.schedule('ro', '@daily', 'SELECT 1') AS id \gset
BEGIN READ ONLY;
SELECT count(*) FROM cron.next_runs('@daily');
SELECT count(*) FROM cron.job WHERE jobname = 'ro';
SELECT count(*) FROM cron.job_run_details;
SELECT statement, pg_temp.attempt('SELECT cron.' || statement) FROM unnest(ARRAY['schedule(''@daily'', ''x'')', 'schedule(''ro'', ''@daily'', ''x'')', 'create_job(''n'', ''@daily'', ''x'')', 'change_job(''ro'')', 'at(now(), ''x'')', 'schedule_in_database(''ro'', ''@daily'', ''x'', ''postgres'')', 'alter_job(1)', 'unschedule(1)', 'unschedule(''ro'')', 'run(1)']) statement;
COMMIT;

RESET ROLE;
DELETE FROM cron.job WHERE username = 'regress_cron_plain';
DELETE FROM cron.job_run_details;
DROP OWNED BY regress_cron_plain;
DROP ROLE regress_cron_plain;
ALTER DATABASE contrib_regression RESET pgqueue.cron_enabled;
