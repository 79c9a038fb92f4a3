SELECT * FROM wrapper.pop('{queue}');
