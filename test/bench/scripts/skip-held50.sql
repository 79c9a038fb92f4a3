INSERT INTO skip.{queue} (payload) SELECT unnest('{fifty}'::jsonb[]);
DELETE FROM skip.{queue} WHERE id = ANY (ARRAY (SELECT id FROM skip.{queue} WHERE status = 'ready' ORDER BY created_at LIMIT 50 FOR UPDATE SKIP LOCKED)) RETURNING id;
