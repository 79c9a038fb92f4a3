-- Reading: what a lease is, who gets it, in which order, where a read may stand.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null NULL

SELECT queue.create('read', vt => 3600);
SELECT count(*) FROM queue.send_batch('read', ARRAY(SELECT jsonb_build_object('n', i, 'even', i % 2 = 0) FROM generate_series(1, 10) i));

-- One by default, the oldest first; what is leased is not read again.
SELECT msg_id, message FROM queue.read('read');
SELECT msg_id, message FROM queue.read('read');
SELECT msg_id FROM queue.read('read', qty => 3);
SELECT msg_id FROM queue.read('read', 3600, 2);
-- The lease is in the row, and in what was answered.
SELECT m.msg_id, m.read_ct, m.last_read_at = q.last_read_at AND m.vt = q.vt AND m.receipt = q.receipt AND m.receipt > 0 AS same,
       m.vt - m.last_read_at AS lease, m.enqueued_at <= m.last_read_at AS later, q.read_ct
FROM queue.read('read', vt => 3677.25) m, LATERAL (SELECT * FROM queue.q_read r WHERE r.msg_id = m.msg_id) q;
SELECT msg_id, read_ct, vt - last_read_at AS lease, receipt > 0 AS leased FROM queue.q_read WHERE read_ct > 0 ORDER BY msg_id;
-- As many as there are.
SELECT msg_id FROM queue.read('read', qty => 9223372036854775807);
SELECT msg_id FROM queue.read('read', qty => 4611686018427387904);
SELECT queue.purge('read');

-- NULL means the default.
SELECT queue.alter('read', vt => 1111);
SELECT queue.send_batch('read', ARRAY['{"k": 1}', '{"k": 2}', '{"k": 3, "l": {"m": [1, 2]}}', '[1, 2]', '"x"', NULL]::jsonb[]);
SELECT msg_id, vt - last_read_at AS lease FROM queue.read('read', NULL, NULL, NULL, NULL, NULL);
SELECT queue.set_vt('read', 11, 0) IS NOT NULL;

-- A lease of nothing: read_ct goes up, the message stays where it is.
SELECT msg_id, read_ct FROM queue.read('read', vt => 0);
SELECT msg_id, read_ct FROM queue.read('read', vt => 0);
SELECT count(DISTINCT receipt) FROM (SELECT receipt FROM queue.read('read', vt => 0)
                                     UNION ALL SELECT receipt FROM queue.read('read', vt => 0)) r;

-- A filter takes what contains it and leaves the rest alone.
SELECT msg_id, message FROM queue.read('read', qty => 10, filter => '{"k": 3}');
SELECT msg_id, message FROM queue.read('read', qty => 10, filter => '{"nothing": 1}');
SELECT msg_id, message FROM queue.read('read', qty => 10, filter => '[2]');
SELECT msg_id, message FROM queue.read('read', qty => 10, filter => '"x"');
SELECT msg_id, message, read_ct FROM queue.read('read', qty => 10, filter => '{}');
SELECT msg_id, message, read_ct FROM queue.read('read', qty => 10);
SELECT queue.purge('read');
-- ... also far behind others, and more than once.
SELECT count(*) FROM queue.send_batch('read', ARRAY(SELECT jsonb_build_object('n', i, 'pad', repeat('x', 500)) FROM generate_series(1, 500) i));
SELECT message -> 'n' FROM queue.read('read', filter => '{"n": 499}');
SELECT message -> 'n' FROM queue.read('read', filter => '{"n": 499}');
SELECT count(*) FROM queue.read('read', qty => 1000);
SELECT message -> 'n' FROM queue.read('read', filter => '{"n": 1}');
SELECT queue.purge('read');

-- In FROM, in the select list, as a row, in a join, in a cursor; a LIMIT does not undo leases.
SELECT count(*) FROM queue.send_batch('read', ARRAY(SELECT to_jsonb(i) FROM generate_series(1, 20) i));
SELECT (queue.read('read')).message;
SELECT pg_typeof(m), m IS NOT NULL AS whole FROM (SELECT queue.read('read') AS m) r;
SELECT message FROM queue.read('read', qty => 2) WITH ORDINALITY ORDER BY ordinality DESC;
SELECT message FROM queue.read('read', qty => 3) LIMIT 1;
SELECT count(*) FROM queue.q_read WHERE read_ct = 1;
BEGIN;
DECLARE c CURSOR FOR SELECT message FROM queue.read('read', qty => 3);
FETCH 1 FROM c;
FETCH 1 FROM c;
COMMIT;
DO $$
DECLARE m queue.message;
BEGIN
    FOR m IN SELECT * FROM queue.read('read', qty => 2) LOOP
        RAISE NOTICE 'message % read % times', m.message, m.read_ct;
        PERFORM queue.delete('read', m.msg_id, m.receipt);
    END LOOP;
END $$;
WITH work AS (SELECT * FROM queue.read('read', qty => 2))
SELECT message, queue.delete('read', msg_id, receipt) FROM work;
-- An outer join to a lateral read that finds nothing.
SELECT v, message FROM (VALUES ('a')) v(v) LEFT JOIN LATERAL queue.read('read', filter => '"none"') ON true;
SELECT count(*) FROM queue.q_read;

-- The receipts are new each time and stay below 2^53.
SELECT queue.purge('read');
SELECT count(*) FROM queue.send_batch('read', array_fill('1'::jsonb, ARRAY[300]));
CREATE TEMP TABLE receipts AS SELECT receipt FROM queue.read('read', qty => 300, vt => 0);
INSERT INTO receipts SELECT receipt FROM queue.read('read', qty => 300, vt => 0);
INSERT INTO receipts SELECT receipt FROM queue.read('read', qty => 300, vt => 0);
SELECT count(*), count(DISTINCT receipt), max(receipt) < 9007199254740992, min(receipt) > 0 FROM receipts;
SELECT last_value >= (SELECT max(receipt) FROM receipts) AS ahead FROM queue.receipts;

-- A read with a wait answers at once where there is something.
SELECT count(*) FROM queue.read('read', qty => 5, wait => 100);
SELECT count(*) FROM queue.read('read', qty => 1000, wait => 100);
-- ... and with nothing when its time is over.
SELECT count(*) FROM queue.read('read', wait => 0.01);
SELECT count(*) FROM queue.read('read', wait => 0.01, filter => '1');
-- ... or when something becomes due.
SELECT queue.send('read', '"soon"', delay => 0.2) > 0;
SELECT message FROM queue.read('read', wait => 100);
SELECT queue.send('read', '"soon, and it matches"', delay => 0.2) > 0;
SELECT message FROM queue.read('read', wait => 100, filter => '"soon, and it matches"');
SELECT queue.send('read', '"leased"') > 0;
SELECT message FROM queue.read('read', vt => 0.2);
SELECT message, read_ct FROM queue.read('read', wait => 100);

-- CALL queue.wait says nothing and leaves the message there.
SELECT queue.purge('read') > 0;
CALL queue.wait('read', 0.01);
SELECT queue.send('read', '"for the one that waits"', delay => 0.2) > 0;
CALL queue.wait('read', 100);
SELECT message, read_ct FROM queue.read('read');
BEGIN;
CALL queue.wait('read', 0);
ROLLBACK;
DO $$ BEGIN CALL queue.wait('read', 0.01); END $$;

SELECT queue.drop('read');
