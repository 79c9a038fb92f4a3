\set fate random(1, 10)
SELECT queue.send('{queue}', :message);
\if :fate = 1
SELECT queue.archive('{queue}', m.msg_id, m.receipt) FROM queue.read('{queue}', 30, 1) m;
\else
SELECT queue.delete('{queue}', m.msg_id, m.receipt) FROM queue.read('{queue}', 30, 1) m;
\endif
