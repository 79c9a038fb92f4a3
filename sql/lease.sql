-- Leases by hand: set_vt (the heartbeat), nack, visible_at.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null NULL

SELECT queue.create('lease', vt => 3600);
SELECT queue.send_batch('lease', ARRAY['1', '2', '3', '4', '5']::jsonb[]);

-- A heartbeat: later, with the same receipt and read_ct.
SELECT msg_id, receipt, vt FROM queue.read('lease', vt => 1) \gset
SELECT msg_id, read_ct, vt > :'vt'::timestamptz + interval '5 minutes' AS later, receipt = :receipt AS same, message FROM queue.set_vt('lease', :msg_id, 600, :receipt);
SELECT msg_id, receipt = :receipt FROM queue.set_vt('lease', :msg_id, 700);
SELECT msg_id FROM queue.set_vt('lease', :msg_id, 600, :receipt + 1);
SELECT msg_id FROM queue.set_vt('lease', 99, 600);
SELECT vt > now() + interval '11 minutes', receipt = :receipt FROM queue.q_lease WHERE msg_id = :msg_id;
-- To zero: the message is there again, for a new receipt.
SELECT msg_id, read_ct FROM queue.set_vt('lease', :msg_id, 0, :receipt);
SELECT msg_id, read_ct, receipt <> :receipt FROM queue.read('lease');
SELECT msg_id FROM queue.set_vt('lease', :msg_id, 600, :receipt);

-- visible_at: exactly then.
SELECT msg_id, vt FROM queue.set_vt('lease', 1, NULL, visible_at => '2100-01-01 00:00:00.123456+00');
SELECT msg_id, vt < now() FROM queue.set_vt('lease', 1, NULL, NULL, '2001-01-01');
SELECT msg_id, read_ct FROM queue.read('lease');

-- A message that nobody has can be put off, and brought forward.
SELECT msg_id, read_ct, receipt, last_read_at FROM queue.set_vt('lease', 2, 600);
SELECT msg_id FROM queue.read('lease');
SELECT queue.send('lease', '"delayed"', delay => 600);
SELECT msg_id FROM queue.set_vt('lease', 6, 0);
SELECT msg_id FROM queue.read('lease', qty => 10);
SELECT msg_id FROM queue.set_vt('lease', 2, 0);
SELECT msg_id FROM queue.read('lease', qty => 10);

-- Many at once: those that were there, in the order of the input.
SELECT msg_id, vt > now() + interval '9 minutes' AS later FROM queue.set_vt_batch('lease', ARRAY[3, 1, 77, 2], 600);
SELECT msg_id FROM queue.set_vt_batch('lease', '{}', 600);
SELECT msg_id FROM queue.set_vt_batch('lease', ARRAY[4, 5], 600, ARRAY[1, 1]);
SELECT array_agg(receipt ORDER BY msg_id) AS receipts FROM queue.q_lease WHERE msg_id IN (4, 5) \gset
SELECT msg_id FROM queue.set_vt_batch('lease', ARRAY[5, 4], 0, ARRAY[(:'receipts'::bigint[])[2], (:'receipts'::bigint[])[1]]);
SELECT msg_id FROM queue.read('lease', qty => 10);

-- nack: there again at once, or after a delay; the attempt counts.
SELECT queue.purge('lease');
SELECT queue.send_batch('lease', ARRAY['"a"', '"b"']::jsonb[]);
SELECT msg_id, receipt FROM queue.read('lease') \gset
SELECT queue.nack('lease', :msg_id, :receipt);
SELECT msg_id = :msg_id, read_ct, receipt <> :receipt FROM queue.read('lease');
SELECT queue.nack('lease', :msg_id, :receipt);
SELECT queue.nack('lease', :msg_id, delay => 600);
SELECT message FROM queue.read('lease', qty => 10);
SELECT vt > now() + interval '9 minutes', read_ct FROM queue.q_lease WHERE msg_id = :msg_id;
SELECT queue.nack('lease', 99);
SELECT queue.nack('lease', :msg_id, NULL, NULL, NULL);
SELECT message, read_ct FROM queue.read('lease');
-- Of a message that nobody has.
SELECT queue.send('lease', '"c"') AS id \gset
SELECT queue.nack('lease', :id, delay => 600);
SELECT count(*) FROM queue.read('lease');
-- Of one that is deleted.
SELECT queue.delete('lease', :id);
SELECT queue.nack('lease', :id), (SELECT msg_id FROM queue.set_vt('lease', :id, 10));

-- read_ct stops where an integer does.
SELECT queue.purge('lease') > 0;
SELECT queue.send('lease', '"often"') AS id \gset
SET session_replication_role = replica;
UPDATE queue.q_lease SET read_ct = 2147483646 WHERE msg_id = :id;
RESET session_replication_role;
SELECT read_ct FROM queue.read('lease', vt => 0);
SELECT read_ct FROM queue.read('lease', vt => 0);

SELECT queue.drop('lease');
