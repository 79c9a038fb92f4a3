INSERT INTO skip.{queue} (payload) SELECT unnest('{messages}'::jsonb[]);
