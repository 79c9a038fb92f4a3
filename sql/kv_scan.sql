-- Keys in the order of their bytes, by prefix, page by page.
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

SELECT kv.create_store('kv_scan');

SELECT count(*) FROM kv.scan(store => 'kv_scan');
SELECT kv.mset(ARRAY['b', 'a', 'B', 'aa', 'a:1', 'a:10', 'a:2', 'é', '🙂', 'z', '~', ' ', 'a%', 'a_'], ARRAY['1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12', '13', '14'], store => 'kv_scan');
SELECT kv.incr('a:c', 5, store => 'kv_scan'), kv.incr('0', 6, ttl => 3600, store => 'kv_scan'), kv.set_json('a:j', '[1]', store => 'kv_scan'), kv.set_bytes('a:b', '\x01', store => 'kv_scan');
SELECT key, value, expires_at IS NOT NULL FROM kv.scan(store => 'kv_scan');
SELECT key FROM kv.scan('', store => 'kv_scan') LIMIT 2;
SELECT string_agg(key, ',') FROM kv.scan('a:', store => 'kv_scan');
-- A prefix is bytes, no pattern.
SELECT string_agg(key, ',') FROM kv.scan('a%', store => 'kv_scan');
SELECT string_agg(key, ',') FROM kv.scan('a_', store => 'kv_scan');
SELECT string_agg(key, ',') FROM kv.scan('🙂', store => 'kv_scan');
SELECT count(*) FROM kv.scan('nothing', store => 'kv_scan');
SELECT count(*) FROM kv.scan(repeat('x', 2000), store => 'kv_scan');
-- after: not the key itself, whether it exists or not; before or beyond the prefix.
SELECT string_agg(key, ',') FROM kv.scan('a:', 'a:10', store => 'kv_scan');
SELECT string_agg(key, ',') FROM kv.scan('a:', 'a:11', store => 'kv_scan');
SELECT string_agg(key, ',') FROM kv.scan('a:', 'a:c', store => 'kv_scan');
SELECT string_agg(key, ',') FROM kv.scan('a:', 'A', store => 'kv_scan');
SELECT string_agg(key, ',') FROM kv.scan('a:', 'a:', store => 'kv_scan');
SELECT count(*) FROM kv.scan('a:', 'b', store => 'kv_scan');
SELECT string_agg(key, ',') FROM kv.scan(after => 'é', store => 'kv_scan');
SELECT count(*) FROM kv.scan(after => '', store => 'kv_scan'), kv.stores WHERE store = 'kv_scan';
-- qty.
SELECT string_agg(key, ',') FROM kv.scan('a:', qty => 2, store => 'kv_scan');
SELECT string_agg(key, ',') FROM kv.scan('a:', 'a:10', 2, 'kv_scan');
SELECT count(*) FROM kv.scan(NULL, NULL, NULL, 'kv_scan');
SELECT count(*) FROM kv.scan(qty => 9223372036854775807, store => 'kv_scan');
SELECT qty, pg_temp.attempt(format('SELECT count(*) FROM kv.scan(qty => %L, store => %L)', qty, 'kv_scan')) FROM unnest(ARRAY[0, -1]) qty;
-- Page by page, everything comes once and in order, values and counters mixed.
SELECT kv.clear('kv_scan');
SELECT count(kv.set('k' || i, i::text, store => 'kv_scan')) FROM generate_series(1, 1000) i WHERE i % 3 <> 0;
SELECT count(kv.incr('k' || i, i, store => 'kv_scan')) FROM generate_series(1, 1000) i WHERE i % 3 = 0;
SELECT count(*) FROM kv.scan(store => 'kv_scan');
CREATE FUNCTION pg_temp.walk(page bigint) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE last text; n bigint;
BEGIN
    LOOP
        n := 0;
        FOR last IN SELECT key FROM kv.scan('k', last, page, 'kv_scan') LOOP n := n + 1; RETURN NEXT last; END LOOP;
        EXIT WHEN n < page;
    END LOOP;
END $$;
SELECT page, count(*), count(DISTINCT key), array_agg(key ORDER BY n) = array_agg(key ORDER BY key COLLATE "C")
FROM unnest(ARRAY[1, 7, 100, 999, 1000, 5000]) page, LATERAL pg_temp.walk(page) WITH ORDINALITY w(key, n) GROUP BY page ORDER BY page;
-- Deleting on the way, from a cursor.
DO $$
DECLARE k text; n int := 0;
BEGIN
    FOR k IN SELECT key FROM kv.scan('k1', qty => 5000, store => 'kv_scan') LOOP
        IF kv.delete(k, 'kv_scan') THEN n := n + 1; END IF;
    END LOOP;
    RAISE NOTICE '% deleted', n;
END $$;
SELECT count(*), count(*) FILTER (WHERE key LIKE 'k1%') FROM kv.scan(store => 'kv_scan', qty => 5000);
-- A counter that became a value, and the other way: once.
SELECT kv.clear('kv_scan');
SELECT kv.incr('x', store => 'kv_scan'), kv.set('x', 'value', store => 'kv_scan'), kv.set('y', 'value', store => 'kv_scan'), kv.delete('y', 'kv_scan'), kv.incr('y', 7, store => 'kv_scan');
SELECT key, value FROM kv.scan(store => 'kv_scan');
-- One's own changes, and those that were rolled back.
BEGIN;
SELECT kv.set('w', '1', store => 'kv_scan'), kv.delete('x', 'kv_scan');
SELECT key, value FROM kv.scan(store => 'kv_scan');
ROLLBACK;
SELECT key, value FROM kv.scan(store => 'kv_scan');
-- In the view: the same keys.
SELECT key, value, type, version IS NULL, expires_at FROM kv.v_kv_scan ORDER BY key;
SELECT pg_temp.attempt($$SELECT kv.scan(store => 'kv_none')$$);
SELECT kv.drop_store('kv_scan');
