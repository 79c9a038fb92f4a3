-- The views: a row per queue, figures that add up.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null NULL

SELECT queue.create('metrics_a', vt => 3600);
SELECT queue.create('metrics_b', vt => 1, delay => 2, unlogged => true);
SELECT queue_name, vt, delay, unlogged, paused, owner = current_user, created_at > now() - interval '1 hour'
FROM queue.queues WHERE queue_name LIKE 'metrics%' ORDER BY queue_name;

-- Empty.
SELECT ready, in_flight, delayed, oldest_age, newest_age, paused, table_bytes > 0, segments
FROM queue.metrics WHERE queue_name LIKE 'metrics%' ORDER BY queue_name;
SELECT count(*) FROM queue.send_batch('metrics_a', ARRAY(SELECT to_jsonb(i) FROM generate_series(1, 20) i));
SELECT queue.send('metrics_a', '"delayed"', delay => 3600);
SELECT count(*) FROM queue.read('metrics_a', qty => 5);
SELECT queue.delete_batch('metrics_a', ARRAY[1, 2]);
SELECT queue.archive('metrics_a', 3);
SELECT queue.nack('metrics_a', 4);
SELECT queue_name, ready, in_flight, delayed, oldest_age >= newest_age AS ages, newest_age >= 0, paused, segments
FROM queue.metrics WHERE queue_name LIKE 'metrics%' ORDER BY queue_name;
-- Own changes count at once, others' when they are committed.
BEGIN;
SELECT queue.send('metrics_a', '"own"') > 0;
SELECT ready, in_flight, delayed FROM queue.metrics WHERE queue_name = 'metrics_a';
ROLLBACK;
SELECT ready, in_flight, delayed FROM queue.metrics WHERE queue_name = 'metrics_a';
SELECT queue.purge('metrics_a');
SELECT ready, in_flight, delayed, oldest_age FROM queue.metrics WHERE queue_name = 'metrics_a';

-- A queue whose table was dropped by hand is none.
DROP TABLE queue."q_metrics_b#1", queue.q_metrics_b, queue.a_metrics_b;
SELECT queue_name FROM queue.queues WHERE queue_name LIKE 'metrics%';
SELECT queue_name FROM queue.metrics WHERE queue_name LIKE 'metrics%';
SELECT queue.create('metrics_b');
SELECT queue_name, vt, delay, unlogged FROM queue.queues WHERE queue_name LIKE 'metrics%' ORDER BY 1;
SELECT queue.drop('metrics_a'), queue.drop('metrics_b');

-- Every figure that a small queue has is exact.
SELECT queue.create('metrics_dead');
SELECT queue.create('metrics_a', vt => 3600, dead_letter => 'metrics_dead');
SELECT ready, dead_letters, exact, margin FROM queue.metrics WHERE queue_name = 'metrics_a';
SELECT queue.send('metrics_dead', '1') FROM generate_series(1, 3);
SELECT count(*) FROM queue.send_batch('metrics_a', array_fill('1'::jsonb, ARRAY[2000]));
SELECT count(*) FROM queue.send_batch('metrics_a', array_fill('1'::jsonb, ARRAY[500]), delay => 3600);
SELECT count(*) FROM queue.send_batch('metrics_a', array_fill('1'::jsonb, ARRAY[500]), priority => 5);
SELECT count(*) FROM queue.read('metrics_a', qty => 700);
SELECT ready, in_flight, delayed, dead_letters, exact, margin FROM queue.metrics WHERE queue_name = 'metrics_a';
-- A lease that a rollback gives back is ready again; deletes count when they are committed, one's own at once.
BEGIN;
SELECT count(*) FROM queue.read('metrics_a', qty => 100);
SELECT ready, in_flight, delayed FROM queue.metrics WHERE queue_name = 'metrics_a';
ROLLBACK;
SELECT ready, in_flight, delayed FROM queue.metrics WHERE queue_name = 'metrics_a';
BEGIN;
DELETE FROM queue.q_metrics_a WHERE receipt <> 0;
SELECT ready, in_flight, delayed FROM queue.metrics WHERE queue_name = 'metrics_a';
ROLLBACK;
SELECT ready, in_flight, delayed FROM queue.metrics WHERE queue_name = 'metrics_a';
BEGIN READ ONLY;
SELECT ready, in_flight, delayed, dead_letters FROM queue.metrics WHERE queue_name = 'metrics_a';
COMMIT;
SELECT queue.purge('metrics_a');

-- Many messages: from a sample. The shape decides how far it is off; no figure here may be by more than a twentieth of all.
CREATE FUNCTION pg_temp.truth(OUT ready bigint, OUT in_flight bigint, OUT delayed bigint) LANGUAGE sql AS $$
    SELECT count(*) FILTER (WHERE vt <= clock_timestamp()), count(*) FILTER (WHERE vt > clock_timestamp() AND receipt <> 0),
           count(*) FILTER (WHERE vt > clock_timestamp() AND receipt = 0)
    FROM queue.q_metrics_a
$$;
CREATE FUNCTION pg_temp.close() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE t record; m record; most bigint;
BEGIN
    SELECT * INTO t FROM pg_temp.truth();
    SELECT * INTO m FROM queue.metrics WHERE queue_name = 'metrics_a';
    most := (t.ready + t.in_flight + t.delayed) / 20;
    IF abs(t.ready - m.ready) <= most AND abs(t.in_flight - m.in_flight) <= most AND abs(t.delayed - m.delayed) <= most
       AND NOT m.exact THEN
        RETURN true;
    END IF;
    RAISE '% %', t, m;
END $$;
DO $$
BEGIN
    FOR i IN 1..200 LOOP
        PERFORM count(*) FROM queue.send_batch('metrics_a', array_fill('{"a": 12345}'::jsonb, ARRAY[1000]));
    END LOOP;
END $$;
SELECT pg_temp.close() AS uniform;
-- The cost is bounded: the blocks that a call looks at.
CREATE FUNCTION pg_temp.blocks(queue text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE format('EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT * FROM queue.measure(%L)', queue) INTO plan;
    RETURN (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::bigint + (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::bigint;
END $$;
SELECT pg_relation_size('queue."q_metrics_a#1"') / 8192 > 2000 AS thousands_of_pages;
SELECT least(pg_temp.blocks('metrics_a'), pg_temp.blocks('metrics_a')) BETWEEN 64 AND 300 AS bounded;
SELECT count(*) FROM queue.read('metrics_a', qty => 60000);
SELECT pg_temp.close() AS in_flight;
SELECT least(pg_temp.blocks('metrics_a'), pg_temp.blocks('metrics_a')) BETWEEN 64 AND 400 AS bounded;
DELETE FROM queue.q_metrics_a WHERE msg_id <= (SELECT max(msg_id) - 100000 FROM queue.q_metrics_a);
SELECT pg_temp.close() AS front_half_gone;
-- The ages are those of the first and the last message all the same.
SELECT min(enqueued_at) AS first, max(enqueued_at) AS last FROM queue.q_metrics_a \gset
SELECT clock_timestamp() AS before \gset
SELECT oldest_age AS oldest, newest_age AS newest FROM queue.metrics WHERE queue_name = 'metrics_a' \gset
SELECT :oldest - extract(epoch FROM :'before'::timestamptz - :'first') BETWEEN -0.001 AND 0.001 + extract(epoch FROM clock_timestamp() - :'before') AS oldest,
       :newest - extract(epoch FROM :'before'::timestamptz - :'last') BETWEEN -0.001 AND 0.001 + extract(epoch FROM clock_timestamp() - :'before') AS newest;
SELECT setseed(0.5);
DO $$
BEGIN
    FOR i IN 1..50000 LOOP
        PERFORM queue.send('metrics_a', '1', delay => CASE WHEN random() < 0.3 THEN 3600 ELSE 0 END);
    END LOOP;
END $$;
SELECT pg_temp.close() AS some_delayed;
-- A few at the end of a long table are found, and all of them.
DELETE FROM queue.q_metrics_a WHERE msg_id <= (SELECT max(msg_id) - 5 FROM queue.q_metrics_a);
SELECT ready + in_flight + delayed AS left FROM queue.metrics WHERE queue_name = 'metrics_a';
SELECT queue.purge('metrics_a');
SELECT ready, in_flight, delayed FROM queue.metrics WHERE queue_name = 'metrics_a';

-- One that can't be used doesn't hide the others.
CREATE INDEX metrics_bad ON queue."q_metrics_a#1" (vt);
SELECT queue_name, ready, exact, dead_letters FROM queue.metrics WHERE queue_name LIKE 'metrics%' ORDER BY 1;
SELECT sqlstate, problem, hint FROM queue.measure('metrics_a');
DROP INDEX queue.metrics_bad;
SELECT queue_name, ready, dead_letters FROM queue.metrics WHERE queue_name LIKE 'metrics%' ORDER BY 1;

-- Who sees what: a queue for who may SELECT from it, its dead letters for who may from their queue; all for pg_monitor.
CREATE ROLE regress_pgqueue_monitor1;
CREATE ROLE regress_pgqueue_monitor2 IN ROLE pg_monitor;
SELECT queue.grant('metrics_a', 'regress_pgqueue_monitor1', 'monitor');
SET ROLE regress_pgqueue_monitor1;
SELECT queue_name, ready, dead_letters FROM queue.metrics WHERE queue_name LIKE 'metrics%' ORDER BY 1;
SET ROLE regress_pgqueue_monitor2;
SELECT queue_name, ready, dead_letters FROM queue.metrics WHERE queue_name LIKE 'metrics%' ORDER BY 1;
RESET ROLE;
SELECT queue.drop('metrics_a'), queue.drop('metrics_dead');
DROP ROLE regress_pgqueue_monitor1, regress_pgqueue_monitor2;
SELECT * FROM queue.measure('metrics_a');
SELECT * FROM queue.measure(NULL);
SELECT * FROM queue.measure('no such');
