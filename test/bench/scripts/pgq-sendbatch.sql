SELECT count(pgq.insert_event('{queue}', 'bench', m)) FROM unnest('{messages}'::text[]) m;
