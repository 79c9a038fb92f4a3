-- queue.create takes over the tables of a queue that a dump has brought back, whatever part of it is there.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on

SELECT queue.create('adopt');
SELECT count(*) FROM queue.send_batch('adopt', ARRAY['1', '2', '3', '4', '5']::jsonb[]);
SELECT queue.archive('adopt', 5);
SELECT queue.delete('adopt', 4);

-- The settings' row is lost: the tables are not a queue until it is created again, and then they are as they were.
DELETE FROM queue.settings WHERE queue_name = 'adopt';
\c
SELECT queue.send('adopt', '6');
SELECT queue.create('adopt', vt => 9);
SELECT queue.create('adopt', vt => 9);
SELECT msg_id, message FROM queue.read('adopt', qty => 10);
SELECT queue.send('adopt', '6');

-- The sequence is lost: ids go on behind the highest of queue and archive.
DROP SEQUENCE queue."q_adopt#ids";
\c
SELECT queue.send('adopt', '7');
SELECT queue.create('adopt', vt => 9);
SELECT queue.send('adopt', '7');
SELECT queue.archive('adopt', 7);
SELECT queue.delete_batch('adopt', ARRAY[1, 2, 3, 6]);
DROP SEQUENCE queue."q_adopt#ids";
\c
SELECT queue.create('adopt', vt => 9);
SELECT queue.send('adopt', '8');

-- The archive is lost.
DROP TABLE queue.a_adopt;
SELECT queue.archive('adopt', 8);
SELECT queue.create('adopt', vt => 9);
SELECT queue.archive('adopt', 8);
SELECT msg_id, message FROM queue.a_adopt;

-- The triggers are lost, or not ENABLE ALWAYS.
SELECT queue.send('adopt', '"x"');
DROP TRIGGER pgqueue_update ON queue."q_adopt#1";
SELECT count(*) FROM queue.read('adopt');
SELECT queue.create('adopt', vt => 9);
ALTER TABLE queue."q_adopt#1" ENABLE TRIGGER pgqueue_change;
SELECT count(*) FROM queue.read('adopt');
SELECT queue.create('adopt', vt => 9);
SELECT msg_id, message FROM queue.read('adopt');
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'queue."q_adopt#1"'::regclass ORDER BY 1;

-- The segment is lost: the messages with it, not the ids.
DROP TABLE queue."q_adopt#1";
SELECT queue.send('adopt', '"y"');
SELECT queue.create('adopt', vt => 9);
SELECT queue.send('adopt', '"y"') > 9;
SELECT message FROM queue.read('adopt');

-- The tables are lost: the same name makes a new queue.
SET client_min_messages = warning;
DROP TABLE queue.q_adopt CASCADE;
RESET client_min_messages;
DROP TABLE queue.a_adopt;
SELECT queue.send('adopt', '"z"');
SELECT queue.create('adopt', vt => 8);
SELECT queue.send('adopt', '"z"');
SELECT vt FROM queue.queues WHERE queue_name = 'adopt';
SELECT queue.drop('adopt');

-- A new queue finds the archive of an old one with its name: ids don't repeat.
SELECT queue.create('adopt');
SELECT queue.send('adopt', '1');
SELECT queue.archive('adopt', 1);
SET client_min_messages = warning;
DROP TABLE queue.q_adopt CASCADE;
RESET client_min_messages;
SELECT queue.create('adopt');
SELECT queue.send('adopt', '2');
SELECT queue.archive('adopt', 2);
SELECT msg_id FROM queue.a_adopt ORDER BY 1;
SELECT queue.drop('adopt');

-- A CHECK of the owner's is not tried by whoever makes a segment, which is the extension's owner.
SELECT queue.create('adopt');
CREATE FUNCTION pg_temp.spy(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql
AS $$BEGIN RAISE NOTICE 'tried'; RETURN $1; END$$;
SET client_min_messages = warning;
DROP TABLE queue."q_adopt#1";
RESET client_min_messages;
ALTER TABLE queue.q_adopt ALTER msg_id DROP NOT NULL;
ALTER TABLE queue.q_adopt ADD CHECK (pg_temp.spy(1) > 0);
SELECT queue.create('adopt');
SELECT queue.drop('adopt');
