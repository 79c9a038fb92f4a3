INSERT INTO wrapper.q_{queue} (vt, message) SELECT now(), unnest('{messages}'::jsonb[]);
