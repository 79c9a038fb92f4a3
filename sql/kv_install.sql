-- What CREATE EXTENSION makes of stores, and what DROP EXTENSION leaves.
CREATE DATABASE regress_pgqueue_kv;
\c regress_pgqueue_kv
\set VERBOSITY terse
CREATE SCHEMA kv;
CREATE EXTENSION pgqueue;
DROP SCHEMA kv;
\set VERBOSITY default
CREATE EXTENSION pgqueue;

-- The signatures are a contract.
\pset format unaligned
\pset tuples_only on
SELECT format('%s(%s) -> %s', proname, replace(pg_get_function_arguments(oid), 'double precision', 'float8'),
              replace(pg_get_function_result(oid), 'double precision', 'float8'))
FROM pg_proc
WHERE pronamespace = 'kv'::regnamespace AND prorettype <> 'trigger'::regtype AND proname <> 'measure'
ORDER BY proname COLLATE "C";
SELECT attname, atttypid::regtype FROM pg_attribute WHERE attrelid = 'kv.verdict'::regclass AND attnum > 0 ORDER BY attnum;
SELECT attrelid::regclass, string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
WHERE attrelid IN ('kv.stats'::regclass, 'kv.stores'::regclass) AND attnum > 0 GROUP BY attrelid ORDER BY attrelid::regclass::text COLLATE "C";

-- Stores are the user's tables, not members of the extension, but for the one that comes with it.
SELECT kv.create_store('kept');
SELECT kv.set('a', '1', store => 'kept'), kv.incr('n', 5, store => 'kept'), kv.set('a', 'in default');
SELECT objid::regclass FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid = 'pg_class'::regclass AND objid::regclass::text ~ '^kv\.[sc]_'
ORDER BY objid::regclass::text COLLATE "C";
SELECT store, entries FROM kv.stats ORDER BY store;
\set VERBOSITY terse
DROP EXTENSION pgqueue;
SET client_min_messages = warning;
DROP EXTENSION pgqueue CASCADE;
RESET client_min_messages;
\set VERBOSITY default
SELECT to_regnamespace('kv');
SELECT kv.get('a');

-- Again, in the session that knew the old one.
CREATE EXTENSION pgqueue;
SELECT kv.get('a'), kv.set('a', 'new');
SELECT kv.get('a', 'kept');
SELECT kv.create_store('kept');
SELECT kv.get('a', 'kept'), kv.incr('n', store => 'kept');

-- The store "default" is granted as any other.
SET client_min_messages = warning;
DROP EXTENSION pgqueue CASCADE;
DROP ROLE IF EXISTS regress_pgqueue_kv;
RESET client_min_messages;
CREATE ROLE regress_pgqueue_kv;
CREATE EXTENSION pgqueue;
SELECT kv.grant('default', 'regress_pgqueue_kv', 'write');
SET ROLE regress_pgqueue_kv;
SELECT kv.set('a', '1'), kv.incr('n'), kv.delete('a');
SELECT kv.get('a');
RESET ROLE;
SELECT kv.revoke('default', 'regress_pgqueue_kv', 'write');
SET ROLE regress_pgqueue_kv;
SELECT kv.set('a', '1');
RESET ROLE;
DROP EXTENSION pgqueue;
\c contrib_regression
DROP DATABASE regress_pgqueue_kv;
DROP ROLE regress_pgqueue_kv;
