-- What writes refuses a read-only transaction; what only looks doesn't.
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

SELECT kv.create_store('kv_ro');
SELECT kv.set('a', '1', store => 'kv_ro'), kv.incr('n', store => 'kv_ro'), kv.set_json('j', '1', store => 'kv_ro'), kv.set_bytes('b', '\x01', store => 'kv_ro'), kv.lock('l', 3600, store => 'kv_ro') AS token \gset
BEGIN READ ONLY;
SELECT statement, pg_temp.attempt('SELECT ' || statement)
FROM unnest(ARRAY[$$kv.set('a', '2', store => 'kv_ro')$$, $$kv.set('a', '2', mode => 'nx', store => 'kv_ro')$$, $$kv.set_json('a', '2', store => 'kv_ro')$$, $$kv.set_bytes('a', '2', store => 'kv_ro')$$, $$kv.cas('a', '2', 0, store => 'kv_ro')$$,
    $$kv.mset('{a}', '{2}', store => 'kv_ro')$$, $$kv.mset('{}', '{}', store => 'kv_ro')$$, $$kv.getset('a', '2', store => 'kv_ro')$$, $$kv.take('a', 'kv_ro')$$, $$kv.take('none', 'kv_ro')$$, $$kv.delete('a', 'kv_ro')$$, $$kv.delete_batch('{a}', 'kv_ro')$$, $$kv.delete_batch('{}', 'kv_ro')$$,
    $$kv.touch('a', 5, 'kv_ro')$$, $$kv.purge('kv_ro')$$, $$kv.purge()$$, $$kv.clear('kv_ro')$$, $$kv.incr('n', store => 'kv_ro')$$, $$kv.incr('n', 0, store => 'kv_ro')$$, $$kv.rate_limit('r', 5, 60, store => 'kv_ro')$$, $$kv.lock('l', 60, store => 'kv_ro')$$,
    $$kv.renew('l', 1, 60, 'kv_ro')$$, $$kv.unlock('l', 1, 'kv_ro')$$, $$kv.create_store('kv_ro2')$$, $$kv.create_store('kv_ro')$$, $$kv.alter_store('kv_ro', default_ttl => 5)$$, $$kv.drop_store('kv_ro')$$, $$kv.grant('kv_ro', 'public', 'read')$$, $$kv.revoke('kv_ro', 'public', 'read')$$]) statement;
SELECT kv.get('a', 'kv_ro'), kv.get_json('j', 'kv_ro'), kv.get_bytes('b', 'kv_ro'), kv.get('n', 'kv_ro'), kv.exists('a', 'kv_ro'), kv.ttl('a', 'kv_ro'), kv.assert_lock('l', :token, 'kv_ro');
SELECT * FROM kv.mget('{a,n,none}', 'kv_ro');
SELECT key FROM kv.scan(store => 'kv_ro');
SELECT value FROM kv.get_entry('a', 'kv_ro');
SELECT store FROM kv.stores WHERE store = 'kv_ro';
SELECT entries FROM kv.stats WHERE store = 'kv_ro';
SELECT key FROM kv.v_kv_ro ORDER BY key;
COMMIT;
SET default_transaction_read_only = on;
SELECT pg_temp.attempt($$SELECT kv.set('a', '3', store => 'kv_ro')$$), kv.get('a', 'kv_ro');
RESET default_transaction_read_only;
SELECT * FROM kv.mget('{a,n}', 'kv_ro');
SELECT kv.drop_store('kv_ro');
