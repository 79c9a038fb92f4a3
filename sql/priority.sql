-- Priorities: higher ones first, the oldest first among equals, whatever their number.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null NULL

SELECT queue.create('priority', vt => 3600);
SELECT queue.send('priority', '"middle 1"');
SELECT queue.send('priority', '"low"', priority => -5);
SELECT queue.send('priority', '"high 1"', priority => 10);
SELECT queue.send('priority', '"middle 2"', priority => 0);
SELECT queue.send('priority', '"high 2"', priority => 10);
SELECT queue.send('priority', '"lowest"', priority => -2147483648);
SELECT queue.send('priority', '"highest"', priority => 2147483647);
SELECT queue.send('priority', '"middle 3"', priority => NULL);
SELECT message, priority FROM queue.peek('priority', qty => 10);
SELECT message, priority FROM queue.read('priority');
SELECT message, priority FROM queue.read('priority', qty => 2);
SELECT message, priority FROM queue.read('priority', qty => 10);
SELECT queue.purge('priority');

-- A later one of a high priority overtakes; a delayed one only when it is due; a nacked one keeps its own.
SELECT queue.send_batch('priority', ARRAY['1', '2', '3']::jsonb[], priority => 1);
SELECT message FROM queue.read('priority');
SELECT queue.send('priority', '"urgent"', priority => 2) AS id \gset
SELECT queue.send('priority', '"urgent, later"', priority => 2, delay => 3600) > 0;
SELECT message FROM queue.read('priority');
SELECT queue.nack('priority', :id);
SELECT message, read_ct FROM queue.read('priority', qty => 10);
SELECT queue.purge('priority');

-- Sixteen different priorities are in strict order. With more, nothing is lost.
SELECT queue.drop('priority'), queue.create('priority', vt => 3600);
SELECT count(queue.send('priority', to_jsonb(p), priority => p)) FROM generate_series(-7, 8) p;
SELECT string_agg(priority::text, ' ') FROM queue.read('priority', qty => 100);
SELECT queue.purge('priority');
SELECT count(queue.send('priority', to_jsonb(p), priority => p)) FROM (SELECT (i * 37) % 101 - 50 AS p FROM generate_series(1, 100) i ORDER BY i) s;
SELECT count(*) FROM queue.peek('priority', qty => 1000);
SELECT count(*), count(DISTINCT priority), bool_and(message = to_jsonb(priority)) FROM queue.read('priority', qty => 1000);
SELECT count(*) FROM queue.read('priority', qty => 1000);
SELECT queue.purge('priority');
-- A table that nobody has looked at since a start has them in order as well: VACUUM FULL gives it a new file and map.
SELECT queue.drop('priority'), queue.create('priority', vt => 3600);
SELECT count(queue.send('priority', to_jsonb(i), priority => i % 3)) FROM generate_series(1, 600) i;
VACUUM FULL queue."q_priority#1";
SELECT count(*) FROM queue.read('priority', qty => 1000, filter => '-1');
SELECT priority, count(*), bool_and(ordered)
FROM (SELECT priority, msg_id > coalesce(lag(msg_id) OVER (PARTITION BY priority ORDER BY ordinality), 0) AS ordered
      FROM queue.read('priority', qty => 1000) WITH ORDINALITY) r
GROUP BY priority
ORDER BY priority;
SELECT queue.send('priority', '1', priority => 2147483648);
SELECT queue.send('priority', '1', priority => -2147483649);
SELECT queue.drop('priority');
