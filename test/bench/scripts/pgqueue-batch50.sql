SELECT d FROM (SELECT coalesce(array_agg(m.msg_id), '{}') AS ids FROM queue.read('{queue}', 30, 50) m) r, queue.delete_batch('{queue}', r.ids) d;
