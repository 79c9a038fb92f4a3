-- pgqueue 0.1
\echo Use "CREATE EXTENSION pgqueue" to load this file. \quit

CREATE SCHEMA queue;
GRANT USAGE ON SCHEMA queue TO PUBLIC;

COMMENT ON SCHEMA queue IS 'durable message queues; see queue.send and queue.read';

-- A row per queue. The library reads it by place: fixed-width columns first, new ones at the end.
CREATE TABLE queue.settings (
    vt double precision NOT NULL, -- seconds, as all durations here
    delay double precision NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    prioritized boolean NOT NULL DEFAULT false, -- these two and the totals change in place: no index, no UPDATE by hand
    expiring boolean NOT NULL DEFAULT false,
    fifo boolean NOT NULL DEFAULT false,
    max_attempts bigint NOT NULL DEFAULT 0, -- 0: any number
    backoff double precision NOT NULL DEFAULT 0,
    backoff_max double precision NOT NULL DEFAULT 3600,
    message_ttl double precision NOT NULL DEFAULT -1, -- -1: for ever
    archive_retention double precision NOT NULL DEFAULT -1, -- -1: for ever
    notify_throttle double precision NOT NULL DEFAULT -1, -- -1: no notifications
    dead_total bigint NOT NULL DEFAULT 0, -- messages that became dead letters
    expired_total bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    queue_name text COLLATE "C" PRIMARY KEY,
    dead_letter text COLLATE "C",
    notify_channel text COLLATE "C"
);
SELECT pg_catalog.pg_extension_config_dump('queue.settings', '');

-- Stays ahead of every receipt that was given out; advanced by the library in large steps.
CREATE SEQUENCE queue.receipts AS bigint;
SELECT pg_catalog.pg_extension_config_dump('queue.receipts', '');

-- What queue.nack was told. Written by the library; kept for pgqueue.errors_age.
CREATE TABLE queue.failures (
    msg_id bigint NOT NULL,
    at timestamptz NOT NULL,
    attempt integer NOT NULL,
    queue_name text COLLATE "C" NOT NULL,
    error text NOT NULL
);
CREATE INDEX failures_of_message ON queue.failures (queue_name, msg_id, at);
CREATE INDEX failures_by_age ON queue.failures (at);
SELECT pg_catalog.pg_extension_config_dump('queue.failures', '');

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

CREATE FUNCTION queue.errors(queue_name text, msg_id bigint, OUT attempt integer, OUT at timestamptz, OUT error text)
RETURNS SETOF record LANGUAGE c PARALLEL UNSAFE ROWS 5 AS 'MODULE_PATHNAME', 'pgqueue_errors';

CREATE FUNCTION queue.redrive(dead_letter text, queue_name text DEFAULT NULL, qty bigint DEFAULT NULL)
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_redrive';
-- Topics

-- Queues bound to topics' patterns. Sessions notice every change, a restore's too.
CREATE TABLE queue.bindings (
    pattern text COLLATE "C" NOT NULL,
    queue_name text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (queue_name, pattern)
);
SELECT pg_catalog.pg_extension_config_dump('queue.bindings', '');
GRANT SELECT ON queue.bindings TO PUBLIC;

CREATE FUNCTION queue.on_bindings() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pgqueue_on_bindings';
CREATE TRIGGER pgqueue_change AFTER INSERT OR UPDATE OR DELETE ON queue.bindings FOR EACH ROW
    EXECUTE FUNCTION queue.on_bindings();
ALTER TABLE queue.bindings ENABLE ALWAYS TRIGGER pgqueue_change;

CREATE FUNCTION queue.bind(pattern text, queue_name text)
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_bind';

CREATE FUNCTION queue.unbind(pattern text, queue_name text)
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_unbind';

CREATE FUNCTION queue.publish(topic text, message jsonb, headers jsonb DEFAULT NULL,
    delay double precision DEFAULT NULL)
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_publish';

CREATE FUNCTION queue.publish_batch(topic text, messages jsonb[], headers jsonb[] DEFAULT NULL,
    delay double precision DEFAULT NULL, OUT queue_name text, OUT msg_id bigint)
RETURNS SETOF record LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_publish_batch';

-- Deduplication: what a key has led to. The library reads and writes it by place and keeps no index but the primary key.
CREATE TABLE queue.dedup_keys (
    msg_id bigint NOT NULL,
    sent_at timestamptz NOT NULL,
    queue_name text COLLATE "C" NOT NULL,
    dedup_key text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue_name, dedup_key)
);
SELECT pg_catalog.pg_extension_config_dump('queue.dedup_keys', '');

-- The row triggers of the queues' tables; see docs/internals.md

CREATE FUNCTION queue.on_insert() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pgqueue_on_insert';
CREATE FUNCTION queue.on_update() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pgqueue_on_update';
CREATE FUNCTION queue.on_change() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pgqueue_on_change';

-- Views

CREATE VIEW queue.queues AS
SELECT s.queue_name::text AS queue_name, s.vt, s.delay, c.relpersistence = 'u' AS unlogged, s.fifo,
       nullif(s.max_attempts, 0) AS max_attempts, s.dead_letter::text AS dead_letter, s.backoff, s.backoff_max,
       nullif(s.message_ttl, -1) AS message_ttl, nullif(s.archive_retention, -1) AS archive_retention, s.paused,
       s.created_at, pg_catalog.pg_get_userbyid(c.relowner) AS owner
FROM queue.settings s
JOIN pg_catalog.pg_class c
  ON c.relname = ('q_' || s.queue_name) COLLATE "C" AND c.relnamespace = 'queue'::pg_catalog.regnamespace;
GRANT SELECT ON queue.queues TO PUBLIC;

-- The figures of one queue, for queue.metrics and queue.health. No row for a queue that is gone, or that the role may
-- neither SELECT from nor look at as a member of pg_monitor.
CREATE FUNCTION queue.measure(queue_name text, OUT ready bigint, OUT in_flight bigint, OUT delayed bigint,
    OUT dead_letters bigint, OUT sent_total bigint, OUT deleted_total bigint, OUT archived_total bigint,
    OUT oldest_age double precision, OUT newest_age double precision, OUT table_bytes bigint, OUT segments bigint,
    OUT exact boolean, OUT margin bigint,
    OUT ready_age double precision, -- how long the first of the messages has been due that were looked at
    OUT most_attempts integer, -- of one of them
    OUT dead_bytes bigint, -- in pages without a message
    OUT sqlstate text, OUT problem text, OUT hint text) -- why there are no figures, or what is missing
RETURNS SETOF record LANGUAGE c PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'pgqueue_measure';

CREATE VIEW queue.metrics AS
SELECT q.queue_name, m.ready, m.in_flight, m.delayed, m.dead_letters, m.sent_total, m.deleted_total, m.archived_total,
       m.oldest_age, m.newest_age, q.paused, m.table_bytes, m.segments, m.exact, m.margin, s.dead_total, s.expired_total
FROM queue.queues q JOIN queue.settings s ON s.queue_name = q.queue_name
    CROSS JOIN LATERAL queue.measure(q.queue_name) m;
GRANT SELECT ON queue.metrics TO PUBLIC;

-- Notifications and handlers

-- A row per queue with a handler. The library reads it by place.
CREATE TABLE queue.attachments (
    queue_name text COLLATE "C" PRIMARY KEY,
    handler text NOT NULL, -- a function's name with its schema, quoted
    concurrency bigint NOT NULL,
    run_as text NOT NULL,
    batch bigint NOT NULL,
    vt double precision -- seconds; NULL: the queue's
);
SELECT pg_catalog.pg_extension_config_dump('queue.attachments', '');

-- The worker is told of what it is to watch, however that comes, by a restore too.
CREATE FUNCTION queue.wake() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pgqueue_queue_wake';
CREATE TRIGGER wake AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON queue.attachments
FOR EACH STATEMENT EXECUTE FUNCTION queue.wake();
ALTER TABLE queue.attachments ENABLE ALWAYS TRIGGER wake;
CREATE TRIGGER wake_insert AFTER INSERT ON queue.settings FOR EACH ROW EXECUTE FUNCTION queue.wake();
CREATE TRIGGER wake_update AFTER UPDATE ON queue.settings
FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION queue.wake();
ALTER TABLE queue.settings ENABLE ALWAYS TRIGGER wake_insert;
ALTER TABLE queue.settings ENABLE ALWAYS TRIGGER wake_update;

CREATE FUNCTION queue.notify(queue_name text, throttle double precision DEFAULT 0.25, channel text DEFAULT NULL)
RETURNS void LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_notify';

CREATE FUNCTION queue.attach(queue_name text, handler text, concurrency bigint DEFAULT 1, run_as name DEFAULT NULL,
    batch bigint DEFAULT 1, vt double precision DEFAULT NULL)
RETURNS void LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_attach';

CREATE FUNCTION queue.detach(queue_name text)
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_detach';

CREATE FUNCTION queue.handler_reports(OUT queue_name text, OUT state text, OUT processes integer, OUT processed bigint,
    OUT failed bigint, OUT lost bigint, OUT last_error text, OUT last_error_at timestamptz)
RETURNS SETOF record LANGUAGE c PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'pgqueue_handler_reports';

-- A row per queue with a handler; the counters are since the server's start. Errors are shown to members of the role
-- that the handler runs as, to the queue's owner, and to those who see all statistics.
CREATE VIEW queue.handlers AS
SELECT a.queue_name::text AS queue_name, a.handler, a.concurrency, a.run_as, a.batch, a.vt,
       coalesce(r.state, 'not started') AS state, coalesce(r.processes, 0) AS processes,
       coalesce(r.processed, 0) AS processed, coalesce(r.failed, 0) AS failed, coalesce(r.lost, 0) AS lost,
       r.last_error, r.last_error_at
FROM queue.attachments a LEFT JOIN queue.handler_reports() r ON r.queue_name = a.queue_name COLLATE "C";
GRANT SELECT ON queue.handlers TO PUBLIC;

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

-- Sessions notice a change of the settings however it comes, by a restore too.
CREATE FUNCTION kv.on_settings() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pgqueue_kv_on_settings';
CREATE TRIGGER pgqueue_change AFTER INSERT OR UPDATE OR DELETE ON kv.settings FOR EACH ROW
    EXECUTE FUNCTION kv.on_settings();
ALTER TABLE kv.settings ENABLE ALWAYS TRIGGER pgqueue_change;

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

-- The stores that the role may SELECT from; all of them for pg_monitor.
CREATE VIEW kv.stats AS
SELECT s.store, m.entries, m.expired, m.bytes, m.hits, m.misses, m.purged, m.purge_visits
FROM kv.stores s CROSS JOIN LATERAL kv.measure(s.store) m;
GRANT SELECT ON kv.stats TO PUBLIC;

-- Jobs

CREATE SCHEMA cron;
GRANT USAGE ON SCHEMA cron TO PUBLIC;

COMMENT ON SCHEMA cron IS 'jobs that the database runs by itself; see cron.schedule and cron.job_run_details';

-- Whether the current role may do what the other one may: the jobs that it sees. False for a role that is gone.
CREATE FUNCTION cron.may_act_as(username text)
RETURNS boolean LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_cron_may_act_as';

-- A row per job. The library reads it by place.
CREATE TABLE cron.job (
    jobid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule text NOT NULL,
    command text NOT NULL,
    nodename text NOT NULL DEFAULT 'localhost',
    nodeport integer NOT NULL DEFAULT pg_catalog.current_setting('port')::integer,
    database text NOT NULL DEFAULT pg_catalog.current_database(),
    username text NOT NULL DEFAULT CURRENT_USER,
    active boolean NOT NULL DEFAULT true,
    jobname text,
    timezone text,                              -- NULL: the database's TimeZone
    overlap text NOT NULL DEFAULT 'skip',
    catch_up text NOT NULL DEFAULT 'none',
    max_runtime double precision,               -- seconds
    retries bigint NOT NULL DEFAULT 0,
    retry_delay double precision NOT NULL DEFAULT 60,
    jitter double precision NOT NULL DEFAULT 0,
    run_at timestamptz,                         -- of a job that runs once
    is_local boolean NOT NULL,                  -- runs where it is kept, whatever that database is called later
    counts_from timestamptz NOT NULL,           -- no due time before: when the schedule was set, or the job activated
    UNIQUE (jobname, username)
);
SELECT pg_catalog.pg_extension_config_dump('cron.job', '');
SELECT pg_catalog.pg_extension_config_dump('cron.job_jobid_seq', '');

-- The last due time that was dealt with, kept apart from what users set. A job that has none yet counts from its own.
CREATE TABLE cron.job_state (
    jobid bigint PRIMARY KEY,
    last_due timestamptz NOT NULL
) WITH (fillfactor = 50);
SELECT pg_catalog.pg_extension_config_dump('cron.job_state', '');

-- A row per run: those to come (waiting), those under way (running), and what became of the others.
CREATE TABLE cron.job_run_details (
    jobid bigint NOT NULL,
    runid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_pid integer,
    database text NOT NULL,
    username text NOT NULL,
    command text NOT NULL,
    status text NOT NULL,                       -- waiting, running, succeeded, failed, skipped
    return_message text,
    start_time timestamptz,
    end_time timestamptz,
    jobname text,
    due_time timestamptz NOT NULL,              -- of the schedule; a retry keeps that of the first run
    start_after timestamptz NOT NULL,           -- with jitter, or a retry's delay
    attempt integer NOT NULL DEFAULT 1,
    sqlstate text,
    reason text NOT NULL DEFAULT 'schedule'     -- schedule, retry, manual
) WITH (fillfactor = 80);
CREATE INDEX ON cron.job_run_details (jobid, runid);
CREATE INDEX ON cron.job_run_details (runid) WHERE status IN ('waiting', 'running');
SELECT pg_catalog.pg_extension_config_dump('cron.job_run_details', '');
SELECT pg_catalog.pg_extension_config_dump('cron.job_run_details_runid_seq', '');

CREATE FUNCTION cron.check_job()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pgqueue_cron_check_job';
CREATE FUNCTION cron.wake()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pgqueue_cron_wake';

CREATE TRIGGER check_job BEFORE INSERT OR UPDATE ON cron.job
FOR EACH ROW EXECUTE FUNCTION cron.check_job();
CREATE TRIGGER wake AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cron.job
FOR EACH STATEMENT EXECUTE FUNCTION cron.wake();
CREATE TRIGGER wake AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cron.job_run_details
FOR EACH STATEMENT EXECUTE FUNCTION cron.wake();

ALTER TABLE cron.job ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON cron.job USING (cron.may_act_as(username));
GRANT SELECT, DELETE ON cron.job TO PUBLIC;
GRANT INSERT (schedule, command, database, username, active, jobname, timezone, overlap, catch_up, max_runtime, retries,
    retry_delay, jitter, run_at), UPDATE (schedule, command, database, username, active, jobname, timezone, overlap,
    catch_up, max_runtime, retries, retry_delay, jitter, run_at) ON cron.job TO PUBLIC;

ALTER TABLE cron.job_run_details ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON cron.job_run_details USING (cron.may_act_as(username));
GRANT SELECT, DELETE ON cron.job_run_details TO PUBLIC;

CREATE FUNCTION cron.schedule(schedule text, command text)
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_cron_schedule_unnamed';

CREATE FUNCTION cron.schedule(job_name text, schedule text, command text)
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_cron_schedule';

CREATE FUNCTION cron.create_job(job_name text, schedule text, command text, timezone text DEFAULT NULL,
    overlap text DEFAULT 'skip', catch_up text DEFAULT 'none', max_runtime double precision DEFAULT NULL,
    retries bigint DEFAULT 0, retry_delay double precision DEFAULT 60, jitter double precision DEFAULT 0,
    run_as name DEFAULT NULL, database name DEFAULT NULL, active boolean DEFAULT true)
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_cron_create_job';

CREATE FUNCTION cron.change_job(job_name text, schedule text DEFAULT NULL, command text DEFAULT NULL,
    timezone text DEFAULT NULL, overlap text DEFAULT NULL, catch_up text DEFAULT NULL,
    max_runtime double precision DEFAULT NULL, retries bigint DEFAULT NULL, retry_delay double precision DEFAULT NULL,
    jitter double precision DEFAULT NULL, run_as name DEFAULT NULL, database name DEFAULT NULL,
    active boolean DEFAULT NULL)
RETURNS void LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_cron_change_job';

CREATE FUNCTION cron.at(run_at timestamptz, command text, job_name text DEFAULT NULL,
    max_runtime double precision DEFAULT NULL, retries bigint DEFAULT 0, run_as name DEFAULT NULL)
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_cron_at';

CREATE FUNCTION cron.schedule_in_database(job_name text, schedule text, command text, database text,
    username text DEFAULT NULL, active boolean DEFAULT true)
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_cron_schedule_in_database';

CREATE FUNCTION cron.alter_job(job_id bigint, schedule text DEFAULT NULL, command text DEFAULT NULL,
    database text DEFAULT NULL, username text DEFAULT NULL, active boolean DEFAULT NULL)
RETURNS void LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_cron_alter_job';

CREATE FUNCTION cron.unschedule(job_id bigint)
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_cron_unschedule';

CREATE FUNCTION cron.unschedule(job_name text)
RETURNS boolean LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_cron_unschedule_named';

CREATE FUNCTION cron.run(job_id bigint)
RETURNS bigint LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_cron_run';

CREATE FUNCTION cron.next_runs(schedule text, qty bigint DEFAULT 5, timezone text DEFAULT NULL,
    after timestamptz DEFAULT NULL)
RETURNS SETOF timestamptz LANGUAGE c STABLE PARALLEL UNSAFE ROWS 5 AS 'MODULE_PATHNAME', 'pgqueue_cron_next_runs';

-- Background workers

CREATE SCHEMA pgqueue;
GRANT USAGE ON SCHEMA pgqueue TO PUBLIC;

COMMENT ON SCHEMA pgqueue IS 'what pgqueue does in the background';

CREATE FUNCTION pgqueue.worker_reports(OUT datid oid, OUT pid integer, OUT state text, OUT started_at timestamptz,
    OUT last_round_at timestamptz, OUT last_round double precision, OUT rounds bigint, OUT next_round_at timestamptz,
    OUT lag double precision, OUT keys_purged bigint, OUT runs_started bigint, OUT errors bigint,
    OUT last_error_at timestamptz, OUT last_error text)
RETURNS SETOF record LANGUAGE c PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'pgqueue_worker_reports';

-- A row per database that has a worker. Seconds where it isn't a time. Errors are shown to those who see all statistics.
CREATE VIEW pgqueue.workers AS
SELECT d.datname AS database, r.pid, r.state, r.started_at, r.last_round_at, r.last_round, r.rounds, r.next_round_at,
       r.lag, r.keys_purged, r.runs_started, r.errors, r.last_error_at,
       CASE WHEN pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') THEN r.last_error END AS last_error
FROM pgqueue.worker_reports() r LEFT JOIN pg_catalog.pg_database d ON d.oid = r.datid;
GRANT SELECT ON pgqueue.workers TO PUBLIC;

-- Counts since the server's start of what shared memory had no room for; see queue.health.
CREATE FUNCTION pgqueue.shared_memory(OUT library_version text, OUT evicted_maps bigint, OUT missing_nodes bigint,
    OUT forgotten_leases bigint)
RETURNS SETOF record LANGUAGE c PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'pgqueue_shared_memory';

-- Makes the background worker look at this database now: for when it could not be told.
CREATE FUNCTION pgqueue.wake()
RETURNS void LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_wake';

-- Health

-- What is wrong, or will be, each with what to do about it. SQL over the views and the catalogs, as whoever asks. In
-- PL/pgSQL, so that it has an answer where the library isn't loaded and none of the C functions can be. The planner takes
-- a thousand queues for a few, and must not compare each with each, nor compile what runs once.
CREATE FUNCTION queue.health(OUT severity text, OUT queue_name text, OUT problem text, OUT hint text)
RETURNS SETOF record LANGUAGE plpgsql PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
IF current_setting('pgqueue.max_segments', true) IS NULL THEN
    RETURN QUERY SELECT 'critical', NULL::text, 'the library pgqueue is not loaded',
        'Add pgqueue to shared_preload_libraries in postgresql.conf and restart the server.';
    RETURN;
END IF;
RETURN QUERY
WITH server AS MATERIALIZED (
    SELECT NOT pg_is_in_recovery() AS is_primary,
           (SELECT oid FROM pg_database WHERE datname = current_database()) AS dbid,
           extract(epoch FROM coalesce(current_setting('pgqueue.health_age', true), '300s')::interval)::float8 AS age
),
queues AS MATERIALIZED (
    SELECT q.*, m.*, m.ready + m.in_flight + m.delayed AS waiting,
           CASE WHEN m.exact THEN '' ELSE 'about ' END AS about
    FROM queue.queues q, LATERAL queue.measure(q.queue_name) m
),
-- Whatever keeps VACUUM from removing rows of this database.
holders AS (
    SELECT greatest(age(backend_xmin), age(backend_xid)) AS transactions, xact_start AS since, false AS at_once,
           CASE backend_type WHEN 'walsender' THEN
               format('a standby''s feedback (walsender %s, %s)', pid, application_name)
           ELSE
               format('process %s (user %s, %s, transaction since %s): %s', pid, coalesce(usename, '-'),
                      coalesce(state, backend_type), coalesce(to_char(xact_start, 'YYYY-MM-DD HH24:MI:SS'), '?'),
                      left(regexp_replace(query, '\s+', ' ', 'g'), 100))
           END AS who,
           CASE backend_type WHEN 'walsender' THEN
               'Look for a long query on the standby, or turn its hot_standby_feedback off.'
           ELSE
               format('Commit it, or SELECT pg_terminate_backend(%s); idle_in_transaction_session_timeout ends such sessions by itself.', pid)
           END AS advice
    FROM pg_stat_activity, server
    WHERE (datid = dbid OR backend_type = 'walsender') AND pid <> pg_backend_pid()
      AND backend_type <> 'autovacuum worker' AND coalesce(backend_xmin, backend_xid) IS NOT NULL
    UNION ALL
    SELECT age(x.transaction), x.prepared, false,
           format('the prepared transaction %L (user %s, since %s)', x.gid, x.owner,
                  to_char(x.prepared, 'YYYY-MM-DD HH24:MI:SS')),
           format('COMMIT PREPARED %L or ROLLBACK PREPARED %L.', x.gid, x.gid)
    FROM pg_prepared_xacts x WHERE x.database = current_database()
    UNION ALL
    SELECT age(xmin), NULL, NOT active,
           format('the replication slot %I (%s)', slot_name, CASE WHEN active THEN 'active' ELSE 'inactive' END),
           format('Start its standby, or SELECT pg_drop_replication_slot(%L).', slot_name)
    FROM pg_replication_slots WHERE xmin IS NOT NULL
),
problems AS (
    SELECT 'critical' AS severity, NULL::text AS queue_name,
           format('the library is of version %s, the extension''s objects of version %s', s.library_version,
                  e.extversion) AS problem,
           'ALTER EXTENSION pgqueue UPDATE, or restart the server with the library of that version.' AS hint
    FROM pgqueue.shared_memory() s, pg_extension e
    WHERE e.extname = 'pgqueue' AND e.extversion <> s.library_version
    UNION ALL
    SELECT 'critical', NULL, 'wal_consistency_checking covers generic records: nothing can be read or acknowledged',
           'Remove "generic" or "all" from wal_consistency_checking.'
    FROM server WHERE is_primary AND string_to_array(replace(current_setting('wal_consistency_checking'), ' ', ''), ',')
        && ARRAY['generic', 'all']
    UNION ALL
    (SELECT CASE WHEN since < clock_timestamp() - 12 * age * interval '1 second' OR transactions > 100000000
            THEN 'critical' ELSE 'warning' END,
            NULL, format('the xmin horizon is %s transactions behind, held back by %s', transactions, who), advice
     FROM holders, server
     WHERE is_primary AND (at_once OR transactions > 1000000
                           OR since < clock_timestamp() - age * interval '1 second')
     ORDER BY transactions DESC, since LIMIT 1)
    UNION ALL
    SELECT 'warning', NULL, 'background workers are off (pgqueue.workers)',
           'Set pgqueue.workers = on: jobs don''t run and nothing is cleaned up.'
    FROM server WHERE is_primary AND current_setting('pgqueue.workers') = 'off'
    UNION ALL
    SELECT 'warning', NULL, 'no background worker runs in this database',
           'See pgqueue.databases, max_worker_processes and the log; SELECT pgqueue.wake() makes the launcher look again.'
    FROM server
    WHERE is_primary AND current_setting('pgqueue.workers') = 'on'
      AND NOT EXISTS (SELECT FROM pgqueue.workers WHERE database = current_database())
    UNION ALL
    SELECT 'warning', NULL,
           format('the background worker had %s errors, the last one at %s%s', errors,
                  to_char(last_error_at, 'YYYY-MM-DD HH24:MI:SS'), ': ' || last_error),
           'See the server''s log and the view pgqueue.workers.'
    FROM server, pgqueue.workers
    WHERE is_primary AND database = current_database()
      AND last_error_at > clock_timestamp() - greatest(age, 60) * interval '1 second'
    UNION ALL
    SELECT 'warning', NULL, format('the background worker is %s seconds late', round(lag)),
           'It has more to do than it can: see the view pgqueue.workers.'
    FROM server, pgqueue.workers
    WHERE is_primary AND database = current_database() AND lag > age AND lag > 0
    UNION ALL
    SELECT 'warning', NULL, 'autovacuum is off: rows that were deleted stay in the tables',
           'Set autovacuum = on and track_counts = on, or run VACUUM regularly.'
    FROM server WHERE is_primary AND 'off' IN (current_setting('autovacuum'), current_setting('track_counts'))
    UNION ALL
    SELECT 'info', NULL, format('since the server started, %s times a queue''s page map made room for another one''s', s.evicted_maps),
           'Raise pgqueue.max_segments: there are more queues in use.'
    FROM pgqueue.shared_memory() s WHERE s.evicted_maps > 0
    UNION ALL
    SELECT 'info', NULL, format('since the server started, %s times there was no room to make a page map finer', s.missing_nodes),
           'Raise pgqueue.page_map_size: about 16 MB per million pages in use.'
    FROM pgqueue.shared_memory() s WHERE s.missing_nodes > 0
    UNION ALL
    SELECT 'info', NULL, format('since the server started, %s rolled-back leases had to run out instead of being free at once', s.forgotten_leases),
           'Raise pgqueue.released_leases.'
    FROM pgqueue.shared_memory() s WHERE s.forgotten_leases > 0
    UNION ALL
    -- Publications: by table, by schema, of everything.
    SELECT 'warning', q.queue_name, format('publication %I contains table queue.%I', p.pubname, c.relname),
           'Leases and delays are changed in place, which logical replication doesn''t see: leave the tables out, or publish inserts and deletes only.'
    FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid JOIN pg_class c ON c.oid = r.prrelid
    JOIN queues q ON c.relname ~ '^[qa]_' AND q.queue_name = split_part(substr(c.relname, 3), '#', 1)
    WHERE c.relnamespace = 'queue'::regnamespace AND p.pubupdate
    UNION ALL
    SELECT 'warning', NULL, format('publication %I contains the tables of all queues', p.pubname),
           'Leases and delays are changed in place, which logical replication doesn''t see: leave the tables out, or publish inserts and deletes only.'
    FROM pg_publication p
    WHERE p.pubupdate AND (p.puballtables OR EXISTS (
        SELECT FROM pg_publication_namespace n WHERE n.pnpubid = p.oid AND n.pnnspid = 'queue'::regnamespace))
    UNION ALL
    SELECT CASE sqlstate WHEN '55P03' THEN 'info' WHEN '42P01' THEN 'warning' ELSE 'critical' END, queue_name, problem, hint
    FROM queues WHERE problem IS NOT NULL
    UNION ALL
    SELECT 'warning', q.queue_name,
           format('messages that are ready: %s%s, the first of them for %s seconds; %s', about, ready, round(ready_age),
                  CASE WHEN in_flight = 0 THEN 'nobody reads them' ELSE 'readers don''t keep up' END),
           'Start readers, or more of them; see pg_stat_activity for what they wait for.'
    FROM queues q, server
    WHERE NOT paused AND ready > 0 AND ready_age > greatest(age, CASE WHEN age > 0 THEN 10 * vt ELSE 0 END)
      AND NOT EXISTS (SELECT FROM queues d WHERE d.dead_letter = q.queue_name)
    UNION ALL
    SELECT 'warning', q.queue_name, format('dead letters of %s wait in it: %s%s', f.sources, about, waiting),
           format('SELECT * FROM queue.peek(%L) shows the first; queue.redrive(%L) sends them back.', q.queue_name, q.queue_name)
    FROM queues q JOIN (SELECT dead_letter, string_agg(queue_name, ', ' ORDER BY queue_name) AS sources
                        FROM queues GROUP BY dead_letter) f ON f.dead_letter = q.queue_name
    WHERE waiting > 0
    UNION ALL
    SELECT 'warning', queue_name, format('it is paused, and messages wait: %s%s', about, waiting),
           format('SELECT queue.resume(%L) when it may go on.', queue_name)
    FROM queues WHERE paused AND waiting > 0
    UNION ALL
    SELECT 'warning', queue_name, format('a message was read %s times, and nothing ends that', most_attempts),
           format('SELECT queue.alter(%L, max_attempts => 5), with dead_letter => another queue if the messages are to be kept.', queue_name)
    FROM queues WHERE most_attempts >= 10 AND max_attempts IS NULL
    UNION ALL
    SELECT 'warning', queue_name, 'it is unlogged, and there is a standby: its messages are lost in a failover',
           format('ALTER TABLE ... SET LOGGED of queue.%I, its segments and its archive, or use it for what may be lost.', 'q_' || queue_name)
    FROM queues, server
    WHERE is_primary AND unlogged AND EXISTS (SELECT FROM pg_replication_slots WHERE slot_type = 'physical'
                                              UNION ALL SELECT FROM pg_stat_replication)
    UNION ALL
    SELECT 'info', queue_name,
           format('%s of its tables are pages without a message', pg_size_pretty(dead_bytes)),
           'The worker empties a table when its messages are gone, no snapshot is older, and nobody has it locked: see the '
           'horizon, pg_locks, and pgqueue.max_dead_bytes.'
    FROM queues
    WHERE dead_bytes > 67108864 AND dead_bytes > 0.8 * table_bytes / 2
)
SELECT severity, queue_name, problem, hint FROM problems
ORDER BY array_position(ARRAY['critical', 'warning', 'info'], severity), queue_name NULLS FIRST, problem;
END
$$;

SELECT pgqueue.wake();
