CREATE EXTENSION pgqueue;

SELECT queue.create('smoke');
SELECT queue.send('smoke', '{"order": 4711}');
DO $$
DECLARE
    got queue.message;
BEGIN
    SELECT * INTO STRICT got FROM queue.read('smoke');
    ASSERT got.message = '{"order": 4711}', 'another message was read';
    ASSERT queue.delete('smoke', got.msg_id, got.receipt), 'the message was not deleted';
    ASSERT NOT EXISTS (SELECT FROM queue.q_smoke), 'the message is still there';
END
$$;

SELECT kv.set('smoke', 'yes', ttl => 3600);
DO $$ BEGIN ASSERT kv.get('smoke') = 'yes', 'another value was read'; END $$;

-- A background worker runs it.
SELECT cron.at(now(), $$SELECT queue.send('smoke', '{"job": true}')$$);
DO $$ BEGIN ASSERT (SELECT message FROM queue.read('smoke', wait => 120)) = '{"job": true}', 'no job has run'; END $$;
