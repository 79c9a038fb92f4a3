-- Dead letters go back to work.
CREATE EXTENSION IF NOT EXISTS pgqueue;
CREATE FUNCTION pg_temp.attempt(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE hint text;
BEGIN
    EXECUTE sql;
    RETURN 'fine';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ': ' || SQLERRM || CASE WHEN hint <> '' THEN ' [' || hint || ']' ELSE '' END;
END $$;
SELECT queue.create('rd_dead'), queue.create('rd_a', max_attempts => 1, dead_letter => 'rd_dead'),
       queue.create('rd_b', max_attempts => 1, dead_letter => 'rd_dead');
-- The messages of both, one after another, become dead letters.
CREATE PROCEDURE pg_temp.kill(a int, b int) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM queue.send_batch('rd_a', (SELECT array_agg(to_jsonb('a' || i)) FROM generate_series(1, a) i)) WHERE a > 0;
    PERFORM queue.send_batch('rd_b', (SELECT array_agg(to_jsonb('b' || i)) FROM generate_series(1, b) i)) WHERE b > 0;
    PERFORM queue.nack('rd_a', msg_id, error => 'of a') FROM queue.read('rd_a', qty => 100000);
    PERFORM queue.nack('rd_b', msg_id) FROM queue.read('rd_b', qty => 100000);
END $$;

-- Each to where it came from, in order, as new.
SELECT queue.send('rd_a', '"first"', '{"mine": 1}', priority => 5, group_key => 'g');
CALL pg_temp.kill(3, 2);
SELECT msg_id, message FROM queue.q_rd_dead ORDER BY msg_id;
SELECT queue.redrive('rd_dead');
SELECT count(*) FROM queue.q_rd_dead;
SELECT msg_id, message, headers, read_ct, priority, group_key FROM queue.read('rd_a', qty => 10);
SELECT msg_id, message, headers, read_ct FROM queue.read('rd_b', qty => 10);
SELECT queue.redrive('rd_dead');
SELECT queue.purge('rd_a'), queue.purge('rd_b');

-- Some of them, and elsewhere; a fifo queue has no priorities.
SELECT queue.create('rd_c', fifo => true, message_ttl => 1000);
SELECT queue.send('rd_a', '"first"', priority => 5) > 0;
CALL pg_temp.kill(3, 2);
SELECT queue.redrive('rd_dead', qty => 2);
SELECT message FROM queue.q_rd_a ORDER BY msg_id;
SELECT queue.redrive('rd_dead', 'rd_c', 3);
SELECT message, headers, priority, expires_at > clock_timestamp() AS expires FROM queue.q_rd_c ORDER BY msg_id;
SELECT message FROM queue.q_rd_dead;
SELECT queue.redrive('rd_dead', 'rd_c'), queue.redrive('rd_dead', 'rd_c');
SELECT queue.purge('rd_a'), queue.purge('rd_b'), queue.purge('rd_c');

-- What is out stays, and so does what doesn't say where it came from.
CALL pg_temp.kill(3, 0);
SELECT queue.send('rd_dead', '"plain"') > 0, queue.send('rd_dead', '"object"', '{"x": 1}') > 0,
       queue.send('rd_dead', '"odd"', '{"dead_letter": {"queue": 1}}') > 0,
       queue.send('rd_dead', '"odd"', '{"dead_letter": [2]}') > 0;
UPDATE queue.q_rd_dead SET headers = '"none"' WHERE message = '"plain"';
SELECT message FROM queue.read('rd_dead');
SELECT queue.redrive('rd_dead');
SELECT message FROM queue.q_rd_dead ORDER BY msg_id;
SELECT queue.redrive('rd_dead', 'rd_b');
SELECT message, headers FROM queue.q_rd_b ORDER BY msg_id;
SELECT message FROM queue.q_rd_dead;
SELECT queue.nack('rd_dead', msg_id) FROM queue.q_rd_dead;
SELECT queue.redrive('rd_dead');
SELECT queue.purge('rd_a'), queue.purge('rd_b');

-- Rolled back: as if nothing had been.
CALL pg_temp.kill(3, 2);
BEGIN;
SELECT queue.redrive('rd_dead');
SELECT (SELECT count(*) FROM queue.q_rd_dead) AS dead, (SELECT count(*) FROM queue.q_rd_a) AS a, (SELECT count(*) FROM queue.q_rd_b) AS b;
ROLLBACK;
SELECT (SELECT count(*) FROM queue.q_rd_dead) AS dead, (SELECT count(*) FROM queue.q_rd_a) AS a, (SELECT count(*) FROM queue.q_rd_b) AS b;
SELECT count(*) FROM queue.peek('rd_dead', 10);

-- The origin is gone: nothing is moved.
SELECT queue.drop('rd_b');
SELECT pg_temp.attempt($$SELECT queue.redrive('rd_dead')$$);
SELECT count(*) FROM queue.q_rd_dead;
SELECT queue.redrive('rd_dead', 'rd_a');
SELECT pg_temp.attempt($$SELECT queue.redrive('rd_none')$$);
SELECT pg_temp.attempt($$SELECT queue.redrive('rd_dead', 'rd_none')$$);
SELECT pg_temp.attempt($$SELECT queue.redrive('rd_dead', 'rd_dead')$$);
SELECT pg_temp.attempt($$SELECT queue.redrive('rd_dead', 'no name')$$);
SELECT pg_temp.attempt($$SELECT queue.redrive('rd_dead', qty => 0)$$);
SELECT pg_temp.attempt($$SELECT queue.redrive(NULL)$$);
SELECT queue.purge('rd_a');

-- Big messages, and many.
SELECT queue.create('rd_b', max_attempts => 1, dead_letter => 'rd_dead');
SELECT queue.send('rd_a', jsonb_build_object('t', string_agg(md5(i::text), '')), jsonb_build_object('h', string_agg(md5(i::text), ''))) > 0
FROM generate_series(1, 2000) i;
CALL pg_temp.kill(3000, 2500);
SELECT queue.redrive('rd_dead', qty => 5000), queue.redrive('rd_dead');
SELECT md5(message->>'t') = md5(headers->>'h') AS same, (SELECT array_agg(k) FROM jsonb_object_keys(headers) k) AS keys
FROM queue.q_rd_a WHERE headers IS NOT NULL;
SELECT count(*), bool_and(message::text = '"b' || n || '"') AS in_order
FROM (SELECT message, row_number() OVER (ORDER BY msg_id) AS n FROM queue.read('rd_b', qty => 10000)) m;
SELECT queue.purge('rd_a'), queue.purge('rd_b'), queue.purge('rd_dead');

-- Rights: SELECT and DELETE on the one, INSERT on the others.
CREATE ROLE regress_pgqueue_redriver;
CALL pg_temp.kill(1, 1);
SET ROLE regress_pgqueue_redriver;
SELECT pg_temp.attempt($$SELECT queue.redrive('rd_dead')$$);
RESET ROLE;
GRANT SELECT ON queue.q_rd_dead TO regress_pgqueue_redriver;
SET ROLE regress_pgqueue_redriver;
SELECT pg_temp.attempt($$SELECT queue.redrive('rd_dead')$$);
RESET ROLE;
GRANT DELETE ON queue.q_rd_dead TO regress_pgqueue_redriver;
SELECT queue.grant('rd_a', 'regress_pgqueue_redriver', 'send');
SET ROLE regress_pgqueue_redriver;
SELECT pg_temp.attempt($$SELECT queue.redrive('rd_dead')$$);
RESET ROLE;
SELECT (SELECT count(*) FROM queue.q_rd_dead) AS dead, (SELECT count(*) FROM queue.q_rd_a) AS a;
SET ROLE regress_pgqueue_redriver;
SELECT queue.redrive('rd_dead', 'rd_a');
RESET ROLE;
BEGIN READ ONLY;
SELECT queue.redrive('rd_dead');
ROLLBACK;
SELECT queue.drop('rd_a'), queue.drop('rd_b'), queue.drop('rd_c'), queue.drop('rd_dead');
DROP ROLE regress_pgqueue_redriver;
