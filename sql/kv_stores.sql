-- Creating, changing and dropping stores.
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

SELECT kv.create_store('kv_st'), kv.create_store('kv_st');
SELECT store, unlogged, default_ttl, max_entries, owner = current_user, created_at BETWEEN now() - interval '1 hour' AND clock_timestamp() FROM kv.stores WHERE store = 'kv_st';
SELECT pg_temp.attempt(statement) FROM unnest(ARRAY[$$SELECT kv.create_store('kv_st', unlogged => true)$$, $$SELECT kv.create_store('kv_st', default_ttl => 5)$$, $$SELECT kv.create_store('kv_st', max_entries => 5)$$, $$SELECT kv.create_store('kv_st', false, NULL, NULL)$$, $$SELECT kv.create_store('kv_st', default_ttl => -1)$$]) statement;
SELECT kv.create_store('kv_st2', unlogged => true, default_ttl => 0.5, max_entries => 10);
SELECT kv.create_store('kv_st2', true, 0.5, 10);
SELECT store, unlogged, default_ttl, max_entries FROM kv.stores WHERE store ~ '^kv_st' ORDER BY store;
SELECT relname, relkind, relpersistence FROM pg_class WHERE relnamespace = 'kv'::regnamespace AND relname ~ '^._kv_st' ORDER BY relname COLLATE "C";
-- alter: what is named changes, reset takes it away; whether anything was changed.
SELECT kv.alter_store('kv_st2'), kv.alter_store('kv_st2', default_ttl => 0.5), kv.alter_store('kv_st2', default_ttl => 7), kv.alter_store('kv_st2', max_entries => 20);
SELECT default_ttl, max_entries FROM kv.stores WHERE store = 'kv_st2';
SELECT kv.alter_store('kv_st2', reset => '{}'), kv.alter_store('kv_st2', reset => '{default_ttl,max_entries}'), kv.alter_store('kv_st2', reset => '{default_ttl}');
SELECT default_ttl, max_entries FROM kv.stores WHERE store = 'kv_st2';
SELECT kv.alter_store('kv_st2', default_ttl => 5, max_entries => 5), kv.alter_store('kv_st2', default_ttl => -1);
SELECT default_ttl, max_entries FROM kv.stores WHERE store = 'kv_st2';
SELECT pg_temp.attempt(statement) FROM unnest(ARRAY[$$SELECT kv.alter_store('kv_none', default_ttl => 5)$$, $$SELECT kv.alter_store(NULL)$$, $$SELECT kv.alter_store('kv_st', default_ttl => 0)$$, $$SELECT kv.alter_store('kv_st', default_ttl => 'NaN')$$, $$SELECT kv.alter_store('kv_st', default_ttl => 315576001)$$,
    $$SELECT kv.alter_store('kv_st', max_entries => 0)$$, $$SELECT kv.alter_store('kv_st', reset => '{unlogged}')$$, $$SELECT kv.alter_store('kv_st', reset => '{NULL}')$$, $$SELECT kv.alter_store('kv_st', reset => '{{max_entries}}')$$]) statement;
-- Rolled back.
BEGIN;
SELECT kv.alter_store('kv_st', default_ttl => 60), kv.set('a', '1', store => 'kv_st');
SELECT kv.ttl('a', 'kv_st') BETWEEN 0 AND 60;
ROLLBACK;
SELECT default_ttl FROM kv.stores WHERE store = 'kv_st';
SELECT kv.set('a', '1', store => 'kv_st');
SELECT kv.ttl('a', 'kv_st');
-- Names: letters, digits, "_", "-", "."; case counts; 48 bytes.
SELECT name, pg_temp.attempt(format('SELECT kv.create_store(%L)', name)), pg_temp.attempt(format('SELECT kv.get(%L, %L)', 'a', name)), pg_temp.attempt(format('SELECT kv.drop_store(%L)', name)), pg_temp.attempt(format('SELECT kv.incr(%L, store => %L)', 'n', name))
FROM unnest(ARRAY['', ' ', 'a b', 'ä', 'a"b', 'a;b', '#', 'a/b', repeat('n', 49), repeat('n', 64)]) name;
SELECT pg_temp.attempt($$SELECT kv.get('a', repeat('n', 100000))$$) ~ '^42602 \| invalid store name: "nnn';
SELECT name, kv.create_store(name), kv.set('a', name, store => name), kv.incr('n', store => name) FROM unnest(ARRAY['kv_St', 'KV_ST', 'kv-st.1', '0kv_st', '.kv_st', repeat('s', 48)]) name;
SELECT name, kv.get('a', name) = name, kv.get('n', name), kv.drop_store(name) FROM unnest(ARRAY['kv_St', 'KV_ST', 'kv-st.1', '0kv_st', '.kv_st', repeat('s', 48)]) name;
SELECT pg_temp.attempt(statement) FROM unnest(ARRAY['SELECT kv.create_store(NULL)', 'SELECT kv.drop_store(NULL)', 'SELECT kv.clear(NULL)', $$SELECT kv.clear('kv_none')$$, $$SELECT kv.purge('kv_none')$$, $$SELECT kv.create_store('kv_st3', default_ttl => 0)$$, $$SELECT kv.create_store('kv_st3', default_ttl => 'Infinity')$$, $$SELECT kv.create_store('kv_st3', default_ttl => 1e9)$$]) statement;
SELECT kv.drop_store('kv_none');
-- Every function, for a store that isn't there: 42P01.
SELECT DISTINCT pg_temp.attempt('SELECT ' || call) FROM unnest(ARRAY[$$kv.set('a', 'b', store => 'kv_none')$$, $$kv.set_json('a', '1', store => 'kv_none')$$, $$kv.set_bytes('a', 'b', store => 'kv_none')$$, $$kv.get('a', 'kv_none')$$, $$kv.get_json('a', 'kv_none')$$, $$kv.get_bytes('a', 'kv_none')$$, $$kv.get_entry('a', 'kv_none')$$,
    $$kv.cas('a', 'b', 0, store => 'kv_none')$$, $$kv.mget('{a}', 'kv_none')$$, $$kv.mset('{a}', '{b}', store => 'kv_none')$$, $$kv.getset('a', 'b', store => 'kv_none')$$, $$kv.take('a', 'kv_none')$$, $$kv.delete('a', 'kv_none')$$, $$kv.delete_batch('{a}', 'kv_none')$$, $$kv.exists('a', 'kv_none')$$, $$kv.ttl('a', 'kv_none')$$, $$kv.touch('a', 5, 'kv_none')$$,
    $$kv.scan(store => 'kv_none')$$, $$kv.purge('kv_none')$$, $$kv.clear('kv_none')$$, $$kv.incr('a', store => 'kv_none')$$, $$kv.rate_limit('a', 5, 60, store => 'kv_none')$$, $$kv.rate_limit('a', 5, 60, 0, 'kv_none')$$, $$kv.lock('a', 5, store => 'kv_none')$$, $$kv.lock('a', 5, wait => 1, store => 'kv_none')$$, $$kv.renew('a', 1, 5, 'kv_none')$$, $$kv.unlock('a', 1, 'kv_none')$$, $$kv.assert_lock('a', 1, 'kv_none')$$,
    $$kv.grant('kv_none', 'public', 'read')$$, $$kv.revoke('kv_none', 'public', 'read')$$, $$kv.alter_store('kv_none')$$]) call;
-- NULL for what is required: 22004.
SELECT pg_temp.attempt('SELECT ' || call), call FROM unnest(ARRAY[$$kv.set(NULL, 'b')$$, $$kv.set('a', NULL)$$, $$kv.set_json('a', NULL)$$, $$kv.set_bytes('a', NULL)$$, $$kv.get(NULL)$$, $$kv.get_json(NULL)$$, $$kv.get_bytes(NULL)$$, $$kv.get_entry(NULL)$$, $$kv.cas(NULL, 'b', 0)$$, $$kv.getset(NULL, 'b')$$, $$kv.getset('a', NULL)$$, $$kv.take(NULL)$$,
    $$kv.delete(NULL)$$, $$kv.exists(NULL)$$, $$kv.ttl(NULL)$$, $$kv.touch(NULL, 5)$$, $$kv.incr(NULL)$$, $$kv.grant(NULL, 'public', 'read')$$, $$kv.grant('kv_st', NULL, 'read')$$, $$kv.grant('kv_st', 'public', NULL)$$]) call;
-- ... and for what has a default: the default.
SELECT kv.set('kv_st:d', '1', NULL, NULL, NULL, NULL), kv.get('kv_st:d', NULL), kv.ttl('kv_st:none', NULL), kv.incr('kv_st:n', NULL, NULL, NULL), kv.cas('kv_st:d', '2', 0, NULL, NULL), kv.mset('{kv_st:d}', '{3}', NULL, NULL), kv.getset('kv_st:d', '4', NULL, NULL), (kv.rate_limit('kv_st:r', 5, 60, NULL, NULL)).remaining, kv.lock('kv_st:l', 0.001, NULL, NULL, NULL) > 0;
SELECT kv.delete_batch('{kv_st:d,kv_st:n}', NULL);
DELETE FROM kv.c_default WHERE key LIKE 'kv\_st:%';
-- The store "default": there, owned by the extension's owner, not to be dropped; it may be changed.
SELECT store, unlogged, default_ttl, max_entries, owner = (SELECT pg_get_userbyid(extowner) FROM pg_extension WHERE extname = 'pgqueue') FROM kv.stores WHERE store = 'default';
SELECT kv.create_store('default'), pg_temp.attempt($$SELECT kv.create_store('default', max_entries => 5)$$), pg_temp.attempt($$SELECT kv.drop_store('default')$$), pg_temp.attempt($$DROP TABLE kv.s_default$$) ~ '^2BP01';
SELECT kv.alter_store('default', default_ttl => 60), kv.alter_store('default', default_ttl => 60);
SELECT default_ttl FROM kv.stores WHERE store = 'default';
SELECT kv.set('kv_st:d', '1');
SELECT kv.ttl('kv_st:d') BETWEEN 0 AND 60;
SELECT kv.create_store('default', default_ttl => 60), pg_temp.attempt($$SELECT kv.create_store('default')$$);
SELECT kv.alter_store('default', reset => '{default_ttl}'), kv.delete('kv_st:d');
SELECT kv.create_store('default');
-- Tables of a store's name that belong to the role are taken over, as they are.
SELECT kv.set('kept', 'value', store => 'kv_st'), kv.incr('kept n', 5, store => 'kv_st');
DELETE FROM kv.settings WHERE store = 'kv_st';
SELECT kv.create_store('kv_st', default_ttl => 3600);
SELECT kv.get('kept', 'kv_st'), kv.incr('kept n', store => 'kv_st');
-- Something else of that name.
CREATE VIEW kv.s_kv_st4 AS SELECT 1;
SELECT pg_temp.attempt($$SELECT kv.create_store('kv_st4')$$);
DROP VIEW kv.s_kv_st4;
-- Tables of that name and of another shape: nothing is made.
CREATE TABLE kv.s_kv_st4 (a int);
SELECT pg_temp.attempt($$SELECT kv.create_store('kv_st4')$$);
DROP TABLE kv.s_kv_st4;
CREATE TABLE kv.c_kv_st4 AS SELECT * FROM kv.c_kv_st;
SELECT pg_temp.attempt($$SELECT kv.create_store('kv_st4')$$);
DROP TABLE kv.c_kv_st4;
CREATE TABLE kv.s_kv_st4 (LIKE kv.s_kv_st INCLUDING ALL, note text);
SELECT pg_temp.attempt($$SELECT kv.create_store('kv_st4')$$);
DROP TABLE kv.s_kv_st4;
SELECT count(*) FROM kv.stores WHERE store = 'kv_st4';
-- Dropped: all of it.
SELECT kv.drop_store('kv_st'), kv.drop_store('kv_st2'), kv.drop_store('kv_st');
SELECT count(*) FROM pg_class WHERE relnamespace = 'kv'::regnamespace AND relname ~ '^._kv_st';
SELECT count(*) FROM kv.settings WHERE store ~ '^kv_st';
-- A view of one's own on the store's view or table stops drop_store, and nothing is lost.
SELECT kv.create_store('kv_st'), kv.set('a', '1', store => 'kv_st');
CREATE VIEW public.kv_st_mine AS SELECT key FROM kv.v_kv_st;
SELECT pg_temp.attempt($$SELECT kv.drop_store('kv_st')$$);
SELECT kv.get('a', 'kv_st');
DROP VIEW public.kv_st_mine;
SELECT kv.drop_store('kv_st');
