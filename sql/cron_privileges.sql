-- Who may see, change and run which jobs: row security, membership, LOGIN and CONNECT.
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
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_cron_closed;
DROP ROLE IF EXISTS regress_cron_a, regress_cron_b, regress_cron_group, regress_cron_nologin, regress_cron_bypass, regress_cron_gone, regress_cron_admin;
-- The worker that comes with the setting runs no jobs.
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
DELETE FROM cron.job;
DELETE FROM cron.job_run_details;
CREATE ROLE regress_cron_a LOGIN;
CREATE ROLE regress_cron_b LOGIN;
CREATE ROLE regress_cron_group LOGIN;
CREATE ROLE regress_cron_nologin;
CREATE ROLE regress_cron_bypass LOGIN BYPASSRLS;
CREATE ROLE regress_cron_gone LOGIN;
GRANT regress_cron_group, regress_cron_nologin TO regress_cron_a;
CREATE DATABASE regress_cron_closed;
REVOKE CONNECT ON DATABASE regress_cron_closed FROM PUBLIC;

-- Everyone has jobs of the own, of the same name too.
SET ROLE regress_cron_a;
SELECT cron.create_job('j', '@daily', 'SELECT ''a''', active => false) AS a_id \gset
SELECT cron.run(:a_id) AS a_run \gset
SET ROLE regress_cron_b;
SELECT cron.create_job('j', '@daily', 'SELECT ''b''', active => false) AS b_id \gset
SELECT cron.run(:b_id) AS b_run \gset
SET ROLE regress_cron_gone;
SELECT cron.create_job('j', '@daily', 'SELECT ''gone''', active => false) AS gone_id \gset
SELECT cron.run(:gone_id) AS gone_run \gset
RESET ROLE;
SELECT cron.create_job('super', '@daily', 'SELECT 1', active => false) AS super_id \gset
SELECT cron.create_job('for a', '@daily', 'SELECT 1', active => false, run_as => 'regress_cron_a') > 0;

-- They see and change no others.
SET ROLE regress_cron_a;
SELECT username, jobname, command FROM cron.job ORDER BY jobid;
SELECT username, jobname, status FROM cron.job_run_details ORDER BY runid;
SELECT statement, pg_temp.attempt(format(statement, :b_id)) = format('42704 | could not find valid entry for job ''%s'' | The view of jobs is cron.job; it shows those that the role may see.', :b_id)
FROM unnest(ARRAY['SELECT cron.run(%s)', 'SELECT cron.alter_job(%s)', 'SELECT cron.alter_job(%s, active => true)', 'SELECT cron.alter_job(%s, command => ''SELECT 666'')', 'SELECT cron.alter_job(%s, username => ''regress_cron_a'')', 'SELECT cron.alter_job(%s, database => ''postgres'')', 'SELECT cron.unschedule(%s)', 'SELECT cron.unschedule(''%s'')']) statement;
SELECT pg_temp.attempt('SELECT cron.change_job(''super'', active => true)'), pg_temp.attempt('SELECT cron.unschedule(''super'')');
UPDATE cron.job SET command = 'SELECT 666' WHERE username <> 'regress_cron_a' RETURNING jobid;
UPDATE cron.job SET username = 'regress_cron_a', database = 'postgres' WHERE jobname = 'super' RETURNING jobid;
DELETE FROM cron.job WHERE jobname = 'super' RETURNING jobid;
DELETE FROM cron.job_run_details WHERE username = 'regress_cron_b' RETURNING runid;
SELECT pg_temp.attempt(format($$INSERT INTO cron.job (schedule, command, jobname, username) VALUES ('@daily', 'x', %L, %L)$$, name, 'regress_cron_b')) FROM unnest(ARRAY['j', 'new']) name;
SELECT pg_temp.attempt($$INSERT INTO cron.job (schedule, command, jobname, username) VALUES ('@daily', 'x', 'j', 'regress_cron_b') ON CONFLICT (jobname, username) DO UPDATE SET command = 'SELECT 666'$$);
SELECT pg_temp.attempt($$UPDATE cron.job SET username = 'regress_cron_b' WHERE jobname = 'j'$$), pg_temp.attempt($$UPDATE cron.job SET username = 'postgres' WHERE jobname = 'j'$$);
-- A condition that leaks sees no other's rows.
CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$;
SELECT count(*) FROM cron.job WHERE pg_temp.leak(command);
SELECT count(*) FROM cron.job_run_details WHERE pg_temp.leak(command);
SET row_security = off;
SELECT pg_temp.attempt('SELECT * FROM cron.job'), pg_temp.attempt('SELECT * FROM cron.job_run_details');
RESET row_security;
SELECT cron.run(:a_id) > :a_run, pg_temp.attempt(format('SELECT cron.run(%s)', :a_id));
DELETE FROM cron.job_run_details WHERE runid > :gone_run;
-- What is the worker's.
SELECT pg_temp.attempt('SELECT * FROM cron.job_state'), pg_temp.attempt('DELETE FROM cron.job_state'), pg_temp.attempt('INSERT INTO cron.job_state VALUES (1, now())');
SELECT pg_temp.attempt($$INSERT INTO cron.job_run_details (jobid, database, username, command, status, due_time, start_after) VALUES (1, 'postgres', 'regress_cron_a', 'x', 'waiting', now(), now())$$), pg_temp.attempt($$UPDATE cron.job_run_details SET command = 'SELECT 666'$$), pg_temp.attempt('TRUNCATE cron.job_run_details'), pg_temp.attempt($$SELECT nextval('cron.job_jobid_seq')$$);
DELETE FROM cron.job_run_details RETURNING username, jobname, status;

-- A superuser sees and changes all; a name that several have is to be told apart, and the own job comes first.
RESET ROLE;
SELECT username, jobname FROM cron.job ORDER BY jobid;
SELECT username, jobname FROM cron.job_run_details ORDER BY runid;
SELECT pg_temp.attempt($$SELECT cron.unschedule('j')$$), pg_temp.attempt($$SELECT cron.change_job('j', active => false)$$);
SELECT cron.alter_job(:b_id, command => 'SELECT ''b2''');
SELECT cron.create_job('j', '@daily', 'SELECT 1', active => false) > 0;
SELECT cron.change_job('j', command => 'SELECT 2');
SELECT username, command FROM cron.job WHERE jobname = 'j' ORDER BY jobid;
SELECT cron.unschedule('j');
SELECT username FROM cron.job WHERE jobname = 'j' ORDER BY jobid;
SELECT cron.run(:a_id) > :a_run;
SELECT username, command, reason FROM cron.job_run_details WHERE runid > :gone_run;
-- BYPASSRLS sees all, but has jobs only for roles it is a member of.
SET ROLE regress_cron_bypass;
SELECT username, jobname FROM cron.job ORDER BY jobid;
SELECT count(*) FROM cron.job_run_details;
SELECT pg_temp.attempt($$SELECT cron.create_job('x', '@daily', 'SELECT 1', run_as => 'regress_cron_a')$$), pg_temp.attempt(format($$SELECT cron.alter_job(%s, command => 'SELECT 666')$$, :a_id)), pg_temp.attempt(format($$SELECT cron.alter_job(%s, username => 'regress_cron_bypass', command => 'SELECT 3')$$, :super_id)), pg_temp.attempt(format($$SELECT cron.run(%s)$$, :a_id));
RESET ROLE;
SELECT command FROM cron.job WHERE jobid IN (:a_id, :super_id) ORDER BY jobid;
UPDATE cron.job SET username = 'postgres' WHERE jobid = :super_id;

-- As another role: one that the caller is a member of, that may log in, and may connect.
SET ROLE regress_cron_a;
SELECT pg_temp.attempt(format('SELECT cron.create_job(''as %s'', ''@daily'', ''SELECT 1'', active => false, run_as => %L)', role, role)) FROM unnest(ARRAY['regress_cron_group', 'regress_cron_nologin', 'regress_cron_b', 'postgres', 'pg_monitor', 'regress_cron_none', '']) role;
SELECT pg_temp.attempt($$SELECT cron.schedule_in_database('in', '@daily', 'SELECT 1', current_database(), 'regress_cron_b')$$), pg_temp.attempt($$SELECT cron.at(now(), 'SELECT 1', run_as => 'regress_cron_b')$$),
    pg_temp.attempt($$SELECT cron.change_job('j', run_as => 'regress_cron_b')$$), pg_temp.attempt(format($$SELECT cron.alter_job(%s, username => 'postgres')$$, :a_id));
SELECT pg_temp.attempt($$SELECT cron.create_job('closed', '@daily', 'SELECT 1', database => 'regress_cron_closed')$$), pg_temp.attempt($$SELECT cron.schedule_in_database('closed', '@daily', 'SELECT 1', 'regress_cron_closed')$$),
    pg_temp.attempt($$SELECT cron.change_job('j', database => 'regress_cron_closed')$$), pg_temp.attempt(format($$SELECT cron.alter_job(%s, database => 'regress_cron_closed')$$, :a_id)), pg_temp.attempt($$INSERT INTO cron.job (schedule, command, database) VALUES ('@daily', 'SELECT 1', 'regress_cron_closed')$$),
    pg_temp.attempt($$UPDATE cron.job SET database = 'regress_cron_closed' WHERE jobname = 'j'$$);
SELECT username, jobname FROM cron.job ORDER BY jobid;
-- Also for a superuser, who has the right but whose job's role must have it too.
RESET ROLE;
SELECT pg_temp.attempt($$SELECT cron.create_job('x', '@daily', 'SELECT 1', run_as => 'regress_cron_nologin')$$), pg_temp.attempt($$SELECT cron.create_job('x', '@daily', 'SELECT 1', run_as => 'regress_cron_a', database => 'regress_cron_closed')$$),
    pg_temp.attempt(format($$SELECT cron.alter_job(%s, database => 'regress_cron_closed')$$, :a_id)), pg_temp.attempt(format($$SELECT cron.alter_job(%s, username => 'regress_cron_nologin')$$, :a_id));
GRANT CONNECT ON DATABASE regress_cron_closed TO regress_cron_a;
SET ROLE regress_cron_nologin;
SELECT pg_temp.attempt($$SELECT cron.schedule('@daily', 'SELECT 1')$$), pg_temp.attempt($$INSERT INTO cron.job (schedule, command) VALUES ('@daily', 'SELECT 1')$$);
SET ROLE regress_cron_a;
SELECT cron.create_job('closed', '@daily', 'SELECT 1', database => 'regress_cron_closed', active => false) > 0;
-- The group's job is seen by its members, who may change it.
SET ROLE regress_cron_group;
SELECT username, jobname FROM cron.job ORDER BY jobid;
SET ROLE regress_cron_a;
SELECT cron.change_job('as regress_cron_group', command => 'SELECT 2');
SELECT jobid AS group_id FROM cron.job WHERE jobname = 'as regress_cron_group' \gset

-- From 16 on a membership can come without the right to act as the group.
RESET ROLE;
DO $$
BEGIN
    IF current_setting('server_version_num')::int >= 160000 THEN
        EXECUTE 'GRANT regress_cron_group TO regress_cron_b WITH SET FALSE';
    END IF;
END $$;
SET ROLE regress_cron_b;
SELECT pg_temp.attempt($$SELECT cron.create_job('x', '@daily', 'SELECT 1', run_as => 'regress_cron_group')$$), (SELECT count(*) FROM cron.job WHERE username = 'regress_cron_group');

-- A right that was taken away: the job can still be switched off, seen and dropped, but not be pointed there again.
RESET ROLE;
REVOKE CONNECT ON DATABASE regress_cron_closed FROM regress_cron_a;
REVOKE regress_cron_group FROM regress_cron_a;
SET ROLE regress_cron_a;
SELECT pg_temp.attempt($$SELECT cron.change_job('closed', active => false)$$), pg_temp.attempt($$UPDATE cron.job SET command = 'SELECT 3' WHERE jobname = 'closed'$$), pg_temp.attempt($$SELECT cron.change_job('closed', database => 'regress_cron_closed')$$);
SELECT count(*) FROM cron.job WHERE username = 'regress_cron_group';
SELECT pg_temp.attempt(format('SELECT cron.run(%s)', :group_id)) ~ '^42704', pg_temp.attempt($$SELECT cron.change_job('as regress_cron_group', active => true)$$) ~ '^42704';
SELECT cron.unschedule('closed');
RESET ROLE;
ALTER ROLE regress_cron_a NOLOGIN;
SET ROLE regress_cron_a;
SELECT pg_temp.attempt($$SELECT cron.change_job('j', active => false)$$), pg_temp.attempt($$SELECT cron.schedule('k', '@daily', 'SELECT 1')$$);
RESET ROLE;
ALTER ROLE regress_cron_a LOGIN;

-- A role that is gone breaks nobody's view.
DROP ROLE regress_cron_gone;
SELECT username, jobname FROM cron.job WHERE username = 'regress_cron_gone';
SET ROLE regress_cron_a;
SELECT username, jobname FROM cron.job ORDER BY jobid;
SELECT username, jobname FROM cron.job_run_details ORDER BY runid;
SET ROLE regress_cron_b;
SELECT username, jobname FROM cron.job ORDER BY jobid;
SELECT username, jobname FROM cron.job_run_details ORDER BY runid;
RESET ROLE;
UPDATE cron.job SET active = false WHERE username = 'regress_cron_gone' RETURNING username;
SELECT cron.unschedule(:gone_id);
-- Another role of that name gets nobody's rights back: what is left of the history is the name's.
CREATE ROLE regress_cron_gone LOGIN;
SET ROLE regress_cron_gone;
SELECT count(*) FROM cron.job;
RESET ROLE;

-- Functions and operators of the caller's are never called by ours, which run as others.
GRANT CREATE ON DATABASE contrib_regression TO regress_cron_a;
SET ROLE regress_cron_a;
CREATE SCHEMA regress_cron_trap;
CREATE FUNCTION regress_cron_trap.trap(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user; END $$;
CREATE FUNCTION regress_cron_trap.trap(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user; END $$;
CREATE FUNCTION regress_cron_trap.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user; END $$;
CREATE FUNCTION regress_cron_trap.current_database() RETURNS name LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user; END $$;
CREATE OPERATOR regress_cron_trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = regress_cron_trap.trap);
CREATE OPERATOR regress_cron_trap.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = regress_cron_trap.trap);
CREATE DOMAIN regress_cron_trap.text AS pg_catalog.text CHECK (false);
CREATE TABLE regress_cron_trap.job (jobid bigint, username text);
CREATE TEMP TABLE job (jobid bigint, username text);
SET search_path = regress_cron_trap, pg_temp, pg_catalog;
SELECT pg_catalog.count(*) FROM pg_catalog.pg_proc WHERE pronamespace OPERATOR(pg_catalog.=) 'regress_cron_trap'::pg_catalog.regnamespace;
SELECT cron.create_job('trapped', '@daily', 'SELECT 1', active => false) AS id \gset
SELECT cron.schedule('trapped', '@weekly', 'SELECT 1') OPERATOR(pg_catalog.=) :id;
SELECT cron.change_job('trapped', command => 'SELECT 2');
SELECT cron.alter_job(:id, database => 'postgres');
SELECT cron.run(:id) OPERATOR(pg_catalog.>) 0;
UPDATE cron.job SET retries = 1;
DELETE FROM cron.job_run_details;
SELECT cron.unschedule('trapped');
SELECT pg_catalog.count(*) FROM cron.job WHERE jobname OPERATOR(pg_catalog.=) 'trapped';
RESET search_path;
SELECT pg_temp.attempt('CREATE FUNCTION cron.schedule(text, text, text, text) RETURNS bigint LANGUAGE sql AS ''SELECT 1''');
RESET ROLE;

-- Our functions as those of a SECURITY DEFINER function: the definer's jobs.
CREATE FUNCTION pg_temp.definer() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ SELECT cron.create_job('definer', '@daily', 'SELECT 1', active => false) $$;
ALTER FUNCTION pg_temp.definer() OWNER TO regress_cron_b;
SET ROLE regress_cron_a;
SELECT pg_temp.definer() > 0;
SELECT count(*) FROM cron.job WHERE jobname = 'definer';
RESET ROLE;
SELECT username FROM cron.job WHERE jobname = 'definer';

DELETE FROM cron.job;
DELETE FROM cron.job_run_details;
SET client_min_messages = warning;
DROP SCHEMA regress_cron_trap CASCADE;
DROP FUNCTION pg_temp.definer();
DROP DATABASE regress_cron_closed;
DROP OWNED BY regress_cron_a, regress_cron_b, regress_cron_group, regress_cron_nologin, regress_cron_bypass, regress_cron_gone;
DROP ROLE regress_cron_a, regress_cron_b, regress_cron_group, regress_cron_nologin, regress_cron_bypass, regress_cron_gone;
ALTER DATABASE contrib_regression RESET pgqueue.cron_enabled;
