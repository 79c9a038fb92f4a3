\set fate random(1, 10)
SELECT count(*) FROM queue.send_batch('{queue}', '{fifty}'::jsonb[]);
\if :fate = 1
SELECT count(*) FROM (SELECT coalesce(array_agg(m.msg_id), '{}') AS ids, coalesce(array_agg(m.receipt), '{}') AS receipts FROM queue.read('{queue}', 30, 50) m) r, queue.archive_batch('{queue}', r.ids, r.receipts) d;
\else
SELECT count(*) FROM (SELECT coalesce(array_agg(m.msg_id), '{}') AS ids, coalesce(array_agg(m.receipt), '{}') AS receipts FROM queue.read('{queue}', 30, 50) m) r, queue.delete_batch('{queue}', r.ids, r.receipts) d;
\endif
