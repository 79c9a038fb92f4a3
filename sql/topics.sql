-- Topics: queues bound to patterns, and messages published to all that match.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\set SHOW_CONTEXT never

SELECT queue.create('t_all'), queue.create('t_eu'), queue.create('t_paid', delay => 60, message_ttl => 600);
SELECT queue.bind('#', 't_all'), queue.bind('orders.eu.*', 't_eu'), queue.bind('orders.#.paid', 't_paid');
SELECT queue.bind('#', 't_all'), queue.bind('orders.*.created', 't_eu');
SELECT pattern, queue_name, created_at <= clock_timestamp() FROM queue.bindings WHERE queue_name LIKE 't\_%' ORDER BY 2, 1;

-- Copies made: one for each queue, however many of its patterns match.
SELECT queue.publish('orders.eu.created', '{"n": 1}');
SELECT queue.publish('orders.us.paid', '{"n": 2}', headers => '{"a": 1}');
SELECT queue.publish('orders.paid', NULL, headers => '{"topic": "mine"}');
SELECT queue.publish('else', '[]', delay => 30);
SELECT msg_id, message, headers, round(extract(epoch FROM vt - enqueued_at)) FROM queue.q_t_all ORDER BY 1;
SELECT msg_id, message, headers FROM queue.q_t_eu ORDER BY 1;
SELECT msg_id, message, headers, round(extract(epoch FROM vt - enqueued_at)), round(extract(epoch FROM expires_at - vt)) FROM queue.q_t_paid ORDER BY 1;
SELECT message FROM queue.read('t_all', qty => 10);

-- Batches
SELECT * FROM queue.publish_batch('orders.eu.paid', ARRAY['1', NULL, '3']::jsonb[], ARRAY['{"x": 1}', NULL, '{}']::jsonb[]);
SELECT msg_id, message, headers FROM queue.q_t_eu ORDER BY 1;
SELECT * FROM queue.publish_batch('orders.eu.paid', '{}');
SELECT queue.unbind('#', 't_all'), queue.unbind('#', 't_all');
SELECT queue.publish('else', '1');
SELECT * FROM queue.publish_batch('else', ARRAY['1']::jsonb[]);

-- Atomic with the transaction
BEGIN;
SELECT queue.bind('tx', 't_all');
SELECT queue.publish('tx', '1');
SAVEPOINT s;
SELECT queue.bind('tx', 't_eu');
SELECT queue.publish('tx', '2');
ROLLBACK TO s;
SELECT queue.publish('tx', '3');
ROLLBACK;
SELECT queue.publish('tx', '4');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT queue.bind('rr', 't_eu'), queue.publish('rr', '5');
COMMIT;
SELECT queue.publish('rr', '6'), queue.unbind('rr', 't_eu'), queue.publish('rr', '7');
SELECT message FROM queue.q_t_eu ORDER BY msg_id DESC LIMIT 2;

-- However the table changes
INSERT INTO queue.bindings (pattern, queue_name) VALUES ('sql', 't_eu'), ('sql', 't_nowhere'), ('sql', repeat('x', 60)), ('sql', '');
SELECT queue.publish('sql', '1');
UPDATE queue.bindings SET pattern = 'sql2' WHERE queue_name = 't_eu' AND pattern = 'sql';
SELECT queue.publish('sql', '1'), queue.publish('sql2', '1');
DELETE FROM queue.bindings WHERE pattern LIKE 'sql%';
SELECT queue.publish('sql', '1'), queue.publish('sql2', '1');

-- Bad patterns and topics
SELECT queue.bind('', 't_eu');
SELECT queue.bind(repeat('x', 256), 't_eu');
SELECT queue.bind(repeat('x', 255), 't_eu'), queue.unbind(repeat('x', 255), 't_eu');
SELECT queue.bind('a..b', 't_eu');
SELECT queue.bind('.a', 't_eu');
SELECT queue.bind('a.', 't_eu');
SELECT queue.bind('.', 't_eu');
SELECT queue.bind('a.b*', 't_eu');
SELECT queue.bind('##', 't_eu');
SELECT queue.unbind('a.#b', 't_eu');
SELECT queue.publish('', '1');
SELECT queue.publish('a.*', '1');
SELECT queue.publish('#', '1');
SELECT queue.publish('a..b', '1');
SELECT queue.publish(repeat('ü', 128), '1');
SELECT queue.publish_batch('a*', '{}');
SELECT queue.publish('a', '1', headers => '[]');
SELECT queue.publish('a', '1', delay => -1);
SELECT queue.publish_batch('a', ARRAY['1']::jsonb[], ARRAY[]::jsonb[]);
SELECT queue.publish(NULL, '1');
SELECT queue.publish_batch('a', NULL);
SELECT queue.bind(NULL, 't_eu');
SELECT queue.bind('a', NULL);
SELECT queue.unbind('a', NULL);
SELECT queue.bind('a', 't_nowhere');
SELECT queue.unbind('a', 't_nowhere');
SELECT queue.bind('a', 'no such name');
BEGIN READ ONLY;
SELECT queue.publish('a', '1');
ROLLBACK;
BEGIN READ ONLY;
SELECT queue.bind('a', 't_eu');
ROLLBACK;
CREATE TABLE queue.no_bindings ();
CREATE TRIGGER t AFTER INSERT ON queue.no_bindings FOR EACH ROW EXECUTE FUNCTION queue.on_bindings();
INSERT INTO queue.no_bindings DEFAULT VALUES;
DROP TABLE queue.no_bindings;

-- Rights: to bind, that to send; to publish, none.
CREATE ROLE regress_t_owner;
CREATE ROLE regress_t_sender;
CREATE ROLE regress_t_other;
SELECT queue.create('t_owned');
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['q_t_owned', 'q_t_owned#1', 'a_t_owned'] LOOP
        EXECUTE format('ALTER TABLE queue.%I OWNER TO regress_t_owner', t);
    END LOOP;
END $$;
SET ROLE regress_t_owner;
SELECT queue.grant('t_owned', 'regress_t_sender', 'send');
SET ROLE regress_t_other;
SELECT queue.bind('owned', 't_owned');
SELECT queue.unbind('owned', 't_owned');
SET ROLE regress_t_sender;
SELECT queue.bind('owned', 't_owned');
SET ROLE regress_t_other;
SELECT count(*) FROM queue.bindings WHERE pattern = 'owned';
DELETE FROM queue.bindings;
SELECT queue.publish('owned', '1');
SELECT queue.send('t_owned', '1');
-- CHECKs and index expressions are the owner's code, and run as the owner.
RESET ROLE;
CREATE FUNCTION regress_t_who(jsonb) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RAISE NOTICE 'checked as %', current_user;
    RETURN true;
END $$;
SET ROLE regress_t_owner;
ALTER TABLE queue."q_t_owned" ADD CHECK (public.regress_t_who(message)) NOT VALID;
SET ROLE regress_t_other;
SELECT queue.publish('owned', '2');
SELECT current_user;
SET ROLE regress_t_owner;
SELECT queue.publish('owned', '3');
SELECT msg_id, message FROM queue.q_t_owned ORDER BY 1;
-- An owner without the right to send may still unbind.
REVOKE INSERT ON queue.q_t_owned FROM regress_t_owner;
SELECT queue.bind('owned2', 't_owned');
SELECT queue.unbind('owned', 't_owned');
RESET ROLE;
SELECT queue.bind('gone', 't_owned'), queue.bind('gone', 't_eu');

-- A queue that is gone is passed by; its bindings go with it, or when another one takes the name.
DROP TABLE queue.q_t_owned CASCADE;
SELECT queue.publish('gone', '1');
DROP TABLE queue.a_t_owned;
SELECT queue.create('t_owned');
SELECT queue.publish('gone', '1');
SELECT queue.bind('gone', 't_owned'), queue.drop('t_owned');
SELECT pattern, queue_name FROM queue.bindings WHERE pattern = 'gone';
DROP FUNCTION regress_t_who(jsonb);
DROP ROLE regress_t_owner, regress_t_sender, regress_t_other;

-- A large message is fetched and stored whole.
CREATE TABLE t_big AS SELECT jsonb_build_object('v', string_agg(md5(i::text), '')) AS v FROM generate_series(1, 1000) i;
SELECT queue.bind('big', 't_all'), queue.bind('big', 't_eu');
SELECT queue.publish('big', v) FROM t_big;
SELECT message = v FROM queue.q_t_all, t_big ORDER BY msg_id DESC LIMIT 1;
SELECT message = v FROM queue.q_t_eu, t_big ORDER BY msg_id DESC LIMIT 1;
DROP TABLE t_big;

-- The matcher beside a regular expression. 40 queues, thousands of random patterns of few words.
SET client_min_messages = warning;
SELECT count(queue.create('m' || i)) FROM generate_series(1, 40) i;
SELECT setseed(0.5);
CREATE TEMP TABLE pats AS
SELECT DISTINCT string_agg((ARRAY['a', 'b', 'ab', '*', '#', 'c-', 'ü'])[1 + floor(random() * 7)::int], '.') AS p, 'm' || 1 + g % 40 AS q
FROM generate_series(1, 3000) g, generate_series(1, 1 + (g * 7919) % 5) GROUP BY g;
SELECT count(*) > 1500, count(queue.bind(p, q)) = count(*) FROM pats;
CREATE TEMP TABLE tops AS
SELECT DISTINCT string_agg((ARRAY['a', 'b', 'ab', 'c-', 'ü', 'z'])[1 + floor(random() * 6)::int], '.') AS t
FROM generate_series(1, 1500) g, generate_series(1, 1 + (g * 104729) % 6) GROUP BY g;
CREATE FUNCTION as_regexp(p text) RETURNS text LANGUAGE sql AS $$
    -- Each word with the dot before it; the topic gets one in front.
    SELECT '^' || string_agg(CASE w WHEN '#' THEN '([.][^.]+)*' WHEN '*' THEN '[.][^.]+' ELSE '[.]' || w END, '' ORDER BY n) || '$'
    FROM string_to_table(p, '.') WITH ORDINALITY AS x(w, n)
$$;
SELECT as_regexp('a.#.*');
CREATE TEMP TABLE want AS
SELECT t, q FROM (SELECT q, as_regexp(p) AS r FROM pats OFFSET 0) p CROSS JOIN LATERAL (SELECT t FROM tops WHERE '.' || t ~ r OFFSET 0) x GROUP BY t, q;
CREATE TEMP TABLE got AS
SELECT t, queue_name AS q FROM tops CROSS JOIN LATERAL queue.publish_batch(t, ARRAY['0']::jsonb[]) GROUP BY t, queue_name HAVING count(*) = 1;
SELECT (SELECT count(*) > 500 FROM tops) AS topics, (SELECT count(*) > 5000 FROM want) AS copies,
       (SELECT count(*) FROM (TABLE want EXCEPT TABLE got) x) AS missing, (SELECT count(*) FROM (TABLE got EXCEPT TABLE want) x) AS wrong;

-- Ways to write a word any number of times don't multiply.
SELECT queue.bind(rtrim(repeat('#.a.', 60), '.'), 'm1'), queue.bind(rtrim(repeat('#.', 120), '.'), 'm2'), queue.bind(repeat('*.#.', 60) || 'a', 'm3');
SELECT count(*) FILTER (WHERE queue_name IN ('m1', 'm2', 'm3')) FROM queue.publish_batch(rtrim(repeat('a.', 127), '.'), ARRAY['1']::jsonb[]);
SELECT count(*) FILTER (WHERE queue_name IN ('m1', 'm3')) FROM queue.publish_batch(repeat('a.', 126) || 'b', ARRAY['1']::jsonb[]);

-- 10,000 bindings, of which ten match.
DELETE FROM queue.bindings WHERE queue_name LIKE 'm%';
SELECT count(queue.bind('many.' || i || '.*', 'm' || 1 + i % 40)) FROM generate_series(1, 10000) i;
SELECT count(queue.bind('few.*', 'm' || i)) FROM generate_series(1, 10) i;
SELECT queue.publish('few.x', '1'), queue.publish('many.77.x', '1'), queue.publish('many.77', '1'), queue.publish('many.10001.x', '1');
SELECT count(queue.drop('m' || i)) FROM generate_series(1, 40) i;
SELECT count(*) FROM queue.bindings WHERE queue_name LIKE 'm%';

SELECT queue.drop('t_all'), queue.drop('t_eu'), queue.drop('t_paid');
SELECT count(*) FROM queue.bindings WHERE queue_name LIKE 't\_%';
DROP FUNCTION as_regexp;
