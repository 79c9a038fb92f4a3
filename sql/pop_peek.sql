-- pop reads and deletes in one go; peek looks and leaves no trace.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null NULL

SELECT queue.create('pop', vt => 3600);
SELECT queue.send_batch('pop', ARRAY['1', '2', '3', '4', '5', '6']::jsonb[]);
SELECT msg_id, message, headers, read_ct, receipt > 0, last_read_at >= enqueued_at FROM queue.pop('pop');
SELECT message FROM queue.pop('pop', 2);
SELECT message FROM queue.pop('pop', NULL);
SELECT msg_id FROM queue.q_pop;
SELECT queue.send('pop', '"delayed"', delay => 3600);
SELECT message FROM queue.read('pop');
SELECT message FROM queue.pop('pop', 9223372036854775807);
SELECT message FROM queue.pop('pop');
SELECT message FROM queue.q_pop ORDER BY msg_id;

-- A pop that is rolled back: the messages are there again, the attempt counts.
SELECT queue.purge('pop');
SELECT queue.send_batch('pop', ARRAY['"a"', '"b"']::jsonb[]);
BEGIN;
SELECT message, read_ct FROM queue.pop('pop', 2);
SELECT count(*) FROM queue.q_pop;
SELECT message FROM queue.pop('pop', 2);
ROLLBACK;
SELECT message, read_ct FROM queue.pop('pop', 2);
SELECT count(*) FROM queue.q_pop;
-- An error in the statement rolls it back as well.
SELECT queue.send('pop', '0');
SELECT 1 / (message::text)::int FROM queue.pop('pop');
SELECT message, read_ct FROM queue.pop('pop');
-- What is popped is not archived.
SELECT count(*) FROM queue.a_pop;
SELECT queue.send('pop', '"own"'), queue.send('pop', '"own"');
BEGIN;
SELECT queue.send('pop', '"own"');
SELECT message FROM queue.pop('pop', 10);
COMMIT;
SELECT count(*) FROM queue.q_pop;
SELECT count(*) FROM queue.send_batch('pop', array_fill('1'::jsonb, ARRAY[2500]));
SELECT count(*), count(DISTINCT msg_id) FROM queue.pop('pop', 2400);
SELECT count(*) FROM queue.q_pop;
SELECT queue.purge('pop');

-- peek: what a read would answer now, any number of times.
SELECT queue.send_batch('pop', ARRAY['"p"', '"q"', '"r"']::jsonb[]);
SELECT message FROM queue.read('pop');
SELECT queue.send('pop', '"delayed"', delay => 3600) > 0;
SELECT message, read_ct, receipt, last_read_at FROM queue.peek('pop');
SELECT message, read_ct, receipt, last_read_at FROM queue.peek('pop', 10);
SELECT message FROM queue.peek('pop', NULL);
SELECT count(*), max(read_ct) FROM queue.q_pop WHERE receipt = 0;
SELECT message, read_ct FROM queue.read('pop', qty => 10);
SELECT message FROM queue.peek('pop', 10);

SELECT queue.drop('pop');
