-- Locks with an end and a fencing token.
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

SELECT kv.create_store('kv_locks');
SELECT kv.lock('l', 3600, 'me', store => 'kv_locks') AS token \gset
SELECT :token > 0, kv.lock('l', 3600, 'me', store => 'kv_locks'), kv.lock('l', 3600, store => 'kv_locks');
SELECT key, owner, number = :token, expires_at > clock_timestamp() FROM kv.c_kv_locks WHERE kind = 'l';
SELECT kv.assert_lock('l', :token, 'kv_locks');
SELECT pg_temp.attempt(format('SELECT kv.assert_lock(%L, %s, %L)', name, token, 'kv_locks'))
FROM (VALUES ('l', :token + 1), ('l', :token - 1), ('l', 0), ('l', -1), ('none', :token)) v(name, token);
-- renew and unlock: only with the token.
SELECT kv.renew('l', :token + 1, 7200, 'kv_locks'), kv.unlock('l', :token + 1, 'kv_locks'), kv.renew('none', :token, 7200, 'kv_locks'), kv.unlock('none', :token, 'kv_locks');
SELECT kv.renew('l', :token, 7200, 'kv_locks');
SELECT expires_at > clock_timestamp() + interval '6000 s', owner, number = :token FROM kv.c_kv_locks WHERE kind = 'l';
SELECT kv.unlock('l', :token, 'kv_locks'), kv.unlock('l', :token, 'kv_locks'), kv.renew('l', :token, 60, 'kv_locks');
SELECT pg_temp.attempt(format('SELECT kv.assert_lock(%L, %s, %L)', 'l', :token, 'kv_locks'));
SELECT kv.lock('l', 3600, store => 'kv_locks') AS token2 \gset
SELECT :token2 > :token, kv.unlock('l', :token, 'kv_locks'), kv.lock('l', 3600, store => 'kv_locks');
-- It ends; then the old token is worth nothing, whether somebody else has it by now or not.
SELECT kv.lock('short', 0.001, 'me', store => 'kv_locks') AS short \gset
SELECT pg_sleep(0.005);
SELECT kv.renew('short', :short, 60, 'kv_locks'), kv.unlock('short', :short, 'kv_locks'), pg_temp.attempt(format('SELECT kv.assert_lock(%L, %s, %L)', 'short', :short, 'kv_locks'));
SELECT kv.lock('short', 3600, 'other', store => 'kv_locks') > :short;
SELECT kv.renew('short', :short, 60, 'kv_locks'), kv.unlock('short', :short, 'kv_locks'), pg_temp.attempt(format('SELECT kv.assert_lock(%L, %s, %L)', 'short', :short, 'kv_locks'));
SELECT owner FROM kv.c_kv_locks WHERE key = 'short';
-- Renewed in time it doesn't end; renewed to less it ends sooner.
SELECT kv.lock('renewed', 3600, store => 'kv_locks') AS renewed \gset
SELECT kv.renew('renewed', :renewed, 0.001, 'kv_locks');
SELECT pg_sleep(0.005);
SELECT kv.lock('renewed', 3600, store => 'kv_locks') > :renewed;
-- Granted, renewed and given back at once, whatever becomes of the transaction.
BEGIN;
SELECT kv.lock('tx', 3600, store => 'kv_locks') AS tx \gset
ROLLBACK;
SELECT kv.lock('tx', 3600, store => 'kv_locks'), kv.renew('tx', :tx, 3600, 'kv_locks');
BEGIN;
SELECT kv.unlock('tx', :tx, 'kv_locks');
ROLLBACK;
SELECT kv.lock('tx', 3600, store => 'kv_locks') > :tx;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT kv.unlock('tx', number, 'kv_locks'), kv.lock('tx', 3600, store => 'kv_locks') > number FROM kv.c_kv_locks WHERE key = 'tx';
COMMIT;
-- Waiting: not at all, and for a while.
SELECT kv.lock('l', 3600, wait => 0, store => 'kv_locks'), kv.lock('l', 3600, wait => NULL, store => 'kv_locks');
SELECT clock_timestamp() AS began \gset
SELECT kv.lock('l', 3600, wait => 0.05, store => 'kv_locks');
SELECT clock_timestamp() >= :'began'::timestamptz + interval '50 ms';
-- ... until the holder's time is over.
SELECT kv.lock('brief', 0.05, store => 'kv_locks') AS brief \gset
SELECT kv.lock('brief', 3600, wait => 250, store => 'kv_locks') > :brief;
-- ... and can be cancelled.
SET statement_timeout = 50;
SELECT kv.lock('l', 3600, wait => 300, store => 'kv_locks');
RESET statement_timeout;
SELECT kv.unlock('l', :token2, 'kv_locks');
-- Arguments.
SELECT args, pg_temp.attempt('SELECT kv.lock(''bad'', ' || args || ', store => ''kv_locks'')')
FROM unnest(ARRAY['0', '-1', '-5', '''NaN''', '''Infinity''', '315576001', 'NULL', '60, wait => -1', '60, wait => 301', '60, wait => ''NaN''', '60, repeat(''o'', 64)']) args;
SELECT pg_temp.attempt($$SELECT kv.lock(NULL, 60, store => 'kv_locks')$$), pg_temp.attempt($$SELECT kv.lock('', 60, store => 'kv_locks')$$), pg_temp.attempt($$SELECT kv.lock(repeat('x', 1025), 60, store => 'kv_locks')$$);
SELECT pg_temp.attempt(statement) FROM unnest(ARRAY[$$SELECT kv.renew('l', NULL, 60, 'kv_locks')$$, $$SELECT kv.renew('l', 1, NULL, 'kv_locks')$$, $$SELECT kv.renew('l', 1, -1, 'kv_locks')$$, $$SELECT kv.renew('l', 1, 0, 'kv_locks')$$,
    $$SELECT kv.unlock('l', NULL, 'kv_locks')$$, $$SELECT kv.unlock(NULL, 1, 'kv_locks')$$, $$SELECT kv.assert_lock('l', NULL, 'kv_locks')$$, $$SELECT kv.assert_lock(NULL, 1, 'kv_locks')$$]) statement;
SELECT count(*) FROM kv.c_kv_locks WHERE key = 'bad';
SELECT kv.lock(repeat('x', 1024), 60, repeat('o', 63), store => 'kv_locks') > 0, kv.lock('no owner', 60, NULL, store => 'kv_locks') > 0, kv.lock('empty owner', 60, '', store => 'kv_locks') > 0;
SELECT length(key), length(owner) FROM kv.c_kv_locks WHERE key ~ '^x|owner' ORDER BY key;
-- Tokens only grow, over all names of a database.
SELECT bool_and(token > before) FROM (SELECT token, lag(token, 1, 0::bigint) OVER (ORDER BY i) AS before FROM (SELECT i, kv.lock('t' || i, 60, store => 'kv_locks') AS token FROM generate_series(1, 500) i) t) t;
DO $$
DECLARE last bigint := 0; token bigint;
BEGIN
    FOR i IN 1 .. 200 LOOP
        token := kv.lock('again', 60, store => 'kv_locks');
        IF token <= last THEN RAISE EXCEPTION '% after %', token, last; END IF;
        last := token;
        IF i % 3 = 0 THEN PERFORM kv.unlock('again', token, 'kv_locks'), kv.purge('kv_locks'); ELSIF i % 3 = 1 THEN DELETE FROM kv.c_kv_locks WHERE key = 'again'; COMMIT; ELSE PERFORM kv.unlock('again', token, 'kv_locks'); END IF;
    END LOOP;
END $$;
-- Deleting the row by hand breaks a lock.
SELECT kv.lock('broken', 3600, store => 'kv_locks') AS broken \gset
DELETE FROM kv.c_kv_locks WHERE key = 'broken';
SELECT kv.renew('broken', :broken, 60, 'kv_locks'), kv.lock('broken', 3600, store => 'kv_locks') > :broken;
-- No keys of the values' namespace.
SELECT count(*) FROM kv.scan(store => 'kv_locks');
SELECT entries FROM kv.stats WHERE store = 'kv_locks';
SELECT kv.drop_store('kv_locks');
