-- As drivers call: prepared statements with parameters of no stated type, NULL for what is left out, ints for bigints.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null NULL

SELECT queue.create('prepared', vt => 3600);
PREPARE send AS SELECT queue.send($1, $2, $3, $4, $5, $6, $7, $8, $9);
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'send';
EXECUTE send('prepared', '{"a": 1}', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
EXECUTE send('prepared', '2', '{"h": 2}', 0, NULL, 3, NULL, NULL, NULL);
PREPARE send_batch AS SELECT * FROM queue.send_batch($1, $2, $3, $4, $5, $6, $7, $8, $9);
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'send_batch';
EXECUTE send_batch('prepared', '{"1","2"}', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
PREPARE read AS SELECT msg_id, message, headers FROM queue.read($1, $2, $3, $4, $5, $6);
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'read';
EXECUTE read('prepared', NULL, NULL, NULL, NULL, NULL);
EXECUTE read('prepared', '3600', '1', NULL, NULL, NULL);
PREPARE read_ints AS SELECT msg_id FROM queue.read('prepared', 3600::int, 2::smallint);
PREPARE delete AS SELECT queue.delete($1, $2, $3);
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'delete';
EXECUTE delete('prepared', '1', NULL);
PREPARE delete_batch AS SELECT * FROM queue.delete_batch($1, $2, $3);
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'delete_batch';
EXECUTE delete_batch('prepared', '{1,2}', NULL);
PREPARE archive AS SELECT queue.archive($1, $2, $3);
EXECUTE archive('prepared', 3, NULL);
PREPARE archive_batch AS SELECT * FROM queue.archive_batch($1, $2, $3);
EXECUTE archive_batch('prepared', '{3,4}', NULL);
EXECUTE send('prepared', '5', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
PREPARE set_vt AS SELECT msg_id FROM queue.set_vt($1, $2, $3, $4, $5);
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'set_vt';
EXECUTE set_vt('prepared', 5, 60, NULL, NULL);
PREPARE set_vt_batch AS SELECT msg_id FROM queue.set_vt_batch($1, $2, $3, $4);
EXECUTE set_vt_batch('prepared', '{5}', 60, NULL);
PREPARE nack AS SELECT queue.nack($1, $2, $3, $4, $5);
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'nack';
EXECUTE nack('prepared', 5, NULL, NULL, NULL);
PREPARE peek AS SELECT message FROM queue.peek($1, $2);
EXECUTE peek('prepared', NULL);
PREPARE pop AS SELECT message FROM queue.pop($1, $2);
EXECUTE pop('prepared', NULL);
PREPARE admin AS SELECT queue.create($1, $2, $3, $4), queue.alter($1, $2), queue.pause($1), queue.resume($1), queue.purge($1), queue.drop($1);
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'admin';
EXECUTE admin('prepared_x', NULL, NULL, NULL);

-- Generic plans, many times over, and after the queue was dropped and made anew.
SET plan_cache_mode = force_generic_plan;
DO $$
DECLARE n bigint; m queue.message;
BEGIN
    FOR i IN 1..50 LOOP
        PERFORM queue.send('prepared', to_jsonb(i));
        SELECT * INTO m FROM queue.read('prepared');
        ASSERT m.message = to_jsonb(i);
        ASSERT queue.delete('prepared', m.msg_id, m.receipt);
    END LOOP;
END $$;
SELECT queue.drop('prepared'), queue.create('prepared', vt => 3600);
EXECUTE send('prepared', '"new"', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
EXECUTE read('prepared', NULL, NULL, NULL, NULL, NULL);
EXECUTE delete('prepared', 1, NULL);
EXECUTE pop('prepared', NULL);
SELECT queue.drop('prepared');
EXECUTE pop('prepared', NULL);
DEALLOCATE ALL;
