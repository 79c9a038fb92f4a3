SELECT count(pgq.insert_event('{queue}', 'bench', m::text)) FROM unnest('{fifty}'::jsonb[]) m;
