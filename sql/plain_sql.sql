-- Plain SQL on a queue's tables: what it may do, and that reads notice at once.
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

SELECT queue.create('plain', vt => 3600);
SELECT count(*) FROM queue.send_batch('plain', '{1,2,3,4,5,6,7,8,9,10}');
SELECT count(*) FROM queue.read('plain', qty => 5);
SELECT count(*) FROM queue.peek('plain', 100);

-- UPDATE of vt makes a message visible, or hides it.
UPDATE queue.q_plain SET vt = now() WHERE message = '2';
SELECT message, read_ct FROM queue.read('plain', filter => '2');
UPDATE queue.q_plain SET vt = vt + interval '1 day' WHERE message IN ('6', '7', '8', '9');
SELECT message FROM queue.read('plain', qty => 100);
SELECT message FROM queue.read('plain', qty => 100);
UPDATE queue.q_plain SET vt = '-infinity' WHERE message = '6';
SELECT message FROM queue.read('plain', qty => 100);
UPDATE queue.q_plain SET vt = 'infinity' WHERE message = '7';
SELECT message FROM queue.read('plain', qty => 100);
UPDATE queue.q_plain SET vt = now() WHERE message IN ('7', '8', '9');
SELECT message FROM queue.read('plain', qty => 100);
-- A lease taken before is kept by an UPDATE of something else: receipt, read_ct, vt.
SELECT msg_id, receipt FROM queue.q_plain WHERE message = '8' \gset
UPDATE queue.q_plain SET message = '"eight"', headers = '{"was": 8}' WHERE message = '8';
SELECT count(*) FROM queue.read('plain', qty => 100);
SELECT message, headers, read_ct, receipt = :receipt FROM queue.q_plain WHERE msg_id = :msg_id;
SELECT queue.delete('plain', :msg_id, :receipt);
-- In a transaction that is rolled back.
BEGIN;
UPDATE queue.q_plain SET vt = now();
SELECT count(*) FROM queue.q_plain WHERE vt <= now();
ROLLBACK;
SELECT count(*) FROM queue.read('plain', qty => 100);
-- ... and one of our own is read in the transaction that made it.
BEGIN;
UPDATE queue.q_plain SET vt = now() WHERE message = '3';
SELECT message, read_ct FROM queue.read('plain', qty => 100);
COMMIT;
-- UPDATE of the whole table at once, far apart.
UPDATE queue.q_plain SET vt = now(), message = to_jsonb(msg_id);
SELECT message FROM queue.read('plain', qty => 100) ORDER BY msg_id;
-- What only the engine writes is refused; the same value is not a change.
SELECT pg_temp.attempt(format('UPDATE queue.q_plain SET %s WHERE msg_id = 1', what))
FROM unnest(ARRAY['msg_id = 100', 'msg_id = msg_id', 'enqueued_at = now()', 'last_read_at = now()', 'receipt = 1', 'receipt = receipt',
                  'read_ct = 0', 'read_ct = read_ct + 1', 'priority = 3', 'priority = 0', 'group_key = ''x''', 'vt = NULL',
                  'headers = NULL', 'message = NULL']) what;
SELECT count(*) FROM queue.q_plain WHERE msg_id = 1 AND message IS NULL;

-- INSERT is refused, into any of them; MERGE and ON CONFLICT don't get around it.
SELECT pg_temp.attempt(format('INSERT INTO queue.%s VALUES (100, now(), now(), now(), 0, 0, 0, ''1'')', t))
FROM unnest(ARRAY['q_plain', '"q_plain#1"']) t;
SELECT pg_temp.attempt('INSERT INTO queue."q_plain#1" SELECT * FROM queue."q_plain#1"');
SELECT pg_temp.attempt('INSERT INTO queue."q_plain#1" SELECT * FROM queue."q_plain#1" ON CONFLICT DO NOTHING');
SELECT pg_temp.attempt('INSERT INTO queue."q_plain#1" SELECT * FROM queue."q_plain#1" WHERE false');
SELECT pg_temp.attempt('MERGE INTO queue.q_plain q USING (SELECT 3 AS id) s ON msg_id = id WHEN MATCHED THEN UPDATE SET headers = ''{"merged": true}''');
SELECT headers FROM queue.q_plain WHERE msg_id = 3;

-- COPY into the segment brings rows back, with their ids, and they are read at once; into the parent it is refused.
SELECT queue.purge('plain') > 0;
COPY queue."q_plain#1" (msg_id, enqueued_at, vt, last_read_at, receipt, read_ct, priority, message) FROM stdin;
501	2020-01-01	2020-01-01	-infinity	0	0	0	"copied"
502	2020-01-01	2020-01-01	2020-01-01	7	3	5	"copied, read before, urgent"
503	2020-01-01	2099-01-01	-infinity	0	0	0	"copied, delayed"
\.
SELECT msg_id, message, read_ct FROM queue.read('plain', qty => 10);
COPY queue.q_plain (msg_id, enqueued_at, vt, last_read_at, receipt, read_ct, priority, message) FROM stdin;
504	2020-01-01	2020-01-01	-infinity	0	0	0	"into the parent"
\.
COPY queue."q_plain#1" (msg_id, enqueued_at, vt, last_read_at, receipt, read_ct, priority, message) FROM stdin;
501	2020-01-01	2020-01-01	-infinity	0	0	0	"twice"
\.
COPY (SELECT msg_id, message FROM queue.q_plain ORDER BY 1) TO stdout;
SELECT queue.delete_batch('plain', '{501,502,503}');

-- Logical replication's apply inserts and updates under session_replication_role = replica.
SET session_replication_role = replica;
INSERT INTO queue."q_plain#1" VALUES (601, now(), now(), '-infinity', 0, 0, 0, '"applied"');
INSERT INTO queue."q_plain#1" VALUES (602, now(), now() + interval '1 day', '-infinity', 0, 0, 0, '"applied, delayed"');
SELECT message FROM queue.read('plain', qty => 10);
UPDATE queue."q_plain#1" SET vt = now(), receipt = 77, read_ct = 4, last_read_at = now(), priority = 9 WHERE msg_id = 602;
SELECT message, read_ct, priority FROM queue.read('plain', qty => 10);
RESET session_replication_role;

-- DELETE, rolled back and not; deletes a leased one too.
UPDATE queue.q_plain SET vt = now();
BEGIN;
DELETE FROM queue.q_plain;
SELECT count(*) FROM queue.read('plain', qty => 10);
ROLLBACK;
SELECT count(*) > 0 FROM queue.read('plain', qty => 10, wait => 100);
DELETE FROM queue.q_plain WHERE msg_id = 601 RETURNING message;
SELECT queue.delete('plain', 601), queue.delete('plain', 602);

-- Row locks of our own don't hide a message from us.
SELECT count(*) FROM queue.send_batch('plain', '{1,2,3,4}');
BEGIN;
SELECT message FROM queue.q_plain WHERE message = '1' FOR UPDATE;
SELECT message FROM queue.q_plain WHERE message = '2' FOR NO KEY UPDATE;
SELECT message FROM queue.q_plain WHERE message = '3' FOR SHARE;
SELECT message FROM queue.q_plain WHERE message = '4' FOR KEY SHARE;
SAVEPOINT s;
SELECT count(*) FROM (SELECT FROM queue.q_plain FOR UPDATE) q;
SELECT message FROM queue.read('plain', qty => 2);
RELEASE s;
SELECT message FROM queue.read('plain', qty => 10);
SELECT queue.delete('plain', msg_id) FROM (SELECT msg_id FROM queue.q_plain ORDER BY message) q;
COMMIT;

-- TRUNCATE, VACUUM, VACUUM FULL, CLUSTER, ALTER TABLE, REINDEX, ANALYZE: the queue goes on, leases and all.
SELECT queue.drop('plain'), queue.create('plain', vt => 3600);
SELECT count(*) FROM queue.send_batch('plain', ARRAY(SELECT to_jsonb(i) FROM generate_series(1, 400) i));
SELECT count(*) FROM queue.read('plain', qty => 100);
VACUUM queue."q_plain#1";
SELECT min(msg_id) FROM queue.read('plain');
VACUUM FULL queue."q_plain#1";
SELECT min(msg_id) FROM queue.read('plain');
CLUSTER queue."q_plain#1" USING "q_plain#1_pkey";
SELECT min(msg_id) FROM queue.read('plain');
ALTER TABLE queue."q_plain#1" SET UNLOGGED;
SELECT min(msg_id) FROM queue.read('plain');
ALTER TABLE queue."q_plain#1" SET LOGGED;
SELECT min(msg_id) FROM queue.read('plain');
ALTER TABLE queue."q_plain#1" SET (fillfactor = 50);
REINDEX TABLE queue."q_plain#1";
ANALYZE queue.q_plain;
SELECT min(msg_id) FROM queue.read('plain');
SELECT queue.send('plain', '"still"');
BEGIN;
TRUNCATE queue.q_plain;
SELECT count(*) FROM queue.read('plain', qty => 1000);
SELECT queue.send('plain', '"in the new file"') > 0;
SELECT message FROM queue.read('plain', qty => 1000);
ROLLBACK;
SELECT count(*), min(msg_id) FROM queue.read('plain', qty => 1000);
TRUNCATE queue.q_plain;
SELECT count(*) FROM queue.read('plain', qty => 1000);
SELECT queue.delete('plain', 300);
SELECT count(*) FROM queue.send_batch('plain', ARRAY(SELECT to_jsonb(i) FROM generate_series(1, 400) i));
SELECT count(*) FROM queue.pop('plain', qty => 1000);
-- VACUUM cuts the table short; a send finds its end again.
VACUUM queue."q_plain#1";
SELECT pg_relation_size('queue."q_plain#1"');
SELECT queue.send('plain', '"after the cut"') > 0;
SELECT message FROM queue.read('plain', qty => 10);
SELECT count(*) FROM queue.q_plain;
SELECT queue.drop('plain');
