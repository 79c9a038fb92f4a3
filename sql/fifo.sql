-- Groups: order within each, no waiting across them.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset null NULL

SELECT queue.create('fifo', fifo => true, vt => 3600);
SELECT count(*) FROM queue.send_batch('fifo', '{1,2,3,4,5,6,7}', group_keys => '{a,b,a,c,b,NULL,a}');

-- The oldest of all first; then of each group that nobody has.
SELECT message, group_key FROM queue.read('fifo');
SELECT message, group_key FROM queue.peek('fifo', 10);
SELECT message, group_key FROM queue.read('fifo', qty => 3);
SELECT message, group_key FROM queue.read('fifo', qty => 10);
SELECT message, group_key FROM queue.read('fifo', qty => 10);
-- An ack frees the group for the next one. (1 and 2 are out, 5 is after 2.)
SELECT queue.delete('fifo', 1);
SELECT message FROM queue.read('fifo', qty => 10);
SELECT queue.archive('fifo', 2);
SELECT message FROM queue.read('fifo', qty => 10);
-- All of a read's messages of a group must be done before others get the next one.
SELECT queue.send('fifo', '8', group_key => 'a');
SELECT queue.delete('fifo', 3);
SELECT message FROM queue.read('fifo');
SELECT queue.delete('fifo', 7);
SELECT message FROM queue.read('fifo');

-- A nacked message comes again before later ones of its group.
SELECT queue.purge('fifo');
SELECT count(*) FROM queue.send_batch('fifo', '{10,11,12}', group_keys => '{a,a,b}');
SELECT message FROM queue.read('fifo');
SELECT queue.nack('fifo', msg_id) FROM queue.q_fifo WHERE message = '10';
SELECT message, read_ct FROM queue.read('fifo');
SELECT queue.nack('fifo', msg_id, delay => 3600) FROM queue.q_fifo WHERE message = '10';
SELECT message FROM queue.read('fifo', qty => 10);
SELECT message FROM queue.read('fifo', qty => 10);
-- set_vt both ways.
SELECT message FROM queue.set_vt('fifo', (SELECT msg_id FROM queue.q_fifo WHERE message = '10'), 0);
SELECT message, read_ct FROM queue.read('fifo', qty => 10);
SELECT message FROM queue.set_vt('fifo', (SELECT msg_id FROM queue.q_fifo WHERE message = '10'), 7200);
SELECT message FROM queue.read('fifo', qty => 10);

-- A delayed message holds its group, not the others.
SELECT queue.purge('fifo');
SELECT queue.send('fifo', '20', group_key => 'a', delay => 3600) > 0;
SELECT count(*) FROM queue.send_batch('fifo', '{21,22}', group_keys => '{a,b}');
SELECT message FROM queue.read('fifo', qty => 10);
SELECT message FROM queue.peek('fifo', 10);
UPDATE queue.q_fifo SET vt = now() WHERE message = '20';
SELECT message FROM queue.read('fifo', qty => 10);

-- pop, in one go; and the group stays ours until the transaction ends.
SELECT queue.purge('fifo');
SELECT count(*) FROM queue.send_batch('fifo', '{30,31,32}', group_keys => '{a,a,b}');
BEGIN;
SELECT message FROM queue.pop('fifo');
SELECT message FROM queue.pop('fifo', 10);
ROLLBACK;
SELECT message FROM queue.pop('fifo', 10);

-- Rollback gives the group back; a savepoint, too.
SELECT count(*) FROM queue.send_batch('fifo', '{40,41}', group_keys => '{a,a}');
BEGIN;
SELECT message FROM queue.read('fifo');
ROLLBACK;
SELECT message FROM queue.peek('fifo', 10);
BEGIN;
SAVEPOINT s;
SELECT message FROM queue.read('fifo');
ROLLBACK TO s;
SELECT message, read_ct FROM queue.read('fifo');
COMMIT;
SELECT message FROM queue.read('fifo');

-- A filter passes by whole groups whose first message doesn't match.
SELECT queue.purge('fifo');
SELECT count(*) FROM queue.send_batch('fifo', '{"{\"x\": 1}","{\"x\": 2}","{\"x\": 2}"}', group_keys => '{a,a,b}');
SELECT message FROM queue.read('fifo', qty => 10, filter => '{"x": 2}');
SELECT message FROM queue.read('fifo', qty => 10, filter => '{"x": 1}');

-- Also where those that don't match fill pages before the one that does.
SELECT queue.purge('fifo');
SELECT count(*) FROM queue.send_batch('fifo', array_fill('{"x": 1}'::jsonb, ARRAY[500]));
SELECT count(*) FROM queue.send_batch('fifo', '{"{\"x\": 3}","{\"x\": 2}","{\"x\": 2}"}', group_keys => '{a,a,b}');
SELECT message, group_key FROM queue.read('fifo', qty => 10, filter => '{"x": 2}');

-- grouped => false takes what comes, and is respected by those who go by groups.
SELECT queue.purge('fifo');
SELECT count(*) FROM queue.send_batch('fifo', '{50,51,52,53}', group_keys => '{a,a,a,b}');
SELECT message FROM queue.read('fifo', "grouped" => false);
SELECT message FROM queue.read('fifo', qty => 10);
SELECT message FROM queue.read('fifo', "grouped" => false);
SELECT queue.delete('fifo', msg_id) FROM queue.q_fifo WHERE message = '50';
SELECT message FROM queue.read('fifo', qty => 10);
SELECT queue.delete('fifo', msg_id) FROM queue.q_fifo WHERE message = '51';
SELECT message FROM queue.read('fifo', qty => 10);

-- Many pages: one group that is out doesn't hold up the others, wherever they lie.
SELECT queue.purge('fifo');
SELECT count(*) FROM queue.send_batch('fifo', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 3000) i),
    group_keys => (SELECT array_agg(CASE WHEN i % 1000 = 0 THEN 'rare' ELSE 'hot' END) FROM generate_series(1, 3000) i));
SELECT message FROM queue.read('fifo');
SELECT message FROM queue.read('fifo');
SELECT message FROM queue.read('fifo');
SELECT queue.delete('fifo', msg_id) FROM queue.q_fifo WHERE message = '1000';
SELECT message FROM queue.read('fifo', wait => 60);
SELECT queue.delete('fifo', msg_id) FROM queue.q_fifo WHERE message IN ('1', '2000');
SELECT message FROM queue.read('fifo', qty => 2);
-- The whole backlog in order, one by one and in batches.
CREATE FUNCTION pg_temp.drain(qty bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    taken bigint[];
    result jsonb := '{}';
    row record;
BEGIN
    FOR row IN SELECT * FROM queue.read('fifo', qty => qty) LOOP
        taken := taken || row.msg_id;
        IF (row.message)::int <= coalesce((result->row.group_key)::int, 0) THEN RETURN 'out of order: ' || row.message; END IF;
        result := jsonb_set(result, ARRAY[row.group_key], row.message);
    END LOOP;
    PERFORM queue.delete_batch('fifo', coalesce(taken, '{}'));
    RETURN coalesce(cardinality(taken), 0);
END $$;
SELECT queue.delete_batch('fifo', (SELECT array_agg(msg_id) FROM queue.q_fifo WHERE receipt <> 0)) \g /dev/null
SELECT pg_temp.drain(1);
SELECT pg_temp.drain(1);
SELECT pg_temp.drain(100);
SELECT pg_temp.drain(10000);
SELECT pg_temp.drain(10000);
SELECT count(*) FROM queue.q_fifo;

-- VACUUM frees places on a page, which the next message takes: it still comes last.
SELECT count(*) FROM queue.send_batch('fifo', '{1,2,3}', group_keys => '{a,a,a}');
SELECT queue.delete('fifo', msg_id) FROM queue.q_fifo WHERE message = '1';
VACUUM queue."q_fifo#1";
SELECT queue.send('fifo', '4', group_key => 'a') > 0;
SELECT message FROM queue.read('fifo', qty => 10);
SELECT queue.purge('fifo');

-- By groups from an ordinary queue: leases that were there before count.
SELECT queue.create('plain', vt => 3600);
SELECT count(*) FROM queue.send_batch('plain', '{1,2,3,4,5}', group_keys => '{a,a,b,b,NULL}');
SELECT message FROM queue.read('plain');
SELECT message FROM queue.read('plain', qty => 10, "grouped" => true);
SELECT message FROM queue.read('plain', qty => 10, "grouped" => true);
SELECT queue.delete('plain', 1);
SELECT message FROM queue.read('plain', qty => 10, "grouped" => true);
-- With priorities: the higher one first, and one of a group at a time.
SELECT queue.purge('plain');
SELECT queue.send('plain', '10', group_key => 'a') > 0;
SELECT queue.send('plain', '11', group_key => 'a', priority => 5) > 0;
SELECT queue.send('plain', '12', group_key => 'b', priority => 3) > 0;
SELECT message FROM queue.read('plain', "grouped" => true);
SELECT message FROM queue.read('plain', "grouped" => true);
SELECT message FROM queue.read('plain', "grouped" => true);
SELECT queue.delete('plain', msg_id) FROM queue.q_plain WHERE message = '11';
SELECT message FROM queue.read('plain', "grouped" => true);

-- Live: an ordinary queue becomes a fifo queue and the other way round.
SELECT queue.create('turned', vt => 3600);
SELECT count(*) FROM queue.send_batch('turned', '{1,2,3}', group_keys => '{a,a,a}');
SELECT message FROM queue.read('turned');
SELECT queue.alter('turned', fifo => true);
SELECT message FROM queue.read('turned');
SELECT queue.alter('turned', fifo => false);
SELECT message FROM queue.read('turned');
SELECT queue.alter('turned', fifo => true);
SELECT queue.delete('turned', 1), queue.delete('turned', 2);
SELECT message FROM queue.read('turned');

-- Keys of any language lie in the row, however long the rest is.
SELECT queue.send('fifo', jsonb_build_object('x', repeat('y', 100000)), group_key => 'Zürich 東京') > 0;
SELECT queue.send('fifo', jsonb_build_object('x', repeat('y', 1900)), group_key => repeat('z', 1024)) > 0;
SELECT queue.send('fifo', '2', group_key => repeat('z', 1024)) > 0;
SELECT length(group_key), length(message::text) FROM queue.read('fifo', qty => 10);

-- Whatever held a group and is gone holds it no longer: deleted or put into another group by plain SQL.
SELECT queue.create('gone', fifo => true, vt => 3600);
SELECT count(*) FROM queue.send_batch('gone', '{1,2,3,4,5}', group_keys => '{a,a,a,a,a}');
SELECT message FROM queue.read('gone');
SELECT count(*) FROM queue.read('gone');
DELETE FROM queue.q_gone WHERE message = '1';
SELECT message FROM queue.read('gone');
SELECT queue.nack('gone', 2, delay => 3600);
SELECT count(*) FROM queue.read('gone');
DELETE FROM queue.q_gone WHERE message = '2';
SELECT message FROM queue.read('gone');
UPDATE queue.q_gone SET group_key = 'b' WHERE message = '3';
SELECT message FROM queue.read('gone', qty => 2);
BEGIN;
DELETE FROM queue.q_gone WHERE message = '4';
ROLLBACK;
SELECT count(*) FROM queue.read('gone');
-- Given up or put off for longer than it lasts, it holds its group until it expires.
SELECT queue.purge('gone');
SELECT queue.send('gone', '6', group_key => 'c', ttl => 0.5) > 0, queue.send('gone', '7', group_key => 'c') > 0;
SELECT message, queue.nack('gone', msg_id, delay => 3600) FROM queue.read('gone');
SELECT count(*) FROM queue.read('gone');
SELECT message FROM queue.read('gone', wait => 10);
SELECT queue.send('gone', '8', group_key => 'd', ttl => 0.5) > 0, queue.send('gone', '9', group_key => 'd') > 0;
SELECT s.message FROM queue.q_gone q, queue.set_vt('gone', q.msg_id, 3600) s WHERE q.message = '8';
SELECT count(*) FROM queue.read('gone');
SELECT message FROM queue.read('gone', wait => 10);
SELECT queue.alter('gone', backoff => 3600);
SELECT queue.send('gone', '10', group_key => 'e', ttl => 0.5) > 0, queue.send('gone', '11', group_key => 'e') > 0;
BEGIN;
SELECT message FROM queue.read('gone');
ROLLBACK;
SELECT count(*) FROM queue.read('gone');
SELECT message FROM queue.read('gone', wait => 10);

-- In one answer a message is there once, even where its lease has run out before the answer is complete.
SELECT queue.create('short', fifo => true);
SELECT count(queue.send('short', to_jsonb(i), group_key => 'g' || i % 50)) FROM generate_series(1, 10000) i;
SELECT count(*) > 0, count(*) = count(DISTINCT msg_id) FROM queue.read('short', vt => 0.001, qty => 20000);

SELECT queue.drop('fifo'), queue.drop('plain'), queue.drop('turned'), queue.drop('gone'), queue.drop('short');
