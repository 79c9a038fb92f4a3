-- Messages that expire. The background worker may remove them at any time, so only functions are asked.
CREATE EXTENSION IF NOT EXISTS pgqueue;
-- Sleeps until all that is in the queue, but for the given number, has expired.
CREATE PROCEDURE pg_temp.until_expired(queue_name text, rest bigint) LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
    LOOP
        EXECUTE format('SELECT count(*) FROM queue.%I WHERE expires_at IS NULL OR expires_at > clock_timestamp()', 'q_' || queue_name) INTO n;
        EXIT WHEN n <= rest;
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;

SELECT queue.create('ttl');
SELECT expiring FROM queue.settings WHERE queue_name = 'ttl';
SELECT queue.send('ttl', '1'), queue.send('ttl', '2', ttl => 0.001), queue.send('ttl', '3', ttl => 3600);
SELECT expiring FROM queue.settings WHERE queue_name = 'ttl';
CALL pg_temp.until_expired('ttl', 2);
SELECT message FROM queue.peek('ttl', 10);
SELECT message FROM queue.read('ttl', qty => 10);
SELECT message FROM queue.read('ttl', qty => 10);

-- It counts from when the message is due.
SELECT queue.send('ttl', '4', delay => 100, ttl => 10);
SELECT msg_id, expires_at = vt + interval '10 s' AS from_vt, vt > clock_timestamp() + interval '90 s' AS late
FROM queue.q_ttl WHERE msg_id = 4;

-- A batch, pop, a filter, a waiting read; nothing of it is delivered.
SELECT count(*) FROM queue.send_batch('ttl', array_fill('{"a": 1}'::jsonb, '{500}'), ttl => 0.001);
CALL pg_temp.until_expired('ttl', 3);
SELECT count(*) FROM queue.pop('ttl', 10);
SELECT count(*) FROM queue.read('ttl', filter => '{"a": 1}');
SELECT count(*) FROM queue.read('ttl', wait => 0.02);
CALL queue.wait('ttl', 0.02);

-- One that expires while it is out can be acked; given back, it is gone.
SELECT count(*) FROM queue.purge('ttl');
SELECT count(*) FROM queue.send_batch('ttl', '{5,6,7}', ttl => 1000);
SELECT message FROM queue.read('ttl', vt => 1000, qty => 3);
UPDATE queue.q_ttl SET expires_at = clock_timestamp();
SELECT message FROM queue.read('ttl', qty => 3);
SELECT queue.delete('ttl', (SELECT msg_id FROM queue.q_ttl WHERE message = '5'));
SELECT queue.archive('ttl', (SELECT msg_id FROM queue.q_ttl WHERE message = '6'));
SELECT queue.nack('ttl', (SELECT msg_id FROM queue.q_ttl WHERE message = '7'), delay => 0);
SELECT message FROM queue.read('ttl', qty => 3);
SELECT message FROM queue.a_ttl;

-- The queue's ttl, for what is sent afterwards; a message's own goes first.
SELECT queue.send('ttl', '8');
SELECT queue.alter('ttl', message_ttl => 1000);
SELECT queue.send('ttl', '9'), queue.send('ttl', '10', ttl => 5000);
SELECT message, round(extract(epoch FROM expires_at - vt)) AS ttl FROM queue.q_ttl WHERE message <> '7' ORDER BY msg_id;
SELECT queue.alter('ttl', reset => '{message_ttl}');
SELECT queue.send('ttl', '11') > 0;
SELECT message, round(extract(epoch FROM expires_at - vt)) AS ttl FROM queue.q_ttl WHERE message <> '7' ORDER BY msg_id;

-- An UPDATE keeps the expiry; columns of one's own behind it don't disturb.
ALTER TABLE queue.q_ttl ADD COLUMN note text;
SELECT queue.send('ttl', '12', ttl => 0.001) > 0, queue.send('ttl', '13') > 0;
UPDATE queue.q_ttl SET note = 'mine';
CALL pg_temp.until_expired('ttl', 5);
SELECT message FROM queue.read('ttl', qty => 10);

-- An expired one with no attempts left is no dead letter.
SELECT queue.create('ttl_dead'), queue.create('ttl_tried', max_attempts => 1, dead_letter => 'ttl_dead', vt => 0);
SELECT queue.send('ttl_tried', '1', ttl => 1000);
SELECT message FROM queue.read('ttl_tried');
UPDATE queue.q_ttl_tried SET expires_at = clock_timestamp();
SELECT message FROM queue.read('ttl_tried');
SELECT count(*) FROM queue.q_ttl_dead;

-- Rows that come by COPY bring their expiry along.
SELECT queue.create('ttl_copy');
COPY queue."q_ttl_copy#1" (msg_id, enqueued_at, vt, last_read_at, receipt, read_ct, priority, message, expires_at) FROM stdin;
1	2020-01-01	2020-01-01	-infinity	0	0	0	1	2020-01-02
2	2020-01-01	2020-01-01	-infinity	0	0	0	2	infinity
3	2020-01-01	2020-01-01	-infinity	0	0	0	3	\N
\.
SELECT message FROM queue.read('ttl_copy', qty => 10);
SELECT expiring FROM queue.settings WHERE queue_name = 'ttl_copy';
SELECT queue.drop('ttl'), queue.drop('ttl_tried'), queue.drop('ttl_dead'), queue.drop('ttl_copy');
