-- Sending: what is stored, when it is due, what a batch answers.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null NULL

SELECT queue.create('send', vt => 3600);

-- Any jsonb, and NULL.
SELECT queue.send('send', '{"a": 1}');
SELECT queue.send('send', '""');
SELECT queue.send('send', 'null');
SELECT queue.send('send', '[]', '{}');
SELECT queue.send('send', NULL, '{"h": [1, {"x": null}]}');
SELECT queue.send('send', NULL);
SELECT queue.send('send', '-1.5e300', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT msg_id, read_ct, last_read_at, message, headers, priority, group_key, receipt FROM queue.peek('send', 10);
SELECT msg_id, read_ct, message IS NULL AS no_message, message, headers, priority, group_key FROM queue.read('send', qty => 10);
SELECT msg_id, last_read_at, receipt, read_ct, priority FROM queue.q_send WHERE read_ct = 0;

-- A batch: ids in its order; NULL elements are messages without content.
SELECT queue.send_batch('send', ARRAY['1', NULL, '"three"']::jsonb[]);
SELECT * FROM queue.send_batch('send', ARRAY['1', '2', '3']::jsonb[], ARRAY['{"n": 1}', NULL, '{}']::jsonb[]);
SELECT * FROM queue.send_batch('send', '[5:7]={1,2,3}'::jsonb[]);
SELECT msg_id, message, headers FROM queue.read('send', qty => 100);
SELECT * FROM queue.send_batch('send', '{}');
SELECT * FROM queue.send_batch('send', ARRAY[]::jsonb[], ARRAY[]::jsonb[]);
SELECT count(*), min(s), max(s) - min(s) AS span
FROM queue.send_batch('send', ARRAY(SELECT to_jsonb(i) FROM generate_series(1, 5000) i)) s;
SELECT count(*), count(DISTINCT msg_id), max(msg_id) - min(msg_id) AS span, bool_and((message::text)::int = msg_id - 16)
FROM queue.read('send', qty => 5000);
SELECT bool_and(ordered) FROM (SELECT msg_id > lag(msg_id, 1, 0::bigint) OVER () AS ordered
                               FROM queue.send_batch('send', array_fill('1'::jsonb, ARRAY[100])) msg_id) b;
SELECT queue.purge('send');

-- Delays: the queue's own, an argument's, an instant. In the past means now; one call has one instant.
SELECT queue.alter('send', delay => 1000);
SELECT queue.send('send', '"the queue''s delay"');
SELECT queue.send('send', '"none"', delay => 0);
SELECT queue.send('send', '"20 s"', delay => 20);
SELECT queue.send('send', '"1000.5 s"', delay => 1000.5);
SELECT queue.send('send', '"then"', deliver_at => now() + interval '1 day');
SELECT queue.send('send', '"past"', deliver_at => now() - interval '1 day');
SELECT queue.send('send', '"long past"', deliver_at => '0001-01-01');
SELECT queue.send('send', '"ten years"', delay => 315576000);
SELECT queue.send_batch('send', ARRAY['"batch, 20 s"', '"batch, 20 s"']::jsonb[], delay => 20);
SELECT queue.send_batch('send', ARRAY['"batch, now"']::jsonb[], delay => 0);
SELECT queue.send_batch('send', ARRAY['"batch, then"']::jsonb[], deliver_at => now() + interval '1 day');
SELECT message, CASE WHEN message::text LIKE '%then%' THEN vt - now() > interval '23 hours' END,
       CASE WHEN message::text NOT LIKE '%then%' THEN vt - enqueued_at END
FROM queue.q_send ORDER BY msg_id;
SELECT message FROM queue.read('send', qty => 100);
SELECT count(DISTINCT enqueued_at) FROM queue.q_send WHERE message = '"batch, 20 s"';
SELECT message FROM queue.peek('send', qty => 100);

-- Sends from SQL and PL/pgSQL functions, from a trigger, from a CTE that is read.
CREATE TABLE send_orders (id int);
CREATE FUNCTION send_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM queue.send('send', to_jsonb(new), '{"from": "trigger"}', delay => 0);
    RETURN new;
END $$;
CREATE TRIGGER send AFTER INSERT ON send_orders FOR EACH ROW EXECUTE FUNCTION send_order();
INSERT INTO send_orders SELECT generate_series(1, 3);
WITH sent AS (SELECT queue.send('send', '"from a CTE"', delay => 0) AS id) SELECT id > 0 FROM sent;
CREATE FUNCTION send_sql(j jsonb) RETURNS bigint LANGUAGE sql AS $$ SELECT queue.send('send', j, delay => 0) $$;
SELECT send_sql('"from SQL"') > 0;
SELECT message, headers FROM queue.read('send', qty => 100);
DROP FUNCTION send_sql;
DROP TABLE send_orders;
DROP FUNCTION send_order;

SELECT queue.drop('send');
