-- Keys of 1 to 1,024 bytes in any script, and values of any size.
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

SELECT kv.create_store('kv_keys');
-- Every length of a key, each a key of its own.
SELECT bool_and(kv.set(repeat('k', i), i::text, store => 'kv_keys')) FROM generate_series(1, 1024) i;
SELECT count(*), count(*) FILTER (WHERE kv.get(repeat('k', i), 'kv_keys') = i::text), count(*) FILTER (WHERE kv.ttl(repeat('k', i), 'kv_keys') = -1) FROM generate_series(1, 1024) i;
SELECT count(*), bool_and(value = length(key)::text) FROM kv.scan(qty => 5000, store => 'kv_keys');
SELECT count(*) FROM kv.scan(repeat('k', 1020), qty => 5000, store => 'kv_keys');
SELECT kv.getset(repeat('k', 1024), 'x', store => 'kv_keys'), kv.take(repeat('k', 1023), 'kv_keys'), kv.delete(repeat('k', 1022), 'kv_keys'), kv.touch(repeat('k', 1021), 3600, 'kv_keys');
SELECT kv.incr(repeat('c', 1024), store => 'kv_keys'), kv.incr(repeat('c', 1024), store => 'kv_keys'), kv.lock(repeat('l', 1024), 3600, store => 'kv_keys') > 0, (kv.rate_limit(repeat('r', 1024), 5, 3600, store => 'kv_keys')).remaining;
-- ... and of none, or more.
SELECT call, pg_temp.attempt(format(call, '')), pg_temp.attempt(format(call, repeat('k', 1025))), pg_temp.attempt(format(call, repeat('é', 513))), pg_temp.attempt(format(call, repeat('k', 10000000)))
FROM unnest(ARRAY['SELECT kv.set(%L, ''1'', store => ''kv_keys'')', 'SELECT kv.get(%L, ''kv_keys'')', 'SELECT kv.incr(%L, store => ''kv_keys'')', 'SELECT kv.delete(%L, ''kv_keys'')']) call;
-- Random ones, which don't compress; a compressible one with a long common beginning.
SELECT bool_and(kv.set(key, md5(key), store => 'kv_keys')) FROM (SELECT string_agg(md5(i || ':' || j), '') AS key FROM generate_series(1, 300) i, generate_series(1, 32) j GROUP BY i) k;
SELECT count(*) FILTER (WHERE kv.get(key, 'kv_keys') = md5(key)), min(octet_length(key)) FROM (SELECT string_agg(md5(i || ':' || j), '') AS key FROM generate_series(1, 300) i, generate_series(1, 32) j GROUP BY i) k;
SELECT bool_and(kv.set(repeat('p', 1000) || i, i::text, store => 'kv_keys')) FROM generate_series(1, 500) i;
SELECT count(*) FILTER (WHERE kv.get(repeat('p', 1000) || i, 'kv_keys') = i::text) FROM generate_series(1, 500) i;
-- 1,024 bytes of one, two, three and four bytes a letter; unlike forms of one letter are different keys.
SELECT kv.mset(ARRAY[repeat('a', 1024), repeat('é', 512), repeat('€', 341), repeat('🙂', 256), E'\u00e9', E'e\u0301', 'ﬁ', 'fi', 'ß', 'ss', E'\t\n', E'\u00a0', '%', '\', '''', '"', 'NULL', '{}'], ARRAY['1', '2', '3', '4', 'one', 'two', '7', '8', '9', '10', '11', '12', '13', '14', '15', '16', '17', '18'], store => 'kv_keys');
SELECT kv.get(repeat('é', 512), 'kv_keys'), kv.get(repeat('€', 341), 'kv_keys'), kv.get(repeat('🙂', 256), 'kv_keys'), kv.get(E'\u00e9', 'kv_keys'), kv.get(E'e\u0301', 'kv_keys'), kv.get('ﬁ', 'kv_keys'), kv.get('fi', 'kv_keys'), kv.get('ß', 'kv_keys'), kv.get('ss', 'kv_keys'),
       kv.get(E'\t\n', 'kv_keys'), kv.get(E'\u00a0', 'kv_keys'), kv.get('%', 'kv_keys'), kv.get('\', 'kv_keys'), kv.get('''', 'kv_keys'), kv.get('"', 'kv_keys'), kv.get('NULL', 'kv_keys'), kv.get('{}', 'kv_keys');
-- Keys of other types' values, and from a table's columns, short and long headers and compressed ones.
CREATE TEMP TABLE keys (k text);
INSERT INTO keys VALUES ('short'), (repeat('long', 250)), (repeat('x', 1024));
SELECT bool_and(kv.set(k, k, store => 'kv_keys')) FROM keys;
SELECT bool_and(kv.get(k, 'kv_keys') = k), bool_and(kv.get(k || '', 'kv_keys') = k) FROM keys;
SELECT kv.set(17::text, 'seventeen', store => 'kv_keys'), kv.set('id:' || 'x'::char(5), 'y', store => 'kv_keys');
SELECT kv.get('17', 'kv_keys'), kv.get('id:x', 'kv_keys');

-- Values of any size, compressed, toasted and inline, replaced by each other.
DO $$
DECLARE v text; size int;
BEGIN
    FOREACH size IN ARRAY ARRAY[0, 1, 126, 127, 128, 1900, 2000, 2040, 8000, 8192, 100000, 1000000, 10, 300000, 5] LOOP
        v := left(repeat(md5(size::text), size / 32 + 1), size);
        PERFORM kv.set('size', v, store => 'kv_keys');
        IF kv.get('size', 'kv_keys') IS DISTINCT FROM v OR kv.getset('size', v, store => 'kv_keys') IS DISTINCT FROM v THEN RAISE EXCEPTION 'text of %', size; END IF;
        SELECT string_agg(md5(i::text), '') INTO v FROM generate_series(1, size / 32 + 1) i;
        PERFORM kv.set_bytes('size', convert_to(left(v, size), 'UTF8'), store => 'kv_keys');
        IF kv.get_bytes('size', 'kv_keys') IS DISTINCT FROM convert_to(left(v, size), 'UTF8') THEN RAISE EXCEPTION 'bytes of %', size; END IF;
        PERFORM kv.set_json('size', jsonb_build_object('v', left(v, size)), store => 'kv_keys');
        IF kv.get_json('size', 'kv_keys') ->> 'v' IS DISTINCT FROM left(v, size) THEN RAISE EXCEPTION 'json of %', size; END IF;
    END LOOP;
END $$;
-- 10 MB, which doesn't compress, and which does.
SELECT kv.set('big', string_agg(md5(i::text), ''), store => 'kv_keys'), kv.set('big zeros', repeat('0', 10485760), ttl => 3600, store => 'kv_keys') FROM generate_series(1, 327680) i;
SELECT length(kv.get('big', 'kv_keys')), md5(kv.get('big', 'kv_keys')) = (SELECT md5(string_agg(md5(i::text), '')) FROM generate_series(1, 327680) i), length(kv.get('big zeros', 'kv_keys'));
SELECT kv.touch('big', 3600, 'kv_keys'), kv.set_json('big json', to_jsonb(kv.get('big', 'kv_keys')), store => 'kv_keys'), kv.set_bytes('big bytes', kv.get('big', 'kv_keys')::bytea, store => 'kv_keys');
SELECT key, length(value) FROM kv.scan('big', store => 'kv_keys');
SELECT key, length(value) FROM kv.mget('{big,big zeros,big json}', 'kv_keys');
SELECT length(kv.take('big', 'kv_keys')), length(kv.getset('big zeros', 'small', store => 'kv_keys')), kv.delete('big json', 'kv_keys');
SELECT kv.get('big', 'kv_keys'), kv.get('big zeros', 'kv_keys'), octet_length(kv.get_bytes('big bytes', 'kv_keys'));
BEGIN;
SELECT kv.set('big bytes', 'small', store => 'kv_keys'), kv.clear('kv_keys') > 0;
ROLLBACK;
SELECT octet_length(kv.get_bytes('big bytes', 'kv_keys'));
-- Copied within SQL, from one toasted value to another key.
SELECT kv.set('copy', kv.get('big bytes', 'kv_keys'), store => 'kv_keys');
SELECT kv.get('copy', 'kv_keys') = kv.get('big bytes', 'kv_keys'), kv.delete('big bytes', 'kv_keys');
SELECT length(kv.get('copy', 'kv_keys'));
SELECT kv.drop_store('kv_keys');
