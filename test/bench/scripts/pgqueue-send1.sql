SELECT queue.send('{queue}', :message);
