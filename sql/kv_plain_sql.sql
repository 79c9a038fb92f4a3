-- Plain SQL on a store's tables: SELECT, joins, DELETE and COPY; INSERT and UPDATE are refused.
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

SELECT kv.create_store('kv_plain');
SELECT kv.set('user:1', 'ann', store => 'kv_plain'), kv.set_json('user:2', '{"name": "bob"}', store => 'kv_plain'), kv.set_bytes('user:3', '\x636172', ttl => 3600, store => 'kv_plain'), kv.incr('visits', 5, store => 'kv_plain'), kv.lock('l', 3600, 'me', store => 'kv_plain') > 0, (kv.rate_limit('r', 5, 3600, store => 'kv_plain')).allowed;

-- SELECT and joins.
SELECT key, type, value, value_json, value_bytes, expires_at = 'infinity', version > 0 FROM kv.s_kv_plain ORDER BY key;
SELECT kind, key, CASE kind WHEN 'c' THEN number END, owner FROM kv.c_kv_plain ORDER BY kind, key;
SELECT key, value, type, version > 0, expires_at > clock_timestamp() FROM kv.v_kv_plain ORDER BY key;
SELECT id, value_json ->> 'name' FROM generate_series(1, 3) id LEFT JOIN kv.s_kv_plain ON key = 'user:' || id ORDER BY id;
EXPLAIN (COSTS OFF) SELECT value FROM kv.s_kv_plain WHERE key = 'user:1';
SELECT key FROM kv.s_kv_plain WHERE key >= 'user:' AND key < 'user;' ORDER BY key;
SELECT key FROM kv.s_kv_plain WHERE key = 'user:1' FOR UPDATE;

-- INSERT, UPDATE, MERGE and ON CONFLICT are refused.
SELECT pg_temp.attempt(statement), statement
FROM unnest(ARRAY[$$INSERT INTO kv.s_kv_plain VALUES (1, 'infinity', 't', 'x', 'y')$$, $$INSERT INTO kv.s_kv_plain SELECT * FROM kv.s_kv_plain$$, $$INSERT INTO kv.s_kv_plain VALUES (1, 'infinity', 't', 'user:1', 'y') ON CONFLICT DO NOTHING$$,
    $$INSERT INTO kv.s_kv_plain VALUES (1, 'infinity', 't', 'user:1', 'y') ON CONFLICT (key) DO UPDATE SET value = 'z'$$, $$UPDATE kv.s_kv_plain SET value = 'y' WHERE key = 'user:1'$$, $$UPDATE kv.s_kv_plain SET expires_at = now()$$, $$UPDATE kv.s_kv_plain SET key = key$$,
    $$MERGE INTO kv.s_kv_plain t USING (SELECT 'user:1' AS k) s ON t.key = s.k WHEN MATCHED THEN UPDATE SET value = 'm'$$,
    $$INSERT INTO kv.c_kv_plain VALUES (1, 'infinity', 'c', 'x')$$, $$UPDATE kv.c_kv_plain SET number = 7$$, $$UPDATE kv.c_kv_plain SET expires_at = now() WHERE kind = 'l'$$, $$INSERT INTO kv.v_kv_plain VALUES ('a', 'b')$$]) statement;
SELECT * FROM kv.mget('{user:1,visits,x}', 'kv_plain');

-- DELETE works, and the functions notice at once.
DELETE FROM kv.s_kv_plain WHERE key = 'user:1' RETURNING value;
SELECT kv.get('user:1', 'kv_plain'), kv.set('user:1', 'new', mode => 'nx', store => 'kv_plain');
BEGIN;
DELETE FROM kv.s_kv_plain;
SELECT count(*) FROM kv.scan('user', store => 'kv_plain');
SELECT kv.set('user:2', 'in between', mode => 'nx', store => 'kv_plain');
ROLLBACK;
SELECT kv.get('user:1', 'kv_plain'), kv.get_json('user:2', 'kv_plain');
DELETE FROM kv.c_kv_plain WHERE key = 'visits';
SELECT kv.get('visits', 'kv_plain'), kv.incr('visits', store => 'kv_plain');
BEGIN;
DELETE FROM kv.c_kv_plain WHERE kind = 'c';
SELECT kv.incr('visits', 41, store => 'kv_plain');
COMMIT;
SELECT kv.get('visits', 'kv_plain'), count(*) FROM kv.c_kv_plain WHERE key = 'visits';
DELETE FROM kv.c_kv_plain WHERE kind IN ('l', 'r');
SELECT kv.lock('l', 3600, store => 'kv_plain') > 0, (kv.rate_limit('r', 5, 3600, store => 'kv_plain')).remaining;
DELETE FROM kv.s_kv_plain WHERE key LIKE 'user:%' AND type = 'j';
SELECT key FROM kv.scan(store => 'kv_plain');

-- COPY, out and in.
SELECT count(kv.set('copy' || i, repeat('v', i), store => 'kv_plain')) FROM generate_series(1, 5) i;
COPY (SELECT key, type, value FROM kv.s_kv_plain WHERE key LIKE 'copy%' ORDER BY key) TO STDOUT;
COPY kv.s_kv_plain FROM STDIN;
7000	infinity	t	in:text	by copy	\N	\N
7001	infinity	j	in:json	\N	{"by": "copy"}	\N
7002	2100-01-01 00:00:00+00	b	in:bytes	\N	\N	\\x00ff
7003	2000-01-01 00:00:00+00	t	in:expired	gone	\N	\N
\.
SELECT key, value, expires_at = '2100-01-01 00:00:00+00' FROM kv.scan('in:', store => 'kv_plain');
SELECT kv.get_json('in:json', 'kv_plain') ->> 'by', kv.get_bytes('in:bytes', 'kv_plain'), kv.get('in:expired', 'kv_plain');
SELECT kv.cas('in:text', 'changed', 7000, store => 'kv_plain') > 7000;
SELECT kv.purge('kv_plain');
SELECT count(*) FROM kv.s_kv_plain WHERE key = 'in:expired';
COPY kv.c_kv_plain FROM STDIN;
40	infinity	c	in:counter	\N
50	2000-01-01 00:00:00+00	c	in:old counter	\N
900000000	2100-01-01 00:00:00+00	l	in:lock	somebody
\.
SELECT kv.incr('in:counter', store => 'kv_plain'), kv.incr('in:old counter', store => 'kv_plain'), kv.lock('in:lock', 60, store => 'kv_plain'), kv.unlock('in:lock', 900000000, 'kv_plain');
SELECT kv.lock('in:lock', 60, store => 'kv_plain') > 900000000;
-- A value and a counter of one name: the value stays, whichever comes first, unless it has expired.
SELECT kv.incr('in:both', 5, store => 'kv_plain'), kv.incr('in:past', 5, store => 'kv_plain');
COPY kv.s_kv_plain FROM STDIN;
7004	infinity	t	in:both	value	\N	\N
7005	2000-01-01 00:00:00+00	t	in:past	gone	\N	\N
\.
SELECT key, value, type FROM kv.v_kv_plain WHERE key IN ('in:both', 'in:past') ORDER BY key;
COPY kv.c_kv_plain FROM STDIN;
6	infinity	c	in:both	\N
7	infinity	r	in:both	\N
\.
SELECT kind, number FROM kv.c_kv_plain WHERE key = 'in:both';
SELECT pg_temp.attempt($$SELECT kv.incr('in:both', store => 'kv_plain')$$), kv.delete('in:both', 'kv_plain');
SELECT kv.get('in:both', 'kv_plain'), kv.incr('in:both', store => 'kv_plain'), kv.delete('in:both', 'kv_plain'), kv.delete('in:past', 'kv_plain');
BEGIN;
SELECT kv.incr('in:undone', 5, store => 'kv_plain');
COPY kv.s_kv_plain FROM STDIN;
7006	infinity	t	in:undone	value	\N	\N
\.
SELECT kv.get('in:undone', 'kv_plain');
ROLLBACK;
SELECT kv.get('in:undone', 'kv_plain'), kv.delete('in:undone', 'kv_plain');
-- ... also where the store's settings are to come yet.
DELETE FROM kv.settings WHERE store = 'kv_plain';
COPY kv.c_kv_plain FROM STDIN;
6	infinity	c	in:both	\N
\.
COPY kv.s_kv_plain FROM STDIN;
7007	infinity	t	in:both	value	\N	\N
\.
SELECT kv.create_store('kv_plain'), kv.get('in:both', 'kv_plain'), kv.delete('in:both', 'kv_plain'), kv.get('in:both', 'kv_plain');
-- A key twice, a row that is none.
COPY kv.s_kv_plain FROM STDIN;
1	infinity	t	in:text	again	\N	\N
\.
COPY kv.s_kv_plain FROM STDIN;
1	infinity	j	in:wrong	text	\N	\N
\.
COPY kv.s_kv_plain FROM STDIN;
1	infinity	x	in:wrong	text	\N	\N
\.
COPY kv.s_kv_plain FROM STDIN;
1	infinity	t		empty	\N	\N
\.
COPY kv.c_kv_plain FROM STDIN;
1	infinity	l	in:wrong	\N
\.
SELECT kv.get('in:text', 'kv_plain'), kv.exists('in:wrong', 'kv_plain');
-- What comes with a version beyond those in use: ours are above it for that key, and don't run out for others.
COPY kv.s_kv_plain FROM STDIN;
1000000000000	infinity	t	in:far	x	\N	\N
\.
SELECT kv.set('in:far', 'y', store => 'kv_plain');
SELECT version > 1000000000000 FROM kv.get_entry('in:far', 'kv_plain');
COPY kv.s_kv_plain FROM STDIN;
9223372036854775807	infinity	t	in:last	x	\N	\N
\.
SELECT pg_temp.attempt($$SELECT kv.set('in:last', 'y', store => 'kv_plain')$$);
SELECT kv.get('in:last', 'kv_plain'), kv.delete('in:last', 'kv_plain'), kv.set('in:last', 'y', store => 'kv_plain');

-- A row of kv.settings, as a restore brings it or changed by hand, is noticed at once.
DELETE FROM kv.settings WHERE store = 'kv_plain';
SELECT pg_temp.attempt($$SELECT kv.set('in:ttl', 'x', store => 'kv_plain')$$);
COPY kv.settings (default_ttl, max_entries, store) FROM STDIN;
120	0	kv_plain
\.
SELECT kv.set('in:ttl', 'x', store => 'kv_plain');
SELECT kv.ttl('in:ttl', 'kv_plain') BETWEEN 60 AND 120;
UPDATE kv.settings SET default_ttl = 0 WHERE store = 'kv_plain';
SELECT kv.set('in:ttl', 'x', store => 'kv_plain');
SELECT kv.ttl('in:ttl', 'kv_plain');
CREATE TABLE kv.settings_too (LIKE kv.settings);
CREATE TRIGGER mine AFTER INSERT ON kv.settings_too FOR EACH ROW EXECUTE FUNCTION kv.on_settings();
SELECT pg_temp.attempt($$INSERT INTO kv.settings_too VALUES (1, 1, now(), 'kv_plain')$$);
DROP TABLE kv.settings_too;

-- TRUNCATE and VACUUM FULL, REINDEX and CLUSTER: a new file, and the functions go on.
VACUUM FULL kv.s_kv_plain;
VACUUM FULL kv.c_kv_plain;
SELECT kv.get('in:text', 'kv_plain'), kv.incr('in:counter', store => 'kv_plain');
CLUSTER kv.s_kv_plain USING s_kv_plain_pkey;
REINDEX TABLE kv.s_kv_plain;
REINDEX TABLE kv.c_kv_plain;
SELECT kv.get('in:text', 'kv_plain'), kv.set('in:text', 'more', store => 'kv_plain'), kv.incr('in:counter', store => 'kv_plain');
BEGIN;
TRUNCATE kv.s_kv_plain;
SELECT kv.get('in:text', 'kv_plain'), kv.set('in:text', 'inside', store => 'kv_plain');
SELECT key, value FROM kv.scan('in:text', store => 'kv_plain');
ROLLBACK;
SELECT kv.get('in:text', 'kv_plain');
TRUNCATE kv.s_kv_plain, kv.c_kv_plain;
SELECT count(*) FROM kv.scan(store => 'kv_plain');
SELECT kv.get('in:text', 'kv_plain'), kv.set('in:text', 'after', mode => 'nx', store => 'kv_plain'), kv.incr('in:counter', store => 'kv_plain'), kv.lock('in:lock', 60, store => 'kv_plain') > 900000000;
SELECT kv.purge('kv_plain');
SELECT kv.drop_store('kv_plain');
