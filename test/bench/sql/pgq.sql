-- PgQ hands out whole batches, from tick to tick. This lays out a backlog whose batches
-- have one exact size: each tick must see the events before it committed.
CREATE EXTENSION pgq;
CREATE SCHEMA pgq_bench;

CREATE PROCEDURE pgq_bench.fill(queue text, batches integer, size integer, body text)
LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. batches LOOP
        PERFORM pgq.insert_event(queue, 'bench', body) FROM generate_series(1, size);
        COMMIT;
        PERFORM pgq.ticker(queue);
        COMMIT;
    END LOOP;
END $$;

-- How many events the consumer has finished: the event sequence at its last tick.
CREATE FUNCTION pgq_bench.consumed(queue text) RETURNS bigint LANGUAGE sql AS $$
    SELECT t.tick_event_seq
    FROM pgq.queue q
    JOIN pgq.subscription s ON s.sub_queue = q.queue_id
    JOIN pgq.tick t ON t.tick_queue = q.queue_id AND t.tick_id = s.sub_last_tick
    WHERE q.queue_name = $1
$$;
