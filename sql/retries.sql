-- Failing: backoff, error texts, attempts. Delays are asserted by their range, never by waiting.
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
-- How many seconds ahead the message is due.
CREATE FUNCTION pg_temp.pause(queue_name text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE seconds float8;
BEGIN
    EXECUTE format('SELECT extract(epoch FROM vt - clock_timestamp()) FROM queue.%I', 'q_' || queue_name) INTO seconds;
    RETURN seconds;
END $$;

-- Without a backoff a nack gives the message back at once.
SELECT queue.create('retries');
SELECT queue.send('retries', '1');
SELECT msg_id, read_ct FROM queue.read('retries');
SELECT queue.nack('retries', 1);
SELECT msg_id, read_ct FROM queue.read('retries');
SELECT queue.nack('retries', 1, delay => 100);
SELECT pg_temp.pause('retries') BETWEEN 98 AND 100 AS delayed;

-- With one: after attempt n between a half and all of backoff * 2^(n-1).
SELECT queue.alter('retries', backoff => 1000, backoff_max => 5000);
SELECT queue.nack('retries', 1);
SELECT pg_temp.pause('retries') BETWEEN 998 AND 2000 AS second_attempt;
SELECT count(*) FROM queue.set_vt('retries', 1, 0);
SELECT msg_id, read_ct FROM queue.read('retries');
SELECT queue.nack('retries', 1);
SELECT pg_temp.pause('retries') BETWEEN 1998 AND 4000 AS third_attempt;
SELECT count(*) FROM queue.set_vt('retries', 1, 0);
SELECT msg_id, read_ct FROM queue.read('retries');
SELECT queue.nack('retries', 1);
SELECT pg_temp.pause('retries') BETWEEN 2498 AND 5000 AS at_most;
-- A delay of one's own is exact.
SELECT queue.nack('retries', 1, delay => 0);
SELECT msg_id, read_ct FROM queue.read('retries');
-- Many messages don't come back together.
SELECT queue.create('retries_many', backoff => 1000);
SELECT count(*) FROM queue.send_batch('retries_many', array_fill('1'::jsonb, '{1000}'));
SELECT count(queue.nack('retries_many', msg_id)) FROM queue.read('retries_many', qty => 1000);
SELECT min(p) BETWEEN 490 AND 600 AS early, max(p) BETWEEN 900 AND 1000 AS late, count(DISTINCT p) > 900 AS apart
FROM (SELECT extract(epoch FROM vt - clock_timestamp()) AS p FROM queue.q_retries_many) p;
SELECT queue.drop('retries_many');
-- A message that nobody has read yet counts as tried once.
SELECT queue.create('retries_fresh', backoff => 1000);
SELECT queue.send('retries_fresh', '1');
SELECT queue.nack('retries_fresh', 1);
SELECT pg_temp.pause('retries_fresh') BETWEEN 498 AND 1000 AS first_attempt;
SELECT queue.drop('retries_fresh');

-- A read that rolls back: the message waits for the backoff, also where that is longer than its lease.
SELECT queue.alter('retries', backoff => 2000, backoff_max => 2000);
SELECT count(*) FROM queue.set_vt('retries', 1, 0);
BEGIN;
SELECT msg_id, read_ct FROM queue.read('retries', vt => 0);
ROLLBACK;
SELECT msg_id FROM queue.read('retries');
SELECT msg_id FROM queue.peek('retries');
SELECT msg_id FROM queue.read('retries', filter => '1');
-- An UPDATE takes the pause along.
UPDATE queue.q_retries SET message = '2';
SELECT pg_temp.pause('retries') BETWEEN 990 AND 2000 AS paused;
SELECT count(*) FROM queue.set_vt('retries', 1, 0);
BEGIN;
SAVEPOINT a;
SELECT msg_id, read_ct FROM queue.read('retries');
ROLLBACK TO a;
SELECT msg_id FROM queue.read('retries');
COMMIT;
-- set_vt and nack end the pause.
SELECT count(*) FROM queue.set_vt('retries', 1, 0);
SELECT msg_id, read_ct FROM queue.read('retries');
SELECT queue.alter('retries', backoff => 0);
SELECT queue.nack('retries', 1);
BEGIN;
SELECT msg_id, read_ct FROM queue.read('retries');
ROLLBACK;
SELECT msg_id, read_ct FROM queue.read('retries');

-- Error texts.
SELECT queue.nack('retries', 1, error => 'first');
SELECT msg_id FROM queue.read('retries');
SELECT queue.nack('retries', 1, receipt, error => 'second') FROM queue.q_retries;
SELECT queue.nack('retries', 1, receipt - 1, error => 'fenced') FROM queue.q_retries;
SELECT queue.nack('retries', 99, error => 'no such message');
SELECT attempt, at BETWEEN now() - interval '1 minute' AND clock_timestamp() AS recent, error
FROM queue.errors('retries', 1);
SELECT * FROM queue.errors('retries', 2);
-- The text is undone by a rollback, the nack is not.
SELECT msg_id FROM queue.read('retries');
BEGIN;
SELECT queue.nack('retries', 1, delay => 100, error => 'third');
SELECT error FROM queue.errors('retries', 1);
ROLLBACK;
SELECT error FROM queue.errors('retries', 1);
SELECT pg_temp.pause('retries') > 90 AS nacked;
-- Cut off at a character's boundary, and an empty one.
SELECT queue.nack('retries', 1, delay => 0, error => 'x' || repeat('ü', 5000));
SELECT queue.nack('retries', 1, delay => 0, error => '');
SELECT octet_length(error), right(error, 1) FROM queue.errors('retries', 1) WHERE error NOT IN ('first', 'second');

-- Arguments and rights.
SELECT pg_temp.attempt($$SELECT queue.errors(NULL, 1)$$);
SELECT pg_temp.attempt($$SELECT queue.errors('retries', NULL)$$);
SELECT pg_temp.attempt($$SELECT queue.errors('retries_none', 1)$$);
SELECT pg_temp.attempt($$SELECT queue.nack('retries', NULL)$$);
SELECT pg_temp.attempt($$SELECT queue.nack('retries', 1, delay => 'NaN')$$);
CREATE ROLE regress_pgqueue_retrier;
SET ROLE regress_pgqueue_retrier;
SELECT pg_temp.attempt($$SELECT queue.errors('retries', 1)$$);
SELECT pg_temp.attempt($$SELECT queue.nack('retries', 1, error => 'x')$$);
SELECT pg_temp.attempt($$SELECT * FROM queue.failures$$);
RESET ROLE;
SELECT queue.grant('retries', 'regress_pgqueue_retrier', 'monitor');
SET ROLE regress_pgqueue_retrier;
SELECT count(*) FROM queue.errors('retries', 1);
SELECT pg_temp.attempt($$SELECT queue.nack('retries', 1, error => 'x')$$);
RESET ROLE;
SELECT queue.grant('retries', 'regress_pgqueue_retrier', 'consume');
SET ROLE regress_pgqueue_retrier;
SELECT queue.nack('retries', 1, error => 'by a consumer');
RESET ROLE;
SELECT count(*) FROM queue.errors('retries', 1);
BEGIN READ ONLY;
SELECT count(*) FROM queue.errors('retries', 1);
SELECT queue.nack('retries', 1, error => 'x');
ROLLBACK;

-- They go with the queue.
SELECT queue.drop('retries');
SELECT count(*) FROM queue.failures WHERE queue_name = 'retries';
DROP ROLE regress_pgqueue_retrier;
