-- What a store's tables may look like, and what is refused with a hint.
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

SELECT kv.create_store('kv_layout');
SELECT kv.set('a', '1', store => 'kv_layout'), kv.incr('n', store => 'kv_layout');
-- Each change is refused by what uses the table, and all is well when it is taken back.
CREATE FUNCTION pg_temp.refused(change text, back text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE outcome text;
BEGIN
    EXECUTE change;
    RETURN NEXT regexp_replace(pg_temp.attempt($s$SELECT kv.set('a', '2', store => 'kv_layout')$s$), '_[ac]_\d+', '_...');
    FOR outcome IN SELECT DISTINCT pg_temp.attempt(statement) FROM unnest(ARRAY[$s$SELECT kv.get('a', 'kv_layout')$s$, $s$SELECT kv.mset('{a}', '{2}', store => 'kv_layout')$s$, $s$SELECT kv.delete('none', 'kv_layout')$s$, $s$SELECT kv.touch('a', 60, 'kv_layout')$s$,
        $s$SELECT kv.scan(store => 'kv_layout')$s$, $s$SELECT kv.purge('kv_layout')$s$, $s$SELECT kv.clear('kv_layout')$s$, $s$SELECT kv.incr('n', store => 'kv_layout')$s$, $s$SELECT kv.lock('l', 60, store => 'kv_layout')$s$, $s$SELECT kv.rate_limit('r', 5, 60, store => 'kv_layout')$s$, $s$SELECT kv.take('none', 'kv_layout')$s$]) statement
    LOOP
        IF outcome = 'ok' THEN RETURN NEXT '... but others work'; END IF;
    END LOOP;
    EXECUTE back;
    RETURN NEXT pg_temp.attempt($s$SELECT kv.set('a', '1', store => 'kv_layout'), kv.incr('n', store => 'kv_layout')$s$);
END $$;
CREATE FUNCTION public.kv_layout_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TABLE public.kv_layout_other (k text COLLATE "C" PRIMARY KEY);
INSERT INTO public.kv_layout_other VALUES ('a');

-- Indexes, triggers, rules, constraints, row security.
SELECT pg_temp.refused('CREATE INDEX kv_layout_i ON kv.s_kv_layout (value)', 'DROP INDEX kv.kv_layout_i');
SELECT pg_temp.refused('CREATE INDEX kv_layout_i ON kv.s_kv_layout (expires_at)', 'DROP INDEX kv.kv_layout_i');
SELECT pg_temp.refused('CREATE INDEX kv_layout_i ON kv.c_kv_layout (number)', 'DROP INDEX kv.kv_layout_i');
SELECT pg_temp.refused('ALTER TABLE kv.s_kv_layout DROP CONSTRAINT s_kv_layout_pkey', 'ALTER TABLE kv.s_kv_layout ADD PRIMARY KEY (key)');
SELECT pg_temp.refused('ALTER TABLE kv.c_kv_layout DROP CONSTRAINT c_kv_layout_pkey', 'ALTER TABLE kv.c_kv_layout ADD PRIMARY KEY (kind, key)');
SELECT pg_temp.refused('ALTER TABLE kv.s_kv_layout DROP CONSTRAINT s_kv_layout_pkey; CREATE INDEX kv_layout_i ON kv.s_kv_layout (key)', 'DROP INDEX kv.kv_layout_i; ALTER TABLE kv.s_kv_layout ADD PRIMARY KEY (key)');
SELECT pg_temp.refused('ALTER TABLE kv.c_kv_layout DROP CONSTRAINT c_kv_layout_pkey, ADD PRIMARY KEY (key, kind)', 'ALTER TABLE kv.c_kv_layout DROP CONSTRAINT c_kv_layout_pkey, ADD PRIMARY KEY (kind, key)');
SELECT pg_temp.refused('ALTER TABLE kv.s_kv_layout DROP CONSTRAINT s_kv_layout_pkey, ADD CONSTRAINT s_kv_layout_pkey PRIMARY KEY (key) DEFERRABLE', 'ALTER TABLE kv.s_kv_layout DROP CONSTRAINT s_kv_layout_pkey, ADD PRIMARY KEY (key)');
SELECT pg_temp.refused('CREATE TRIGGER kv_layout_t AFTER DELETE ON kv.s_kv_layout FOR EACH ROW EXECUTE FUNCTION public.kv_layout_trigger()', 'DROP TRIGGER kv_layout_t ON kv.s_kv_layout');
SELECT pg_temp.refused('CREATE TRIGGER kv_layout_t BEFORE UPDATE ON kv.c_kv_layout FOR EACH STATEMENT EXECUTE FUNCTION public.kv_layout_trigger()', 'DROP TRIGGER kv_layout_t ON kv.c_kv_layout');
SELECT pg_temp.refused('ALTER TABLE kv.s_kv_layout ADD CONSTRAINT kv_layout_f FOREIGN KEY (key) REFERENCES public.kv_layout_other', 'ALTER TABLE kv.s_kv_layout DROP CONSTRAINT kv_layout_f');
SELECT pg_temp.refused('ALTER TABLE public.kv_layout_other ADD CONSTRAINT kv_layout_f FOREIGN KEY (k) REFERENCES kv.s_kv_layout', 'ALTER TABLE public.kv_layout_other DROP CONSTRAINT kv_layout_f');
SELECT pg_temp.refused('ALTER TABLE kv.s_kv_layout DISABLE TRIGGER USER', 'ALTER TABLE kv.s_kv_layout ENABLE ALWAYS TRIGGER pgqueue_write; ALTER TABLE kv.s_kv_layout ENABLE ALWAYS TRIGGER pgqueue_change');
SELECT pg_temp.refused('DROP TRIGGER pgqueue_write ON kv.c_kv_layout', $$SELECT kv.create_store('kv_layout')$$);
SELECT pg_temp.refused('ALTER TABLE kv.s_kv_layout ENABLE TRIGGER pgqueue_change', $$SELECT kv.create_store('kv_layout')$$);
SELECT pg_temp.refused('CREATE RULE kv_layout_r AS ON DELETE TO kv.s_kv_layout DO ALSO NOTIFY x', 'DROP RULE kv_layout_r ON kv.s_kv_layout');
SELECT pg_temp.refused($$ALTER TABLE kv.s_kv_layout ADD CONSTRAINT kv_layout_c CHECK (value <> 'bad')$$, 'ALTER TABLE kv.s_kv_layout DROP CONSTRAINT kv_layout_c');
SELECT pg_temp.refused('ALTER TABLE kv.s_kv_layout ENABLE ROW LEVEL SECURITY', 'ALTER TABLE kv.s_kv_layout DISABLE ROW LEVEL SECURITY');
SELECT pg_temp.refused('ALTER TABLE kv.c_kv_layout ENABLE ROW LEVEL SECURITY', 'ALTER TABLE kv.c_kv_layout DISABLE ROW LEVEL SECURITY');
-- Columns: added, dropped, of another type, name, collation or storage.
SELECT pg_temp.refused('ALTER TABLE kv.s_kv_layout ADD COLUMN note text', 'ALTER TABLE kv.s_kv_layout DROP COLUMN note');
SELECT kv.get('a', 'kv_layout'), kv.set('b', '2', store => 'kv_layout'), kv.set('a', '3', store => 'kv_layout'), kv.set_bytes('c', '\x01', store => 'kv_layout'), kv.set_json('d', '1', store => 'kv_layout');
SELECT * FROM kv.scan(store => 'kv_layout');
SELECT kv.delete_batch('{b,c,d}', 'kv_layout');
SELECT pg_temp.refused('ALTER TABLE kv.c_kv_layout ADD COLUMN note int DEFAULT 5', 'ALTER TABLE kv.c_kv_layout DROP COLUMN note');
SELECT kv.incr('n2', store => 'kv_layout'), kv.lock('n2', 60, 'me', store => 'kv_layout') > 0;
SELECT owner FROM kv.c_kv_layout WHERE kind = 'l';
SELECT pg_temp.refused('ALTER TABLE kv.s_kv_layout RENAME COLUMN value TO val', 'ALTER TABLE kv.s_kv_layout RENAME COLUMN val TO value');
SELECT pg_temp.refused('ALTER TABLE kv.s_kv_layout ALTER key SET STORAGE EXTENDED', 'ALTER TABLE kv.s_kv_layout ALTER key SET STORAGE MAIN');
SELECT pg_temp.refused('DROP VIEW kv.v_kv_layout; ALTER TABLE kv.s_kv_layout ALTER version DROP NOT NULL', $$ALTER TABLE kv.s_kv_layout ALTER version SET NOT NULL; SELECT kv.create_store('kv_layout')$$);
SELECT count(*) FROM kv.v_kv_layout;
-- Not plain tables.
BEGIN;
CREATE TABLE public.kv_layout_child () INHERITS (kv.s_kv_layout);
SELECT pg_temp.attempt($$SELECT kv.set('a', '2', store => 'kv_layout')$$), pg_temp.attempt($$SELECT kv.incr('n', store => 'kv_layout')$$);
ROLLBACK;
SELECT pg_temp.attempt($$SELECT kv.set('a', '2', store => 'kv_layout')$$);
-- A column that was dropped is not to be had back in its place.
SELECT kv.create_store('kv_layout2');
DROP VIEW kv.v_kv_layout2;
ALTER TABLE kv.s_kv_layout2 DROP COLUMN value_json CASCADE;
SELECT pg_temp.attempt($$SELECT kv.set('a', '2', store => 'kv_layout2')$$);
SELECT pg_temp.attempt($$SELECT kv.get('a', 'kv_layout2')$$), pg_temp.attempt($$SELECT kv.incr('n', store => 'kv_layout2')$$);
SELECT kv.drop_store('kv_layout2');
-- SET UNLOGGED and back, storage parameters, statistics, comments: no harm.
ALTER TABLE kv.s_kv_layout SET UNLOGGED;
SELECT kv.set('a', '4', store => 'kv_layout'), kv.incr('n3', store => 'kv_layout');
ALTER TABLE kv.s_kv_layout SET LOGGED;
ALTER TABLE kv.s_kv_layout SET (fillfactor = 70, autovacuum_enabled = off), ALTER value SET STATISTICS 0, ALTER value SET STORAGE EXTERNAL;
COMMENT ON TABLE kv.s_kv_layout IS 'mine';
SELECT kv.get('a', 'kv_layout'), kv.set('a', '5', store => 'kv_layout');
-- Renamed: another store; then the old one doesn't exist.
ALTER TABLE kv.s_kv_layout RENAME TO s_kv_layout3;
SELECT pg_temp.attempt($$SELECT kv.get('a', 'kv_layout')$$), pg_temp.attempt($$SELECT kv.get('a', 'kv_layout3')$$);
ALTER TABLE kv.s_kv_layout3 RENAME TO s_kv_layout;
SELECT kv.get('a', 'kv_layout');
-- The cells' table gone: it says so, and can be made again.
DROP TABLE kv.c_kv_layout CASCADE;
SELECT pg_temp.attempt($$SELECT kv.get('a', 'kv_layout')$$), pg_temp.attempt($$SELECT kv.incr('n', store => 'kv_layout')$$);
SELECT kv.create_store('kv_layout');
SELECT kv.get('a', 'kv_layout'), kv.incr('n', store => 'kv_layout'), count(*) FROM kv.v_kv_layout;
-- Both dropped by hand.
DROP TABLE kv.s_kv_layout, kv.c_kv_layout CASCADE;
SELECT pg_temp.attempt($$SELECT kv.get('a', 'kv_layout')$$), kv.drop_store('kv_layout');
SELECT kv.create_store('kv_layout', default_ttl => 60);
SELECT store, default_ttl FROM kv.stores WHERE store = 'kv_layout';
SELECT kv.drop_store('kv_layout'), kv.drop_store('kv_layout');
DROP FUNCTION public.kv_layout_trigger();
DROP TABLE public.kv_layout_other;
