-- Pausing, resuming, purging.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null NULL

SELECT queue.create('pause', vt => 3600);
SELECT queue.send_batch('pause', ARRAY['1', '2', '3', '4']::jsonb[]);
SELECT message FROM queue.read('pause');

-- While it is paused reads and pops answer nothing; sends, acks, leases and looks go on.
SELECT queue.pause('pause');
SELECT queue.pause('pause');
SELECT paused FROM queue.queues WHERE queue_name = 'pause';
SELECT paused FROM queue.metrics WHERE queue_name = 'pause';
SELECT * FROM queue.read('pause');
SELECT * FROM queue.read('pause', wait => 0.01);
SELECT * FROM queue.pop('pause');
CALL queue.wait('pause', 0.01);
SELECT message FROM queue.peek('pause', qty => 10);
SELECT queue.send('pause', '5');
SELECT queue.delete('pause', 2), queue.archive('pause', 3), queue.nack('pause', 1);
SELECT queue.create('pause', vt => 3600);
SELECT paused FROM queue.queues WHERE queue_name = 'pause';
SELECT queue.resume('pause');
SELECT queue.resume('pause');
SELECT message FROM queue.read('pause', qty => 10);

-- Both follow the transaction.
BEGIN;
SELECT queue.nack('pause', 4);
SELECT queue.pause('pause');
SELECT message FROM queue.read('pause');
ROLLBACK;
SELECT message FROM queue.read('pause');
SELECT queue.pause('pause');
BEGIN;
SELECT queue.resume('pause');
SELECT queue.nack('pause', 4);
SELECT message FROM queue.read('pause');
ROLLBACK;
SELECT message FROM queue.read('pause');
SELECT queue.resume('pause');
SELECT message FROM queue.read('pause');

-- Purging takes what there is: ready, leased, delayed, of any priority, own and unread. Not the archive.
SELECT queue.send_batch('pause', ARRAY['6', '7']::jsonb[]);
SELECT queue.send('pause', '8', delay => 3600);
SELECT queue.send('pause', '9', priority => 9);
SELECT queue.purge('pause');
SELECT queue.purge('pause');
SELECT count(*) FROM queue.q_pause;
SELECT count(*) FROM queue.a_pause;
SELECT count(*) FROM queue.read('pause');
BEGIN;
SELECT queue.send('pause', '"own"');
SELECT queue.purge('pause');
SELECT count(*) FROM queue.read('pause');
COMMIT;
SELECT queue.send('pause', '"back"') AS id \gset
BEGIN;
SELECT queue.purge('pause');
ROLLBACK;
SELECT message FROM queue.read('pause');
SELECT queue.delete('pause', :id);
SELECT count(*) FROM queue.send_batch('pause', array_fill('1'::jsonb, ARRAY[3000]));
SELECT queue.purge('pause');
SELECT count(*) FROM queue.q_pause;

SELECT queue.drop('pause');
