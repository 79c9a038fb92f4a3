-- Messages and leases in transactions: what a rollback undoes, and what not.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null NULL

SELECT queue.create('tx', vt => 3600);

-- A transaction reads what it has sent, not in the same command.
BEGIN;
SELECT count(*) FROM queue.read('tx');
SELECT queue.send('tx', '"own"');
SELECT message FROM queue.peek('tx');
SELECT message, read_ct FROM queue.read('tx');
SELECT queue.send('tx', '"own 2"'), (SELECT count(*) FROM queue.read('tx'));
SELECT message FROM queue.read('tx', qty => 10);
SELECT count(*) FROM queue.send_batch('tx', '{1,2,3}');
SELECT message FROM queue.pop('tx', qty => 10);
SELECT queue.delete('tx', msg_id) FROM (SELECT msg_id FROM queue.q_tx) q;
SELECT count(*) FROM queue.read('tx');
COMMIT;
SELECT count(*) FROM queue.q_tx;

-- A send that is rolled back never was; ids are not reused.
BEGIN;
SELECT queue.send('tx', '"rolled back"') AS id \gset
ROLLBACK;
SELECT count(*) FROM queue.read('tx');
SELECT queue.send('tx', '"kept"') > :id;
SELECT message FROM queue.read('tx', qty => 10);
BEGIN;
SELECT count(*) FROM queue.send_batch('tx', array_fill('1'::jsonb, ARRAY[3000]));
ROLLBACK;
SELECT count(*) FROM queue.read('tx', qty => 10);

-- A lease is given back at once; the attempt counts, and the receipt is void for the next.
SELECT queue.purge('tx');
SELECT queue.send('tx', '"work"') AS id \gset
BEGIN;
SELECT receipt, read_ct FROM queue.read('tx') \gset first_
SELECT count(*) FROM queue.read('tx');
ROLLBACK;
SELECT receipt <> :first_receipt AS fresh, receipt, read_ct FROM queue.read('tx') \gset second_
SELECT :'second_fresh', :first_read_ct, :second_read_ct;
SELECT queue.delete('tx', :id, :first_receipt);
SELECT queue.nack('tx', :id, :second_receipt);
-- ... for each of many, over many pages.
SELECT queue.purge('tx');
SELECT count(*) FROM queue.send_batch('tx', ARRAY(SELECT to_jsonb(i) FROM generate_series(1, 3000) i));
BEGIN;
SELECT count(*) FROM queue.read('tx', qty => 2000);
ROLLBACK;
SELECT count(*), max(read_ct), min(read_ct), count(DISTINCT msg_id) FROM queue.read('tx', qty => 3000);
SELECT queue.purge('tx');

-- An error ends the statement's lease too, be it in the select list or later in the transaction.
SELECT queue.send('tx', '"fragile"') AS id \gset
SELECT 1 / (read_ct - 1) FROM queue.read('tx');
SELECT 1 / (read_ct - 2) FROM queue.read('tx');
SELECT message, read_ct FROM queue.read('tx', filter => '"fragile"');
SELECT queue.nack('tx', :id);
DO $$ BEGIN PERFORM queue.read('tx'); RAISE EXCEPTION 'no luck'; EXCEPTION WHEN OTHERS THEN NULL; END $$;
SELECT message, read_ct FROM queue.read('tx');

-- Savepoints: what is rolled back to one, is released into the one above, goes down with it.
SELECT queue.purge('tx');
SELECT count(*) FROM queue.send_batch('tx', '{1,2,3,4,5,6,7,8}');
BEGIN;
SELECT message FROM queue.read('tx');
SAVEPOINT a;
SELECT message FROM queue.read('tx');
ROLLBACK TO a;
SELECT message, read_ct FROM queue.read('tx');
SAVEPOINT b;
SELECT message FROM queue.read('tx');
SAVEPOINT c;
SELECT message FROM queue.read('tx');
RELEASE c;
SELECT queue.send('tx', '"in b"') > 0;
ROLLBACK TO b;
SELECT message, read_ct FROM queue.read('tx');
RELEASE a;
SELECT message, read_ct FROM queue.read('tx');
COMMIT;
SELECT message, read_ct FROM queue.read('tx', qty => 10);
-- A rollback of all of it.
SELECT queue.nack('tx', msg_id) FROM (SELECT msg_id FROM queue.q_tx ORDER BY msg_id) q;
BEGIN;
SAVEPOINT a;
SELECT count(*) FROM queue.read('tx', qty => 4);
RELEASE a;
SAVEPOINT b;
SELECT count(*) FROM queue.read('tx', qty => 4);
ROLLBACK TO b;
SELECT count(*) FROM queue.read('tx', qty => 1);
ROLLBACK;
SELECT message, read_ct FROM queue.read('tx', qty => 10);

-- What settles a lease settles it: a nack or set_vt stays, and a rollback of the read doesn't touch it any more.
SELECT queue.purge('tx');
SELECT queue.send('tx', '"n"') AS id \gset
BEGIN;
SELECT receipt FROM queue.read('tx') \gset
SELECT queue.nack('tx', :id, :receipt, delay => 3600);
ROLLBACK;
SELECT count(*) FROM queue.read('tx');
SELECT vt > now() + interval '50 minutes', read_ct FROM queue.q_tx;
BEGIN;
SELECT queue.nack('tx', :id);
ROLLBACK;
SELECT message, read_ct FROM queue.read('tx');
-- A heartbeat leaves the lease with its transaction.
SELECT queue.nack('tx', :id);
BEGIN;
SELECT receipt FROM queue.read('tx', vt => 60) \gset
SELECT queue.set_vt('tx', :id, 7200, :receipt) IS NOT NULL AS set \gset
ROLLBACK;
SELECT message, read_ct FROM queue.read('tx');
-- A nack and a new lease in one transaction.
BEGIN;
SELECT queue.nack('tx', :id);
SELECT read_ct FROM queue.read('tx');
ROLLBACK;
SELECT message, read_ct FROM queue.read('tx');

-- Acks: rolled back, the message is there again under its old lease.
SELECT queue.purge('tx');
SELECT queue.send('tx', '"a"') AS id \gset
SELECT receipt FROM queue.read('tx') \gset
BEGIN;
SELECT queue.delete('tx', :id, :receipt), queue.delete('tx', :id, :receipt);
SELECT count(*) FROM queue.q_tx;
ROLLBACK;
SELECT count(*) FROM queue.read('tx');
SELECT receipt = :receipt FROM queue.q_tx;
BEGIN;
SELECT queue.archive('tx', :id, :receipt);
SELECT message FROM queue.a_tx;
ROLLBACK;
SELECT count(*) FROM queue.a_tx;
SELECT queue.delete('tx', :id, :receipt);
-- Read and acked in one transaction that is rolled back: it is free, and read at once.
SELECT queue.send('tx', '"b"') AS id \gset
BEGIN;
SELECT queue.delete('tx', msg_id, receipt) FROM queue.read('tx');
SELECT count(*) FROM queue.read('tx');
ROLLBACK;
SELECT message, read_ct FROM queue.read('tx');
SELECT queue.nack('tx', :id);
BEGIN;
SAVEPOINT a;
SELECT queue.delete('tx', :id);
SELECT count(*) FROM queue.read('tx');
ROLLBACK TO a;
SELECT message, read_ct FROM queue.read('tx');
ROLLBACK;
BEGIN;
SELECT queue.archive('tx', :id);
SELECT count(*) FROM queue.read('tx');
ROLLBACK;
SELECT message, read_ct FROM queue.read('tx');
BEGIN;
SAVEPOINT a;
SELECT queue.delete('tx', :id);
ROLLBACK TO a;
SELECT count(*) FROM queue.q_tx;
SELECT queue.archive('tx', :id);
COMMIT;
SELECT count(*) FROM queue.q_tx;
-- An ack of a lease that is about to end, rolled back: the lease is as short as it was.
SELECT queue.send('tx', '"short"') AS id \gset
SELECT receipt FROM queue.read('tx', vt => 0) \gset
BEGIN;
SELECT queue.delete('tx', :id, :receipt);
ROLLBACK;
SELECT message, read_ct FROM queue.read('tx');

-- Isolation levels: a message that was committed after the snapshot is read, and no read fails.
SELECT queue.purge('tx');
SELECT queue.send('tx', '1') > 0;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM queue.q_tx;
SELECT message FROM queue.read('tx');
SELECT queue.send('tx', '2') > 0;
SELECT message FROM queue.read('tx');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM queue.q_tx;
SELECT queue.send('tx', '3') > 0;
SELECT message FROM queue.read('tx');
SELECT count(*) FROM queue.delete_batch('tx', ARRAY(SELECT msg_id FROM queue.q_tx));
COMMIT;

-- Procedures that commit between messages.
SELECT count(*) FROM queue.send_batch('tx', '{1,2,3,4}');
CREATE PROCEDURE drain() LANGUAGE plpgsql AS $$
DECLARE m queue.message;
BEGIN
    LOOP
        SELECT * INTO m FROM queue.read('tx');
        EXIT WHEN m.msg_id IS NULL;
        IF m.message = '3' AND m.read_ct = 1 THEN
            ROLLBACK;
        ELSE
            PERFORM queue.delete('tx', m.msg_id, m.receipt);
            RAISE NOTICE 'done: % at attempt %', m.message, m.read_ct;
            COMMIT;
        END IF;
    END LOOP;
END $$;
CALL drain();
DROP PROCEDURE drain();
SELECT queue.drop('tx');
