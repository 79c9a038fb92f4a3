-- Stores with a bound: what goes when they are full.
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

SELECT kv.create_store('kv_max', max_entries => 10);
SELECT store, max_entries FROM kv.stores WHERE store = 'kv_max';
SELECT count(kv.set('k' || i, i::text, store => 'kv_max')) FROM generate_series(1, 10) i;
SELECT count(*) FROM kv.scan(store => 'kv_max');
-- The one that was written longest ago goes. Setting one that is there costs no other its place.
SELECT kv.set('k1', 'again', store => 'kv_max');
SELECT count(*) FROM kv.scan(store => 'kv_max');
SELECT kv.set('k11', '11', store => 'kv_max');
SELECT string_agg(key, ',' ORDER BY substr(key, 2)::int) FROM kv.scan(store => 'kv_max');
SELECT kv.mset('{k12,k13}', '{12,13}', store => 'kv_max');
SELECT string_agg(key, ',' ORDER BY substr(key, 2)::int) FROM kv.scan(store => 'kv_max');
-- Those that expire go before those that never do, the soonest first.
SELECT kv.set('k14', '14', ttl => 7200, store => 'kv_max'), kv.set('k15', '15', ttl => 3600, store => 'kv_max');
SELECT string_agg(key, ',' ORDER BY substr(key, 2)::int) FROM kv.scan(store => 'kv_max');
SELECT kv.set('k16', '16', store => 'kv_max');
SELECT string_agg(key, ',' ORDER BY substr(key, 2)::int) FROM kv.scan(store => 'kv_max');
-- A transaction's evictions are undone with it.
BEGIN;
SELECT count(kv.set('tx' || i, 'x', store => 'kv_max')) FROM generate_series(1, 20) i;
SELECT count(*) <= 10 FROM kv.scan(store => 'kv_max');
ROLLBACK;
SELECT string_agg(key, ',' ORDER BY substr(key, 2)::int) FROM kv.scan(store => 'kv_max');
-- It stays so, with deletes in between.
SELECT kv.drop_store('kv_max'), kv.create_store('kv_max', max_entries => 10);
DO $$
DECLARE n bigint;
BEGIN
    FOR i IN 1 .. 400 LOOP
        PERFORM kv.set('x' || i, repeat('v', 100), store => 'kv_max');
        IF i % 7 = 0 THEN PERFORM kv.delete('x' || i - 3, 'kv_max'); END IF;
        SELECT count(*) INTO n FROM kv.scan(store => 'kv_max');
        IF n NOT BETWEEN least(i, 5) AND 10 OR NOT kv.exists('x' || i, 'kv_max') THEN RAISE EXCEPTION '% entries after %', n, i; END IF;
    END LOOP;
END $$;
-- The bound can be changed: up at once, down with the next keys.
SELECT kv.drop_store('kv_max'), kv.create_store('kv_max', max_entries => 10);
SELECT kv.alter_store('kv_max', max_entries => 100), kv.alter_store('kv_max', max_entries => 100);
SELECT count(kv.set('k' || i, i::text, store => 'kv_max')) FROM generate_series(1, 300) i;
SELECT count(*), min(substr(key, 2)::int) FROM kv.scan(store => 'kv_max', qty => 1000);
SELECT kv.alter_store('kv_max', max_entries => 5);
SELECT count(*) FROM kv.scan(store => 'kv_max', qty => 1000);
SELECT count(kv.set('l' || i, i::text, store => 'kv_max')) FROM generate_series(1, 30) i;
SELECT count(*) FROM kv.scan(store => 'kv_max');
SELECT kv.alter_store('kv_max', reset => '{max_entries}');
SELECT count(kv.set('m' || i, i::text, store => 'kv_max')) FROM generate_series(1, 100) i;
SELECT count(*) FROM kv.scan(store => 'kv_max', qty => 1000);
SELECT max_entries FROM kv.stores WHERE store = 'kv_max';
-- Many pages: some are looked at, and the bound holds.
SELECT kv.drop_store('kv_max'), kv.create_store('kv_max', max_entries => 1000);
SELECT count(kv.set('k' || i, repeat('x', 1000), store => 'kv_max')) FROM generate_series(1, 3000) i;
SELECT count(*) BETWEEN 800 AND 1200 FROM kv.scan(store => 'kv_max', qty => 10000);
-- One entry.
SELECT kv.create_store('kv_max1', max_entries => 1);
SELECT kv.set('a', '1', store => 'kv_max1'), kv.set('b', '1', store => 'kv_max1'), kv.mset('{c,d,e}', '{1,2,3}', store => 'kv_max1');
SELECT key FROM kv.scan(store => 'kv_max1');
SELECT kv.cas('f', '1', 0, store => 'kv_max1') > 0, kv.getset('g', '1', store => 'kv_max1'), kv.set_json('h', '1', store => 'kv_max1');
SELECT key FROM kv.scan(store => 'kv_max1');
SELECT most, pg_temp.attempt(format('SELECT kv.create_store(%L, max_entries => %L)', 'kv_max2', most)), pg_temp.attempt(format('SELECT kv.alter_store(%L, max_entries => %L)', 'kv_max1', most))
FROM unnest(ARRAY[0, -1, -9223372036854775808]) most;
SELECT kv.drop_store('kv_max'), kv.drop_store('kv_max1');
