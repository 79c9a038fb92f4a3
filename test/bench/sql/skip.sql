-- The table of the usual blog post about FOR UPDATE SKIP LOCKED, at its best: a
-- partial index that holds only what waits, in the order in which it is claimed, so
-- that messages in flight are not walked over. The clock gives every row of a bulk insert
-- a time of its own: equal keys would share index tuples that can only die together.
-- {queue} is the queue's name.
CREATE SCHEMA IF NOT EXISTS skip;
CREATE TABLE skip.{queue} (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    status     text NOT NULL DEFAULT 'ready',
    attempts   integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_at timestamptz,
    payload    jsonb NOT NULL
);
CREATE INDEX ON skip.{queue} (created_at) WHERE status = 'ready';
