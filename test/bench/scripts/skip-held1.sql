INSERT INTO skip.{queue} (payload) VALUES (:message) RETURNING id;
DELETE FROM skip.{queue} WHERE id = (SELECT id FROM skip.{queue} WHERE status = 'ready' ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id;
