-- Expiry: ttl, modes, keep_ttl, default_ttl, touch. What has expired exists for no function.
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

SELECT kv.create_store('kv_ttl');
-- A remaining time between these bounds, whatever the machine's speed.
CREATE FUNCTION pg_temp.about(key text, seconds float8) RETURNS boolean LANGUAGE sql AS
    $$ SELECT kv.ttl(key, 'kv_ttl') BETWEEN seconds - 500 AND seconds $$;
CREATE PROCEDURE pg_temp.expire(key text) LANGUAGE plpgsql AS $$
BEGIN
    WHILE kv.ttl(key, 'kv_ttl') IS NOT NULL LOOP PERFORM pg_sleep(0.002); END LOOP;
END $$;

-- A ttl, and what the functions say of it.
SELECT kv.set('a', '1', ttl => 3600, store => 'kv_ttl');
SELECT pg_temp.about('a', 3600);
SELECT expires_at BETWEEN clock_timestamp() + interval '3100 s' AND clock_timestamp() + interval '3600 s' FROM kv.get_entry('a', 'kv_ttl');
SELECT expires_at BETWEEN clock_timestamp() + interval '3100 s' AND clock_timestamp() + interval '3600 s' FROM kv.scan(store => 'kv_ttl');
-- A plain set clears it; keep_ttl keeps it; -1 means never.
SELECT kv.set('a', '2', store => 'kv_ttl');
SELECT kv.ttl('a', 'kv_ttl');
SELECT kv.set('a', '3', ttl => 3600, store => 'kv_ttl'), kv.set('a', '4', keep_ttl => true, store => 'kv_ttl');
SELECT pg_temp.about('a', 3600), kv.get('a', 'kv_ttl');
SELECT kv.set_json('a', '5', keep_ttl => true, store => 'kv_ttl'), kv.set_bytes('a', '\x05', keep_ttl => true, mode => 'xx', store => 'kv_ttl');
SELECT pg_temp.about('a', 3600), kv.get_bytes('a', 'kv_ttl');
SELECT kv.set('a', '6', ttl => -1, store => 'kv_ttl');
SELECT kv.ttl('a', 'kv_ttl'), expires_at FROM kv.get_entry('a', 'kv_ttl');
SELECT kv.set('new', '1', keep_ttl => true, store => 'kv_ttl');
SELECT kv.ttl('new', 'kv_ttl');
SELECT kv.set('a', '7', keep_ttl => true, store => 'kv_ttl');
SELECT kv.ttl('a', 'kv_ttl');
SELECT pg_temp.attempt($$SELECT kv.set('a', '8', ttl => 5, keep_ttl => true, store => 'kv_ttl')$$);
-- What else takes a ttl.
SELECT kv.getset('a', '8', ttl => 3600, store => 'kv_ttl');
SELECT pg_temp.about('a', 3600);
SELECT kv.getset('a', '9', store => 'kv_ttl');
SELECT kv.ttl('a', 'kv_ttl');
SELECT kv.cas('a', '10', version, ttl => 3600, store => 'kv_ttl') > version FROM kv.get_entry('a', 'kv_ttl');
SELECT pg_temp.about('a', 3600);
SELECT kv.cas('a', '11', version, store => 'kv_ttl') > version FROM kv.get_entry('a', 'kv_ttl');
SELECT kv.ttl('a', 'kv_ttl');
SELECT kv.mset('{m1,m2}', '{1,2}', ttl => 3600, store => 'kv_ttl');
SELECT pg_temp.about('m1', 3600), pg_temp.about('m2', 3600);
-- touch: another end, in either direction, and for ever.
SELECT kv.touch('a', 7200, 'kv_ttl');
SELECT pg_temp.about('a', 7200), kv.get('a', 'kv_ttl');
SELECT kv.touch('a', 900, 'kv_ttl');
SELECT pg_temp.about('a', 900);
SELECT kv.touch('a', -1, 'kv_ttl');
SELECT kv.ttl('a', 'kv_ttl');
SELECT kv.touch('none', 100, 'kv_ttl'), kv.touch('none', -1, 'kv_ttl'), kv.exists('none', 'kv_ttl');
SELECT version FROM kv.get_entry('a', 'kv_ttl') \gset
SELECT kv.touch('a', 100, 'kv_ttl');
SELECT version = :version FROM kv.get_entry('a', 'kv_ttl');
-- incr applies its ttl when it creates the key, and keeps a live one's.
SELECT kv.incr('c', ttl => 3600, store => 'kv_ttl'), kv.incr('c', ttl => 7200, store => 'kv_ttl'), kv.incr('c', store => 'kv_ttl'), kv.incr('c', ttl => -1, store => 'kv_ttl');
SELECT pg_temp.about('c', 3600);
SELECT kv.touch('c', 7200, 'kv_ttl');
SELECT pg_temp.about('c', 7200), kv.get('c', 'kv_ttl');
SELECT kv.touch('c', -1, 'kv_ttl');
SELECT kv.ttl('c', 'kv_ttl'), kv.get('c', 'kv_ttl');
SELECT kv.incr('never', store => 'kv_ttl');
SELECT kv.ttl('never', 'kv_ttl');
-- A set over a counter may keep its ttl.
SELECT kv.incr('over', ttl => 3600, store => 'kv_ttl'), kv.set('over', 'text', keep_ttl => true, store => 'kv_ttl');
SELECT pg_temp.about('over', 3600), kv.get('over', 'kv_ttl');
SELECT kv.incr('over2', ttl => 3600, store => 'kv_ttl'), kv.set('over2', 'text', store => 'kv_ttl');
SELECT kv.ttl('over2', 'kv_ttl');

-- Modes, and their short forms.
SELECT kv.clear('kv_ttl') > 0;
SELECT kv.set('m', '1', mode => 'if_present', store => 'kv_ttl'), kv.exists('m', 'kv_ttl');
SELECT kv.set('m', '1', mode => 'if_absent', store => 'kv_ttl'), kv.set('m', '2', mode => 'if_absent', store => 'kv_ttl');
SELECT kv.get('m', 'kv_ttl');
SELECT kv.set('m', '3', mode => 'if_present', store => 'kv_ttl'), kv.set('m', '4', mode => 'nx', store => 'kv_ttl'), kv.set('m', '5', mode => 'xx', store => 'kv_ttl'), kv.set('m2', '5', mode => 'xx', store => 'kv_ttl'), kv.set('m3', '5', mode => 'nx', store => 'kv_ttl');
SELECT * FROM kv.mget('{m,m2,m3}', 'kv_ttl');
SELECT kv.set('m', '6', mode => 'always', store => 'kv_ttl'), kv.set('m', '7', mode => NULL, store => 'kv_ttl');
SELECT mode, pg_temp.attempt(format('SELECT kv.set(%L, %L, mode => %L, store => %L)', 'm', 'x', mode, 'kv_ttl')) FROM unnest(ARRAY['', 'NX', 'if absent', 'Always']) mode;
-- A refused set changes nothing, not even the ttl.
SELECT kv.set('m', '8', ttl => 3600, store => 'kv_ttl'), kv.set('m', '9', ttl => 7200, mode => 'nx', store => 'kv_ttl');
SELECT kv.get('m', 'kv_ttl'), pg_temp.about('m', 3600);
-- They count a counter as there.
SELECT kv.incr('n', store => 'kv_ttl'), kv.set('n', 'x', mode => 'nx', store => 'kv_ttl'), kv.set('n2', 'x', mode => 'xx', store => 'kv_ttl');
SELECT kv.get('n', 'kv_ttl');
SELECT kv.set('n', 'x', mode => 'xx', store => 'kv_ttl');
SELECT kv.get('n', 'kv_ttl');

-- Expired: not there for anybody.
SELECT kv.clear('kv_ttl') > 0;
SELECT kv.set(key, 'gone', ttl => 0.001, store => 'kv_ttl') FROM unnest(ARRAY['x1', 'x2', 'x3', 'x4', 'x5', 'x6', 'x7', 'x8', 'x9']) key;
SELECT kv.incr(key, 100, ttl => 0.001, store => 'kv_ttl') FROM unnest(ARRAY['y1', 'y2', 'y3', 'y4', 'y5', 'y6', 'y7', 'y8', 'y9']) key;
CALL pg_temp.expire('x9');
CALL pg_temp.expire('y9');
SELECT kv.get('x1', 'kv_ttl'), kv.exists('x1', 'kv_ttl'), kv.ttl('x1', 'kv_ttl'), kv.get('y1', 'kv_ttl'), kv.exists('y1', 'kv_ttl'), kv.ttl('y1', 'kv_ttl');
SELECT count(*) FROM kv.scan(store => 'kv_ttl');
SELECT count(*) FROM kv.get_entry('x1', 'kv_ttl');
SELECT * FROM kv.mget('{x1,y1}', 'kv_ttl');
SELECT count(*) FROM kv.v_kv_ttl;
SELECT entries, expired FROM kv.stats WHERE store = 'kv_ttl';
-- ... touch and keep_ttl don't revive it,
SELECT kv.touch('x1', 3600, 'kv_ttl'), kv.touch('y1', 3600, 'kv_ttl'), kv.touch('x1', -1, 'kv_ttl');
SELECT kv.set('x1', 'new', keep_ttl => true, store => 'kv_ttl'), kv.set('y1', 'new', keep_ttl => true, store => 'kv_ttl');
SELECT key, value, expires_at FROM kv.scan(store => 'kv_ttl');
-- ... if_absent succeeds, if_present doesn't,
SELECT kv.set('x2', 'new', mode => 'if_present', store => 'kv_ttl'), kv.set('x2', 'new', mode => 'if_absent', store => 'kv_ttl'),
       kv.set('y2', 'new', mode => 'if_present', store => 'kv_ttl'), kv.set('y2', 'new', mode => 'if_absent', store => 'kv_ttl');
-- ... getset, take and delete find nothing,
SELECT kv.getset('x3', 'new', store => 'kv_ttl'), kv.getset('y3', 'new', store => 'kv_ttl'), kv.take('x4', 'kv_ttl'), kv.take('y4', 'kv_ttl'),
       kv.delete('x5', 'kv_ttl'), kv.delete('y5', 'kv_ttl'), kv.delete_batch('{x5,y5}', 'kv_ttl');
-- ... cas needs version 0,
SELECT kv.cas('x6', 'new', version, store => 'kv_ttl'), kv.cas('x6', 'new', 0, store => 'kv_ttl') > version FROM kv.s_kv_ttl WHERE key = 'x6';
SELECT kv.cas('y6', 'new', 1, store => 'kv_ttl'), kv.cas('y6', 'new', 0, store => 'kv_ttl') > 0;
-- ... incr starts at 0 again, also where a value of the name has expired, and its ttl is a new one.
SELECT kv.incr('y7', ttl => 3600, store => 'kv_ttl'), kv.incr('x7', 7, ttl => 3600, store => 'kv_ttl');
SELECT pg_temp.about('x7', 3600), pg_temp.about('y7', 3600);
SELECT key, value, pg_temp.about(key, 3600) FROM kv.scan(store => 'kv_ttl');
SELECT entries, expired FROM kv.stats WHERE store = 'kv_ttl';
SELECT kv.purge('kv_ttl'), kv.purge('kv_ttl');
SELECT entries, expired FROM kv.stats WHERE store = 'kv_ttl';
SELECT key, count(*) FROM (SELECT key FROM kv.s_kv_ttl UNION ALL SELECT key FROM kv.c_kv_ttl) k GROUP BY key HAVING count(*) > 1;
SELECT kv.clear('kv_ttl');

-- A touch in time keeps a key; what has been touched to a short end ends.
SELECT kv.set('keep', '1', ttl => 3600, store => 'kv_ttl'), kv.touch('keep', 0.001, 'kv_ttl'), kv.incr('keepc', ttl => 3600, store => 'kv_ttl'), kv.touch('keepc', 0.001, 'kv_ttl');
CALL pg_temp.expire('keep');
CALL pg_temp.expire('keepc');
SELECT kv.purge('kv_ttl');
SELECT count(*) FROM kv.s_kv_ttl;

-- default_ttl: for sets and counters that say nothing; -1 is never.
SELECT kv.alter_store('kv_ttl', default_ttl => 3600);
SELECT kv.set('d1', '1', store => 'kv_ttl'), kv.set('d2', '1', ttl => -1, store => 'kv_ttl'), kv.set('d3', '1', ttl => 7200, store => 'kv_ttl'), kv.incr('d4', store => 'kv_ttl'), kv.incr('d5', ttl => -1, store => 'kv_ttl'),
       kv.mset('{d6}', '{1}', store => 'kv_ttl'), kv.getset('d7', '1', store => 'kv_ttl'), kv.cas('d8', '1', 0, store => 'kv_ttl') > 0, kv.set('d9', '1', keep_ttl => true, store => 'kv_ttl');
SELECT key, pg_temp.about(key, 3600), pg_temp.about(key, 7200), kv.ttl(key, 'kv_ttl') = -1 FROM kv.scan(store => 'kv_ttl');
SELECT kv.set('d2', '2', keep_ttl => true, store => 'kv_ttl'), kv.set('d3', '2', keep_ttl => true, store => 'kv_ttl'), kv.set('d1', '2', ttl => NULL, store => 'kv_ttl');
SELECT key, pg_temp.about(key, 3600), pg_temp.about(key, 7200), kv.ttl(key, 'kv_ttl') = -1 FROM kv.scan(store => 'kv_ttl', qty => 3);
SELECT kv.touch('d1', -1, 'kv_ttl');
SELECT kv.ttl('d1', 'kv_ttl');
SELECT kv.alter_store('kv_ttl', reset => '{default_ttl}');
SELECT kv.set('d1', '3', store => 'kv_ttl');
SELECT kv.ttl('d1', 'kv_ttl');

-- Fractions, the shortest and the longest.
SELECT kv.set('f1', '1', ttl => 0.5, store => 'kv_ttl'), kv.set('f2', '1', ttl => 315576000, store => 'kv_ttl');
SELECT kv.ttl('f1', 'kv_ttl') BETWEEN 0 AND 0.5 OR kv.ttl('f1', 'kv_ttl') IS NULL, pg_temp.about('f2', 315576000);
SELECT ttl, pg_temp.attempt(format('SELECT kv.set(%L, %L, ttl => %L, store => %L)', 'bad', '1', ttl, 'kv_ttl')) FROM unnest(ARRAY['0', '-0', '-2', '-0.5', 'NaN', 'Infinity', '-Infinity', '315576001', '1e308']::float8[]) ttl;
SELECT ttl, pg_temp.attempt(format('SELECT kv.touch(%L, %L, %L)', 'd1', ttl, 'kv_ttl')), pg_temp.attempt(format('SELECT kv.incr(%L, ttl => %L, store => %L)', 'bad', ttl, 'kv_ttl')),
       pg_temp.attempt(format('SELECT kv.mset(%L, %L, %L, %L)', '{bad}', '{1}', ttl, 'kv_ttl')), pg_temp.attempt(format('SELECT kv.cas(%L, %L, 0, %L, %L)', 'bad', '1', ttl, 'kv_ttl'))
FROM unnest(ARRAY['0', 'NaN', '-3', '315576001']::float8[]) ttl;
SELECT pg_temp.attempt($$SELECT kv.touch('d1', NULL, 'kv_ttl')$$);
SELECT kv.exists('bad', 'kv_ttl'), kv.ttl('d1', 'kv_ttl');
-- Shorter than a microsecond: it has ended at once.
SELECT kv.set('tiny', '1', ttl => 1e-9, store => 'kv_ttl');
SELECT kv.exists('tiny', 'kv_ttl');

-- Expired in the middle of a transaction: time comes from the clock.
BEGIN;
SELECT kv.set('t', '1', ttl => 0.001, store => 'kv_ttl'), kv.incr('u', 5, ttl => 0.001, store => 'kv_ttl');
CALL pg_temp.expire('t');
CALL pg_temp.expire('u');
SELECT kv.get('t', 'kv_ttl'), kv.get('u', 'kv_ttl'), kv.set('t', '2', mode => 'nx', store => 'kv_ttl'), kv.incr('u', store => 'kv_ttl');
SELECT kv.get('t', 'kv_ttl'), kv.get('u', 'kv_ttl');
COMMIT;
SELECT kv.get('t', 'kv_ttl'), kv.get('u', 'kv_ttl');

SELECT kv.drop_store('kv_ttl');
