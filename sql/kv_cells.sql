-- Counters, rate limits and locks, one session.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null NULL
\set SHOW_CONTEXT never
SELECT kv.create_store('cells');

-- Counters: from 0, by any number, without a wrap.
SELECT kv.incr('n', store => 'cells'), kv.incr('n', 10, store => 'cells'), kv.incr('n', -12, store => 'cells'), kv.incr('n', 0, store => 'cells'), kv.incr('n', NULL, store => 'cells');
SELECT kv.get('n', 'cells'), kv.exists('n', 'cells'), kv.ttl('n', 'cells'); SELECT value, version, expires_at FROM kv.get_entry('n', 'cells');
SELECT kv.incr('max', 9223372036854775807, store => 'cells');
\set VERBOSITY sqlstate
SELECT kv.incr('max', store => 'cells');
SELECT kv.incr('max', -1, store => 'cells'), kv.incr('min', -9223372036854775808, store => 'cells');
SELECT kv.incr('min', -1, store => 'cells');
SELECT kv.get('max', 'cells'), kv.get('min', 'cells');
-- The ttl is the first one's; a touch changes it; over, it starts again.
SELECT kv.incr('e', ttl => 500, store => 'cells'), kv.incr('e', ttl => 5, store => 'cells'); SELECT kv.ttl('e', 'cells') > 400, kv.touch('e', 50, 'cells'); SELECT kv.ttl('e', 'cells') < 51;
SELECT kv.touch('e', 0.001, 'cells'); SELECT pg_sleep(0.003); SELECT kv.get('e', 'cells'), kv.touch('e', 5, 'cells'), kv.delete('e', 'cells'), kv.incr('e', 4, store => 'cells'), kv.ttl('e', 'cells');
-- At once: seen and kept whatever the transaction does.
BEGIN; SELECT kv.incr('n', store => 'cells'), kv.incr('new', store => 'cells'); SAVEPOINT s; SELECT kv.incr('new', store => 'cells'); ROLLBACK TO s; ROLLBACK;
SELECT kv.get('n', 'cells'), kv.get('new', 'cells');
-- Deleting it is of the transaction.
BEGIN; SELECT kv.delete('n', 'cells'); SELECT kv.get('n', 'cells'); ROLLBACK; SELECT kv.get('n', 'cells');
SELECT kv.delete('n', 'cells'), kv.delete('n', 'cells'), kv.incr('n', store => 'cells');
-- One namespace with values.
SELECT kv.set('v', 'x', store => 'cells'); SELECT kv.incr('v', store => 'cells'); SELECT kv.delete('v', 'cells'); SELECT kv.incr('v', store => 'cells');
BEGIN; SELECT kv.set('v', 'x', store => 'cells'); SELECT kv.incr('v', store => 'cells'); ROLLBACK; SELECT kv.get('v', 'cells');

-- Rate limits: a burst, then one every period / max_requests; what is refused changes nothing.
SELECT allowed, remaining, retry_after, round(reset_after::numeric, 1) FROM kv.rate_limit('r', 3, 3600, store => 'cells');
SELECT allowed, remaining FROM kv.rate_limit('r', 3, 3600, cost => 2, store => 'cells');
SELECT allowed, remaining, retry_after BETWEEN 1190 AND 1200, reset_after BETWEEN 3590 AND 3600 FROM kv.rate_limit('r', 3, 3600, store => 'cells');
SELECT allowed, remaining, retry_after BETWEEN 3590 AND 3600 FROM kv.rate_limit('r', 3, 3600, cost => 3, store => 'cells');
SELECT allowed, remaining, retry_after FROM kv.rate_limit('r', 3, 3600, cost => 0, store => 'cells');
SELECT * FROM kv.rate_limit('fresh', 3, 3600, cost => 0, store => 'cells'); SELECT count(*) FROM kv.c_cells WHERE key = 'fresh';
SELECT count(*) FILTER (WHERE allowed) FROM generate_series(1, 150) i, kv.rate_limit('burst', CASE WHEN i > 0 THEN 100 END, 3600, store => 'cells');
SELECT count(*) FILTER (WHERE allowed) FROM generate_series(1, 10) i, kv.rate_limit('seven', CASE WHEN i > 0 THEN 7 END, 3600, store => 'cells');
SELECT allowed FROM kv.rate_limit('fast', 1, 0.001, store => 'cells'); SELECT pg_sleep(0.003); SELECT allowed FROM kv.rate_limit('fast', 1, 0.001, store => 'cells');
BEGIN; SELECT allowed FROM kv.rate_limit('once', 1, 3600, store => 'cells'); ROLLBACK; SELECT allowed FROM kv.rate_limit('once', 1, 3600, store => 'cells');
SELECT allowed FROM kv.rate_limit('r', 3, 3600, cost => 4, store => 'cells');
SELECT allowed FROM kv.rate_limit('r', 0, 3600, store => 'cells');
SELECT allowed FROM kv.rate_limit('r', 1, 0, store => 'cells');
SELECT allowed FROM kv.rate_limit('r', 1, -1, store => 'cells');
SELECT allowed FROM kv.rate_limit('r', 1, 'NaN', store => 'cells');
SELECT allowed FROM kv.rate_limit('r', 1, 60, cost => -1, store => 'cells');
SELECT allowed FROM kv.rate_limit('r', NULL, 60, store => 'cells');
SELECT allowed FROM kv.rate_limit('r', 2000000000, 1, store => 'cells');
SELECT allowed, remaining FROM kv.rate_limit('huge', 9223372036854775807, 315576000, store => 'cells');
SELECT allowed, remaining FROM kv.rate_limit('large', 1000000000, 1, store => 'cells');

-- Locks: one holder, tokens that grow, names of their own.
SELECT kv.lock('l', 600, 'somebody', store => 'cells') AS one \gset
SELECT :one > 0, kv.lock('l', 600, store => 'cells'), kv.lock('l', 600, wait => 0.01, store => 'cells'), kv.lock('n', 600, store => 'cells') > :one, kv.get('l', 'cells');
SELECT kv.renew('l', :one, 700, 'cells'), kv.renew('l', :one + 1, 700, 'cells'), kv.renew('none', :one, 700, 'cells');
SELECT key, owner, number = :one, expires_at - clock_timestamp() > interval '650 s' FROM kv.c_cells WHERE kind = 'l' AND key = 'l';
SELECT kv.assert_lock('l', :one, 'cells');
SELECT kv.assert_lock('l', :one + 1, 'cells');
SELECT kv.unlock('l', :one + 1, 'cells'), kv.unlock('l', :one, 'cells'), kv.unlock('l', :one, 'cells'), kv.renew('l', :one, 5, 'cells');
SELECT kv.assert_lock('l', :one, 'cells');
SELECT kv.lock('l', 0.001, store => 'cells') AS two \gset
SELECT :two > :one; SELECT pg_sleep(0.003);
SELECT kv.renew('l', :two, 5, 'cells'), kv.unlock('l', :two, 'cells'); SELECT kv.assert_lock('l', :two, 'cells');
SELECT kv.lock('l', 0.01, store => 'cells') IS NOT NULL; SELECT kv.lock('l', 600, wait => 100, store => 'cells') > :two;
BEGIN; SELECT kv.lock('tx', 600, store => 'cells') IS NOT NULL; ROLLBACK; SELECT kv.lock('tx', 600, store => 'cells');
SELECT kv.lock('l', -1, store => 'cells');
SELECT kv.lock('l', NULL, store => 'cells');
SELECT kv.lock('l', 1, repeat('o', 64), store => 'cells');
SELECT kv.lock('l', 1, wait => 301, store => 'cells');
SELECT kv.lock('ü', 1, repeat('o', 63), store => 'cells') IS NOT NULL;

-- A purge removes what has run out, and nothing else; clear leaves the locks.
SELECT kv.incr('p1', ttl => 0.001, store => 'cells'), kv.incr('p2', ttl => 600, store => 'cells'), kv.set('p3', 'x', ttl => 0.001, store => 'cells'), kv.set('p4', 'x', ttl => 600, store => 'cells');
SELECT pg_sleep(0.003);
SELECT kv.purge('cells') >= 2, kv.purge('cells'); SELECT key FROM kv.c_cells WHERE key LIKE 'p_' UNION ALL SELECT key FROM kv.s_cells ORDER BY key;
SELECT kv.clear('cells'); SELECT kind, key FROM kv.c_cells ORDER BY kind, key; SELECT kv.clear('cells');

-- Rows from elsewhere: new numbers are above theirs; an absurd one stays what it is, and costs nobody else a number.
COPY kv.s_cells (version, expires_at, type, key, value) FROM stdin;
4000000000000000	infinity	t	far	hello
9007199254740991	infinity	t	absurd	hello
\.
COPY kv.c_cells (number, expires_at, kind, key, owner) FROM stdin;
9007199254740991	-infinity	l	absurd	nobody
\.
SELECT kv.set('absurd', 'x', store => 'cells');
SELECT kv.lock('absurd', 5, store => 'cells');
SELECT kv.set('other', 'x', store => 'cells'); SELECT version < 4000000000000000 FROM kv.get_entry('other', 'cells');
SELECT kv.set('far', 'x', store => 'cells'); SELECT version > 4000000000000000 FROM kv.get_entry('far', 'cells');
SELECT kv.set('other', 'y', store => 'cells'), kv.lock('fine', 5, store => 'cells') IS NOT NULL, kv.delete('absurd', 'cells'), kv.set('absurd', 'x', store => 'cells');
SELECT kv.drop_store('cells');
