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
