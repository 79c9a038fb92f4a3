-- pgqueue 0.1
\echo Use "CREATE EXTENSION pgqueue" to load this file. \quit

CREATE SCHEMA queue;
GRANT USAGE ON SCHEMA queue TO PUBLIC;

COMMENT ON SCHEMA queue IS 'durable message queues; see queue.send and queue.read';

-- A row per queue. The library reads it by place: fixed-width columns first, new ones at the end.
CREATE TABLE queue.settings (
    vt double precision NOT NULL,
    delay double precision NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    prioritized boolean NOT NULL DEFAULT false, -- changes in place: no index, no UPDATE by hand
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    queue_name text COLLATE "C" PRIMARY KEY
);
SELECT pg_catalog.pg_extension_config_dump('queue.settings', '');

-- Stays ahead of every receipt that was given out; advanced by the library in large steps.
CREATE SEQUENCE queue.receipts AS bigint;
SELECT pg_catalog.pg_extension_config_dump('queue.receipts', '');

CREATE TYPE queue.message AS (
    msg_id bigint,
    read_ct integer,
    enqueued_at timestamptz,
    last_read_at timestamptz,
    vt timestamptz,
    message jsonb,
    headers jsonb,
    priority integer,
    group_key text,
    receipt bigint
);

-- Queues

CREATE FUNCTION queue.create(queue_name text, vt double precision DEFAULT 30, delay double precision DEFAULT 0,
    unlogged boolean DEFAULT false, fifo boolean DEFAULT false, max_attempts bigint DEFAULT NULL,
    dead_letter text DEFAULT NULL, backoff double precision DEFAULT 0, backoff_max double precision DEFAULT 3600,
    message_ttl double precision DEFAULT NULL, archive_retention double precision DEFAULT NULL)
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_create';

CREATE FUNCTION queue.alter(queue_name text, vt double precision DEFAULT NULL, delay double precision DEFAULT NULL,
    fifo boolean DEFAULT NULL, max_attempts bigint DEFAULT NULL, dead_letter text DEFAULT NULL,
    backoff double precision DEFAULT NULL, backoff_max double precision DEFAULT NULL,
    message_ttl double precision DEFAULT NULL, archive_retention double precision DEFAULT NULL,
    reset text[] DEFAULT NULL)
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_alter';

CREATE FUNCTION queue.drop(queue_name text)
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_drop';

CREATE FUNCTION queue.purge(queue_name text)
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_purge';

CREATE FUNCTION queue.pause(queue_name text)
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_pause';

CREATE FUNCTION queue.resume(queue_name text)
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_resume';

CREATE FUNCTION queue.grant(queue_name text, role name, privilege text)
RETURNS void LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_grant';

CREATE FUNCTION queue.revoke(queue_name text, role name, privilege text)
RETURNS void LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_revoke';

-- Messages

CREATE FUNCTION queue.send(queue_name text, message jsonb, headers jsonb DEFAULT NULL,
    delay double precision DEFAULT NULL, deliver_at timestamptz DEFAULT NULL, priority bigint DEFAULT 0,
    group_key text DEFAULT NULL, dedup_key text DEFAULT NULL, ttl double precision DEFAULT NULL)
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_send';

CREATE FUNCTION queue.send_batch(queue_name text, messages jsonb[], headers jsonb[] DEFAULT NULL,
    delay double precision DEFAULT NULL, deliver_at timestamptz DEFAULT NULL, priority bigint DEFAULT 0,
    group_keys text[] DEFAULT NULL, dedup_keys text[] DEFAULT NULL, ttl double precision DEFAULT NULL)
RETURNS SETOF bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_send_batch';

CREATE FUNCTION queue.read(queue_name text, vt double precision DEFAULT NULL, qty bigint DEFAULT 1,
    wait double precision DEFAULT 0, filter jsonb DEFAULT NULL, "grouped" boolean DEFAULT NULL)
RETURNS SETOF queue.message LANGUAGE c PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'pgqueue_read';

CREATE PROCEDURE queue.wait(queue_name text, seconds double precision DEFAULT 20)
LANGUAGE c AS 'MODULE_PATHNAME', 'pgqueue_wait';

CREATE FUNCTION queue.pop(queue_name text, qty bigint DEFAULT 1)
RETURNS SETOF queue.message LANGUAGE c PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'pgqueue_pop';

CREATE FUNCTION queue.peek(queue_name text, qty bigint DEFAULT 1)
RETURNS SETOF queue.message LANGUAGE c PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'pgqueue_peek';

CREATE FUNCTION queue.delete(queue_name text, msg_id bigint, receipt bigint DEFAULT NULL)
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_delete';

CREATE FUNCTION queue.delete_batch(queue_name text, msg_ids bigint[], receipts bigint[] DEFAULT NULL)
RETURNS SETOF bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_delete_batch';

CREATE FUNCTION queue.archive(queue_name text, msg_id bigint, receipt bigint DEFAULT NULL)
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_archive';

CREATE FUNCTION queue.archive_batch(queue_name text, msg_ids bigint[], receipts bigint[] DEFAULT NULL)
RETURNS SETOF bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_archive_batch';

CREATE FUNCTION queue.set_vt(queue_name text, msg_id bigint, vt double precision, receipt bigint DEFAULT NULL,
    visible_at timestamptz DEFAULT NULL)
RETURNS SETOF queue.message LANGUAGE c PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'pgqueue_set_vt';

CREATE FUNCTION queue.set_vt_batch(queue_name text, msg_ids bigint[], vt double precision,
    receipts bigint[] DEFAULT NULL)
RETURNS SETOF queue.message LANGUAGE c PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'pgqueue_set_vt_batch';

CREATE FUNCTION queue.nack(queue_name text, msg_id bigint, receipt bigint DEFAULT NULL,
    delay double precision DEFAULT NULL, error text DEFAULT NULL)
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_nack';

-- The row triggers of the queues' tables; see docs/internals.md

CREATE FUNCTION queue.on_insert() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pgqueue_on_insert';
CREATE FUNCTION queue.on_update() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pgqueue_on_update';
CREATE FUNCTION queue.on_change() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pgqueue_on_change';

-- Views

CREATE VIEW queue.queues AS
SELECT s.queue_name::text AS queue_name, s.vt, s.delay, c.relpersistence = 'u' AS unlogged, s.paused, s.created_at,
       pg_catalog.pg_get_userbyid(c.relowner) AS owner
FROM queue.settings s
JOIN pg_catalog.pg_class c
  ON c.relname = ('q_' || s.queue_name) COLLATE "C" AND c.relnamespace = 'queue'::pg_catalog.regnamespace;
GRANT SELECT ON queue.queues TO PUBLIC;

CREATE FUNCTION queue.measure(queue_name text, OUT ready bigint, OUT in_flight bigint, OUT delayed bigint,
    OUT sent_total bigint, OUT deleted_total bigint, OUT archived_total bigint, OUT oldest_age double precision,
    OUT newest_age double precision, OUT table_bytes bigint, OUT segments bigint)
RETURNS SETOF record LANGUAGE c PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'pgqueue_measure';

-- The queues that the role may SELECT from.
CREATE VIEW queue.metrics AS
SELECT q.queue_name, m.ready, m.in_flight, m.delayed, m.sent_total, m.deleted_total, m.archived_total, m.oldest_age,
       m.newest_age, q.paused, m.table_bytes, m.segments
FROM queue.queues q CROSS JOIN LATERAL queue.measure(q.queue_name) m;
GRANT SELECT ON queue.metrics TO PUBLIC;
