-- Values belong to the transaction, savepoints included; counters, limits and locks are at once.
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

SELECT kv.create_store('kv_tx');
SELECT kv.mset('{a,b,c}', '{1,2,3}', store => 'kv_tx'), kv.incr('n', 10, store => 'kv_tx');
CREATE FUNCTION pg_temp.all() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(key || '=' || value, ' ') FROM kv.scan(store => 'kv_tx') $$;

BEGIN;
SELECT kv.set('a', 'x', store => 'kv_tx'), kv.delete('b', 'kv_tx'), kv.set('d', 'new', store => 'kv_tx'), kv.incr('n', store => 'kv_tx'), kv.incr('m', store => 'kv_tx');
SELECT pg_temp.all();
ROLLBACK;
SELECT pg_temp.all();
-- Savepoints, released and rolled back, nested.
BEGIN;
SELECT kv.set('a', 'outer', store => 'kv_tx');
SAVEPOINT s1;
SELECT kv.set('a', 's1', store => 'kv_tx'), kv.set('e', 's1', store => 'kv_tx'), kv.delete('c', 'kv_tx');
SAVEPOINT s2;
SELECT kv.set('a', 's2', store => 'kv_tx'), kv.take('e', 'kv_tx'), kv.set('c', 's2', mode => 'if_absent', store => 'kv_tx');
SELECT pg_temp.all();
ROLLBACK TO s2;
SELECT pg_temp.all();
RELEASE s2;
SELECT kv.set('f', 's1', store => 'kv_tx');
RELEASE s1;
SELECT pg_temp.all();
SAVEPOINT s3;
SELECT kv.mset('{a,e,g}', '{s3,s3,s3}', store => 'kv_tx'), kv.delete_batch('{f,b}', 'kv_tx');
ROLLBACK TO s3;
COMMIT;
SELECT pg_temp.all();
-- A key that is new in the transaction and goes with a savepoint, and comes again.
BEGIN;
SAVEPOINT s;
SELECT kv.set('x', '1', mode => 'nx', store => 'kv_tx');
ROLLBACK TO s;
SELECT kv.exists('x', 'kv_tx'), kv.set('x', '2', mode => 'nx', store => 'kv_tx'), kv.delete('x', 'kv_tx'), kv.set('x', '3', mode => 'nx', store => 'kv_tx');
SAVEPOINT s;
SELECT kv.delete('x', 'kv_tx');
ROLLBACK TO s;
SELECT kv.set('x', '4', mode => 'xx', store => 'kv_tx');
COMMIT;
SELECT kv.take('x', 'kv_tx');
-- A counter that is deleted, replaced, and made again in a transaction.
BEGIN;
SELECT kv.delete('n', 'kv_tx'), kv.exists('n', 'kv_tx'), kv.incr('n', 5, store => 'kv_tx');
ROLLBACK;
SELECT kv.get('n', 'kv_tx');
BEGIN;
SELECT kv.set('n', 'text', store => 'kv_tx'), kv.delete('n', 'kv_tx');
SELECT kv.incr('n', 7, store => 'kv_tx'), kv.incr('n', store => 'kv_tx');
COMMIT;
SELECT kv.get('n', 'kv_tx'), kv.incr('n', store => 'kv_tx');
BEGIN;
SAVEPOINT s;
SELECT kv.delete('n', 'kv_tx');
ROLLBACK TO s;
SELECT kv.incr('n', store => 'kv_tx');
SAVEPOINT s;
SELECT kv.set('n', 'text', store => 'kv_tx');
ROLLBACK TO s;
SELECT kv.incr('n', store => 'kv_tx');
COMMIT;
SELECT kv.get('n', 'kv_tx');
SELECT count(*) FROM kv.c_kv_tx WHERE key = 'n';
-- A touch is at once and not undone.
BEGIN;
SELECT kv.touch('a', 3600, 'kv_tx');
ROLLBACK;
SELECT kv.ttl('a', 'kv_tx') BETWEEN 3000 AND 3600;
BEGIN;
SELECT kv.set('a', 'y', store => 'kv_tx'), kv.touch('a', 7200, 'kv_tx');
COMMIT;
SELECT kv.ttl('a', 'kv_tx') BETWEEN 6600 AND 7200;
-- Errors in the middle: caught in PL/pgSQL, and not caught.
DO $$
BEGIN
    PERFORM kv.set('a', 'before', store => 'kv_tx');
    BEGIN
        PERFORM kv.set('a', 'inner', store => 'kv_tx'), kv.set('h', 'inner', store => 'kv_tx'), kv.incr('counted', store => 'kv_tx');
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN
        IF kv.get('a', 'kv_tx') <> 'before' OR kv.exists('h', 'kv_tx') THEN RAISE EXCEPTION 'not undone'; END IF;
    END;
END $$;
SELECT pg_temp.all();
BEGIN;
SELECT kv.set('a', 'lost', store => 'kv_tx');
SELECT kv.incr('a', store => 'kv_tx');
COMMIT;
SELECT kv.get('a', 'kv_tx'), kv.get('counted', 'kv_tx');
-- One snapshot: reads are of it, with what the transaction did itself; counters are as they are now.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT kv.get('a', 'kv_tx'), kv.set('a', 'rr', store => 'kv_tx'), kv.incr('n', store => 'kv_tx');
SELECT kv.get('a', 'kv_tx'), kv.get('n', 'kv_tx'), kv.delete('a', 'kv_tx');
SELECT kv.get('a', 'kv_tx'), kv.set('a', 'again', mode => 'nx', store => 'kv_tx');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT kv.get('a', 'kv_tx'), kv.set('a', 'ser', store => 'kv_tx'), kv.exists('nothing', 'kv_tx'), kv.cas('b', 'ser', version, store => 'kv_tx') > version FROM kv.get_entry('b', 'kv_tx');
SELECT kv.get('a', 'kv_tx'), kv.incr('n', store => 'kv_tx'), kv.set('nothing', 'x', store => 'kv_tx'), kv.take('nothing', 'kv_tx');
COMMIT;
SELECT pg_temp.all();
-- A cursor reads what was there when it was opened.
BEGIN;
DECLARE c CURSOR FOR SELECT key, value FROM kv.s_kv_tx ORDER BY key;
FETCH 1 FROM c;
SELECT kv.clear('kv_tx') > 0;
FETCH 1 FROM c;
SELECT count(*) FROM kv.scan(store => 'kv_tx');
ROLLBACK;
-- Creating and dropping a store are part of the transaction too.
BEGIN;
SELECT kv.create_store('kv_tx2'), kv.set('a', '1', store => 'kv_tx2'), kv.incr('b', store => 'kv_tx2');
SELECT kv.get('a', 'kv_tx2');
ROLLBACK;
SELECT pg_temp.attempt($$SELECT kv.get('a', 'kv_tx2')$$);
BEGIN;
SELECT kv.drop_store('kv_tx');
SELECT pg_temp.attempt($$SELECT kv.get('b', 'kv_tx')$$);
ROLLBACK;
SELECT kv.get('b', 'kv_tx');
BEGIN;
SELECT kv.drop_store('kv_tx'), kv.create_store('kv_tx'), kv.set('b', 'new', store => 'kv_tx');
COMMIT;
SELECT pg_temp.all();
SELECT kv.drop_store('kv_tx');
