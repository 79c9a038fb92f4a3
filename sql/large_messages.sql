-- Messages of all sizes: empty, inline, compressed, in the TOAST table.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null NULL

SELECT queue.create('large', vt => 3600);
CREATE FUNCTION pg_temp.noise(bytes int) RETURNS jsonb LANGUAGE sql AS $$
    SELECT to_jsonb(left(string_agg(md5(i::text), ''), bytes)) FROM generate_series(1, bytes / 32 + 1) i
$$;
CREATE TEMP TABLE sizes (size int, kind text, message jsonb);
INSERT INTO sizes SELECT size, 'noise', pg_temp.noise(size) FROM unnest('{0,1,100,1900,1990,2000,2010,2100,4000,8000,8200,20000,100000,3000000}'::int[]) size;
INSERT INTO sizes SELECT size, 'zeros', to_jsonb(repeat('0', size)) FROM unnest('{2000,8200,100000,3000000}'::int[]) size;
SELECT count(queue.send('large', message, jsonb_build_object('size', size, 'kind', kind))) FROM sizes;
SELECT reltoastrelid <> 0 AND pg_relation_size(reltoastrelid) > 3000000 AS toasted FROM pg_class WHERE oid = 'queue."q_large#1"'::regclass;
-- Each comes back as it was; a lease doesn't copy the value.
SELECT s.size, s.kind, r.message = s.message AS same, r.read_ct
FROM queue.read('large', qty => 100) r JOIN sizes s ON s.size = (headers ->> 'size')::int AND s.kind = headers ->> 'kind'
ORDER BY r.msg_id;
SELECT pg_relation_size(reltoastrelid) AS before FROM pg_class WHERE oid = 'queue."q_large#1"'::regclass \gset
SELECT count(queue.nack('large', msg_id)) FROM queue.q_large;
SELECT count(*) FROM queue.read('large', qty => 100);
SELECT pg_relation_size(reltoastrelid) = :before FROM pg_class WHERE oid = 'queue."q_large#1"'::regclass;
-- What was read stays whole after the message is gone.
SELECT count(queue.nack('large', msg_id)) FROM queue.q_large;
CREATE TEMP TABLE popped AS SELECT * FROM queue.pop('large', 100);
VACUUM queue."q_large#1";
SELECT count(*), bool_and(p.message = s.message) FROM popped p JOIN sizes s ON s.size = (headers ->> 'size')::int AND s.kind = headers ->> 'kind';

-- Sent from a column that is compressed or lies in another TOAST table, which then is gone.
CREATE TEMP TABLE source AS SELECT * FROM sizes;
SELECT count(queue.send('large', message, jsonb_build_object('size', size, 'kind', kind))) FROM source;
SELECT count(*) FROM queue.send_batch('large', (SELECT array_agg(message ORDER BY size, kind) FROM source),
                                               (SELECT array_agg(jsonb_build_object('size', size, 'kind', kind) ORDER BY size, kind) FROM source));
DROP TABLE source;
SELECT count(*), bool_and(p.message = s.message)
FROM queue.pop('large', 100) p JOIN sizes s ON s.size = (headers ->> 'size')::int AND s.kind = headers ->> 'kind';

-- In batches, with large headers, filtered, archived, updated, rolled back.
SELECT count(*) FROM queue.send_batch('large', ARRAY(SELECT pg_temp.noise(n * 1000) FROM generate_series(1, 30) n),
                                               ARRAY(SELECT jsonb_build_object('n', n, 'h', pg_temp.noise(n * 500)) FROM generate_series(1, 30) n));
SELECT msg_id, headers -> 'n' AS n, length(message #>> '{}') AS length FROM queue.read('large', filter => pg_temp.noise(17000));
SELECT count(*), bool_and(message = pg_temp.noise((headers ->> 'n')::int * 1000) AND headers -> 'h' = pg_temp.noise((headers ->> 'n')::int * 500))
FROM queue.read('large', qty => 100);
SELECT count(queue.archive('large', msg_id)) FROM (SELECT msg_id FROM queue.q_large WHERE (headers ->> 'n')::int % 3 = 0) q;
SELECT count(*), bool_and(message = pg_temp.noise((headers ->> 'n')::int * 1000) AND headers -> 'h' = pg_temp.noise((headers ->> 'n')::int * 500))
FROM queue.a_large;
UPDATE queue.q_large SET vt = now();
SELECT count(*), bool_and(message = pg_temp.noise((headers ->> 'n')::int * 1000)) FROM queue.read('large', qty => 100);
UPDATE queue.q_large SET message = pg_temp.noise(50000) WHERE headers ->> 'n' = '1';
SELECT queue.delete('large', msg_id) FROM queue.q_large WHERE headers ->> 'n' = '2';
BEGIN;
SELECT queue.send('large', pg_temp.noise(1000000)) > 0;
SELECT length(message #>> '{}') FROM queue.read('large');
ROLLBACK;
VACUUM FULL queue."q_large#1";
SELECT count(*), bool_and(message = pg_temp.noise(CASE headers ->> 'n' WHEN '1' THEN 50 ELSE (headers ->> 'n')::int END * 1000)) FROM queue.q_large;
SELECT queue.purge('large');

-- Storage and compression as the table says.
ALTER TABLE queue.q_large ALTER COLUMN message SET STORAGE EXTERNAL;
SELECT queue.send('large', to_jsonb(repeat('0', 100000))) > 0;
SELECT pg_column_size(message) > 100000 FROM queue.q_large;
SELECT length(message #>> '{}') FROM queue.read('large');
ALTER TABLE queue.q_large ALTER COLUMN message SET STORAGE PLAIN;
SELECT queue.send('large', pg_temp.noise(7000)) > 0;
SELECT length(message #>> '{}') FROM queue.pop('large');
SELECT queue.send('large', pg_temp.noise(9000)) > 0;
SELECT queue.drop('large');
