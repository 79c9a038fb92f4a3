-- A cache in front of a slow query.
--
-- Shows: a report that is computed once and kept for a minute (kv.get_json, kv.set_json with a ttl); of many who miss
-- it at a time one computes and the rest wait for its answer (mode => 'if_absent'); a change of the data makes the cached
-- answer stale in the same transaction, so that it commits or rolls back with the change.
--
-- Run:   psql -f cache.sql        makes the schema shop anew and walks through it
-- Needs: PGHOST, PGDATABASE and so on say where the server is. The role needs CREATE on the database, and once, from
--        the extension's owner:
--        SELECT kv.grant('default', 'the_role', 'read'), kv.grant('default', 'the_role', 'write');
\set ON_ERROR_STOP on
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;

BEGIN;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE SCHEMA shop;
CREATE TABLE shop.products (id bigserial PRIMARY KEY, category text NOT NULL, price numeric NOT NULL);
-- The slow query. The counter is only there to show how often it runs; kv.incr isn't undone by a rollback.
CREATE FUNCTION shop.compute_report(category text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM kv.incr('shop:computed:' || category);
    RETURN (SELECT jsonb_build_object('products', count(*), 'worth', sum(price))
            FROM shop.products p WHERE p.category = compute_report.category);
END $$;

-- The cached one. Each change of a category gives the entry `shop:changed:<category>` a new version, which never comes
-- again, and the version is a part of the report's key. It is read before the data is: an answer may be newer than its
-- key says, never older. Deleting the report's key instead would leave a gap, in which somebody who read the data just
-- before the change commits stores the old answer just after it.
CREATE FUNCTION shop.report(category text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    changed bigint;
    key     text;
    answer  jsonb;
BEGIN
    SELECT e.version INTO changed FROM kv.get_entry('shop:changed:' || category) e;
    key := format('shop:report:%s:%s', category, coalesce(changed, 0));
    LOOP
        answer := kv.get_json(key);
        EXIT WHEN answer IS NOT NULL;
        -- Claim the key. Where another transaction has claimed it, this waits for its end: then the answer is there, or
        -- (it failed) the claim is ours. Keep the transaction short, and set lock_timeout where that may be too long.
        IF kv.set_json(key, '{}', ttl => 60, mode => 'if_absent') THEN
            answer := shop.compute_report(category);
            PERFORM kv.set_json(key, answer, ttl => 60);
        END IF;
    END LOOP;
    RETURN answer;
END $$;

-- Nobody can forget to call it. Changes of one category wait for each other's commit from here on.
CREATE FUNCTION shop.products_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM kv.set('shop:changed:' || c.category, '') FROM (SELECT DISTINCT category FROM changed ORDER BY 1) c;
    RETURN NULL;
END $$;
CREATE TRIGGER inserted AFTER INSERT ON shop.products REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION shop.products_changed();
CREATE TRIGGER deleted AFTER DELETE ON shop.products REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION shop.products_changed();
CREATE TRIGGER updated_from AFTER UPDATE ON shop.products REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION shop.products_changed();
CREATE TRIGGER updated_to AFTER UPDATE ON shop.products REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION shop.products_changed();

INSERT INTO shop.products (category, price)
SELECT CASE WHEN n % 2 = 0 THEN 'books' ELSE 'games' END, 10 FROM generate_series(1, 20000) n;
COMMIT;

-- A walk through it.
SELECT kv.delete('shop:computed:books') \g /dev/null
\set runs 'SELECT ''  computed so far: '' || kv.get(''shop:computed:books'');'

\echo a miss:
SELECT shop.report('books');
:runs
\echo a hit:
SELECT shop.report('books');
:runs
\echo a change, seen in its own transaction and rolled back:
BEGIN;
UPDATE shop.products SET price = 1000 WHERE id = 2;
SELECT shop.report('books');
ROLLBACK;
\echo the old answer is still there:
SELECT shop.report('books');
:runs
\echo a change that commits:
UPDATE shop.products SET price = 20 WHERE id = 2;
SELECT shop.report('books');
SELECT shop.report('books');
:runs
