-- What a queue's table may look like, and what is refused: a lease is written in place, past indexes and triggers.
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

SELECT queue.create('layout', vt => 3600);
SELECT count(*) FROM queue.send_batch('layout', '{1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20}');

-- An index on what changes in place would lie: refused, for every function, until it is gone.
CREATE INDEX layout_vt ON queue."q_layout#1" (vt);
SELECT pg_temp.attempt(statement)
FROM unnest(ARRAY[$$SELECT queue.send('layout', '1')$$, $$SELECT queue.send_batch('layout', '{1}')$$, $$SELECT queue.read('layout')$$,
    $$SELECT queue.pop('layout')$$, $$SELECT queue.peek('layout')$$, $$SELECT queue.delete('layout', 1)$$, $$SELECT queue.archive('layout', 1)$$,
    $$SELECT queue.set_vt('layout', 1, 1)$$, $$SELECT queue.nack('layout', 1)$$]) statement;
DROP INDEX queue.layout_vt;
SELECT message FROM queue.read('layout');
SELECT pg_temp.attempt(format('CREATE INDEX layout_i ON queue."q_layout#1" %s', what)), pg_temp.attempt($$SELECT queue.read('layout')$$),
       pg_temp.attempt('DROP INDEX queue.layout_i')
FROM unnest(ARRAY['(last_read_at)', '(receipt)', '(read_ct)', '(priority, read_ct)', '(priority) INCLUDE (vt)', '((timezone(''UTC'', vt)))',
                  '((msg_id + read_ct))', '(priority) WHERE read_ct > 3', 'USING brin (vt)', 'USING hash (receipt)',
                  '((message -> ''a''))', '(priority)', 'USING gin (message)', '(enqueued_at) WHERE priority > 3']) what;
CREATE STATISTICS queue.layout_s ON vt, read_ct FROM queue."q_layout#1";
SELECT message FROM queue.read('layout');
DROP STATISTICS queue.layout_s;

-- Another index is kept: send, read and ack with it.
CREATE INDEX layout_message ON queue."q_layout#1" ((message ->> 'k'));
CREATE UNIQUE INDEX layout_unique ON queue."q_layout#1" ((headers ->> 'u'));
SELECT queue.send('layout', '{"k": "one"}', '{"u": 1}') AS id \gset
SELECT count(*) FROM queue.send_batch('layout', ARRAY(SELECT jsonb_build_object('k', 'many') FROM generate_series(1, 1500)));
SELECT pg_temp.attempt($$SELECT queue.send('layout', '{"k": "two"}', '{"u": 1}')$$);
SELECT pg_temp.attempt($$SELECT queue.send_batch('layout', '{1,2}', ARRAY['{"u": 5}', '{"u": 5}']::jsonb[])$$);
SET enable_seqscan = off;
SELECT message FROM queue.q_layout WHERE message ->> 'k' = 'one';
SELECT count(*) FROM queue.q_layout WHERE message ->> 'k' = 'many';
SELECT queue.delete('layout', :id);
SELECT message FROM queue.q_layout WHERE message ->> 'k' = 'one';
RESET enable_seqscan;
DROP INDEX queue.layout_message, queue.layout_unique;

-- A CHECK constraint is honoured.
ALTER TABLE queue.q_layout ADD CONSTRAINT layout_check CHECK (message <> '"bad"');
SELECT pg_temp.attempt($$SELECT queue.send('layout', '"bad"')$$);
SELECT pg_temp.attempt($$SELECT queue.send_batch('layout', '{1,"\"bad\"",2}')$$);
SELECT pg_temp.attempt($$SELECT queue.send('layout', '"good"')$$);
ALTER TABLE queue.q_layout DROP CONSTRAINT layout_check;
SELECT pg_temp.attempt($$SELECT queue.send('layout', '"bad"')$$);

-- Columns of one's own: nullable ones; dropped again.
SELECT queue.purge('layout') > 0;
SELECT queue.send('layout', '"before"') > 0;
ALTER TABLE queue.q_layout ADD COLUMN tenant text;
ALTER TABLE queue.q_layout ADD COLUMN number int, ADD COLUMN junk text;
SELECT queue.send('layout', '"after"') > 0;
SELECT count(*) FROM queue.send_batch('layout', '{1,2}');
UPDATE queue.q_layout SET tenant = 'a' WHERE message = '"after"';
SELECT message, tenant, number FROM queue.q_layout ORDER BY msg_id;
ALTER TABLE queue.q_layout DROP COLUMN junk;
SELECT message, headers, group_key, read_ct FROM queue.read('layout', qty => 10);
SELECT queue.archive(queue_name, msg_id) FROM (SELECT 'layout' AS queue_name, msg_id FROM queue.q_layout WHERE message = '"after"') q;
SELECT message, archived_at > enqueued_at FROM queue.a_layout WHERE message = '"after"';
-- ... a great many, so that the row gets a longer bitmap of nulls.
DO $$ BEGIN EXECUTE (SELECT 'ALTER TABLE queue.q_layout ' || string_agg(format('ADD COLUMN c%s int', i), ', ') FROM generate_series(1, 400) i); END $$;
SELECT queue.send('layout', '"wide"', '{"h": 1}') AS id \gset
UPDATE queue.q_layout SET c400 = 4, c1 = 1 WHERE msg_id = :id;
SELECT message, headers, read_ct FROM queue.read('layout', qty => 10);
SELECT queue.delete('layout', :id);

-- NOT NULL and generated columns and those with a default are refused: sends don't fill them.
ALTER TABLE queue.q_layout ADD COLUMN standard int DEFAULT 7;
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);
ALTER TABLE queue.q_layout ALTER COLUMN standard DROP DEFAULT;
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);
SELECT standard, count(*) > 0 FROM queue.q_layout GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM queue.read('layout', qty => 10);
ALTER TABLE queue.q_layout DROP COLUMN standard;
ALTER TABLE queue.q_layout ADD COLUMN strict int NOT NULL DEFAULT 1;
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);
SELECT pg_temp.attempt($$SELECT queue.read('layout')$$);
ALTER TABLE queue.q_layout ALTER COLUMN strict DROP NOT NULL, ALTER COLUMN strict DROP DEFAULT;
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);
ALTER TABLE queue.q_layout DROP COLUMN strict;
ALTER TABLE queue.q_layout ADD COLUMN computed text GENERATED ALWAYS AS (message ->> 'x') STORED;
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);
ALTER TABLE queue.q_layout DROP COLUMN computed;
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);
-- The leading columns are fixed.
ALTER TABLE queue.q_layout RENAME COLUMN vt TO visible;
SELECT pg_temp.attempt($$SELECT queue.read('layout')$$);
ALTER TABLE queue.q_layout RENAME COLUMN visible TO vt;
SELECT pg_temp.attempt($$SELECT queue.read('layout')$$);
ALTER TABLE queue.q_layout ALTER COLUMN read_ct TYPE bigint;
SELECT pg_temp.attempt($$SELECT queue.read('layout')$$);
ALTER TABLE queue.q_layout ALTER COLUMN read_ct TYPE int;
SELECT pg_temp.attempt($$SELECT queue.read('layout')$$);
ALTER TABLE queue.q_layout ALTER COLUMN vt DROP NOT NULL;
SELECT pg_temp.attempt($$SELECT queue.read('layout')$$);
ALTER TABLE queue.q_layout ALTER COLUMN vt SET NOT NULL;
SELECT pg_temp.attempt($$SELECT queue.read('layout')$$);
BEGIN;
ALTER TABLE queue.q_layout DROP COLUMN group_key;
SELECT pg_temp.attempt($$SELECT queue.read('layout')$$);
ROLLBACK;
SELECT pg_temp.attempt($$SELECT queue.read('layout')$$);

-- The primary key is needed, on msg_id alone.
ALTER TABLE queue."q_layout#1" DROP CONSTRAINT "q_layout#1_pkey";
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);
ALTER TABLE queue."q_layout#1" ADD PRIMARY KEY (msg_id, enqueued_at);
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);
ALTER TABLE queue."q_layout#1" DROP CONSTRAINT "q_layout#1_pkey", ADD PRIMARY KEY (msg_id) DEFERRABLE;
SELECT left(pg_temp.attempt($$SELECT queue.send('layout', '1')$$), 46);
ALTER TABLE queue."q_layout#1" DROP CONSTRAINT "q_layout#1_pkey", ADD PRIMARY KEY (msg_id);
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);
REINDEX TABLE queue."q_layout#1";
SELECT queue.delete('layout', max(msg_id)) FROM queue.q_layout;

-- Triggers and foreign keys that our sends and acks would pass by.
CREATE FUNCTION layout_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN coalesce(new, old); END $$;
CREATE TRIGGER mine AFTER INSERT ON queue."q_layout#1" FOR EACH ROW EXECUTE FUNCTION layout_trigger();
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);
DROP TRIGGER mine ON queue."q_layout#1";
CREATE TRIGGER mine BEFORE DELETE ON queue."q_layout#1" FOR EACH STATEMENT EXECUTE FUNCTION layout_trigger();
SELECT pg_temp.attempt($$SELECT queue.delete('layout', 1)$$);
DROP TRIGGER mine ON queue."q_layout#1";
CREATE TRIGGER mine AFTER UPDATE ON queue."q_layout#1" FOR EACH ROW EXECUTE FUNCTION layout_trigger();
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);
DROP TRIGGER mine ON queue."q_layout#1";
CREATE TABLE layout_target (id bigint PRIMARY KEY, note text);
ALTER TABLE queue."q_layout#1" ADD FOREIGN KEY (priority) REFERENCES layout_target (id) NOT VALID;
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$) ~ '^42809 \| table "q_layout#1" can''t be used as a queue: trigger "RI_';
ALTER TABLE queue."q_layout#1" DROP CONSTRAINT "q_layout#1_priority_fkey";
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);
CREATE TABLE layout_source (id bigint REFERENCES queue."q_layout#1" (msg_id) ON DELETE CASCADE);
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$) ~ '^42809 \| table "q_layout#1" can''t be used as a queue: trigger "RI_';
DROP TABLE layout_source, layout_target;
DROP FUNCTION layout_trigger();
-- A rule.
CREATE RULE layout_rule AS ON DELETE TO queue."q_layout#1" DO INSTEAD NOTHING;
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);
DROP RULE layout_rule ON queue."q_layout#1";
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);

-- Our own triggers must be there, and on.
ALTER TABLE queue."q_layout#1" DISABLE TRIGGER pgqueue_update;
SELECT pg_temp.attempt($$SELECT queue.read('layout')$$);
ALTER TABLE queue."q_layout#1" ENABLE TRIGGER pgqueue_update;
SELECT pg_temp.attempt($$SELECT queue.read('layout')$$);
ALTER TABLE queue."q_layout#1" ENABLE ALWAYS TRIGGER pgqueue_update;
SELECT pg_temp.attempt($$SELECT queue.read('layout')$$);

-- Row security can't be honoured, so it is refused: on the parent, on the segment.
ALTER TABLE queue.q_layout ENABLE ROW LEVEL SECURITY;
SELECT pg_temp.attempt($$SELECT queue.read('layout')$$);
ALTER TABLE queue.q_layout DISABLE ROW LEVEL SECURITY;
ALTER TABLE queue."q_layout#1" ENABLE ROW LEVEL SECURITY;
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);
ALTER TABLE queue."q_layout#1" DISABLE ROW LEVEL SECURITY;
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);

-- Not a table at all.
SELECT queue.drop('layout');
CREATE VIEW queue.q_layout AS SELECT 1 AS msg_id;
SELECT pg_temp.attempt($$SELECT queue.send('layout', '1')$$);
SELECT left(pg_temp.attempt($$SELECT queue.create('layout')$$), 5);
SELECT left(pg_temp.attempt($$SELECT queue.drop('layout')$$), 5);
DROP VIEW queue.q_layout;
SELECT count(*) FROM queue.settings WHERE queue_name = 'layout';
SELECT pg_temp.attempt($$SELECT queue.create('layout')$$);
SELECT pg_temp.attempt($$SELECT queue.drop('layout')$$);

-- A column that came with a value for older rows: new ones have NULL there, whatever columns they end with.
SELECT queue.create('late');
SELECT queue.send('late', '1'), queue.send('late', NULL), queue.send('late', '3', '{"h": 1}'), queue.send('late', NULL, '{"h": 1}');
ALTER TABLE queue.q_late ADD COLUMN note text DEFAULT 'older', ADD COLUMN plain int;
ALTER TABLE queue.q_late ALTER COLUMN note DROP DEFAULT;
SELECT queue.send('late', '1'), queue.send('late', NULL), queue.send('late', '3', '{"h": 1}'), queue.send('late', NULL, '{"h": 1}');
UPDATE queue.q_late SET plain = 7 WHERE msg_id IN (4, 8);
SELECT msg_id, message, headers, group_key, note, plain FROM queue.q_late ORDER BY 1;
SELECT msg_id, message, headers, group_key FROM queue.read('late', qty => 10);
SELECT queue.archive('late', i) FROM generate_series(1, 8) i;
SELECT msg_id, message, headers, group_key FROM queue.a_late ORDER BY 1;
SELECT queue.drop('late');
