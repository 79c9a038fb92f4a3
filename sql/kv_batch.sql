-- Many keys at once: mget, mset, delete_batch.
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

SELECT kv.create_store('kv_batch');

SELECT kv.mset(ARRAY['a', 'b', 'c'], ARRAY['1', '2', '3'], store => 'kv_batch');
-- In input order, NULL where missing, a key as often as it is asked for.
SELECT * FROM kv.mget(ARRAY['c', 'x', 'a', 'c', 'b'], 'kv_batch');
SELECT ordinality, key, value FROM kv.mget(ARRAY['c', 'x', 'a'], 'kv_batch') WITH ORDINALITY;
-- A key twice: the last wins.
SELECT kv.mset(ARRAY['d', 'a', 'd', 'd'], ARRAY['first', '1b', 'second', 'last'], store => 'kv_batch');
SELECT * FROM kv.mget(ARRAY['a', 'd'], 'kv_batch');
-- Over a counter, over json, over what has a ttl.
SELECT kv.incr('n', 5, store => 'kv_batch'), kv.set_json('j', '[]', ttl => 3600, store => 'kv_batch');
SELECT kv.mset('{n,j}', '{x,y}', store => 'kv_batch');
SELECT * FROM kv.mget('{n,j}', 'kv_batch');
SELECT kv.ttl('j', 'kv_batch');
SELECT kv.delete_batch(ARRAY['a', 'x', 'b', 'a', 'n'], 'kv_batch');
SELECT key FROM kv.scan(store => 'kv_batch');
SELECT kv.incr('n', 5, store => 'kv_batch'), kv.delete_batch('{n,c}', 'kv_batch');
-- An empty batch does nothing, but for an unknown store.
SELECT kv.mset('{}', '{}', store => 'kv_batch'), kv.delete_batch('{}', 'kv_batch');
SELECT count(*) FROM kv.mget('{}', 'kv_batch');
SELECT pg_temp.attempt(statement), statement
FROM unnest(ARRAY[$$SELECT kv.mset('{}', '{}', store => 'kv_none')$$, $$SELECT kv.delete_batch('{}', 'kv_none')$$, $$SELECT * FROM kv.mget('{}', 'kv_none')$$,
    $$SELECT * FROM kv.mget(NULL, 'kv_batch')$$, $$SELECT kv.mset(NULL, '{}', store => 'kv_batch')$$, $$SELECT kv.mset('{}', NULL, store => 'kv_batch')$$, $$SELECT kv.delete_batch(NULL, 'kv_batch')$$,
    $$SELECT * FROM kv.mget('{a,NULL}', 'kv_batch')$$, $$SELECT kv.mset('{a,NULL}', '{1,2}', store => 'kv_batch')$$, $$SELECT kv.mset('{a,b}', '{1,NULL}', store => 'kv_batch')$$, $$SELECT kv.delete_batch('{NULL}', 'kv_batch')$$,
    $$SELECT * FROM kv.mget('{{a},{b}}', 'kv_batch')$$, $$SELECT kv.mset('{{a},{b}}', '{{1},{2}}', store => 'kv_batch')$$, $$SELECT kv.mset('{a,b}', '{{1},{2}}', store => 'kv_batch')$$, $$SELECT kv.delete_batch('{{a}}', 'kv_batch')$$,
    $$SELECT kv.mset('{a,b}', '{1}', store => 'kv_batch')$$, $$SELECT kv.mset('{a}', '{}', store => 'kv_batch')$$, $$SELECT kv.mset('{}', '{1}', store => 'kv_batch')$$,
    $$SELECT kv.mset('{a,""}', '{1,2}', store => 'kv_batch')$$, $$SELECT kv.delete_batch('{a,""}', 'kv_batch')$$, $$SELECT * FROM kv.mget('{a,""}', 'kv_batch')$$]) statement;
-- ... and what failed has set nothing.
SELECT key FROM kv.scan(store => 'kv_batch');
-- Arrays that don't begin at 1.
SELECT kv.mset('[5:6]={e,f}'::text[], '[-1:0]={5,6}'::text[], store => 'kv_batch');
SELECT * FROM kv.mget('[0:1]={f,e}'::text[], 'kv_batch');

-- Many.
SELECT kv.clear('kv_batch');
SELECT kv.mset(array_agg('key ' || i ORDER BY md5(i::text)), array_agg(i::text ORDER BY md5(i::text)), ttl => 3600, store => 'kv_batch') FROM generate_series(1, 10000) i;
SELECT count(*), count(DISTINCT key), sum(value::int), min(expires_at) > clock_timestamp() FROM kv.scan(store => 'kv_batch', qty => 100000);
SELECT count(*), count(value), count(*) FILTER (WHERE 'key ' || value = key) FROM kv.mget(ARRAY(SELECT 'key ' || i FROM generate_series(9001, 11000) i), 'kv_batch');
SELECT bool_and(key = 'key ' || ordinality AND value = ordinality::text) FROM kv.mget(ARRAY(SELECT 'key ' || i FROM generate_series(1, 3000) i), 'kv_batch') WITH ORDINALITY;
SELECT kv.mset(array_agg('key ' || i), array_agg('again'::text), store => 'kv_batch') FROM generate_series(9001, 11000) i;
SELECT count(*), count(*) FILTER (WHERE value = 'again') FROM kv.scan(store => 'kv_batch', qty => 100000);
SELECT kv.delete_batch(ARRAY(SELECT 'key ' || i FROM generate_series(5001, 20000) i), 'kv_batch');
SELECT count(*), max(value::int) FROM kv.scan(store => 'kv_batch', qty => 100000);
-- A batch is rolled back as a whole.
BEGIN;
SELECT kv.mset('{key 1,new}', '{x,y}', store => 'kv_batch'), kv.delete_batch('{key 2,key 3}', 'kv_batch');
ROLLBACK;
SELECT * FROM kv.mget('{key 1,new,key 2,key 3}', 'kv_batch');
SELECT kv.clear('kv_batch'), kv.drop_store('kv_batch');
