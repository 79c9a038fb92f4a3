SELECT count(*) FROM wrapper.send_batch('{queue}', '{messages}'::jsonb[]);
