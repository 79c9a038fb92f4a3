-- Rate limits: a burst, refilled evenly; a denied request changes nothing.
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

SELECT kv.create_store('kv_rate');
-- A period so long that nothing flows back while this runs.
CREATE FUNCTION pg_temp.near(seconds float8, expected float8) RETURNS boolean LANGUAGE sql AS $$ SELECT seconds BETWEEN expected - 600 AND expected $$;

-- A burst of 5 in 50,000 s: one flows back in 10,000.
SELECT allowed, remaining, retry_after, pg_temp.near(reset_after, i * 10000) FROM generate_series(1, 5) i, kv.rate_limit('a', 5 + 0 * i, 50000, store => 'kv_rate');
SELECT allowed, remaining, pg_temp.near(retry_after, 10000), pg_temp.near(reset_after, 50000) FROM generate_series(1, 3) i, kv.rate_limit('a', 5 + 0 * i, 50000, store => 'kv_rate');
-- cost: more at a time; a denied one changes nothing; 0 looks only.
SELECT allowed, remaining FROM kv.rate_limit('b', 10, 100000, 0, 'kv_rate');
SELECT count(*) FROM kv.c_kv_rate WHERE key = 'b';
SELECT allowed, remaining, retry_after, pg_temp.near(reset_after, 40000) FROM kv.rate_limit('b', 10, 100000, 4, 'kv_rate');
SELECT allowed, remaining, pg_temp.near(retry_after, 10000), pg_temp.near(reset_after, 40000) FROM kv.rate_limit('b', 10, 100000, 7, 'kv_rate');
SELECT allowed, remaining, retry_after, pg_temp.near(reset_after, 40000) FROM kv.rate_limit('b', 10, 100000, 0, 'kv_rate');
SELECT allowed, remaining FROM kv.rate_limit('b', 10, 100000, 6, 'kv_rate');
SELECT allowed, remaining FROM kv.rate_limit('b', 10, 100000, 0, 'kv_rate');
SELECT allowed, remaining, pg_temp.near(retry_after, 10000) FROM kv.rate_limit('b', 10, 100000, 1, 'kv_rate');
SELECT allowed, remaining, pg_temp.near(retry_after, 100000) FROM kv.rate_limit('b', 10, 100000, 10, 'kv_rate');
SELECT allowed, remaining FROM kv.rate_limit('b2', 10, 100000, NULL, 'kv_rate');
-- Numbers that don't divide.
SELECT array_agg(remaining ORDER BY i), bool_and(allowed) FROM generate_series(1, 7) i, kv.rate_limit('c', 7 + 0 * i, 10000, store => 'kv_rate');
SELECT allowed FROM kv.rate_limit('c', 7, 10000, store => 'kv_rate');
SELECT array_agg(remaining ORDER BY i), bool_and(allowed) FROM generate_series(1, 3) i, kv.rate_limit('c2', 3 + 0 * i, 1000.1, store => 'kv_rate');
SELECT count(*) FILTER (WHERE allowed) FROM generate_series(1, 2000) i, kv.rate_limit('c3', 1000 + 0 * i, 300000000, store => 'kv_rate');
-- A limit of one.
SELECT allowed, remaining FROM generate_series(1, 2) i, kv.rate_limit('one', 1 + 0 * i, 3600, store => 'kv_rate');
-- Other numbers for the same key: the time already used counts.
SELECT allowed, remaining FROM kv.rate_limit('d', 10, 10000, 5, 'kv_rate');
SELECT allowed, remaining FROM kv.rate_limit('d', 100, 10000, 1, 'kv_rate');
SELECT allowed, remaining FROM kv.rate_limit('d', 10, 1000, 1, 'kv_rate');
-- It flows back.
SELECT allowed, remaining FROM kv.rate_limit('e', 1, 0.005, store => 'kv_rate');
SELECT pg_sleep(0.01);
SELECT allowed, remaining FROM kv.rate_limit('e', 1, 0.005, store => 'kv_rate');
CREATE FUNCTION pg_temp.retry() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE v kv.verdict; denied int := 0;
BEGIN
    LOOP
        v := kv.rate_limit('f', 3, 0.3, store => 'kv_rate');
        EXIT WHEN NOT v.allowed;
    END LOOP;
    IF v.retry_after NOT BETWEEN 0 AND 0.1 OR v.retry_after = 0 OR v.remaining <> 0 OR v.reset_after NOT BETWEEN 0.2 AND 0.3 THEN RAISE EXCEPTION '%', v; END IF;
    -- Not before, and then at once.
    PERFORM pg_sleep(v.retry_after);
    v := kv.rate_limit('f', 3, 0.3, store => 'kv_rate');
    RETURN v.allowed;
END $$;
SELECT pg_temp.retry();
-- Not undone by rollback.
BEGIN;
SELECT allowed, remaining FROM kv.rate_limit('g', 2, 3600, store => 'kv_rate');
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT allowed, remaining FROM kv.rate_limit('g', 2, 3600, store => 'kv_rate');
ROLLBACK TO s;
COMMIT;
SELECT allowed, remaining FROM kv.rate_limit('g', 2, 3600, store => 'kv_rate');
-- Out of range.
SELECT args, pg_temp.attempt('SELECT kv.rate_limit(''x'', ' || args || ', store => ''kv_rate'')')
FROM unnest(ARRAY['0, 60', '-1, 60', '5, 0', '5, -1', '5, -2', '5, ''NaN''', '5, ''Infinity''', '5, 315576001', '5, 60, 6', '5, 60, -1', '9223372036854775807, 60', '5, 1e-9', 'NULL, 60', '5, NULL', '1, 315576000', '1000000000, 1', '9223372036854775807, 315576000', '5, 60, 9223372036854775807']) args;
SELECT pg_temp.attempt($$SELECT kv.rate_limit(NULL, 5, 60, store => 'kv_rate')$$), pg_temp.attempt($$SELECT kv.rate_limit('', 5, 60, store => 'kv_rate')$$);
-- No key of the values' namespace, and unknown to all that lists them.
SELECT count(*) FROM kv.scan(store => 'kv_rate');
SELECT kv.get('a', 'kv_rate'), kv.exists('a', 'kv_rate'), kv.delete('a', 'kv_rate'), kv.touch('a', 5, 'kv_rate');
SELECT entries FROM kv.stats WHERE store = 'kv_rate';
SELECT kv.drop_store('kv_rate');
