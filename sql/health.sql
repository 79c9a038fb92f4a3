-- queue.health: each problem, with a hint, and its end.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null NULL

-- What it says of these queues, and of none in particular. Settings of the tests' server, other tests' queues and
-- times don't matter.
CREATE FUNCTION pg_temp.health() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' | ', severity, queue_name, regexp_replace(problem, 'for \d+ seconds', 'for N seconds'), hint)
    FROM queue.health()
    WHERE queue_name LIKE 'health%' OR (queue_name IS NULL AND problem !~ 'autovacuum|background worker|horizon|since the server')
$$;
SELECT pg_temp.health();
SELECT queue.create('health_dead');
SELECT queue.create('health_a', vt => 1, dead_letter => 'health_dead');
SELECT queue.send('health_a', '1'), queue.send('health_a', '2');
SELECT pg_temp.health() AS all_is_well;

-- Nobody reads. (10 times vt is more patience than this test has: an age of 0 leaves it out.)
SET pgqueue.health_age = 0;
SELECT pg_temp.health();
SELECT count(*) FROM queue.read('health_a', vt => 3600);
SELECT pg_temp.health();
SELECT count(*) FROM queue.read('health_a', vt => 3600);
SELECT pg_temp.health();
RESET pgqueue.health_age;

-- Dead letters.
SELECT queue.create('health_b', dead_letter => 'health_dead');
SELECT queue.send('health_dead', '1'), queue.send('health_dead', '2', delay => 3600);
SELECT pg_temp.health();
SELECT queue.purge('health_dead');
SELECT pg_temp.health();
SELECT queue.drop('health_b');

-- Paused, with messages that wait.
SELECT queue.pause('health_a');
SELECT pg_temp.health();
SELECT queue.pause('health_dead');
SELECT queue.resume('health_a'), queue.resume('health_dead');
SELECT pg_temp.health();

-- A message that is read again and again.
DO $$
BEGIN
    FOR i IN 1..12 LOOP
        PERFORM queue.set_vt('health_a', 1, 0);
        PERFORM count(*) FROM queue.read('health_a', vt => 3600);
    END LOOP;
END $$;
SELECT pg_temp.health();
SELECT queue.alter('health_a', max_attempts => 20);
SELECT pg_temp.health();

-- Tables that can't be used, or of which something is missing. One doesn't hide the others.
SELECT queue.create('health_index'), queue.create('health_rls'), queue.create('health_trigger'), queue.create('health_segment'),
       queue.create('health_ids'), queue.create('health_archive'), queue.create('health_letters', dead_letter => 'health_ids'),
       queue.create('health_column');
CREATE INDEX health_index ON queue."q_health_index#1" (vt);
ALTER TABLE queue.q_health_rls ENABLE ROW LEVEL SECURITY;
ALTER TABLE queue."q_health_trigger#1" DISABLE TRIGGER USER;
DROP TABLE queue."q_health_segment#1";
DROP SEQUENCE queue."q_health_ids#ids";
DROP TABLE queue.a_health_archive;
ALTER TABLE queue.q_health_column RENAME COLUMN vt TO was_vt;
SELECT pg_temp.health();
DROP INDEX queue.health_index;
ALTER TABLE queue.q_health_rls DISABLE ROW LEVEL SECURITY;
SELECT queue.create('health_trigger'), queue.create('health_segment'), queue.create('health_ids'), queue.create('health_archive');
ALTER TABLE queue.q_health_column RENAME COLUMN was_vt TO vt;
SELECT pg_temp.health();
-- The queue for its dead letters is gone.
SELECT queue.drop('health_ids');
SELECT pg_temp.health();
SELECT queue.create('health_ids');
SELECT pg_temp.health();
SELECT queue.drop('health_index'), queue.drop('health_rls'), queue.drop('health_trigger'), queue.drop('health_segment'),
       queue.drop('health_letters'), queue.drop('health_ids'), queue.drop('health_archive'), queue.drop('health_column');

-- Publications.
SET client_min_messages = error;
CREATE PUBLICATION health_one FOR TABLE queue."q_health_a#1";
CREATE PUBLICATION health_inserts FOR TABLE queue."q_health_a#1" WITH (publish = 'insert, delete');
CREATE PUBLICATION health_all FOR ALL TABLES;
CREATE PUBLICATION health_schema FOR TABLES IN SCHEMA queue;
RESET client_min_messages;
SELECT pg_temp.health();
DROP PUBLICATION health_one, health_inserts, health_all, health_schema;
SELECT pg_temp.health();

-- Pages without messages, by the ten thousand.
DO $$
BEGIN
    FOR i IN 1..110 LOOP
        PERFORM count(*) FROM queue.send_batch('health_dead', array_fill('1'::jsonb, ARRAY[10000]));
    END LOOP;
END $$;
BEGIN;
DELETE FROM queue.q_health_dead;
SELECT regexp_replace(pg_temp.health(), '\d+ MB', 'N MB');
COMMIT;
DO $$
DECLARE deadline timestamptz := clock_timestamp() + interval '120 s';
BEGIN
    WHILE clock_timestamp() < deadline AND EXISTS (SELECT FROM queue.health() WHERE queue_name = 'health_dead') LOOP
        COMMIT;
        PERFORM pg_sleep(0.05);
    END LOOP;
END $$;
SELECT pg_temp.health();

-- Only of queues that the role may see.
SELECT queue.pause('health_a');
CREATE ROLE regress_pgqueue_health1;
CREATE ROLE regress_pgqueue_health2 IN ROLE pg_monitor;
SET ROLE regress_pgqueue_health1;
SELECT queue_name, problem FROM queue.health() WHERE queue_name LIKE 'health%';
SET ROLE regress_pgqueue_health2;
SELECT queue_name, problem FROM queue.health() WHERE queue_name LIKE 'health%';
RESET ROLE;
SELECT queue.grant('health_a', 'regress_pgqueue_health1', 'monitor');
SET ROLE regress_pgqueue_health1;
SELECT queue_name, problem FROM queue.health() WHERE queue_name LIKE 'health%';
-- Nobody's names come in between.
CREATE TEMP TABLE queues (queue_name text);
SET search_path = pg_temp, public;
SELECT queue_name, problem FROM queue.health() WHERE queue_name LIKE 'health%';
RESET search_path;
DROP TABLE pg_temp.queues;
RESET ROLE;
BEGIN READ ONLY;
SELECT queue_name, problem FROM queue.health() WHERE queue_name LIKE 'health%';
COMMIT;
SELECT queue.drop('health_a'), queue.drop('health_dead');
DROP ROLE regress_pgqueue_health1, regress_pgqueue_health2;
