-- Acks: delete and archive, one or many, with and without a receipt.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null NULL

SELECT queue.create('ack', vt => 3600);
SELECT count(*) FROM queue.send_batch('ack', ARRAY(SELECT to_jsonb(i) FROM generate_series(1, 30) i));

-- Of a message that nobody has, that is leased, that is gone, that never was.
SELECT queue.delete('ack', 1);
SELECT queue.delete('ack', 1);
SELECT msg_id FROM queue.read('ack');
SELECT queue.delete('ack', 2);
SELECT queue.delete('ack', 2);
SELECT queue.delete('ack', 31), queue.delete('ack', 0), queue.delete('ack', -1), queue.delete('ack', 9223372036854775807);
SELECT count(*) FROM queue.q_ack;

-- The receipt: that of the newest lease, or nothing happens. NULL: whoever has it.
SELECT msg_id, receipt FROM queue.read('ack', vt => 0) \gset first_
SELECT msg_id, receipt FROM queue.read('ack', vt => 3600) \gset second_
SELECT :first_msg_id = :second_msg_id, :first_receipt <> :second_receipt;
SELECT queue.delete('ack', :first_msg_id, :first_receipt), queue.archive('ack', :first_msg_id, :first_receipt);
SELECT * FROM queue.delete_batch('ack', ARRAY[:first_msg_id], ARRAY[:first_receipt]);
SELECT * FROM queue.archive_batch('ack', ARRAY[:first_msg_id], ARRAY[:first_receipt]);
SELECT queue.delete('ack', :first_msg_id, 0), queue.delete('ack', :first_msg_id, -1);
SELECT msg_id, read_ct, receipt = :second_receipt, archived_at FROM queue.q_ack LEFT JOIN queue.a_ack USING (msg_id, receipt, read_ct) WHERE msg_id = :first_msg_id;
SELECT queue.delete('ack', :second_msg_id, :second_receipt);
SELECT queue.delete('ack', :second_msg_id, :second_receipt);
SELECT msg_id, receipt FROM queue.read('ack') \gset
SELECT queue.archive('ack', :msg_id, NULL);
-- A receipt of another message doesn't help.
SELECT msg_id, receipt FROM queue.read('ack') \gset
SELECT queue.delete('ack', 20, :receipt);
SELECT queue.delete('ack', :msg_id, :receipt);
-- A lease that ran out and that nobody took since is still the newest.
SELECT msg_id, receipt FROM queue.read('ack', vt => 0) \gset
SELECT queue.delete('ack', :msg_id, :receipt);

-- Batches answer those that were deleted, in the order of the input; a duplicate counts once.
SELECT * FROM queue.delete_batch('ack', ARRAY[12, 9, 99, 11, 9, 10, -5]);
SELECT * FROM queue.delete_batch('ack', ARRAY[12, 9]);
SELECT * FROM queue.delete_batch('ack', '{}');
SELECT * FROM queue.delete_batch('ack', '{}', '{}');
SELECT * FROM queue.archive_batch('ack', ARRAY[15, 13, 14, 13, 1]);
SELECT * FROM queue.archive_batch('ack', '{}');
SELECT msg_id FROM queue.a_ack ORDER BY msg_id;
SELECT array_agg(msg_id) AS msg_ids, array_agg(receipt) AS receipts FROM queue.read('ack', qty => 3) \gset
SELECT (:'receipts'::bigint[])[1] > 0 AS leased, (:'msg_ids'::bigint[])[1:3];
SELECT * FROM queue.delete_batch('ack', :'msg_ids', ARRAY[(:'receipts'::bigint[])[1], 1, (:'receipts'::bigint[])[3]]);
SELECT * FROM queue.delete_batch('ack', ARRAY[20, 21]::int[]);
SELECT queue.delete_batch('ack', ARRAY[22, 23]);

-- What is archived: the whole row as it was read, and when.
SELECT queue.send('ack', '{"a": "whole"}', '{"h": 1}', priority => 7) AS id \gset
SELECT count(*) FROM queue.read('ack', qty => 100);
SELECT queue.archive('ack', :id);
SELECT message, headers, priority, read_ct, group_key, receipt > 0, vt > enqueued_at, last_read_at > enqueued_at, archived_at > last_read_at
FROM queue.a_ack WHERE msg_id = :id;
SELECT count(*) FROM queue.q_ack WHERE msg_id = :id;
-- Archiving what was never read.
SELECT queue.send('ack', '"unread"') AS id \gset
SELECT queue.archive('ack', :id);
SELECT message, read_ct, receipt, last_read_at FROM queue.a_ack WHERE msg_id = :id;
-- A batch over many pages, in an order of its own.
SELECT count(*) FROM queue.send_batch('ack', array_fill('"page"'::jsonb, ARRAY[2000]));
CREATE TEMP TABLE asked AS SELECT msg_id, row_number() OVER (ORDER BY md5(msg_id::text)) AS n FROM queue.q_ack WHERE message = '"page"';
SELECT count(*), bool_and(answer = asked.msg_id)
FROM queue.archive_batch('ack', ARRAY(SELECT msg_id FROM asked ORDER BY n)) WITH ORDINALITY a(answer, n) JOIN asked USING (n);
SELECT count(*) FROM queue.q_ack WHERE message = '"page"';
SELECT count(*) FROM queue.a_ack WHERE message = '"page"';

-- The archive is a table like others.
DELETE FROM queue.a_ack WHERE message = '"page"';
UPDATE queue.a_ack SET headers = '{"seen": true}' WHERE message = '"unread"';
SELECT headers FROM queue.a_ack WHERE message = '"unread"';
CREATE INDEX ON queue.a_ack (archived_at);
ALTER TABLE queue.a_ack ADD COLUMN note text;
SELECT queue.send('ack', '"with a note"') AS id \gset
SELECT queue.archive('ack', :id);
SET enable_seqscan = off;
SELECT message, note FROM queue.a_ack WHERE archived_at > '-infinity' AND message = '"with a note"';
RESET enable_seqscan;

-- An ack finds its message wherever an UPDATE or a VACUUM FULL has put it.
SELECT queue.purge('ack') >= 0;
SELECT count(*) FROM queue.send_batch('ack', ARRAY['1', '2', '3', '4']::jsonb[]);
SELECT array_agg(msg_id ORDER BY message) AS ids, array_agg(receipt ORDER BY message) AS receipts FROM queue.read('ack', qty => 4) \gset
UPDATE queue.q_ack SET message = '"changed"' WHERE message = '1';
SELECT queue.delete('ack', (:'ids'::bigint[])[1], (:'receipts'::bigint[])[1]);
VACUUM FULL queue."q_ack#1";
SELECT queue.delete('ack', (:'ids'::bigint[])[2], (:'receipts'::bigint[])[2]);
CLUSTER queue."q_ack#1" USING "q_ack#1_pkey";
SELECT queue.archive('ack', (:'ids'::bigint[])[3], (:'receipts'::bigint[])[3]);
DELETE FROM queue.q_ack WHERE message = '4';
SELECT queue.delete('ack', (:'ids'::bigint[])[4], (:'receipts'::bigint[])[4]);

SELECT queue.drop('ack');
