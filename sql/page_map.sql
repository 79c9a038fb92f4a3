-- What a read looks at. The page map spares it the pages that have nothing for it: leased, delayed, acked, rolled back.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null NULL
-- Counts the buffers that a statement touches, so that no clock is needed.
CREATE FUNCTION pg_temp.pages(statement text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || statement INTO plan;
    RETURN (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::bigint + (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::bigint;
END $$;
CREATE FUNCTION pg_temp.few(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE pages bigint = pg_temp.pages(statement);
BEGIN
    RETURN CASE WHEN pages <= 20 THEN 'few' ELSE pages || ' pages' END;
END $$;
CREATE FUNCTION pg_temp.fill(queue text, n int, delay float8 = NULL) RETURNS void LANGUAGE sql AS $$
    SELECT count(*) FROM queue.send_batch(queue, array_fill(to_jsonb(repeat('x', 100)), ARRAY[n]), delay => delay)
$$;

-- Pages are filled one after the other and none is forgotten: by batches of all sizes, alone and after one another.
SELECT queue.create('map', vt => 3600);
SELECT pg_temp.fill('map', n) FROM unnest('{1,2,30,100,1000,3000,1,1000,7,1001}'::int[]) n;
SELECT count(queue.send('map', to_jsonb(i))) FROM generate_series(1, 300) i;
SELECT count(DISTINCT page) = max(page) + 1 AS no_gap, count(DISTINCT page) BETWEEN 80 AND 200 AS plausible,
       pg_relation_size('queue."q_map#1"') / current_setting('block_size')::int - max(page) < 40 AS not_far_ahead
FROM (SELECT (ctid::text::point)[0] AS page FROM queue.q_map) q;
-- They lie in the order in which they were sent.
SELECT bool_and(msg_id > previous) FROM (SELECT msg_id, lag(msg_id, 1, 0::bigint) OVER (ORDER BY ctid) AS previous FROM queue.q_map) q;

-- Ready ones by the thousand: a read of one looks at few pages, a read of all at all of them.
SELECT pg_temp.few($$SELECT * FROM queue.read('map')$$);
SELECT pg_temp.few($$SELECT * FROM queue.read('map')$$);
SELECT pg_temp.pages($$SELECT * FROM queue.read('map', qty => 10000)$$) > 80 AS many;
-- Leased ones.
SELECT pg_temp.few($$SELECT * FROM queue.read('map')$$);
SELECT queue.send('map', '"behind the leased ones"') AS id \gset
SELECT pg_temp.few($$SELECT * FROM queue.read('map')$$);
SELECT read_ct FROM queue.q_map WHERE msg_id = :id;
-- A lease that ends far in front.
SELECT queue.nack('map', 17);
SELECT pg_temp.few($$SELECT * FROM queue.read('map')$$);
SELECT read_ct FROM queue.q_map WHERE msg_id = 17;
-- Acked ones.
SELECT queue.purge('map') > 6000;
SELECT pg_temp.few($$SELECT * FROM queue.read('map')$$);
SELECT queue.send('map', '"behind the acked ones"') AS id \gset
SELECT pg_temp.few($$SELECT * FROM queue.read('map')$$);
SELECT read_ct FROM queue.q_map WHERE msg_id = :id;

-- Delayed ones.
SELECT queue.drop('map'), queue.create('map', vt => 3600);
SELECT pg_temp.fill('map', 5000, delay => 3600);
SELECT pg_temp.few($$SELECT * FROM queue.read('map')$$);
SELECT queue.send('map', '"behind the delayed ones"') AS id \gset
SELECT pg_temp.few($$SELECT * FROM queue.read('map')$$);
SELECT read_ct FROM queue.q_map WHERE msg_id = :id;
SELECT msg_id FROM queue.set_vt('map', 2500, 0);
SELECT pg_temp.few($$SELECT * FROM queue.read('map')$$);
SELECT read_ct FROM queue.q_map WHERE msg_id = 2500;

-- Rolled back ones: after the first reader has passed them nobody looks at them again.
SELECT queue.drop('map'), queue.create('map', vt => 3600);
BEGIN;
SELECT pg_temp.fill('map', 5000);
SELECT count(*) FROM queue.read('map', filter => '"none"');
ROLLBACK;
-- A row in progress is looked at again at least once a second, so 40 cheap reads in two seconds prove it.
DO $$
DECLARE deadline timestamptz = clock_timestamp() + interval '60 s'; in_a_row int = 0;
BEGIN
    WHILE in_a_row < 40 LOOP
        in_a_row = CASE WHEN pg_temp.pages('SELECT * FROM queue.read(''map'')') <= 20 THEN in_a_row + 1 ELSE 0 END;
        ASSERT clock_timestamp() < deadline, 'reads go on looking at rolled-back rows';
        PERFORM pg_sleep(0.05);
    END LOOP;
END $$;
SELECT queue.send('map', '"behind the rolled back ones"') AS id \gset
SELECT pg_temp.few($$SELECT * FROM queue.read('map')$$);
SELECT read_ct FROM queue.q_map WHERE msg_id = :id;
-- Leases of a transaction that is rolled back are there again, and only they are looked at.
SELECT queue.drop('map'), queue.create('map', vt => 3600);
SELECT pg_temp.fill('map', 5000);
SELECT count(*) FROM queue.read('map', qty => 2500);
BEGIN;
SELECT count(*) FROM queue.read('map', qty => 3);
ROLLBACK;
SELECT pg_temp.few($$SELECT * FROM queue.read('map', qty => 3)$$);
SELECT count(*) FROM queue.q_map WHERE read_ct = 2;
SELECT count(*) FROM queue.read('map', qty => 10000);

-- A read that fails after it has looked leaves nothing hidden.
SELECT queue.drop('map'), queue.create('map', vt => 3600);
SELECT pg_temp.fill('map', 1000);
SELECT count(1 / (msg_id - 500)) FROM queue.read('map', qty => 1000);
SELECT count(1 / (msg_id - 500)) FROM queue.pop('map', qty => 1000);
SELECT count(1 / (msg_id - 500)) FROM queue.peek('map', qty => 1000);
SELECT count(*) FROM queue.peek('map', qty => 10000);
SELECT count(*), min(read_ct), max(read_ct) FROM queue.read('map', qty => 10000);

-- Nor does one that is cancelled on its way; how far it came doesn't matter. (What comes after the read outlasts any timeout.)
SELECT queue.drop('map'), queue.create('map', vt => 3600);
SELECT pg_temp.fill('map', 20000);
SET statement_timeout = '3ms';
SELECT count(*) FROM queue.read('map', filter => '"none"') UNION ALL SELECT count(*) FROM generate_series(1, 1000000000);
SELECT count(*) FROM queue.read('map', qty => 20000) UNION ALL SELECT count(*) FROM generate_series(1, 1000000000);
SET statement_timeout = '10ms';
SELECT count(*) FROM queue.read('map', filter => '"none"') UNION ALL SELECT count(*) FROM generate_series(1, 1000000000);
SELECT count(*) FROM queue.read('map', qty => 20000) UNION ALL SELECT count(*) FROM generate_series(1, 1000000000);
SET statement_timeout = '20ms';
SELECT count(*) FROM queue.read('map', filter => '"none"') UNION ALL SELECT count(*) FROM generate_series(1, 1000000000);
SELECT count(*) FROM queue.read('map', qty => 20000) UNION ALL SELECT count(*) FROM generate_series(1, 1000000000);
RESET statement_timeout;
SELECT count(*), count(DISTINCT msg_id) FROM queue.read('map', qty => 100000);

-- Priorities: an urgent message behind thousands of others costs no walk, and neither do the others behind urgent ones.
SELECT queue.drop('map'), queue.create('map', vt => 3600);
SELECT pg_temp.fill('map', 5000);
SELECT queue.send('map', '"urgent"', priority => 5) AS id \gset
SELECT pg_temp.few($$SELECT * FROM queue.read('map')$$);
SELECT read_ct FROM queue.q_map WHERE msg_id = :id;
SELECT pg_temp.few($$SELECT * FROM queue.read('map')$$);
SELECT count(*) FROM queue.send_batch('map', array_fill(to_jsonb(repeat('x', 100)), ARRAY[5000]), priority => 5, delay => 3600);
SELECT pg_temp.few($$SELECT * FROM queue.read('map')$$);

-- A new file (VACUUM FULL) has an unknown map: what is leased is looked at once.
SELECT queue.purge('map') > 0;
SELECT pg_temp.fill('map', 5000);
SELECT count(*) FROM queue.read('map', qty => 10000);
VACUUM FULL queue."q_map#1";
SELECT pg_temp.pages($$SELECT * FROM queue.read('map')$$) > 50 AS many;
SELECT pg_temp.few($$SELECT * FROM queue.read('map')$$);
SELECT queue.send('map', '"after it"') AS id \gset
SELECT pg_temp.few($$SELECT * FROM queue.read('map')$$);
SELECT read_ct FROM queue.q_map WHERE msg_id = :id;
SELECT queue.drop('map');
