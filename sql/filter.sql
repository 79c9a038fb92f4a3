-- Filtered reads leave no trace where nothing matches: neither on the page map nor in the order of others.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on

SELECT queue.create('filter', vt => 3600);
SELECT count(queue.send('filter', jsonb_build_object('n', i, 'odd', i % 2 = 1), priority => i % 3)) FROM generate_series(1, 300) i;
-- Nothing matches, and it is asked again and again, before anybody has read and after.
SELECT count(*) FROM generate_series(1, 5) i, queue.read('filter', qty => 10 + 0 * i, filter => '{"none": 1}');
SELECT string_agg(message ->> 'n', ' ') FROM queue.read('filter', qty => 5);
SELECT count(*) FROM generate_series(1, 5) i, queue.read('filter', qty => 10 + 0 * i, filter => '{"none": 1}');
SELECT string_agg(message ->> 'n', ' ') FROM queue.read('filter', qty => 5);
-- Some match, on all pages.
SELECT string_agg(message ->> 'n', ' ') FROM queue.read('filter', qty => 5, filter => '{"odd": true}');
SELECT string_agg(message ->> 'n', ' ') FROM queue.read('filter', qty => 3, filter => '{"n": 300}');
-- What comes while nothing matches is found by both.
SELECT queue.send('filter', '{"none": 1}');
SELECT message FROM queue.read('filter', qty => 10, filter => '{"none": 1}');
SELECT count(*) FROM queue.read('filter', qty => 10, filter => '{"none": 1}');
-- A delayed message is found when it is due, though the page was passed by before.
SELECT queue.send('filter', '{"late": 1}', delay => 0.05);
SELECT message FROM queue.read('filter', wait => 60, filter => '{"late": 1}');
-- The rest is there, each once.
SELECT count(*), count(DISTINCT msg_id) FROM queue.read('filter', qty => 1000);
SELECT count(*) FROM queue.read('filter', qty => 1000);
SELECT queue.drop('filter');

-- By groups: a message that is passed by holds back what comes behind it in its group, and no others.
SELECT queue.create('filter', vt => 3600, fifo => true);
SELECT queue.send('filter', '{"kind": "a"}', group_key => 'g');
SELECT queue.send('filter', '{"kind": "b"}', group_key => 'g');
SELECT queue.send('filter', '{"kind": "b"}', group_key => 'h');
SELECT msg_id, group_key FROM queue.read('filter', qty => 10, filter => '{"kind": "b"}');
SELECT msg_id, group_key FROM queue.read('filter', qty => 10, filter => '{"kind": "a"}') m WHERE queue.delete('filter', m.msg_id);
SELECT msg_id, group_key FROM queue.read('filter', qty => 10, filter => '{"kind": "b"}');
SELECT queue.drop('filter');
