SELECT coalesce(pgq.next_batch('{queue}', 'bench'), 0) AS batch \gset
\if :batch
SELECT ev_id FROM pgq.get_batch_events(:batch);
SELECT pgq.finish_batch(:batch);
\else
\sleep 10 ms
\endif
