-- Values of every kind, and counters beside them: one namespace, one text.
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

SELECT kv.create_store('kv_values');

-- The store "default" is there from the start.
SELECT kv.set('kv_values:greeting', 'hello');
SELECT kv.get('kv_values:greeting'), kv.get('kv_values:greeting', 'default'), kv.get('kv_values:greeting', NULL);
SELECT kv.get('kv_values:greeting', 'kv_values');
SELECT kv.delete('kv_values:greeting');

-- Text.
SELECT kv.get('a', 'kv_values'), kv.exists('a', 'kv_values'), kv.ttl('a', 'kv_values');
SELECT kv.set('a', 'one', store => 'kv_values');
SELECT kv.get('a', 'kv_values'), kv.exists('a', 'kv_values'), kv.ttl('a', 'kv_values');
SELECT kv.set('a', 'two', store => 'kv_values');
SELECT kv.get('a', 'kv_values');
SELECT value, version > 0, expires_at FROM kv.get_entry('a', 'kv_values');
SELECT count(*) FROM kv.get_entry('none', 'kv_values');
SELECT kv.set('empty', '', store => 'kv_values');
SELECT kv.get('empty', 'kv_values') = '', kv.exists('empty', 'kv_values');
SELECT kv.delete('a', 'kv_values'), kv.delete('a', 'kv_values');
SELECT kv.get('a', 'kv_values'), kv.exists('a', 'kv_values');
-- Keys are compared by their bytes: case, space and accents count.
SELECT kv.mset(ARRAY['k', 'K', ' k', 'k ', 'ḱ'], ARRAY['1', '2', '3', '4', '5'], store => 'kv_values');
SELECT kv.get('k', 'kv_values'), kv.get('K', 'kv_values'), kv.get(' k', 'kv_values'), kv.get('k ', 'kv_values'), kv.get('ḱ', 'kv_values');
SELECT kv.clear('kv_values');

-- json and bytes; each shows as text, and answers to its own name only.
SELECT kv.set_json('j', '{"b": [1, 2.50, null], "a": "ü"}', store => 'kv_values');
SELECT kv.set_bytes('b', '\x00ff7f', store => 'kv_values');
SELECT kv.set('t', '{"b": 1}', store => 'kv_values');
SELECT kv.incr('c', 41, store => 'kv_values'), kv.incr('c', store => 'kv_values');
SELECT key, kv.get(key, 'kv_values') FROM unnest(ARRAY['j', 'b', 't', 'c']) key;
SELECT kv.get_json('j', 'kv_values') -> 'b' -> 1, kv.get_bytes('b', 'kv_values'), octet_length(kv.get_bytes('b', 'kv_values'));
SELECT key, pg_temp.attempt(format('SELECT kv.get_json(%L, %L)', key, 'kv_values')) FROM unnest(ARRAY['j', 'b', 't', 'c', 'none']) key;
SELECT key, pg_temp.attempt(format('SELECT kv.get_bytes(%L, %L)', key, 'kv_values')) FROM unnest(ARRAY['j', 'b', 't', 'c', 'none']) key;
SELECT key, pg_temp.attempt(format('SELECT kv.incr(%L, store => %L)', key, 'kv_values')) FROM unnest(ARRAY['j', 'b', 't', 'c', 'none']) key;
SELECT kv.get_json('none too', 'kv_values'), kv.get_bytes('none too', 'kv_values');
SELECT key, e.* IS NULL, e.value, e.version IS NULL, e.expires_at FROM unnest(ARRAY['j', 'b', 't', 'c']) key, kv.get_entry(key, 'kv_values') e;
SELECT * FROM kv.mget(ARRAY['c', 'j', 'missing', 't', 'b'], 'kv_values');
SELECT * FROM kv.scan(store => 'kv_values');
SELECT key, kv.exists(key, 'kv_values'), kv.ttl(key, 'kv_values') FROM unnest(ARRAY['j', 'b', 't', 'c', 'missing']) key;
SELECT kv.set_json('scalar', 'null', store => 'kv_values'), kv.set_json('scalar2', '"x"', store => 'kv_values'), kv.set_bytes('nothing', '', store => 'kv_values');
SELECT kv.get_json('scalar', 'kv_values'), kv.get('scalar', 'kv_values'), kv.get_json('scalar2', 'kv_values'), kv.get('scalar2', 'kv_values'),
       kv.get_bytes('nothing', 'kv_values'), kv.get('nothing', 'kv_values');

-- A set replaces any kind.
SELECT kv.set('j', 'text', store => 'kv_values'), kv.set_json('b', '7', store => 'kv_values'), kv.set_bytes('t', '\x41', store => 'kv_values'), kv.set_json('c', '[]', store => 'kv_values');
SELECT kv.get('j', 'kv_values'), kv.get_json('b', 'kv_values'), kv.get_bytes('t', 'kv_values'), kv.get_json('c', 'kv_values');
SELECT pg_temp.attempt($$SELECT kv.incr('c', store => 'kv_values')$$);
SELECT kv.incr('n', 5, store => 'kv_values');
SELECT kv.set('n', '6', store => 'kv_values');
SELECT kv.get('n', 'kv_values');
SELECT pg_temp.attempt($$SELECT kv.incr('n', store => 'kv_values')$$);
SELECT kv.delete('n', 'kv_values');
SELECT kv.incr('n', 5, store => 'kv_values');

-- getset and take answer what was there, of any kind, as text.
SELECT kv.getset('n', 'six', store => 'kv_values');
SELECT kv.getset('n', 'seven', store => 'kv_values'), kv.getset('j', 'x', store => 'kv_values'), kv.getset('b', 'x', store => 'kv_values'), kv.getset('t', 'x', store => 'kv_values');
SELECT kv.getset('new', 'first', store => 'kv_values');
SELECT kv.get('n', 'kv_values'), kv.get('new', 'kv_values');
SELECT kv.incr('taken', 9, store => 'kv_values'), kv.set_json('taken too', '[1]', store => 'kv_values');
SELECT kv.take('taken', 'kv_values'), kv.take('taken too', 'kv_values'), kv.take('n', 'kv_values'), kv.take('never', 'kv_values');
SELECT kv.exists('taken', 'kv_values'), kv.exists('taken too', 'kv_values'), kv.exists('n', 'kv_values');
SELECT kv.take('taken', 'kv_values'), kv.incr('taken', store => 'kv_values');

-- Counters: up, down, to the ends of bigint, and not beyond.
SELECT kv.incr('d', -5, store => 'kv_values'), kv.incr('d', 0, store => 'kv_values'), kv.incr('d', NULL, store => 'kv_values');
SELECT kv.incr('max', 9223372036854775807, store => 'kv_values'), kv.incr('min', -9223372036854775808, store => 'kv_values');
SELECT pg_temp.attempt($$SELECT kv.incr('max', store => 'kv_values')$$), pg_temp.attempt($$SELECT kv.incr('min', -1, store => 'kv_values')$$);
SELECT kv.get('max', 'kv_values'), kv.get('min', 'kv_values');
SELECT kv.incr('max', -9223372036854775808, store => 'kv_values'), kv.incr('min', 9223372036854775807, store => 'kv_values');
SELECT kv.delete('max', 'kv_values'), kv.exists('max', 'kv_values'), kv.incr('max', 1, store => 'kv_values');

-- Locks and rate limits have names of their own.
SELECT kv.set('same', 'value', store => 'kv_values'), kv.lock('same', 3600, store => 'kv_values') > 0, (kv.rate_limit('same', 5, 3600, store => 'kv_values')).remaining;
SELECT kv.get('same', 'kv_values'), kv.delete('same', 'kv_values');
SELECT kv.lock('same', 3600, store => 'kv_values'), (kv.rate_limit('same', 5, 3600, store => 'kv_values')).remaining, kv.exists('same', 'kv_values');
SELECT kv.incr('same', store => 'kv_values'), kv.lock('same', 3600, store => 'kv_values'), (kv.rate_limit('same', 5, 3600, store => 'kv_values')).remaining;
SELECT key FROM kv.scan('same', store => 'kv_values');
-- ... and one store knows nothing of another's keys.
SELECT kv.create_store('kv_values2'), kv.get('same', 'kv_values2'), kv.lock('same', 3600, store => 'kv_values2') > 0;

-- In the engine a statement's writes are seen by the next writes in it, and by a STABLE read in the next statement.
SELECT i, kv.getset('row', i::text, store => 'kv_values') FROM generate_series(1, 3) i;
SELECT kv.get('row', 'kv_values');
SELECT kv.set('row', 'x', store => 'kv_values'), kv.delete('row', 'kv_values'), kv.set('row', 'y', mode => 'if_absent', store => 'kv_values'),
       kv.take('row', 'kv_values'), kv.delete('row', 'kv_values');
DO $$
BEGIN
    FOR i IN 1 .. 1000 LOOP
        PERFORM kv.set('hot', i::text, store => 'kv_values');
        IF kv.get('hot', 'kv_values') IS DISTINCT FROM i::text THEN RAISE EXCEPTION 'hot is %, not %', kv.get('hot', 'kv_values'), i; END IF;
    END LOOP;
END $$;
SELECT count(*), min(value) FROM kv.s_kv_values WHERE key = 'hot';

-- The functions are STABLE where they only look; everything is PARALLEL UNSAFE, and nothing is STRICT or overloaded.
SELECT proname, provolatile FROM pg_proc WHERE pronamespace = 'kv'::regnamespace AND provolatile <> 'v' ORDER BY proname COLLATE "C";
SELECT count(*) FROM pg_proc WHERE pronamespace = 'kv'::regnamespace AND prorettype <> 'trigger'::regtype AND (proparallel <> 'u' OR proisstrict);
SELECT proname FROM pg_proc WHERE pronamespace = 'kv'::regnamespace GROUP BY proname HAVING count(*) > 1;
-- Prepared, with parameters whose type nobody names.
PREPARE put AS SELECT kv.set($1, $2, $3, $4, $5, $6);
EXECUTE put('p', 'v', NULL, NULL, NULL, 'kv_values');
PREPARE add AS SELECT kv.incr($1, $2, $3, $4);
EXECUTE add('p2', 2, NULL, 'kv_values');
PREPARE many AS SELECT * FROM kv.mget($1, $2);
EXECUTE many('{p,p2}', 'kv_values');
DEALLOCATE ALL;

SELECT kv.drop_store('kv_values'), kv.drop_store('kv_values2');
