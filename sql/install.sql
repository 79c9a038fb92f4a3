-- What CREATE EXTENSION makes, and what DROP EXTENSION leaves.
CREATE DATABASE regress_pgqueue_install;
\c regress_pgqueue_install
CREATE EXTENSION pgqueue SCHEMA public;
CREATE EXTENSION pgqueue;
CREATE EXTENSION pgqueue;

-- The signatures are a contract.
\pset format unaligned
\pset tuples_only on
SELECT format(E'%s %s(%s)%s', CASE prokind WHEN 'p' THEN 'CALL' ELSE 'SELECT' END, proname,
              replace(pg_get_function_arguments(oid), 'double precision', 'float8'),
              ' -> ' || pg_get_function_result(oid))
FROM pg_proc
WHERE pronamespace = 'queue'::regnamespace AND prorettype <> 'trigger'::regtype AND proname NOT IN ('measure', 'handler_reports')
ORDER BY proname COLLATE "C";

-- No function is STRICT, stable, parallel-safe or SECURITY DEFINER, and none is overloaded.
SELECT proname
FROM pg_proc
WHERE pronamespace = 'queue'::regnamespace
  AND (proisstrict OR provolatile <> 'v' OR proparallel <> 'u' OR prosecdef);
SELECT proname FROM pg_proc WHERE pronamespace = 'queue'::regnamespace GROUP BY proname HAVING count(*) > 1;

-- The type that reads answer with.
SELECT attname, atttypid::regtype
FROM pg_attribute
WHERE attrelid = 'queue.message'::regclass AND attnum > 0
ORDER BY attnum;

-- Settings and the receipts' high-water mark travel with a dump.
SELECT c.oid::regclass AS dumped
FROM pg_extension e, unnest(e.extconfig) AS c(oid)
WHERE e.extname = 'pgqueue'
ORDER BY 1::text COLLATE "C";
SELECT extrelocatable FROM pg_extension WHERE extname = 'pgqueue';

-- Queues are the user's tables, not members of the extension.
SELECT queue.create('kept');
SELECT queue.send('kept', '1');
SELECT count(*) AS members
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid = 'pg_class'::regclass
  AND objid IN ('queue.q_kept'::regclass, 'queue."q_kept#1"'::regclass, 'queue.a_kept'::regclass);
\set VERBOSITY terse
DROP EXTENSION pgqueue;
SET client_min_messages = warning;
DROP EXTENSION pgqueue CASCADE;
RESET client_min_messages;
\set VERBOSITY default
SELECT to_regnamespace('queue');
SELECT queue.send('kept', '1');

-- Again, in the session that knew the old one.
CREATE EXTENSION pgqueue;
SELECT queue.send('kept', '1');
SELECT queue.create('kept');
SELECT queue.send('kept', '2');
SELECT msg_id, message FROM queue.read('kept');
SELECT queue.drop('kept');

-- A database without the extension.
DROP EXTENSION pgqueue;
\c contrib_regression
DROP DATABASE regress_pgqueue_install;
