SELECT count(*) FROM queue.send_batch('{queue}', '{messages}'::jsonb[]);
