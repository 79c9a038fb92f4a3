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

-- Stores

CREATE SCHEMA kv;
GRANT USAGE ON SCHEMA kv TO PUBLIC;

COMMENT ON SCHEMA kv IS 'keys with expiry, counters, rate limits and locks; see kv.set, kv.incr, kv.rate_limit and kv.lock';

-- A row per store; for the store "default" only where its settings were changed. The library reads it by place:
-- fixed-width columns first, new ones at the end.
CREATE TABLE kv.settings (
    default_ttl double precision NOT NULL, -- seconds; 0: none
    max_entries bigint NOT NULL, -- 0: unbounded
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    store text COLLATE "C" PRIMARY KEY
);
SELECT pg_catalog.pg_extension_config_dump('kv.settings', '');

-- Versions of entries and tokens of locks: stays ahead of every one that was given out.
CREATE SEQUENCE kv.versions AS bigint;
SELECT pg_catalog.pg_extension_config_dump('kv.versions', '');

-- The row triggers of the stores' tables; see docs/internals.md
CREATE FUNCTION kv.on_write() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pgqueue_kv_on_write';
CREATE FUNCTION kv.on_change() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pgqueue_kv_on_change';

CREATE FUNCTION kv.create_store(store text, unlogged boolean DEFAULT false, default_ttl double precision DEFAULT NULL,
    max_entries bigint DEFAULT NULL)
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_create_store';

CREATE FUNCTION kv.alter_store(store text, default_ttl double precision DEFAULT NULL, max_entries bigint DEFAULT NULL,
    reset text[] DEFAULT NULL)
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_alter_store';

CREATE FUNCTION kv.drop_store(store text)
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_drop_store';

CREATE FUNCTION kv.clear(store text)
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_clear';

CREATE FUNCTION kv.grant(store text, role name, privilege text)
RETURNS void LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_grant';

CREATE FUNCTION kv.revoke(store text, role name, privilege text)
RETURNS void LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_revoke';

-- Values

CREATE FUNCTION kv.set(key text, value text, ttl double precision DEFAULT NULL, mode text DEFAULT 'always',
    keep_ttl boolean DEFAULT false, store text DEFAULT 'default')
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_set';

CREATE FUNCTION kv.set_json(key text, value jsonb, ttl double precision DEFAULT NULL, mode text DEFAULT 'always',
    keep_ttl boolean DEFAULT false, store text DEFAULT 'default')
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_set_json';

CREATE FUNCTION kv.set_bytes(key text, value bytea, ttl double precision DEFAULT NULL, mode text DEFAULT 'always',
    keep_ttl boolean DEFAULT false, store text DEFAULT 'default')
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_set_bytes';

CREATE FUNCTION kv.get(key text, store text DEFAULT 'default')
RETURNS text LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_get';

CREATE FUNCTION kv.get_json(key text, store text DEFAULT 'default')
RETURNS jsonb LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_get_json';

CREATE FUNCTION kv.get_bytes(key text, store text DEFAULT 'default')
RETURNS bytea LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_get_bytes';

CREATE FUNCTION kv.get_entry(key text, store text DEFAULT 'default', OUT value text, OUT version bigint,
    OUT expires_at timestamptz)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'pgqueue_kv_get_entry';

CREATE FUNCTION kv.cas(key text, value text, version bigint, ttl double precision DEFAULT NULL,
    store text DEFAULT 'default')
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_cas';

CREATE FUNCTION kv.mget(keys text[], store text DEFAULT 'default', OUT key text, OUT value text)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'pgqueue_kv_mget';

CREATE FUNCTION kv.mset(keys text[], vals text[], ttl double precision DEFAULT NULL, store text DEFAULT 'default')
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_mset';

CREATE FUNCTION kv.getset(key text, value text, ttl double precision DEFAULT NULL, store text DEFAULT 'default')
RETURNS text LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_getset';

CREATE FUNCTION kv.take(key text, store text DEFAULT 'default')
RETURNS text LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_take';

CREATE FUNCTION kv.delete(key text, store text DEFAULT 'default')
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_delete';

CREATE FUNCTION kv.delete_batch(keys text[], store text DEFAULT 'default')
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_delete_batch';

CREATE FUNCTION kv.exists(key text, store text DEFAULT 'default')
RETURNS boolean LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_exists';

CREATE FUNCTION kv.ttl(key text, store text DEFAULT 'default')
RETURNS double precision LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_ttl';

CREATE FUNCTION kv.touch(key text, ttl double precision, store text DEFAULT 'default')
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_touch';

CREATE FUNCTION kv.scan(prefix text DEFAULT '', after text DEFAULT NULL, qty bigint DEFAULT 100,
    store text DEFAULT 'default', OUT key text, OUT value text, OUT expires_at timestamptz)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'pgqueue_kv_scan';

CREATE FUNCTION kv.purge(store text DEFAULT NULL)
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_purge';

-- Counters, rate limits, locks

CREATE FUNCTION kv.incr(key text, delta bigint DEFAULT 1, ttl double precision DEFAULT NULL,
    store text DEFAULT 'default')
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_incr';

-- A named type, which the server has at hand, and need not put together for each call.
CREATE TYPE kv.verdict AS (
    allowed boolean,
    remaining bigint,
    retry_after double precision,
    reset_after double precision
);

CREATE FUNCTION kv.rate_limit(key text, max_requests bigint, period double precision, cost bigint DEFAULT 1,
    store text DEFAULT 'default')
RETURNS SETOF kv.verdict LANGUAGE c PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'pgqueue_kv_rate_limit';

CREATE FUNCTION kv.lock(name text, ttl double precision, owner text DEFAULT NULL, wait double precision DEFAULT 0,
    store text DEFAULT 'default')
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_lock';

CREATE FUNCTION kv.renew(name text, token bigint, ttl double precision, store text DEFAULT 'default')
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_renew';

CREATE FUNCTION kv.unlock(name text, token bigint, store text DEFAULT 'default')
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_unlock';

CREATE FUNCTION kv.assert_lock(name text, token bigint, store text DEFAULT 'default')
RETURNS void LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_kv_assert_lock';

-- The store that is there from the start

SELECT kv.create_store('default');
SELECT pg_catalog.pg_extension_config_dump('kv.s_default', '');
SELECT pg_catalog.pg_extension_config_dump('kv.c_default', '');

-- Views

CREATE VIEW kv.stores AS
SELECT n.store, c.relpersistence = 'u' AS unlogged, nullif(s.default_ttl, 0) AS default_ttl,
       nullif(s.max_entries, 0) AS max_entries, s.created_at, pg_catalog.pg_get_userbyid(c.relowner) AS owner
FROM (SELECT store::text FROM kv.settings UNION SELECT 'default') n
LEFT JOIN kv.settings s ON s.store = n.store
JOIN pg_catalog.pg_class c
  ON c.relname = ('s_' || n.store) COLLATE "C" AND c.relnamespace = 'kv'::pg_catalog.regnamespace;
GRANT SELECT ON kv.stores TO PUBLIC;

CREATE FUNCTION kv.measure(store text, OUT entries bigint, OUT expired bigint, OUT bytes bigint, OUT hits bigint,
    OUT misses bigint, OUT purged bigint, OUT purge_visits bigint)
RETURNS SETOF record LANGUAGE c PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'pgqueue_kv_measure';

-- The stores that the role may SELECT from.
CREATE VIEW kv.stats AS
SELECT s.store, m.entries, m.expired, m.bytes, m.hits, m.misses, m.purged, m.purge_visits
FROM kv.stores s CROSS JOIN LATERAL kv.measure(s.store) m;
GRANT SELECT ON kv.stats TO PUBLIC;
