SELECT queue.send('{queue}', :message);
SELECT queue.delete('{queue}', m.msg_id) FROM queue.read('{queue}', 30, 1) m;
