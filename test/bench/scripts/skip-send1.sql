INSERT INTO skip.{queue} (payload) VALUES (:message) RETURNING id;
