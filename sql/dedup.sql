-- Deduplication: one message for a key, while it is there and for five minutes.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\set SHOW_CONTEXT never
SELECT queue.create('dd'), queue.create('dd2');
-- Time is moved by moving what is stored. An entry that is older than its queue would be another queue's.
UPDATE queue.settings SET created_at = created_at - interval '1 h' WHERE queue_name = 'dd';
SELECT queue.pause('dd'), queue.resume('dd');

SELECT queue.send('dd', '1', dedup_key => 'a');
SELECT queue.send('dd', '2', dedup_key => 'a');
SELECT queue.send('dd', '3', dedup_key => 'b'), queue.send('dd', '4'), queue.send('dd', '5', dedup_key => 'A');
-- Keys belong to a queue.
SELECT queue.send('dd2', '1', dedup_key => 'a'), queue.send('dd2', '2', dedup_key => 'b');
SELECT msg_id, message, dedup_key FROM queue.q_dd ORDER BY 1;
SELECT queue_name, dedup_key, msg_id FROM queue.dedup_keys ORDER BY 1, 2;

-- Within five minutes the message need not be there.
SELECT queue.delete('dd', 1);
SELECT queue.send('dd', '6', dedup_key => 'a');
-- Later it must.
UPDATE queue.dedup_keys SET sent_at = sent_at - interval '301 s';
SELECT queue.send('dd', '7', dedup_key => 'b'), queue.send('dd', '8', dedup_key => 'a'), queue.send('dd', '9', dedup_key => 'a');
SELECT msg_id FROM queue.pop('dd', 10);
UPDATE queue.dedup_keys SET sent_at = sent_at - interval '301 s';
-- Nor does it count that it is archived, or that the clock was set back.
SELECT queue.send('dd', '10', dedup_key => 'x'), queue.send('dd', '10', dedup_key => 'y');
SELECT queue.archive('dd', 6);
UPDATE queue.dedup_keys SET sent_at = sent_at - interval '301 s' WHERE dedup_key = 'x';
UPDATE queue.dedup_keys SET sent_at = sent_at + interval '1 day' WHERE dedup_key = 'y';
SELECT queue.send('dd', '11', dedup_key => 'x'), queue.send('dd', '11', dedup_key => 'y');
SELECT queue.delete('dd', 7);
SELECT queue.send('dd', '12', dedup_key => 'y');

-- Batches: the order of the input; the same key twice; some known; no key.
SELECT * FROM queue.send_batch('dd', ARRAY['1', '2', '3', '4', '5', '6']::jsonb[], dedup_keys => ARRAY['k2', NULL, 'k1', 'k2', 'x', NULL]);
SELECT * FROM queue.send_batch('dd', ARRAY['1', '2', '3']::jsonb[], dedup_keys => ARRAY['k1', 'k2', 'k3']);
SELECT * FROM queue.send_batch('dd', ARRAY['1', '2']::jsonb[], dedup_keys => ARRAY['k1', 'k1']);
SELECT * FROM queue.send_batch('dd', ARRAY['1', '2']::jsonb[], dedup_keys => ARRAY[NULL, NULL]::text[]);
SELECT * FROM queue.send_batch('dd', ARRAY['1']::jsonb[], dedup_keys => ARRAY['k9']);
SELECT * FROM queue.send_batch('dd', ARRAY['1']::jsonb[], dedup_keys => ARRAY['k9']);
SELECT msg_id, message, dedup_key FROM queue.q_dd WHERE msg_id >= 10 ORDER BY 1;

-- Rollbacks take the key along.
BEGIN;
SELECT queue.send('dd', '1', dedup_key => 'r') - 18;
SELECT queue.send('dd', '1', dedup_key => 'r') - 18;
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT queue.send('dd', '1', dedup_key => 'r') - 18;
ROLLBACK TO s;
SELECT queue.send('dd', '2', dedup_key => 'r') - 18;
SAVEPOINT s;
SELECT queue.delete('dd', 20);
UPDATE queue.dedup_keys SET sent_at = sent_at - interval '301 s' WHERE dedup_key = 'r';
SELECT queue.send('dd', '3', dedup_key => 'r') - 18;
ROLLBACK TO s;
SELECT queue.send('dd', '4', dedup_key => 'r') - 18;
COMMIT;
SELECT message FROM queue.q_dd WHERE dedup_key = 'r';

-- One statement
SELECT count(DISTINCT queue.send('dd', to_jsonb(i), dedup_key => 's' || i % 3)) FROM generate_series(1, 100) i;
SELECT count(*) FROM queue.q_dd WHERE dedup_key ~ '^s';
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT queue.send('dd', '1', dedup_key => 's1') = queue.send('dd', '1', dedup_key => 's1'), queue.send('dd', '1', dedup_key => 'rr') = queue.send('dd', '1', dedup_key => 'rr');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT queue.send('dd', '1', dedup_key => 's1') = queue.send('dd', '1', dedup_key => 's1'), queue.send('dd', '1', dedup_key => 'ser') = queue.send('dd', '1', dedup_key => 'ser');
COMMIT;

-- An error leaves no key.
ALTER TABLE queue."q_dd#1" ADD CONSTRAINT positive CHECK (message <> '-1');
\set VERBOSITY terse
SELECT queue.send('dd', '-1', dedup_key => 'e');
SELECT count(*) FROM queue.send_batch('dd', ARRAY['1', '-1']::jsonb[], dedup_keys => ARRAY['e', 'f']);
SELECT count(*) FROM queue.dedup_keys WHERE dedup_key IN ('e', 'f');
ALTER TABLE queue."q_dd#1" DROP CONSTRAINT positive;
\set VERBOSITY default
SELECT queue.send('dd', '1', dedup_key => '');
SELECT queue.send('dd', '1', dedup_key => repeat('x', 1025));
SELECT queue.send('dd', '1', dedup_key => repeat('x', 1024)) = queue.send('dd', '2', dedup_key => repeat('x', 1024));
SELECT * FROM queue.send_batch('dd', ARRAY['1']::jsonb[], dedup_keys => ARRAY['a', 'b']);

-- Delays, priorities, groups and a ttl go with it.
SELECT queue.send('dd', '"all"', '{"h": 1}', delay => 5, priority => 3, group_key => 'g', dedup_key => 'all', ttl => 60) > 0;
SELECT message, headers, vt - enqueued_at, priority, group_key, dedup_key, expires_at - vt FROM queue.q_dd WHERE dedup_key = 'all';

-- A purge forgets no key; a drop does, and another queue of the name has none.
SELECT queue.purge('dd') > 0;
SELECT queue.send('dd', '1', dedup_key => 'all') > 0, (SELECT count(*) FROM queue.q_dd);
SELECT queue.drop('dd'), count(*) > 10 FROM queue.dedup_keys WHERE queue_name = 'dd';
SELECT count(*) FROM queue.dedup_keys WHERE queue_name = 'dd';
SELECT queue.create('dd');
SELECT queue.send('dd', '1', dedup_key => 'all');
INSERT INTO queue.dedup_keys SELECT 99, created_at - interval '1 s', 'dd', 'old' FROM queue.settings WHERE queue_name = 'dd';
SELECT queue.send('dd', '1', dedup_key => 'old');

-- No lock for each key: more keys than the lock table has room for.
BEGIN;
SELECT count(*), count(DISTINCT s) FROM queue.send_batch('dd', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 100000) i), dedup_keys => (SELECT array_agg('bulk' || i % 90000) FROM generate_series(1, 100000) i)) s;
SELECT count(*) < 50 FROM pg_locks;
COMMIT;
SELECT count(*), max(msg_id) - min(msg_id) FROM queue.q_dd WHERE dedup_key LIKE 'bulk%';
SELECT count(*), count(DISTINCT s), max(s) - min(s) FROM queue.send_batch('dd', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 100000) i), dedup_keys => (SELECT array_agg('bulk' || i % 90000) FROM generate_series(1, 100000) i)) s;
SELECT count(*) FROM queue.q_dd;

-- Nobody else sees the keys.
CREATE ROLE regress_dd;
SELECT queue.grant('dd', 'regress_dd', 'send');
SET ROLE regress_dd;
SELECT queue.send('dd', '1', dedup_key => 'role') = queue.send('dd', '1', dedup_key => 'role');
SELECT count(*) FROM queue.dedup_keys;
RESET ROLE;
SELECT queue.drop('dd'), queue.drop('dd2');
DROP ROLE regress_dd;
SELECT count(*) FROM queue.dedup_keys;
