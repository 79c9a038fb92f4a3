-- Every function with every kind of role: what each may call, and that no function is left out.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
DROP ROLE IF EXISTS regress_matrix_nobody, regress_matrix_sender, regress_matrix_consumer, regress_matrix_monitor, regress_matrix_reader,
    regress_matrix_writer, regress_matrix_pgmonitor, regress_matrix_readall, regress_matrix_writeall, regress_matrix_owner,
    regress_matrix_other, regress_matrix_super;
RESET client_min_messages;
\pset format unaligned
\pset null -

-- Whoever answers to the name of a role below has exactly this: nothing; 'send', 'consume' or 'monitor' on the queue; 'read' or
-- 'write' on the store; a predefined role; the queue, the store and the job themselves; another queue, store and job; all.
CREATE ROLE regress_matrix_nobody LOGIN;
CREATE ROLE regress_matrix_sender LOGIN;
CREATE ROLE regress_matrix_consumer LOGIN;
CREATE ROLE regress_matrix_monitor LOGIN;
CREATE ROLE regress_matrix_reader LOGIN;
CREATE ROLE regress_matrix_writer LOGIN;
CREATE ROLE regress_matrix_pgmonitor LOGIN IN ROLE pg_monitor;
CREATE ROLE regress_matrix_readall LOGIN IN ROLE pg_read_all_data;
CREATE ROLE regress_matrix_writeall LOGIN IN ROLE pg_write_all_data;
CREATE ROLE regress_matrix_owner LOGIN;
CREATE ROLE regress_matrix_other LOGIN;
CREATE ROLE regress_matrix_super LOGIN SUPERUSER;
SELECT format('GRANT CREATE ON DATABASE %I TO regress_matrix_owner, regress_matrix_other', current_database()) \gexec

SET ROLE regress_matrix_owner;
SELECT queue.create('matrix'), queue.create('matrix_dead');
SELECT queue.alter('matrix', dead_letter => 'matrix_dead');
SELECT kv.create_store('matrix');
SELECT kv.set('text', 'x', store => 'matrix'), kv.set_json('json', '1', store => 'matrix'), kv.set_bytes('bytes', 'x', store => 'matrix');
SELECT kv.incr('counter', store => 'matrix');
SELECT kv.lock('held', 3600, store => 'matrix') AS token \gset
SELECT cron.create_job('matrix', '@daily', 'SELECT 1', active => false) > 0 AS created;
SELECT queue.send('matrix', '{}') > 0 AS sent;
SELECT queue.bind('matrix', 'matrix');
CREATE SCHEMA matrix_handlers;
CREATE FUNCTION matrix_handlers.handle(queue.message) RETURNS void LANGUAGE sql AS '';
GRANT USAGE ON SCHEMA matrix_handlers TO PUBLIC;
SELECT queue.attach('matrix_dead', 'matrix_handlers.handle');
SELECT queue.grant('matrix', 'regress_matrix_sender', 'send'), queue.grant('matrix', 'regress_matrix_consumer', 'consume'),
       queue.grant('matrix', 'regress_matrix_monitor', 'monitor');
SELECT kv.grant('matrix', 'regress_matrix_reader', 'read'), kv.grant('matrix', 'regress_matrix_writer', 'write');
SET ROLE regress_matrix_other;
SELECT queue.create('matrix_other'), kv.create_store('matrix_other');
SELECT cron.create_job('matrix', '@daily', 'SELECT 2', active => false) > 0 AS created;
RESET ROLE;

CREATE TABLE matrix_calls (position int GENERATED ALWAYS AS IDENTITY, function regprocedure, call text);
INSERT INTO matrix_calls (function, call)
SELECT p.oid, call
FROM (VALUES
    ('queue.create', 'SELECT queue.create(''matrix_new'')'),
    ('queue.alter', 'SELECT queue.alter(''matrix'', vt => 31)'),
    ('queue.drop', 'SELECT queue.drop(''matrix'')'),
    ('queue.purge', 'SELECT queue.purge(''matrix'')'),
    ('queue.pause', 'SELECT queue.pause(''matrix'')'),
    ('queue.resume', 'SELECT queue.resume(''matrix'')'),
    ('queue.grant', 'SELECT queue.grant(''matrix'', ''public'', ''send'')'),
    ('queue.revoke', 'SELECT queue.revoke(''matrix'', ''public'', ''send'')'),
    ('queue.send', 'SELECT queue.send(''matrix'', ''1'')'),
    ('queue.send_batch', 'SELECT queue.send_batch(''matrix'', ''{1,2}'')'),
    ('queue.read', 'SELECT queue.read(''matrix'', vt => 0)'),
    ('queue.pop', 'SELECT queue.pop(''matrix'')'),
    ('queue.peek', 'SELECT queue.peek(''matrix'')'),
    ('queue.delete', 'SELECT queue.delete(''matrix'', 1)'),
    ('queue.delete_batch', 'SELECT queue.delete_batch(''matrix'', ''{1}'')'),
    ('queue.archive', 'SELECT queue.archive(''matrix'', 1)'),
    ('queue.archive_batch', 'SELECT queue.archive_batch(''matrix'', ''{1}'')'),
    ('queue.set_vt', 'SELECT queue.set_vt(''matrix'', 1, 1)'),
    ('queue.set_vt_batch', 'SELECT queue.set_vt_batch(''matrix'', ''{1}'', 1)'),
    ('queue.nack', 'SELECT queue.nack(''matrix'', 1)'),
    ('queue.errors', 'SELECT queue.errors(''matrix'', 1)'),
    ('queue.redrive', 'SELECT queue.redrive(''matrix_dead'', ''matrix'')'),
    ('queue.bind', 'SELECT queue.bind(''matrix.*'', ''matrix'')'),
    ('queue.unbind', 'SELECT queue.unbind(''matrix'', ''matrix'')'),
    ('queue.publish', 'SELECT queue.publish(''matrix'', ''1'')'),
    ('queue.publish_batch', 'SELECT queue.publish_batch(''matrix'', ''{1}'')'),
    ('queue.measure', 'SELECT queue.measure(''matrix'')'),
    ('queue.notify', 'SELECT queue.notify(''matrix'')'),
    ('queue.attach', 'SELECT queue.attach(''matrix'', ''matrix_handlers.handle'')'),
    ('queue.detach', 'SELECT queue.detach(''matrix_dead'')'),
    ('queue.handler_reports', 'SELECT count(*) FROM queue.handler_reports()'),
    ('queue.health', 'SELECT count(*) FROM queue.health()'),
    ('kv.create_store', 'SELECT kv.create_store(''matrix_new'')'),
    ('kv.alter_store', 'SELECT kv.alter_store(''matrix'', default_ttl => 60)'),
    ('kv.drop_store', 'SELECT kv.drop_store(''matrix'')'),
    ('kv.clear', 'SELECT kv.clear(''matrix'')'),
    ('kv.grant', 'SELECT kv.grant(''matrix'', ''public'', ''read'')'),
    ('kv.revoke', 'SELECT kv.revoke(''matrix'', ''public'', ''read'')'),
    ('kv.set', 'SELECT kv.set(''text'', ''x'', store => ''matrix'')'),
    ('kv.set_json', 'SELECT kv.set_json(''json'', ''1'', store => ''matrix'')'),
    ('kv.set_bytes', 'SELECT kv.set_bytes(''bytes'', ''x'', store => ''matrix'')'),
    ('kv.get', 'SELECT kv.get(''text'', ''matrix'')'),
    ('kv.get_json', 'SELECT kv.get_json(''json'', ''matrix'')'),
    ('kv.get_bytes', 'SELECT kv.get_bytes(''bytes'', ''matrix'')'),
    ('kv.get_entry', 'SELECT kv.get_entry(''text'', ''matrix'')'),
    ('kv.cas', 'SELECT kv.cas(''new'', ''x'', 0, store => ''matrix'')'),
    ('kv.mget', 'SELECT kv.mget(''{text}'', ''matrix'')'),
    ('kv.mset', 'SELECT kv.mset(''{a}'', ''{b}'', store => ''matrix'')'),
    ('kv.getset', 'SELECT kv.getset(''text'', ''x'', store => ''matrix'')'),
    ('kv.take', 'SELECT kv.take(''text'', ''matrix'')'),
    ('kv.delete', 'SELECT kv.delete(''text'', ''matrix'')'),
    ('kv.delete_batch', 'SELECT kv.delete_batch(''{text}'', ''matrix'')'),
    ('kv.exists', 'SELECT kv.exists(''text'', ''matrix'')'),
    ('kv.ttl', 'SELECT kv.ttl(''text'', ''matrix'')'),
    ('kv.touch', 'SELECT kv.touch(''text'', 60, ''matrix'')'),
    ('kv.scan', 'SELECT kv.scan(store => ''matrix'')'),
    ('kv.purge', 'SELECT kv.purge(''matrix'')'),
    ('kv.incr', 'SELECT kv.incr(''counter'', store => ''matrix'')'),
    ('kv.rate_limit', 'SELECT kv.rate_limit(''limit'', 5, 1, store => ''matrix'')'),
    ('kv.lock', 'SELECT kv.lock(''free'', 0.001, store => ''matrix'')'),
    ('kv.renew', 'SELECT kv.renew(''held'', 0, 1, store => ''matrix'')'),
    ('kv.unlock', 'SELECT kv.unlock(''held'', 0, store => ''matrix'')'),
    ('kv.measure', 'SELECT kv.measure(''matrix'')'),
    ('cron.may_act_as', 'SELECT cron.may_act_as(''regress_matrix_owner'')'),
    ('cron.create_job', 'SELECT cron.create_job(''matrix new'', ''@daily'', ''SELECT 1'', run_as => ''regress_matrix_owner'', active => false)'),
    ('cron.at', 'SELECT cron.at(now() + interval ''1 day'', ''SELECT 1'', run_as => ''regress_matrix_owner'')'),
    ('cron.schedule_in_database', 'SELECT cron.schedule_in_database(''matrix new'', ''@daily'', ''SELECT 1'', ''template1'', ''regress_matrix_owner'', false)'),
    ('cron.next_runs', 'SELECT cron.next_runs(''@daily'')'),
    ('pgqueue.worker_reports', 'SELECT count(*) FROM pgqueue.worker_reports()'),
    ('pgqueue.progress_reports', 'SELECT count(*) FROM pgqueue.progress_reports()'),
    ('pgqueue.worker_timezone', 'SELECT pgqueue.worker_timezone()'),
    ('pgqueue.shared_memory', 'SELECT pgqueue.shared_memory()'),
    ('pgqueue.wake', 'SELECT pgqueue.wake()'),
    ('pgqueue.prometheus', 'SELECT pgqueue.prometheus()'),
    ('pgqueue.dashboard', 'SELECT pgqueue.dashboard()'),
    ('pgqueue.measure_store', 'SELECT pgqueue.measure_store(''matrix'')'),
    ('pgqueue.store_figures', 'SELECT pgqueue.store_figures(''matrix'')'),
    ('pgqueue.next_run', 'SELECT pgqueue.next_run(''@daily'', ''UTC'', now())'),
    ('pgqueue.prometheus_label', 'SELECT pgqueue.prometheus_label(''a'', ''b'')'),
    ('pgqueue.short_seconds', 'SELECT pgqueue.short_seconds(1)'),
    ('pgqueue.html_ago', 'SELECT pgqueue.html_ago(now())'),
    ('pgqueue.html_alarm', 'SELECT pgqueue.html_alarm(1)'),
    ('pgqueue.html_badge', 'SELECT pgqueue.html_badge(''a'', ''good'')'),
    ('pgqueue.html_bar', 'SELECT pgqueue.html_bar(''{1}'', 1)'),
    ('pgqueue.html_bytes', 'SELECT pgqueue.html_bytes(1)'),
    ('pgqueue.html_count', 'SELECT pgqueue.html_count(1)'),
    ('pgqueue.html_number', 'SELECT pgqueue.html_number(1)'),
    ('pgqueue.html_runs', 'SELECT pgqueue.html_runs(''[]'')'),
    ('pgqueue.html_seconds', 'SELECT pgqueue.html_seconds(1)'),
    ('pgqueue.html_section', 'SELECT pgqueue.html_section(''a'', '''', ''{{a,n}}'', ''b'', ''c'', ''d'')'),
    ('pgqueue.html_style', 'SELECT pgqueue.html_style()'),
    ('pgqueue.html_text', 'SELECT pgqueue.html_text(''a'')'),
    ('pgqueue.html_tile', 'SELECT pgqueue.html_tile(''a'', 1, ''b'')')
    ) v(name, call) LEFT JOIN pg_proc p ON p.oid = to_regproc(v.name);
SELECT call AS no_such_function FROM matrix_calls WHERE function IS NULL;
-- Those with several forms, and those that speak of the owner's job.
INSERT INTO matrix_calls (function, call) VALUES
    ('cron.schedule(text, text)', 'SELECT cron.schedule(''@daily'', ''SELECT 1'')'),
    ('cron.schedule(text, text, text)', 'SELECT cron.schedule(''matrix new'', ''@daily'', ''SELECT 1'')'),
    ('cron.unschedule(text)', 'SELECT cron.unschedule(''matrix'')'),
    ('kv.assert_lock(text, bigint, text)', format('SELECT kv.assert_lock(''held'', %s, ''matrix'')', :token));
INSERT INTO matrix_calls (function, call)
SELECT v.function::regprocedure, format(call, jobid)
FROM cron.job, (VALUES
    ('cron.change_job(text, text, text, text, text, text, double precision, bigint, double precision, double precision, name, name, boolean)',
     'SELECT cron.change_job(''matrix'', active => false)'),
    ('cron.alter_job(bigint, text, text, text, text, boolean)', 'SELECT cron.alter_job(%s, active => false)'),
    ('cron.unschedule(bigint)', 'SELECT cron.unschedule(%s)'),
    ('cron.run(bigint)', 'SELECT cron.run(%s)')) v(function, call)
WHERE username = 'regress_matrix_owner' AND jobname = 'matrix';

-- Trigger functions can't be called, and CALL queue.wait ends transactions: see below. Nothing else is missing.
SELECT d.objid::regprocedure AS not_in_the_matrix
FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgqueue')
  AND p.prorettype <> 'trigger'::regtype AND p.prokind <> 'p'
  AND NOT EXISTS (SELECT FROM matrix_calls c WHERE c.function = d.objid)
ORDER BY 1;

-- What is done is undone, so that each call meets the same state.
CREATE FUNCTION matrix_try(role text, call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; message text; rows bigint;
BEGIN
    BEGIN
        EXECUTE format('SET LOCAL ROLE %I', 'regress_matrix_' || role);
        EXECUTE call;
        GET DIAGNOSTICS rows = ROW_COUNT;
        RAISE EXCEPTION USING ERRCODE = 'ZZ000', MESSAGE = CASE WHEN rows = 0 THEN 'none' ELSE 'yes' END;
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
    END;
    -- A dot: may not. 'none': may, and gets no row. 42704: others' jobs can't be seen. Whatever else is an error of the call itself.
    RETURN CASE state WHEN 'ZZ000' THEN message WHEN '42501' THEN '.' ELSE state END;
END $$;
CREATE FUNCTION matrix_row(call text, OUT nobody text, OUT sender text, OUT consumer text, OUT monitor text, OUT reader text, OUT writer text,
                           OUT pgmonitor text, OUT readall text, OUT writeall text, OUT owner text, OUT other text, OUT super text)
LANGUAGE plpgsql AS $$
BEGIN
    nobody := matrix_try('nobody', call); sender := matrix_try('sender', call); consumer := matrix_try('consumer', call);
    monitor := matrix_try('monitor', call); reader := matrix_try('reader', call); writer := matrix_try('writer', call);
    pgmonitor := matrix_try('pgmonitor', call); readall := matrix_try('readall', call); writeall := matrix_try('writeall', call);
    owner := matrix_try('owner', call); other := matrix_try('other', call); super := matrix_try('super', call);
END $$;
\pset format aligned
SELECT p.pronamespace::regnamespace || '.' || p.proname AS function, r.*
FROM matrix_calls c JOIN pg_proc p ON p.oid = c.function, matrix_row(call) r ORDER BY position;
\pset format unaligned

-- Nobody calls a trigger's function by hand, with whatever right.
SELECT p.oid::regprocedure AS trigger_function, matrix_try('super', format('SELECT %s', p.oid::regprocedure)) AS called
FROM pg_proc p WHERE p.prorettype = 'trigger'::regtype AND p.pronamespace IN ('queue'::regnamespace, 'kv'::regnamespace, 'cron'::regnamespace, 'pgqueue'::regnamespace)
ORDER BY 1;

-- The tables themselves: what plain SQL may do.
CREATE TABLE matrix_statements (position int GENERATED ALWAYS AS IDENTITY, statement text);
INSERT INTO matrix_statements (statement) VALUES
    ('SELECT FROM queue.q_matrix'), ('SELECT FROM queue."q_matrix#1"'), ('SELECT FROM queue.a_matrix'), ('DELETE FROM queue.q_matrix'),
    ('UPDATE queue.q_matrix SET priority = 1'), ('TRUNCATE queue.q_matrix'), ('LOCK TABLE queue.q_matrix IN ACCESS EXCLUSIVE MODE'),
    ('ALTER TABLE queue.q_matrix ADD COLUMN mine int'), ('DROP TABLE queue.q_matrix'),
    ('SELECT FROM kv.s_matrix'), ('DELETE FROM kv.s_matrix'), ('SELECT FROM kv.c_matrix'), ('TRUNCATE kv.c_matrix'),
    ('SELECT FROM queue.settings'), ('DELETE FROM queue.settings'), ('SELECT FROM kv.settings'), ('DELETE FROM kv.settings'),
    ('SELECT FROM queue.bindings'), ('DELETE FROM queue.bindings'), ('SELECT FROM cron.job WHERE jobname = ''matrix'' AND username = ''regress_matrix_owner'''),
    ('SELECT nextval(''queue.receipts'')'),
    ('SELECT FROM queue.queues WHERE queue_name = ''matrix'''), ('SELECT FROM queue.metrics WHERE queue_name = ''matrix'''),
    ('SELECT FROM queue.handlers WHERE queue_name = ''matrix_dead'''), ('SELECT FROM kv.stores WHERE store = ''matrix'''), ('SELECT FROM kv.stats WHERE store = ''matrix'''),
    ('SELECT count(*) FROM pgqueue.workers'), ('SELECT count(*) FROM pgqueue.progress'), ('SELECT FROM pgqueue.stores WHERE store = ''matrix'''),
    ('SELECT FROM pgqueue.jobs WHERE jobname = ''matrix'' AND username = ''regress_matrix_owner'''),
    ('CREATE FUNCTION queue.send(text, text) RETURNS int LANGUAGE sql AS ''SELECT 1'''), ('CREATE TABLE kv.mine (id int)'),
    ('CREATE VIEW cron.mine AS SELECT 1'), ('CREATE TABLE pgqueue.mine (id int)');
\pset format aligned
SELECT statement, r.* FROM matrix_statements, matrix_row(statement) r ORDER BY position;
\pset format unaligned

SET ROLE regress_matrix_nobody;
CALL queue.wait('matrix', 0);
SET ROLE regress_matrix_monitor;
CALL queue.wait('matrix', 0);
RESET ROLE;

-- No function runs with its owner's rights, and none that is written in SQL finds names by the caller's search_path.
SELECT p.oid::regprocedure AS security_definer FROM pg_proc p
WHERE p.prosecdef AND p.pronamespace IN ('queue'::regnamespace, 'kv'::regnamespace, 'cron'::regnamespace, 'pgqueue'::regnamespace);
SELECT p.oid::regprocedure AS without_search_path FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE l.lanname NOT IN ('c', 'internal') AND p.prosqlbody IS NULL AND NOT coalesce(p.proconfig::text LIKE '%search_path=pg_catalog, pg_temp%', false)
  AND p.pronamespace IN ('queue'::regnamespace, 'kv'::regnamespace, 'cron'::regnamespace, 'pgqueue'::regnamespace);

SET client_min_messages = warning;
DELETE FROM cron.job WHERE username LIKE 'regress_matrix%';
DELETE FROM cron.job_run_details WHERE username LIKE 'regress_matrix%';
SELECT queue.drop('matrix'), queue.drop('matrix_dead'), queue.drop('matrix_other'), kv.drop_store('matrix'), kv.drop_store('matrix_other');
DROP SCHEMA matrix_handlers CASCADE;
DROP TABLE matrix_calls, matrix_statements;
DROP FUNCTION matrix_row, matrix_try;
SELECT format('REVOKE ALL ON DATABASE %I FROM regress_matrix_owner, regress_matrix_other', current_database()) \gexec
DROP ROLE regress_matrix_nobody, regress_matrix_sender, regress_matrix_consumer, regress_matrix_monitor, regress_matrix_reader,
    regress_matrix_writer, regress_matrix_pgmonitor, regress_matrix_readall, regress_matrix_writeall, regress_matrix_owner,
    regress_matrix_other, regress_matrix_super;
