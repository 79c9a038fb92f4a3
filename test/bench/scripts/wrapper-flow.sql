SELECT wrapper.send('{queue}', :message);
SELECT wrapper.delete('{queue}', m.msg_id) FROM wrapper.read('{queue}', 30, 1) m;
