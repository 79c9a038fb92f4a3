-- Who may do what: PostgreSQL's own grants on the queue's table, checked by the functions.
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
DROP ROLE IF EXISTS regress_pgqueue_owner, regress_pgqueue_sender, regress_pgqueue_consumer, regress_pgqueue_monitor,
    regress_pgqueue_nobody, regress_pgqueue_group, regress_pgqueue_extension;
RESET client_min_messages;
CREATE ROLE regress_pgqueue_owner;
CREATE ROLE regress_pgqueue_sender;
CREATE ROLE regress_pgqueue_consumer;
CREATE ROLE regress_pgqueue_monitor;
CREATE ROLE regress_pgqueue_nobody;
CREATE ROLE regress_pgqueue_group;
CREATE FUNCTION pg_temp.tries(queue text) RETURNS TABLE (what text, outcome text) LANGUAGE sql AS $$
    SELECT what, regexp_replace(pg_temp.attempt(format(statement, queue)), '\s*\|\s*', ' ')
    FROM (VALUES ('send', 'SELECT queue.send(%L, ''1'')'), ('send_batch', 'SELECT queue.send_batch(%L, ''{1,2}'')'),
                 ('read', 'SELECT queue.read(%L, vt => 0)'), ('pop', 'SELECT queue.pop(%L)'), ('peek', 'SELECT queue.peek(%L)'),
                 ('delete', 'SELECT queue.delete(%L, 999999)'), ('delete_batch', 'SELECT queue.delete_batch(%L, ''{999999}'')'),
                 ('archive', 'SELECT queue.archive(%L, 999999)'), ('archive_batch', 'SELECT queue.archive_batch(%L, ''{999999}'')'),
                 ('set_vt', 'SELECT queue.set_vt(%L, 999999, 1)'), ('set_vt_batch', 'SELECT queue.set_vt_batch(%L, ''{999999}'', 1)'),
                 ('nack', 'SELECT queue.nack(%L, 999999)'), ('purge', 'SELECT queue.purge(%L)'),
                 ('pause', 'SELECT queue.pause(%L)'), ('resume', 'SELECT queue.resume(%L)'),
                 ('alter', 'SELECT queue.alter(%L, vt => 31)'), ('create', 'SELECT queue.create(%L, vt => 31)')) v(what, statement)
$$;

-- Creating takes CREATE on the database, and nothing on the schema.
SET ROLE regress_pgqueue_owner;
SELECT pg_temp.attempt($$SELECT queue.create('privileges')$$);
SELECT count(*) FROM queue.queues WHERE queue_name = 'privileges';
RESET ROLE;
SELECT format('GRANT CREATE ON DATABASE %I TO regress_pgqueue_owner', current_database()) \gexec
SET ROLE regress_pgqueue_owner;
SELECT queue.create('privileges', vt => 30);
SELECT queue_name, owner FROM queue.queues WHERE queue_name = 'privileges';
SELECT relname, pg_get_userbyid(relowner) FROM pg_class
WHERE relnamespace = 'queue'::regnamespace AND relname ~ '^._privileges' ORDER BY relname COLLATE "C";
-- ... which gives no CREATE on the schema: a function there could capture calls.
SELECT pg_temp.attempt('CREATE FUNCTION queue.send(text, text) RETURNS bigint LANGUAGE sql AS $$ SELECT 1::bigint $$');
SELECT pg_temp.attempt('CREATE TABLE queue.mine (id int)');
SELECT pg_temp.attempt('CREATE TYPE queue.mine AS (id int)');
CREATE SCHEMA privileges_mine;
CREATE TABLE privileges_mine.q_mine (id int);
SELECT pg_temp.attempt('ALTER TABLE privileges_mine.q_mine SET SCHEMA queue');
DROP TABLE privileges_mine.q_mine;
DROP SCHEMA privileges_mine;
SELECT pg_temp.attempt('ALTER TABLE queue.q_privileges RENAME TO q_mine');
SELECT pg_temp.attempt('ALTER FUNCTION queue.send OWNER TO regress_pgqueue_owner');
SELECT pg_temp.attempt('DROP FUNCTION queue.send');
SELECT has_schema_privilege('queue', 'USAGE'), has_schema_privilege('queue', 'CREATE'),
       has_schema_privilege('regress_pgqueue_nobody', 'queue', 'CREATE');
SELECT pg_temp.attempt('INSERT INTO queue.settings (queue_name, vt, delay) VALUES (''x'', 1, 1)');
SELECT pg_temp.attempt('SELECT * FROM queue.settings');
SELECT pg_temp.attempt('SELECT nextval(''queue.receipts'')');
SELECT pg_temp.attempt('SELECT setval(''queue.receipts'', 1)');

-- Nobody but the owner has any right by default.
SELECT queue.send_batch('privileges', '{1,2,3,4,5,6,7,8,9}');
SET ROLE regress_pgqueue_nobody;
SELECT * FROM pg_temp.tries('privileges');
SELECT pg_temp.attempt('SELECT * FROM queue.q_privileges');
SELECT pg_temp.attempt('SELECT * FROM queue."q_privileges#1"');
SELECT pg_temp.attempt('SELECT * FROM queue.a_privileges');
SELECT pg_temp.attempt('DELETE FROM queue.q_privileges');
SELECT queue_name FROM queue.queues WHERE queue_name = 'privileges';
SELECT queue_name FROM queue.metrics WHERE queue_name = 'privileges';
SELECT count(*) FROM queue.measure('privileges');
CALL queue.wait('privileges', 0);
SELECT pg_temp.attempt($$SELECT queue.grant('privileges', 'regress_pgqueue_nobody', 'monitor')$$);
SELECT pg_temp.attempt($$SELECT queue.revoke('privileges', 'regress_pgqueue_nobody', 'monitor')$$);
SELECT pg_temp.attempt($$SELECT queue.drop('privileges')$$);

-- The three rights.
SET ROLE regress_pgqueue_owner;
SELECT queue.grant('privileges', 'regress_pgqueue_sender', 'send');
SELECT queue.grant('privileges', 'regress_pgqueue_consumer', 'consume');
SELECT queue.grant('privileges', 'regress_pgqueue_monitor', 'monitor');
SET ROLE regress_pgqueue_sender;
SELECT * FROM pg_temp.tries('privileges') WHERE outcome = 'ok';
SELECT pg_temp.attempt($$SELECT queue.read('privileges')$$);
SELECT pg_temp.attempt('SELECT * FROM queue.q_privileges');
SELECT pg_temp.attempt('INSERT INTO queue.q_privileges (msg_id) VALUES (1)') ~ '^(0A000|42501)';
SET ROLE regress_pgqueue_monitor;
SELECT * FROM pg_temp.tries('privileges') WHERE outcome = 'ok';
SELECT pg_temp.attempt($$SELECT queue.read('privileges')$$);
SELECT count(*) > 0 FROM queue.q_privileges;
SELECT count(*) FROM queue.a_privileges;
SELECT ready > 0 FROM queue.metrics WHERE queue_name = 'privileges';
CALL queue.wait('privileges', 0);
SET ROLE regress_pgqueue_consumer;
SELECT * FROM pg_temp.tries('privileges') WHERE outcome = 'ok';
SELECT pg_temp.attempt($$SELECT queue.send('privileges', '1')$$);
SELECT pg_temp.attempt($$SELECT queue.drop('privileges')$$);
CALL queue.wait('privileges', 0);
SELECT count(*) > 0 FROM queue.metrics WHERE queue_name = 'privileges';
-- A consumer archives without a right to write into the archive.
RESET ROLE;
SELECT queue.send('privileges', '"to be archived"') AS id \gset
SET ROLE regress_pgqueue_consumer;
SELECT queue.archive('privileges', :id);
SELECT message FROM queue.a_privileges;
SELECT pg_temp.attempt('DELETE FROM queue.a_privileges');

-- What only the owner may.
SET ROLE regress_pgqueue_owner;
SELECT * FROM pg_temp.tries('privileges');
-- queue.grant is the owner's; who has the grant option passes it on by GRANT.
GRANT INSERT ON queue.q_privileges TO regress_pgqueue_group WITH GRANT OPTION;
SET ROLE regress_pgqueue_group;
SELECT pg_temp.attempt($$SELECT queue.grant('privileges', 'regress_pgqueue_nobody', 'send')$$);
GRANT INSERT ON queue.q_privileges TO regress_pgqueue_nobody;
SET ROLE regress_pgqueue_nobody;
SELECT queue.send('privileges', '1') > 0;
RESET ROLE;
REVOKE ALL ON queue.q_privileges FROM regress_pgqueue_group CASCADE;

-- Membership counts, and a plain GRANT does.
GRANT regress_pgqueue_sender TO regress_pgqueue_nobody;
SET ROLE regress_pgqueue_nobody;
SELECT queue.send('privileges', '1') > 0;
RESET ROLE;
REVOKE regress_pgqueue_sender FROM regress_pgqueue_nobody;
SET ROLE regress_pgqueue_nobody;
SELECT pg_temp.attempt($$SELECT queue.send('privileges', '1')$$);
RESET ROLE;
GRANT INSERT ON queue.q_privileges TO regress_pgqueue_nobody;
SET ROLE regress_pgqueue_nobody;
SELECT queue.send('privileges', '1') > 0;
RESET ROLE;
REVOKE INSERT ON queue.q_privileges FROM regress_pgqueue_nobody;
SET ROLE regress_pgqueue_nobody;
SELECT pg_temp.attempt($$SELECT queue.send('privileges', '1')$$);
RESET ROLE;
SELECT queue.grant('privileges', 'public', 'send');
SET ROLE regress_pgqueue_nobody;
SELECT queue.send('privileges', '1') > 0;
RESET ROLE;
SELECT queue.revoke('privileges', 'public', 'send');
SELECT queue.revoke('privileges', 'regress_pgqueue_sender', 'send'), queue.revoke('privileges', 'regress_pgqueue_consumer', 'consume'),
       queue.revoke('privileges', 'regress_pgqueue_monitor', 'monitor');
SELECT has_table_privilege(r, t, p), r, t, p
FROM unnest(ARRAY['regress_pgqueue_sender', 'regress_pgqueue_consumer', 'regress_pgqueue_monitor', 'regress_pgqueue_nobody']) r,
     unnest(ARRAY['queue.q_privileges', 'queue."q_privileges#1"', 'queue.a_privileges']) t,
     unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p
WHERE has_table_privilege(r, t, p);

-- A name that needs quotes; `public` the role doesn't exist, so the name means everybody.
CREATE ROLE "regress_pgqueue ""odd' role";
SELECT queue.grant('privileges', 'regress_pgqueue "odd'' role', 'consume');
SELECT has_table_privilege('regress_pgqueue "odd'' role', 'queue.q_privileges', 'UPDATE');
SELECT queue.revoke('privileges', 'regress_pgqueue "odd'' role', 'consume');
DROP ROLE "regress_pgqueue ""odd' role";
-- No such role; an empty name is none.
SELECT pg_temp.attempt(statement) FROM unnest(ARRAY[$$SELECT queue.grant('privileges', 'regress_pgqueue_none', 'send')$$, $$SELECT queue.grant('privileges', '', 'send')$$, $$SELECT queue.revoke('privileges', '', 'consume')$$]) statement;

-- A SECURITY DEFINER function lends its owner's rights.
CREATE FUNCTION public.lend() RETURNS boolean LANGUAGE sql SECURITY DEFINER AS $$ SELECT queue.send('privileges', '1') > 0 $$;
ALTER FUNCTION public.lend() OWNER TO regress_pgqueue_owner;
SET ROLE regress_pgqueue_nobody;
SELECT public.lend();
SELECT pg_temp.attempt($$SELECT queue.send('privileges', '1')$$);
RESET ROLE;
DROP FUNCTION public.lend();

-- Nobody takes over a table of another's, or captures a name with a table of the own.
SET ROLE regress_pgqueue_owner;
SELECT count(*) FROM queue.read('privileges', qty => 100, vt => 0);
RESET ROLE;
DELETE FROM queue.settings WHERE queue_name = 'privileges';
SELECT format('GRANT CREATE ON DATABASE %I TO regress_pgqueue_nobody', current_database()) \gexec
SET ROLE regress_pgqueue_nobody;
SELECT pg_temp.attempt($$SELECT queue.create('privileges')$$);
SET ROLE regress_pgqueue_owner;
SELECT queue.create('privileges');
-- What is made anew in a queue that is taken over belongs to its owner.
RESET ROLE;
DROP TABLE queue.a_privileges;
SELECT queue.create('privileges');
SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'queue.a_privileges'::regclass;

-- A creator with a search_path full of traps.
CREATE SCHEMA privileges_trap;
CREATE FUNCTION privileges_trap.regclass_in(text) RETURNS int LANGUAGE sql AS $$ SELECT 1 / 0 $$;
CREATE FUNCTION privileges_trap.max(bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT (1 / 0)::bigint $$;
CREATE TABLE privileges_trap.settings (queue_name int);
CREATE DOMAIN privileges_trap.jsonb AS int;
CREATE DOMAIN privileges_trap.timestamptz AS int;
SET search_path = privileges_trap, queue, pg_catalog;
SELECT queue.create('privileges_trap', 30);
SELECT queue.send('privileges_trap', '1'), queue.drop('privileges_trap');
SELECT queue.create('privileges_trap', 30), queue.drop('privileges_trap');
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA privileges_trap CASCADE;
RESET client_min_messages;

SET ROLE regress_pgqueue_nobody;
SELECT pg_temp.attempt($$SELECT queue.drop('privileges')$$);
SET ROLE regress_pgqueue_owner;
SELECT queue.drop('privileges');
RESET ROLE;
SELECT format('REVOKE CREATE ON DATABASE %I FROM regress_pgqueue_owner, regress_pgqueue_nobody', current_database()) \gexec
DROP ROLE regress_pgqueue_owner, regress_pgqueue_sender, regress_pgqueue_consumer, regress_pgqueue_monitor,
    regress_pgqueue_nobody, regress_pgqueue_group;
