-- Messages that were tried as often as their queue allows.
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
SELECT queue.create('dl_dead', message_ttl => 1000), queue.create('dl', vt => 0, max_attempts => 2, dead_letter => 'dl_dead');
CREATE VIEW pg_temp.dead AS
SELECT msg_id, read_ct, priority, group_key, message, headers - 'dead_letter' AS own,
       headers->'dead_letter' #- '{at}' #- '{enqueued_at}' AS dead_letter,
       (headers #>> '{dead_letter,at}')::timestamptz BETWEEN now() - interval '1 minute' AND clock_timestamp() AS at,
       (headers #>> '{dead_letter,enqueued_at}')::timestamptz <= (headers #>> '{dead_letter,at}')::timestamptz AS sent,
       expires_at, dedup_key
FROM queue.q_dl_dead ORDER BY msg_id;


-- Read twice; the third read moves it.
SELECT queue.send('dl', '{"a": 1}', '{"mine": true}', priority => 3, group_key => 'g', ttl => 1000);
SELECT queue.send('dl', '{"a": 2}');
SELECT msg_id, read_ct, message FROM queue.read('dl', qty => 10);
SELECT msg_id, read_ct, message FROM queue.read('dl', qty => 1);
SELECT queue.send('dl', '{"a": 3}');
SELECT msg_id, message FROM queue.peek('dl', 10);
SELECT msg_id, read_ct, message FROM queue.read('dl', qty => 2);
SELECT * FROM pg_temp.dead;
SELECT msg_id FROM queue.q_dl;
-- read_ct is looked at, not who asked when: a lower setting moves them at once.
SELECT queue.alter('dl', max_attempts => 1);
SELECT msg_id FROM queue.read('dl', qty => 10);
SELECT msg_id, dead_letter FROM pg_temp.dead;
SELECT dead_total FROM queue.settings WHERE queue_name = 'dl';
SELECT count(*) FROM queue.q_dl;

-- A nack of the last attempt moves it at once, with its text.
SELECT count(*) FROM queue.purge('dl_dead');
SELECT queue.alter('dl', max_attempts => 2);
SELECT queue.send('dl', '4');
SELECT msg_id FROM queue.read('dl', vt => 100);
SELECT queue.nack('dl', 4, error => 'one');
SELECT msg_id, read_ct FROM queue.read('dl', vt => 100);
SELECT queue.nack('dl', 4, receipt - 1, error => 'fenced') FROM queue.q_dl;
SELECT queue.nack('dl', 4, receipt, error => 'two') FROM queue.q_dl;
SELECT count(*) FROM queue.q_dl;
SELECT dead_letter FROM pg_temp.dead;
SELECT attempt, error FROM queue.errors('dl', 4);
SELECT queue.nack('dl', 4);
-- Without a text: the newest that is known.
SELECT queue.send('dl', '5');
SELECT count(queue.nack('dl', msg_id, error => 'early')) FROM queue.read('dl');
SELECT count(queue.nack('dl', msg_id, delay => 100)) FROM queue.read('dl');
SELECT dead_letter FROM pg_temp.dead WHERE message = '5';
-- A nack of the last attempt that rolls back: the next read moves it, whatever the nack's delay was.
SELECT queue.send('dl', '6');
SELECT count(queue.nack('dl', msg_id)) FROM queue.read('dl');
BEGIN;
SELECT count(queue.nack('dl', msg_id, delay => 100, error => 'lost')) FROM queue.read('dl');
SELECT count(*) FROM queue.q_dl;
ROLLBACK;
SELECT msg_id, read_ct FROM queue.q_dl;
SELECT msg_id FROM queue.read('dl');
SELECT dead_letter FROM pg_temp.dead WHERE message = '6';

-- A read that rolls back loses and doubles nothing.
SELECT queue.send('dl', '7');
SELECT count(*) FROM queue.read('dl', vt => 0);
SELECT count(*) FROM queue.read('dl', vt => 0);
BEGIN;
SELECT count(*) FROM queue.read('dl');
SELECT (SELECT count(*) FROM queue.q_dl) AS queue, (SELECT count(*) FROM queue.q_dl_dead WHERE message = '7') AS dead;
ROLLBACK;
SELECT (SELECT count(*) FROM queue.q_dl) AS queue, (SELECT count(*) FROM queue.q_dl_dead WHERE message = '7') AS dead;
BEGIN;
SAVEPOINT a;
SELECT count(*) FROM queue.read('dl');
ROLLBACK TO a;
SELECT count(*) FROM queue.pop('dl');
COMMIT;
SELECT (SELECT count(*) FROM queue.q_dl) AS queue, (SELECT count(*) FROM queue.q_dl_dead WHERE message = '7') AS dead;

-- Many of them before one that can be had; a waiting read; a filtered read; CALL queue.wait.
SELECT count(*) FROM queue.purge('dl_dead');
SELECT count(*) FROM queue.send_batch('dl', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 500) i));
SELECT count(*) FROM queue.read('dl', vt => 0, qty => 400);
SELECT count(*) FROM queue.read('dl', vt => 0, qty => 400);
SELECT message, read_ct FROM queue.read('dl', vt => 0, qty => 1, wait => 10);
SELECT count(*), count(DISTINCT message), count(DISTINCT msg_id) FROM queue.q_dl_dead;
SELECT message, read_ct FROM queue.read('dl', vt => 0, qty => 1);
SELECT count(*) FROM queue.read('dl', filter => '401');
SELECT message FROM queue.q_dl_dead ORDER BY msg_id DESC LIMIT 1;
SELECT count(*) FROM queue.purge('dl');
SELECT queue.send('dl', '8');
SELECT count(*) FROM queue.read('dl', vt => 0);
SELECT count(*) FROM queue.read('dl', vt => 0);
CALL queue.wait('dl', 0.01);
SELECT (SELECT count(*) FROM queue.q_dl) AS queue, (SELECT count(*) FROM queue.q_dl_dead WHERE message = '8') AS dead;

-- Big messages and headers.
SELECT queue.send('dl', jsonb_build_object('t', string_agg(md5(i::text), '')), jsonb_build_object('h', string_agg(md5(i::text), '')))
FROM generate_series(1, 2000) i;
SELECT count(*) FROM queue.read('dl', vt => 0);
SELECT count(*) FROM queue.read('dl', vt => 0);
SELECT count(*) FROM queue.read('dl', vt => 0);
SELECT md5(message->>'t') = md5(string_agg(md5(i::text), '')) AS message, md5(headers->>'h') = md5(string_agg(md5(i::text), '')) AS headers
FROM queue.q_dl_dead, generate_series(1, 2000) i WHERE headers ? 'h' GROUP BY message, headers;

-- A header of that name is replaced; headers that an UPDATE has made something else are left out.
SELECT queue.send('dl', '9', '{"dead_letter": {"queue": "forged"}, "x": 1}'), queue.send('dl', '10');
UPDATE queue.q_dl SET headers = '[1]' WHERE message = '10';
SELECT count(*) FROM queue.read('dl', vt => 0, qty => 2);
SELECT count(*) FROM queue.read('dl', vt => 0, qty => 2);
SELECT count(*) FROM queue.read('dl', vt => 0, qty => 2);
SELECT message, own, dead_letter FROM pg_temp.dead WHERE message IN ('9', '10');

-- A fifo queue of dead letters has no priorities.
SELECT queue.create('dl_fifo', fifo => true);
SELECT queue.alter('dl', dead_letter => 'dl_fifo', max_attempts => 1);
SELECT queue.send('dl', '11', priority => 7, group_key => 'g');
SELECT count(queue.nack('dl', msg_id)) FROM queue.read('dl');
SELECT message, priority, group_key FROM queue.q_dl_fifo;

-- Its queue was dropped, or there is none: to the archive.
SELECT queue.drop('dl_fifo');
SELECT queue.send('dl', '12', '{"mine": 12}') AS id \gset
SELECT count(queue.nack('dl', msg_id, error => 'why')) FROM queue.read('dl');
SELECT msg_id = :id AS same_id, read_ct, message, headers - 'dead_letter' AS own, headers->'dead_letter'->>'error' AS error,
       (headers->'dead_letter'->>'msg_id')::bigint = msg_id AS names_it FROM queue.a_dl;
SELECT queue.alter('dl', reset => '{dead_letter}');
SELECT queue.send('dl', '13') > 0;
SELECT count(*) FROM queue.read('dl', vt => 0);
SELECT count(*) FROM queue.read('dl', vt => 0);
SELECT message, read_ct, headers->'dead_letter'->>'reason' AS reason FROM queue.a_dl WHERE message = '13';
SELECT count(*) FROM queue.q_dl;

-- Rights: a reader needs none on the queue of dead letters, nor DELETE on its own. The target owner's code runs as its
-- owner.
CREATE ROLE regress_pgqueue_dl_owner;
CREATE ROLE regress_pgqueue_dl_reader;
SELECT format('GRANT CREATE ON DATABASE %I TO regress_pgqueue_dl_owner', current_database()) \gexec
SET ROLE regress_pgqueue_dl_owner;
SELECT queue.create('dl_other');
RESET ROLE;
CREATE SCHEMA dl_code AUTHORIZATION regress_pgqueue_dl_owner;
GRANT USAGE ON SCHEMA dl_code TO PUBLIC;
SET ROLE regress_pgqueue_dl_owner;
CREATE TABLE dl_code.seen (who name);
CREATE FUNCTION dl_code.look() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO dl_code.seen VALUES (current_user);
    RETURN true;
END $$;
ALTER TABLE queue."q_dl_other#1" ADD CHECK (dl_code.look());
TRUNCATE dl_code.seen;
RESET ROLE;
SELECT queue.alter('dl', dead_letter => 'dl_other', max_attempts => 1);
GRANT SELECT, UPDATE ON queue.q_dl TO regress_pgqueue_dl_reader;
SELECT queue.send('dl', '14') > 0, queue.send('dl', '15') > 0;
SET ROLE regress_pgqueue_dl_reader;
SELECT message FROM queue.read('dl', vt => 0, qty => 2);
SELECT message FROM queue.read('dl', vt => 0, qty => 2);
SELECT pg_temp.attempt('SELECT * FROM queue.q_dl_other');
SELECT current_user;
RESET ROLE;
SELECT message FROM queue.q_dl_other;
SELECT * FROM dl_code.seen;
-- What that code refuses stays where it is.
SET ROLE regress_pgqueue_dl_owner;
ALTER TABLE queue."q_dl_other#1" ADD CONSTRAINT small CHECK ((message::text)::int < 100);
RESET ROLE;
SELECT queue.send('dl', '100') > 0;
SELECT message FROM queue.read('dl', vt => 0);
SELECT pg_temp.attempt($$SELECT * FROM queue.read('dl')$$);
SELECT message FROM queue.q_dl;
-- Nor is an archive's code run as the reader.
SET ROLE regress_pgqueue_dl_owner;
SELECT queue.create('dl_archive', max_attempts => 1);
ALTER TABLE queue.a_dl_archive ADD CHECK (dl_code.look());
TRUNCATE dl_code.seen;
SELECT queue.send('dl_archive', '1') > 0;
SELECT queue.grant('dl_archive', 'regress_pgqueue_dl_reader', 'consume');
SET ROLE regress_pgqueue_dl_reader;
SELECT message FROM queue.read('dl_archive', vt => 0);
SELECT count(*) FROM queue.read('dl_archive', vt => 0);
RESET ROLE;
SELECT message FROM queue.a_dl_archive;
SELECT * FROM dl_code.seen;
SELECT queue.drop('dl_archive');
DROP VIEW pg_temp.dead;
SELECT queue.drop('dl'), queue.drop('dl_dead'), queue.drop('dl_other');
DROP SCHEMA dl_code CASCADE;
SELECT format('REVOKE CREATE ON DATABASE %I FROM regress_pgqueue_dl_owner', current_database()) \gexec
DROP ROLE regress_pgqueue_dl_owner, regress_pgqueue_dl_reader;

-- CALL queue.wait moves what has no attempts left, a large message too, for which there must be a snapshot.
SELECT queue.create('waited_dead'), queue.create('waited', max_attempts => 1, dead_letter => 'waited_dead');
SELECT queue.send('waited', jsonb_build_object('x', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i))) > 0;
SELECT read_ct FROM queue.read('waited', vt => 0.5);
SELECT queue.send('waited', '"later"', delay => 1.5) > 0;
CALL queue.wait('waited', 60);
SELECT length(message->>'x') FROM queue.q_waited_dead;
SELECT message FROM queue.read('waited');
SELECT queue.drop('waited'), queue.drop('waited_dead');
