-- Purging what has expired, clearing a store, and the figures.
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

SELECT kv.create_store('kv_purge');
CREATE PROCEDURE pg_temp.expire(key text) LANGUAGE plpgsql AS $$
BEGIN
    WHILE kv.ttl(key, 'kv_purge') IS NOT NULL LOOP PERFORM pg_sleep(0.002); END LOOP;
END $$;

SELECT kv.purge('kv_purge');
SELECT count(kv.set('v' || i, 'x', ttl => 0.001, store => 'kv_purge')), count(kv.incr('c' || i, ttl => 0.001, store => 'kv_purge')) FROM generate_series(1, 100) i;
SELECT count(kv.set('live' || i, 'x', ttl => 3600, store => 'kv_purge')), count(kv.incr('livec' || i, ttl => 3600, store => 'kv_purge')) FROM generate_series(1, 10) i;
SELECT count(kv.set('ever' || i, 'x', store => 'kv_purge')), count(kv.incr('everc' || i, store => 'kv_purge')) FROM generate_series(1, 10) i;
CALL pg_temp.expire('v100');
CALL pg_temp.expire('c100');
SELECT entries, expired, bytes > 0, purged FROM kv.stats WHERE store = 'kv_purge';
BEGIN;
SELECT kv.purge('kv_purge');
SELECT count(*) FROM kv.s_kv_purge;
ROLLBACK;
SELECT entries, expired FROM kv.stats WHERE store = 'kv_purge';
SELECT kv.purge('kv_purge'), kv.purge('kv_purge');
SELECT entries, expired FROM kv.stats WHERE store = 'kv_purge';
SELECT (SELECT count(*) FROM kv.s_kv_purge), (SELECT count(*) FROM kv.c_kv_purge);
SELECT * FROM kv.mget('{live1,livec1,ever1,everc1,v1,c1}', 'kv_purge');
-- A savepoint that purged and is rolled back.
SELECT kv.set('v1', 'x', ttl => 0.001, store => 'kv_purge');
CALL pg_temp.expire('v1');
BEGIN;
SAVEPOINT s;
SELECT kv.purge('kv_purge');
ROLLBACK TO s;
SELECT kv.purge('kv_purge');
COMMIT;
SELECT kv.purge('kv_purge');
-- Locks and rate limits that are over go, others stay. A lock that was given back is over.
SELECT kv.lock('l1', 0.001, store => 'kv_purge') > 0, kv.lock('l2', 3600, store => 'kv_purge') > 0, kv.unlock('l3', kv.lock('l3', 3600, store => 'kv_purge'), 'kv_purge');
SELECT (kv.rate_limit('r1', 1, 0.001, store => 'kv_purge')).allowed, (kv.rate_limit('r2', 1, 3600, store => 'kv_purge')).allowed;
SELECT pg_sleep(0.005);
SELECT kv.purge('kv_purge');
SELECT kind, key FROM kv.c_kv_purge WHERE kind <> 'c' ORDER BY kind, key;
SELECT kv.lock('l1', 3600, store => 'kv_purge') > 0, kv.lock('l2', 3600, store => 'kv_purge'), kv.lock('l3', 3600, store => 'kv_purge') > 0;
SELECT (kv.rate_limit('r1', 1, 3600, store => 'kv_purge')).allowed, (kv.rate_limit('r2', 1, 3600, store => 'kv_purge')).allowed;
-- A token after a purge is above the one from before.
SELECT kv.lock('t', 0.001, store => 'kv_purge') AS token \gset
SELECT pg_sleep(0.005);
SELECT kv.purge('kv_purge') > 0, kv.lock('t', 3600, store => 'kv_purge') > :token;
-- clear: values, counters and limits, not locks; how many keys lived.
SELECT kv.set('v1', 'x', ttl => 0.001, store => 'kv_purge');
CALL pg_temp.expire('v1');
BEGIN;
SELECT kv.clear('kv_purge');
SELECT count(*) FROM kv.scan(store => 'kv_purge');
ROLLBACK;
SELECT kv.get('live1', 'kv_purge'), kv.get('livec1', 'kv_purge');
SELECT kv.clear('kv_purge'), kv.clear('kv_purge');
SELECT count(*) FROM kv.scan(store => 'kv_purge');
SELECT kv.lock('l2', 3600, store => 'kv_purge'), (kv.rate_limit('r2', 1, 3600, store => 'kv_purge')).allowed;
SELECT kv.incr('livec1', store => 'kv_purge');
-- Within a transaction: what is deleted and made again in it.
BEGIN;
SELECT kv.clear('kv_purge'), kv.incr('livec1', store => 'kv_purge'), kv.set('a', 'b', store => 'kv_purge'), kv.clear('kv_purge'), kv.set('a', 'c', store => 'kv_purge');
COMMIT;
SELECT key, value FROM kv.scan(store => 'kv_purge');
-- Without a name: every store where the role may delete.
SELECT kv.purge() >= 0, kv.purge(NULL) >= 0;
SELECT kv.set('v', 'x', ttl => 0.001, store => 'kv_purge'), kv.set('kv_purge:v', 'x', ttl => 0.001);
CALL pg_temp.expire('v');
SELECT pg_sleep(0.002);
SELECT kv.purge() >= 2;
SELECT count(*) FROM kv.s_default WHERE key = 'kv_purge:v';
-- Hits and misses.
SELECT hits, misses FROM kv.stats WHERE store = 'kv_purge' \gset before_
SELECT kv.get('a', 'kv_purge'), kv.get('a', 'kv_purge'), kv.get('none', 'kv_purge');
SELECT count(*) FROM kv.mget('{a,none,a,none2}', 'kv_purge');
SELECT hits - :before_hits, misses - :before_misses FROM kv.stats WHERE store = 'kv_purge';
-- A purge looks at what is due, and at nothing else: 3 of a hundred pages.
SELECT kv.clear('kv_purge') > 0;
SELECT count(kv.set('p' || i, repeat('x', 1900), ttl => 3600, store => 'kv_purge')) FROM generate_series(1, 400) i;
SELECT kv.purge('kv_purge');
SELECT purge_visits AS visits FROM kv.stats WHERE store = 'kv_purge' \gset
SELECT pg_relation_size('kv.s_kv_purge') / 8192 >= 100;
SELECT kv.purge('kv_purge'), kv.purge('kv_purge');
SELECT purge_visits - :visits FROM kv.stats WHERE store = 'kv_purge';
SELECT kv.touch('p20', 0.001, 'kv_purge'), kv.touch('p200', 0.001, 'kv_purge'), kv.touch('p380', 0.001, 'kv_purge');
CALL pg_temp.expire('p380');
SELECT kv.purge('kv_purge');
SELECT purge_visits - :visits BETWEEN 3 AND 6 FROM kv.stats WHERE store = 'kv_purge';
SELECT purge_visits AS visits FROM kv.stats WHERE store = 'kv_purge' \gset
SELECT kv.purge('kv_purge');
SELECT purge_visits - :visits FROM kv.stats WHERE store = 'kv_purge';
SELECT kv.drop_store('kv_purge');
