SELECT * FROM queue.pop('{queue}');
