-- Versions: compare and swap. A version never comes again for a key.
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

SELECT kv.create_store('kv_cas');

-- Version 0: must not exist.
SELECT kv.cas('a', '1', 0, store => 'kv_cas') AS v1 \gset
SELECT :v1 > 0, kv.cas('a', 'no', 0, store => 'kv_cas'), kv.cas('none', 'no', 5, store => 'kv_cas'), kv.exists('none', 'kv_cas');
SELECT value, version = :v1 FROM kv.get_entry('a', 'kv_cas');
SELECT kv.cas('a', '2', :v1, store => 'kv_cas') AS v2 \gset
SELECT :v2 > :v1, kv.get('a', 'kv_cas');
SELECT kv.cas('a', 'stale', :v1, store => 'kv_cas'), kv.cas('a', 'future', :v2 + 1, store => 'kv_cas'), kv.cas('a', 'negative', -1, store => 'kv_cas');
SELECT value, version = :v2 FROM kv.get_entry('a', 'kv_cas');
SELECT pg_temp.attempt($$SELECT kv.cas('a', 'x', NULL, store => 'kv_cas')$$), pg_temp.attempt($$SELECT kv.cas('a', NULL, 1, store => 'kv_cas')$$);
-- Every set gives a new one, of the same value too; a touch doesn't.
SELECT kv.set('a', '2', store => 'kv_cas');
SELECT version AS v3 FROM kv.get_entry('a', 'kv_cas') \gset
SELECT :v3 > :v2;
SELECT kv.cas('a', 'stale', :v2, store => 'kv_cas');
SELECT kv.touch('a', 3600, 'kv_cas');
SELECT version = :v3 FROM kv.get_entry('a', 'kv_cas');
SELECT kv.cas('a', '3', :v3, store => 'kv_cas') > :v3;
-- json and bytes have versions as well; cas leaves text behind.
SELECT kv.set_json('j', '{"a": 1}', store => 'kv_cas');
SELECT kv.cas('j', 'text', version, store => 'kv_cas') > version FROM kv.get_entry('j', 'kv_cas');
SELECT kv.get('j', 'kv_cas');
-- A counter has none.
SELECT kv.incr('c', store => 'kv_cas');
SELECT pg_temp.attempt($$SELECT kv.cas('c', 'x', 1, store => 'kv_cas')$$);
SELECT kv.cas('c', 'x', 0, store => 'kv_cas'), kv.get('c', 'kv_cas');
-- Deleted and made again: never the same, and always above.
CREATE TEMP TABLE seen (version bigint PRIMARY KEY);
DO $$
DECLARE v bigint; last bigint := 0;
BEGIN
    FOR i IN 1 .. 200 LOOP
        CASE i % 4
            WHEN 0 THEN PERFORM kv.set('r', i::text, store => 'kv_cas');
            WHEN 1 THEN PERFORM kv.delete('r', 'kv_cas'); PERFORM kv.set_json('r', '1', store => 'kv_cas');
            WHEN 2 THEN PERFORM kv.take('r', 'kv_cas'); PERFORM kv.cas('r', 'x', 0, store => 'kv_cas');
            ELSE PERFORM kv.clear('kv_cas'); PERFORM kv.mset('{r}', '{y}', store => 'kv_cas');
        END CASE;
        SELECT version INTO v FROM kv.get_entry('r', 'kv_cas');
        IF v <= last THEN RAISE EXCEPTION 'version % after %', v, last; END IF;
        INSERT INTO seen VALUES (v);
        last := v;
    END LOOP;
END $$;
-- A rollback gives the old version back, and the lost one doesn't come again.
SELECT version AS v4 FROM kv.get_entry('r', 'kv_cas') \gset
BEGIN;
SELECT kv.cas('r', 'lost', :v4, store => 'kv_cas') AS lost \gset
ROLLBACK;
SELECT value, version = :v4 FROM kv.get_entry('r', 'kv_cas');
SELECT kv.cas('r', 'kept', :lost, store => 'kv_cas'), kv.cas('r', 'kept', :v4, store => 'kv_cas') > :lost;
-- In one transaction, against one's own.
BEGIN;
SELECT kv.cas('t', '1', 0, store => 'kv_cas') AS v \gset
SELECT kv.cas('t', '2', 0, store => 'kv_cas'), kv.cas('t', '2', :v, store => 'kv_cas') > :v, kv.cas('t', '3', :v, store => 'kv_cas');
SELECT kv.delete('t', 'kv_cas'), kv.cas('t', '4', :v, store => 'kv_cas'), kv.cas('t', '5', 0, store => 'kv_cas') > :v;
COMMIT;
SELECT kv.get('t', 'kv_cas');
-- The loop that everybody writes.
DO $$
DECLARE e record;
BEGIN
    PERFORM kv.set('sum', '0', store => 'kv_cas');
    FOR i IN 1 .. 100 LOOP
        LOOP
            SELECT * INTO e FROM kv.get_entry('sum', 'kv_cas');
            EXIT WHEN kv.cas('sum', (e.value::int + i)::text, e.version, store => 'kv_cas') IS NOT NULL;
        END LOOP;
    END LOOP;
END $$;
SELECT kv.get('sum', 'kv_cas');

SELECT kv.drop_store('kv_cas');
