SELECT wrapper.send('{queue}', :message);
