-- Stores: making and dropping them, who may do what, plain SQL, and everything that is refused.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null NULL
\set SHOW_CONTEXT never

SELECT kv.create_store('st'), kv.create_store('st'), kv.create_store('fast', unlogged => true, default_ttl => 60, max_entries => 5), kv.create_store('fast', true, 60, 5);
SELECT kv.create_store('st', unlogged => true);
SELECT kv.create_store('fast', true, 61, 5);
SELECT kv.create_store('default'), kv.drop_store('nope'), kv.drop_store('st'), kv.create_store('st');
SELECT kv.create_store('default', true);
SELECT kv.drop_store('default');
SELECT store, unlogged, default_ttl, max_entries, created_at IS NOT NULL FROM kv.stores WHERE store IN ('st', 'fast', 'default') ORDER BY store;
SELECT kv.alter_store('st', default_ttl => 100, max_entries => 10), kv.alter_store('st', default_ttl => 100), kv.alter_store('st', reset => ARRAY['max_entries']), kv.alter_store('default', default_ttl => 7);
SELECT store, default_ttl, max_entries FROM kv.stores WHERE store IN ('st', 'default') ORDER BY store;
SELECT kv.alter_store('default', reset => ARRAY['default_ttl']), kv.alter_store('st', reset => ARRAY['nonsense']);
SELECT kv.alter_store('nope', default_ttl => 1);
SELECT kv.alter_store('default', reset => ARRAY['default_ttl']); SELECT default_ttl FROM kv.stores WHERE store = 'default';
-- The default ttl, for values and counters; -1: never.
SELECT kv.set('a', '1', store => 'st'), kv.set('b', '1', ttl => -1, store => 'st'), kv.incr('c', store => 'st'), kv.set('d', '1', ttl => 50, store => 'st');
SELECT kv.ttl('a', 'st') > 90, kv.ttl('b', 'st'), kv.ttl('c', 'st') > 90, kv.ttl('d', 'st') <= 50;
-- At most so many: what ends soonest goes, what never ends last of all, and of that the oldest.
SELECT kv.alter_store('fast', reset => ARRAY['default_ttl']);
SELECT count(kv.set('n' || i, 'x', store => 'fast')) FROM generate_series(1, 4) i; SELECT kv.set('long', 'x', ttl => 1000, store => 'fast');
SELECT kv.set('short', 'x', ttl => 500, store => 'fast'); SELECT key FROM kv.v_fast ORDER BY 1;
SELECT kv.set('longer', 'x', ttl => 2000, store => 'fast'); SELECT key FROM kv.v_fast ORDER BY 1;
SELECT count(kv.set('m' || i, 'x', store => 'fast')) FROM generate_series(1, 3) i; SELECT key FROM kv.v_fast ORDER BY 1;
BEGIN; SELECT kv.set('undone', 'x', store => 'fast'); ROLLBACK; SELECT count(*) FROM kv.v_fast;
SELECT count(kv.set('k' || i, 'x', store => 'fast')) FROM generate_series(1, 500) i; SELECT count(*) FROM kv.v_fast;
-- What is counted.
SELECT kv.get('k500', 'fast') FROM generate_series(1, 3); SELECT kv.get('nope', 'fast');
SELECT store, entries, expired, bytes > 0, hits, misses FROM kv.stats WHERE store = 'fast';

-- Plain SQL: SELECT, joins and DELETE; COPY brings rows in, statements don't.
SELECT u.id, v.value FROM (VALUES ('a'), ('b'), ('z')) u (id) LEFT JOIN kv.v_st v ON v.key = u.id ORDER BY u.id;
DELETE FROM kv.s_st WHERE key = 'a'; SELECT kv.get('a', 'st');
INSERT INTO kv.s_st (version, expires_at, type, key, value) VALUES (1, 'infinity', 't', 'x', 'x');
UPDATE kv.s_st SET value = 'y';
UPDATE kv.c_st SET number = 5;
COPY kv.s_st (version, expires_at, type, key, value) FROM stdin;
5	infinity	t	copied	hello
9007199254740991	infinity	t	foreign	hello
6	2001-01-01 00:00:00+00	t	old	hello
\.
COPY kv.s_st (version, expires_at, type, key, value) FROM stdin;
5	infinity	j	bad	hello
\.
SELECT kv.get('copied', 'st'), kv.get('old', 'st'), kv.purge('st'); SELECT kv.set('copied', 'x', store => 'st'); SELECT version > 5 FROM kv.get_entry('copied', 'st');
-- A row with an absurd version stays what it is, and costs nobody else a number.
SELECT kv.set('foreign', 'x', store => 'st');
SELECT kv.delete('foreign', 'st'), kv.set('foreign', 'x', store => 'st'); SELECT version < 4503599627370496 FROM kv.get_entry('foreign', 'st');

-- A table that the functions would get wrong.
CREATE INDEX more ON kv.s_st (expires_at); SELECT kv.get('b', 'st'); DROP INDEX kv.more; SELECT kv.get('b', 'st');
ALTER TABLE kv.s_st ADD COLUMN extra text; SELECT kv.get('b', 'st'); ALTER TABLE kv.s_st DROP COLUMN extra; SELECT kv.get('b', 'st');
ALTER TABLE kv.s_st ENABLE ROW LEVEL SECURITY; SELECT kv.get('b', 'st'); ALTER TABLE kv.s_st DISABLE ROW LEVEL SECURITY;
ALTER TABLE kv.s_st ADD CONSTRAINT mine CHECK (value <> 'bad'); SELECT kv.set('b', 'bad', store => 'st'); ALTER TABLE kv.s_st DROP CONSTRAINT mine;
ALTER TABLE kv.c_st DISABLE TRIGGER pgqueue_change; SELECT kv.get('b', 'st'); ALTER TABLE kv.c_st ENABLE ALWAYS TRIGGER pgqueue_change;
ALTER TABLE kv.s_st DROP CONSTRAINT s_st_pkey; SELECT kv.get('b', 'st'); ALTER TABLE kv.s_st ADD PRIMARY KEY (key);
DROP VIEW kv.v_st; ALTER TABLE kv.s_st ALTER key TYPE varchar; SELECT kv.get('b', 'st'); ALTER TABLE kv.s_st ALTER key TYPE text COLLATE "C"; ALTER TABLE kv.s_st ALTER key SET STORAGE MAIN;
SELECT kv.get('b', 'st'); ALTER TABLE kv.s_st ALTER key SET STORAGE EXTENDED; SELECT kv.get('b', 'st'); ALTER TABLE kv.s_st ALTER key SET STORAGE MAIN;
-- What is missing is made again.
SELECT kv.create_store('st', default_ttl => 100), kv.create_store('st', default_ttl => 100); SELECT count(*) > 0 FROM kv.v_st;
TRUNCATE kv.s_st; SELECT kv.get('b', 'st'), kv.set('b', 'new', store => 'st'); SELECT kv.get('b', 'st');
DROP TABLE kv.c_st CASCADE; SELECT kv.get('b', 'st'); SELECT kv.create_store('st', default_ttl => 100), kv.get('b', 'st'), kv.incr('c2', store => 'st');

-- Arguments.
\set VERBOSITY sqlstate
SELECT kv.get(NULL); SELECT kv.get(''); SELECT kv.get(repeat('x', 1025)); SELECT kv.get('x', 'nope'); SELECT kv.get('x', 'no such!'); SELECT kv.get('x', repeat('s', 100)); SELECT kv.get('x', '');
SELECT kv.set('x', NULL); SELECT kv.set(NULL, 'x'); SELECT kv.set('x', 'x', 0); SELECT kv.set('x', 'x', -2); SELECT kv.set('x', 'x', 'NaN'); SELECT kv.set('x', 'x', 'Infinity'); SELECT kv.set('x', 'x', 1e10);
SELECT kv.set('x', 'x', mode => 'maybe'); SELECT kv.set('x', 'x', 5, keep_ttl => true); SELECT kv.touch('x', NULL); SELECT kv.touch('x', 0); SELECT kv.cas('x', 'x', NULL); SELECT kv.cas('none', 'x', -5);
SELECT kv.mset(ARRAY['a'], ARRAY['b', 'c']); SELECT kv.mset(ARRAY['a', NULL], ARRAY['b', 'c']); SELECT kv.mset(ARRAY['a'], ARRAY[NULL]); SELECT kv.mset(ARRAY[['a']], ARRAY[['b']]); SELECT kv.mset(NULL, NULL);
SELECT * FROM kv.mget(ARRAY['a', NULL]); SELECT * FROM kv.mget(NULL); SELECT kv.delete_batch(ARRAY['a', '']); SELECT * FROM kv.scan(qty => 0); SELECT * FROM kv.scan(qty => -1);
SELECT kv.create_store(NULL); SELECT kv.create_store(''); SELECT kv.create_store('a b'); SELECT kv.create_store(repeat('s', 49)); SELECT kv.create_store('x', default_ttl => 0); SELECT kv.create_store('x', max_entries => 0);
SELECT kv.clear(NULL); SELECT kv.drop_store(NULL); SELECT kv.grant('st', 'nobody_there', 'read'); SELECT kv.grant('st', current_user, 'everything'); SELECT kv.on_write();
BEGIN READ ONLY; SELECT kv.set('x', 'x'); ROLLBACK; BEGIN READ ONLY; SELECT kv.incr('x'); ROLLBACK; BEGIN READ ONLY; SELECT kv.lock('x', 5); ROLLBACK; BEGIN READ ONLY; SELECT kv.get('x'), kv.exists('x'), (SELECT count(*) FROM kv.scan('no such')); COMMIT;

-- Privileges: plain GRANTs on the table of values.
\set VERBOSITY default
CREATE ROLE kv_reader; CREATE ROLE kv_writer; CREATE ROLE kv_maker;
SELECT kv.grant('st', 'kv_reader', 'read'), kv.grant('st', 'kv_writer', 'write');
SET ROLE kv_reader;
SELECT kv.get('b', 'st'), kv.exists('b', 'st'), (SELECT count(*) FROM kv.scan(store => 'st')), (SELECT count(*) FROM kv.v_st), (SELECT store FROM kv.stats WHERE store IN ('st', 'fast')), kv.purge();
SELECT kv.set('b', 'x', store => 'st');
SELECT kv.incr('b', store => 'st');
SELECT kv.delete('b', 'st');
SELECT kv.touch('b', 5, 'st');
SELECT kv.get('b');
SELECT kv.create_store('mine');
SELECT kv.drop_store('st');
RESET ROLE; SET ROLE kv_writer;
SELECT kv.set('w', 'x', store => 'st'), kv.touch('w', 5, 'st'), kv.incr('wn', store => 'st'), kv.delete('w', 'st'), kv.lock('wl', 5, store => 'st') IS NOT NULL, (SELECT allowed FROM kv.rate_limit('wr', 5, 5, store => 'st'));
SELECT kv.get('b', 'st');
SELECT kv.getset('b', 'x', store => 'st');
SELECT kv.take('b', 'st');
SELECT kv.grant('st', 'kv_reader', 'write');
RESET ROLE;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO kv_maker', current_database()); END $$;
SET ROLE kv_maker; SELECT kv.create_store('mine'), kv.set('a', '1', store => 'mine'), kv.grant('mine', 'public', 'read'); CREATE TABLE kv.intruder (a int);
RESET ROLE; SELECT tableowner FROM pg_tables WHERE tablename IN ('s_mine', 'c_mine'); SET ROLE kv_reader; SELECT kv.get('a', 'mine'); SELECT kv.set('a', '2', store => 'mine'); SELECT kv.create_store('mine'); RESET ROLE;
SELECT kv.revoke('mine', 'public', 'read'); SET ROLE kv_reader; SELECT kv.get('a', 'mine'); RESET ROLE;
SET ROLE kv_maker; SELECT kv.drop_store('mine'); RESET ROLE;
DO $$ BEGIN EXECUTE format('REVOKE ALL ON DATABASE %I FROM kv_maker', current_database()); END $$;
SELECT kv.drop_store('st'), kv.drop_store('fast');
DROP ROLE kv_reader, kv_writer, kv_maker;
SELECT count(*) FROM kv.stores WHERE store <> 'default';
