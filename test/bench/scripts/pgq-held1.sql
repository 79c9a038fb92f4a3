SELECT pgq.insert_event('{queue}', 'bench', :message);
