-- Values: set, get and their like, one session.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null NULL

SELECT kv.create_store('vals');
-- The short way to name the store in here.
CREATE FUNCTION pg_temp.get(key text) RETURNS text LANGUAGE sql AS $$ SELECT kv.get(key, 'vals') $$;

-- The three types, and each shown as text.
SELECT kv.set('t', 'text', store => 'vals'), kv.set_json('j', '{"a": [1, null]}', store => 'vals'), kv.set_bytes('b', '\x00ff', store => 'vals'), kv.incr('c', 5, store => 'vals');
SELECT kv.get('t', 'vals'), kv.get('j', 'vals'), kv.get('b', 'vals'), kv.get('c', 'vals'), kv.get('none', 'vals');
SELECT kv.get_json('j', 'vals') -> 'a', kv.get_bytes('b', 'vals'), kv.get_json('none', 'vals'), kv.get_bytes('none', 'vals');
SELECT kv.get_json('t', 'vals');
SELECT kv.get_json('c', 'vals');
SELECT kv.get_bytes('j', 'vals');
SELECT kv.set_json('null', 'null', store => 'vals'), kv.get_json('null', 'vals'), kv.set('empty', '', store => 'vals'), kv.set_bytes('nobytes', '', store => 'vals');
SELECT kv.get('empty', 'vals') = '', kv.get_bytes('nobytes', 'vals') = '', kv.get_json('null', 'vals') = 'null';
-- A set replaces any kind.
SELECT kv.set('j', 'now text', store => 'vals'), kv.set('c', 'no counter', store => 'vals'), kv.set_json('t', '1', store => 'vals');
SELECT kv.get('j', 'vals'), kv.get('c', 'vals'), kv.get_json('t', 'vals'), (SELECT count(*) FROM kv.c_vals);
SELECT key, value, type, version > 0, expires_at FROM kv.v_vals ORDER BY key;

-- Modes.
SELECT kv.set('m', '1', mode => 'if_present', store => 'vals'), kv.set('m', '2', mode => 'if_absent', store => 'vals'), kv.set('m', '3', mode => 'nx', store => 'vals'),
       kv.set('m', '4', mode => 'xx', store => 'vals'), kv.set('m', '5', mode => NULL, store => 'vals');
SELECT kv.get('m', 'vals');
SELECT kv.incr('cm', store => 'vals'), kv.set('cm', 'x', mode => 'if_absent', store => 'vals'), kv.set('cm', 'x', mode => 'if_present', store => 'vals');
SELECT kv.get('cm', 'vals');

-- The ttl: cleared by a plain set, kept on demand, and over when it is over.
SELECT kv.set('e', '1', ttl => 1000, store => 'vals'), kv.ttl('e', 'vals');
SELECT kv.ttl('e', 'vals') BETWEEN 900 AND 1000, kv.ttl('m', 'vals'), kv.ttl('none', 'vals');
SELECT kv.set('e', '2', keep_ttl => true, store => 'vals'); SELECT kv.ttl('e', 'vals') > 900;
SELECT kv.set('e', '3', store => 'vals'); SELECT kv.ttl('e', 'vals');
SELECT kv.touch('e', 100, 'vals'); SELECT kv.ttl('e', 'vals') BETWEEN 50 AND 100, kv.touch('e', -1, 'vals'), kv.touch('none', 5, 'vals'); SELECT kv.ttl('e', 'vals');
SELECT kv.set('gone', 'x', ttl => 0.001, store => 'vals'); SELECT pg_sleep(0.003);
SELECT kv.get('gone', 'vals'), kv.exists('gone', 'vals'), kv.ttl('gone', 'vals'), kv.touch('gone', 60, 'vals'), kv.delete('gone', 'vals'), kv.take('gone', 'vals'),
       kv.set('gone', 'y', mode => 'if_present', store => 'vals'), kv.cas('gone', 'y', 1, store => 'vals');
SELECT count(*) FROM kv.get_entry('gone', 'vals'); SELECT count(*) FROM kv.s_vals WHERE key = 'gone';
SELECT kv.set('gone', 'again', keep_ttl => true, mode => 'if_absent', store => 'vals'); SELECT kv.ttl('gone', 'vals'), kv.get('gone', 'vals');
SELECT kv.set('gone', 'x', ttl => 0.001, store => 'vals'); SELECT pg_sleep(0.003); SELECT kv.incr('gone', 3, store => 'vals'), kv.get('gone', 'vals');

-- Versions and compare-and-set.
SELECT kv.cas('v', 'a', 0, store => 'vals') AS one \gset
SELECT :one > 0, kv.cas('v', 'b', 0, store => 'vals'), kv.cas('v', 'b', :one + 1000000, store => 'vals');
SELECT kv.cas('v', 'b', :one, 500, store => 'vals') AS two \gset
SELECT :two > :one, kv.cas('v', 'c', :one, store => 'vals'), value, version = :two, expires_at > now() FROM kv.get_entry('v', 'vals');
SELECT kv.delete('v', 'vals'), kv.cas('v', 'c', :two, store => 'vals'); SELECT kv.cas('v', 'c', 0, store => 'vals') > :two;
SELECT kv.cas('gone', 'x', 5, store => 'vals');
SELECT kv.cas('gone', 'x', 0, store => 'vals');

-- Many at once.
SELECT kv.mset(ARRAY['k1', 'k2', 'k1'], ARRAY['first', 'two', 'last'], 1000, 'vals');
SELECT * FROM kv.mget(ARRAY['k2', 'nope', 'k1', 'k2', 'gone'], 'vals');
SELECT kv.ttl('k1', 'vals') > 900;
SELECT kv.mset('{}', '{}', store => 'vals'); SELECT count(*) FROM kv.mget('{}', 'vals');
SELECT kv.delete_batch(ARRAY['k1', 'nope', 'k1', 'gone'], 'vals'), kv.exists('k1', 'vals'), kv.exists('gone', 'vals');
SELECT kv.getset('g', '1', store => 'vals'), kv.getset('g', '2', store => 'vals'), kv.take('g', 'vals'), kv.take('g', 'vals');
SELECT kv.incr('g', 7, store => 'vals'), kv.getset('g', 'text', store => 'vals'), kv.getset('g', 'more', 100, 'vals'); SELECT kv.ttl('g', 'vals') > 50;
SELECT kv.incr('g2', 7, store => 'vals'), kv.take('g2', 'vals'), kv.take('g2', 'vals');
-- Several times the same key in one statement.
SELECT count(kv.set('often', i::text, store => 'vals')) FROM generate_series(1, 50) i; SELECT kv.get('often', 'vals');
SELECT count(*) FILTER (WHERE kv.set('once', i::text, mode => 'nx', store => 'vals')) FROM generate_series(1, 50) i; SELECT kv.get('once', 'vals');
-- A read sees what was there when the statement began.
SELECT kv.set('seen', '1', store => 'vals'), kv.get('seen', 'vals'); SELECT kv.get('seen', 'vals');

-- In order of the bytes, page by page, with counters among them.
SELECT kv.clear('vals');
SELECT kv.mset(ARRAY['a', 'ab', 'abc', 'b', 'ä', 'Z', 'a%'], ARRAY['1', '2', '3', '4', '5', '6', '7'], store => 'vals'), kv.incr('aa', 8, store => 'vals'), kv.set('a0', 'x', ttl => 0.001, store => 'vals');
SELECT pg_sleep(0.003);
SELECT key, value FROM kv.scan(store => 'vals');
SELECT key FROM kv.scan('a', store => 'vals'); SELECT key FROM kv.scan('a', after => 'aa', qty => 2, store => 'vals'); SELECT key FROM kv.scan(after => 'Z', qty => 1, store => 'vals');
SELECT count(*) FROM kv.scan('zz', store => 'vals'); SELECT count(*) FROM kv.scan('a', after => 'b', store => 'vals'); SELECT key FROM kv.scan('b', after => 'a', store => 'vals');

-- Keys of any kind, values of any size.
SELECT kv.set(repeat('k', 1024), 'long', store => 'vals'); SELECT kv.get(repeat('k', 1024), 'vals');
SELECT kv.set('ключ', 'значение', store => 'vals'), kv.set(E'tab\tline\n''"\\', 'odd', store => 'vals'), kv.set(' ', 'blank', store => 'vals');
SELECT kv.get('ключ', 'vals'), kv.get(E'tab\tline\n''"\\', 'vals'), kv.get(' ', 'vals'), kv.get('  ', 'vals');
SELECT kv.set(repeat('k', 1000), repeat('v', 1500), store => 'vals'); SELECT length(kv.get(repeat('k', 1000), 'vals'));
SELECT kv.set('big', repeat('0123456789', 1000000), store => 'vals'); SELECT length(kv.get('big', 'vals')), md5(kv.get('big', 'vals')) = md5(repeat('0123456789', 1000000));
SELECT length(kv.getset('big', 'small', store => 'vals')); SELECT kv.get('big', 'vals');
SELECT kv.set_bytes('big', (SELECT string_agg(sha256(i::text::bytea), '') FROM generate_series(1, 4000) i), store => 'vals'); SELECT length(kv.take('big', 'vals'));
SELECT kv.mset(ARRAY[repeat('x', 300), 'y'], ARRAY[repeat('abc', 3000), 'z'], store => 'vals'); SELECT length(value) FROM kv.mget(ARRAY[repeat('x', 300), 'y'], 'vals');

-- Savepoints and rollback.
BEGIN;
SELECT kv.set('t1', 'a', store => 'vals');
SAVEPOINT s;
SELECT kv.set('t1', 'b', store => 'vals'), kv.set('t2', 'b', store => 'vals'), kv.delete('y', 'vals'); SELECT pg_temp.get('t1'), pg_temp.get('t2'), pg_temp.get('y');
ROLLBACK TO s; SELECT pg_temp.get('t1'), pg_temp.get('t2'), pg_temp.get('y');
SELECT kv.set('t2', 'c', mode => 'if_absent', store => 'vals'); SELECT kv.take('t2', 'vals');
ROLLBACK;
SELECT pg_temp.get('t1'), pg_temp.get('t2'), pg_temp.get('y');
DO $$ BEGIN
    PERFORM kv.set('do', '1', store => 'vals');
    BEGIN
        PERFORM kv.set('do', '2', store => 'vals'), kv.set('', 'bad', store => 'vals');
    EXCEPTION WHEN invalid_parameter_value THEN RAISE NOTICE 'refused: %', SQLERRM;
    END;
END $$;
SELECT pg_temp.get('do');
SELECT kv.drop_store('vals');
