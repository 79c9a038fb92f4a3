SELECT d FROM (SELECT coalesce(array_agg(m.msg_id), '{}') AS ids FROM wrapper.read('{queue}', 30, 50) m) r, wrapper.delete_batch('{queue}', r.ids) d;
