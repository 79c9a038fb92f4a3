-- pgqueue 0.1 to 0.2: what monitoring wants to see, as Prometheus reads it and as a page of HTML.
\echo Use "ALTER EXTENSION pgqueue UPDATE TO '0.2'" to load this file. \quit

-- Queues: for how long the first message has been due.

CREATE OR REPLACE VIEW queue.metrics AS
SELECT q.queue_name, m.ready, m.in_flight, m.delayed, m.dead_letters, m.sent_total, m.deleted_total, m.archived_total,
       m.oldest_age, m.newest_age, q.paused, m.table_bytes, m.segments, m.exact, m.margin, s.dead_total,
       s.expired_total, m.ready_age
FROM queue.queues q JOIN queue.settings s ON s.queue_name = q.queue_name
    CROSS JOIN LATERAL queue.measure(q.queue_name) m;

-- Stores

-- The figures of one store in a time that doesn't grow with it: kv.measure counts every key. No row for a store that is
-- gone, or that the role may neither SELECT from nor look at as a member of pg_monitor; NULL where somebody has its
-- tables for himself.
CREATE FUNCTION pgqueue.measure_store(store text, OUT entries bigint, OUT expired bigint, OUT exact boolean,
    OUT bytes bigint, OUT hits bigint, OUT misses bigint, OUT purged bigint)
RETURNS SETOF record LANGUAGE c PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'pgqueue_kv_glance';

-- One that can't be used must not hide the others.
CREATE FUNCTION pgqueue.store_figures(store text, OUT entries bigint, OUT expired bigint, OUT exact boolean,
    OUT bytes bigint, OUT hits bigint, OUT misses bigint, OUT purged bigint)
RETURNS SETOF record LANGUAGE plpgsql PARALLEL UNSAFE ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT * FROM pgqueue.measure_store(store);
EXCEPTION
    WHEN undefined_table THEN RETURN;
    WHEN OTHERS THEN RETURN NEXT;
END $$;

CREATE VIEW pgqueue.stores AS
SELECT s.store, s.unlogged, s.max_entries, m.entries, m.expired, m.exact, m.bytes, m.hits, m.misses, m.purged
FROM kv.stores s CROSS JOIN LATERAL pgqueue.store_figures(s.store) m;
GRANT SELECT ON pgqueue.stores TO PUBLIC;

-- Jobs

-- A time zone may be unknown to a newer machine; that is its job's trouble only.
CREATE FUNCTION pgqueue.next_run(schedule text, timezone text, after timestamptz)
RETURNS timestamptz LANGUAGE plpgsql PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT min(r) FROM cron.next_runs(schedule, 1, timezone, after) r);
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END $$;

-- The zone of jobs without one of their own: that of this database's background worker. NULL: none is at work.
CREATE FUNCTION pgqueue.worker_timezone()
RETURNS text LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgqueue_worker_timezone';

-- How jobs go, without what they do: of one's own jobs, and of all for pg_monitor. As the owner of the tables, past
-- their row security; the condition stands for it, and no condition of the reader's is tried first (security_barrier).
-- next_run in the past: it is late. A clock that was put back makes no run end before it began. What is called recent is the last 20 runs that have ended.
CREATE VIEW pgqueue.jobs WITH (security_barrier) AS
SELECT j.jobid, j.jobname, j.schedule, j.timezone, j.database, j.username, j.active,
       CASE WHEN NOT j.active THEN NULL
            WHEN j.run_at IS NOT NULL THEN
                CASE WHEN date_trunc('second', s.last_due) = date_trunc('second', j.run_at) THEN NULL ELSE j.run_at END
            ELSE pgqueue.next_run(j.schedule, coalesce(j.timezone, pgqueue.worker_timezone(), z.of_database),
                                  greatest(s.last_due, j.counts_from))
       END AS next_run,
       coalesce(o.waiting, 0) AS waiting, coalesce(o.running, 0) AS running, coalesce(o.overdue, 0) AS overdue,
       l.status AS last_status, l.due_time AS last_due, l.start_time AS last_start, greatest(l.end_time, l.start_time) AS last_end,
       l.start_after AS last_start_after, l.attempt AS last_attempt,
       CASE WHEN cron.may_act_as(j.username) THEN l.return_message END AS last_message,
       r.succeeded AS recent_succeeded, r.failed AS recent_failed, r.skipped AS recent_skipped, r.last_success, r.recent
FROM cron.job j
LEFT JOIN cron.job_state s ON s.jobid = j.jobid
CROSS JOIN (
    SELECT coalesce((SELECT substr(c, 10) FROM pg_catalog.pg_db_role_setting d, unnest(d.setconfig) c
                     WHERE d.setrole = 0 AND c ILIKE 'timezone=%' AND d.setdatabase IN (0, (
                         SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
                     ORDER BY d.setdatabase DESC LIMIT 1),
                    (SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'TimeZone')) AS of_database
) z
LEFT JOIN (
    SELECT jobid, count(*) FILTER (WHERE status = 'waiting') AS waiting,
           count(*) FILTER (WHERE status = 'running') AS running,
           greatest(max(extract(epoch FROM clock_timestamp() - start_after)) FILTER (WHERE status = 'waiting'),
                    0)::double precision AS overdue
    FROM cron.job_run_details WHERE status IN ('waiting', 'running') GROUP BY jobid
) o ON o.jobid = j.jobid
LEFT JOIN LATERAL (
    SELECT d.status, d.due_time, d.start_time, d.end_time, d.start_after, d.attempt, d.return_message
    FROM cron.job_run_details d
    WHERE d.jobid = j.jobid AND d.status NOT IN ('waiting', 'running') ORDER BY d.runid DESC LIMIT 1
) l ON true
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE d.status = 'succeeded') AS succeeded,
           count(*) FILTER (WHERE d.status = 'failed') AS failed,
           count(*) FILTER (WHERE d.status = 'skipped') AS skipped,
           max(d.end_time) FILTER (WHERE d.status = 'succeeded') AS last_success,
           jsonb_agg(jsonb_build_object('status', d.status, 'at', coalesce(d.start_time, d.due_time), 'seconds',
                                        extract(epoch FROM greatest(d.end_time, d.start_time) - d.start_time)) ORDER BY d.runid) AS recent
    FROM (SELECT * FROM cron.job_run_details d
          WHERE d.jobid = j.jobid AND d.status NOT IN ('waiting', 'running') ORDER BY d.runid DESC LIMIT 20) d
) r
WHERE cron.may_act_as(j.username) OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
GRANT SELECT ON pgqueue.jobs TO PUBLIC;

-- Long work

-- What sessions are at that work for long, as pg_stat_progress_* of the server: one's own, and all for those who see
-- all statistics.
CREATE FUNCTION pgqueue.progress_reports(OUT pid integer, OUT datid oid, OUT relid oid, OUT command text,
    OUT phase text, OUT tables_total integer, OUT tables_done integer, OUT blocks_total bigint, OUT blocks_done bigint,
    OUT rows_done bigint, OUT started_at timestamptz)
RETURNS SETOF record LANGUAGE c PARALLEL UNSAFE ROWS 4 AS 'MODULE_PATHNAME', 'pgqueue_progress';

CREATE VIEW pgqueue.progress AS
SELECT p.pid, p.datid, d.datname, p.relid, CASE WHEN d.datname = current_database() THEN c.relname END AS relname,
       p.command, p.phase, p.tables_total, p.tables_done, p.blocks_total, p.blocks_done, p.rows_done, p.started_at
FROM pgqueue.progress_reports() p LEFT JOIN pg_catalog.pg_database d ON d.oid = p.datid
    LEFT JOIN pg_catalog.pg_class c ON c.oid = p.relid;
GRANT SELECT ON pgqueue.progress TO PUBLIC;

-- Prometheus

CREATE FUNCTION pgqueue.prometheus_label(name text, value text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
RETURN name || '="' || replace(replace(replace(value, E'\\', E'\\\\'), '"', E'\\"'), chr(10), E'\\n') || '"';

-- All figures in the text format that Prometheus reads (version 0.0.4). As whoever asks: of the queues, stores and jobs
-- that the role sees. In PL/pgSQL, so that it has an answer where the library isn't loaded, as queue.health has. Most
-- of its time would go into planning: once a session is enough.
CREATE FUNCTION pgqueue.prometheus()
RETURNS text LANGUAGE plpgsql PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_memoize = off SET plan_cache_mode = force_generic_plan SET extra_float_digits = 1 AS $$
DECLARE
    here CONSTANT text := pgqueue.prometheus_label('database', current_database());
BEGIN
IF current_setting('pgqueue.max_segments', true) IS NULL THEN
    RETURN format(E'# HELP pgqueue_up Whether the library is loaded.\n# TYPE pgqueue_up gauge\n'
                  'pgqueue_up{%s} 0\n', here);
END IF;
RETURN (
WITH families(metric, type, help) AS (VALUES
    ('pgqueue_up', 'gauge', 'Whether the library is loaded.'),
    ('pgqueue_extension_info', 'gauge', 'The version of the extension.'),
    ('pgqueue_shared_memory_evicted_page_maps_total', 'counter', 'Times a page map made room for another one.'),
    ('pgqueue_shared_memory_missing_page_map_nodes_total', 'counter', 'Times a page map could not be made finer.'),
    ('pgqueue_shared_memory_forgotten_leases_total', 'counter', 'Rolled-back leases that had to run out.'),

    ('pgqueue_queue_messages', 'gauge', 'Messages in the queue by state.'),
    ('pgqueue_queue_messages_margin', 'gauge', 'By how many messages a state may be off; 0 where they were counted.'),
    ('pgqueue_queue_dead_letters', 'gauge', 'Messages in the dead-letter queue of the queue.'),
    ('pgqueue_queue_sent_messages_total', 'counter', 'Messages that were sent.'),
    ('pgqueue_queue_deleted_messages_total', 'counter', 'Messages that were deleted, expired or dead ones included.'),
    ('pgqueue_queue_archived_messages_total', 'counter', 'Messages that were archived.'),
    ('pgqueue_queue_dead_messages_total', 'counter', 'Messages that became dead letters.'),
    ('pgqueue_queue_expired_messages_total', 'counter', 'Messages that expired.'),
    ('pgqueue_queue_oldest_message_age_seconds', 'gauge', 'Time since the oldest message was sent.'),
    ('pgqueue_queue_newest_message_age_seconds', 'gauge', 'Time since the newest message was sent.'),
    ('pgqueue_queue_ready_age_seconds', 'gauge', 'Time for which the first message has been due; 0: none is.'),
    ('pgqueue_queue_paused', 'gauge', 'Whether the queue is paused.'),
    ('pgqueue_queue_size_bytes', 'gauge', 'Size of the tables on disk, without the archive.'),
    ('pgqueue_queue_segments', 'gauge', 'Tables of which the queue consists.'),

    ('pgqueue_handler_processes', 'gauge', 'Processes of the handler.'),
    ('pgqueue_handler_concurrency', 'gauge', 'Processes that the handler may have.'),
    ('pgqueue_handler_broken', 'gauge', 'Whether the handler cannot run.'),
    ('pgqueue_handler_processed_messages_total', 'counter', 'Messages that the handler has dealt with.'),
    ('pgqueue_handler_failed_messages_total', 'counter', 'Attempts at which the handler failed.'),
    ('pgqueue_handler_lost_messages_total', 'counter', 'Messages whose lease ran out before their turn came.'),
    ('pgqueue_handler_last_error_timestamp_seconds', 'gauge', 'When the handler failed the last time.'),

    ('pgqueue_store_entries', 'gauge', 'Keys in the store.'),
    ('pgqueue_store_expired_entries', 'gauge', 'Rows that wait for a purge.'),
    ('pgqueue_store_max_entries', 'gauge', 'Keys that the store may hold.'),
    ('pgqueue_store_size_bytes', 'gauge', 'Size of the tables on disk.'),
    ('pgqueue_store_hits_total', 'counter', 'Reads that found their key.'),
    ('pgqueue_store_misses_total', 'counter', 'Reads that did not find their key.'),
    ('pgqueue_store_purged_entries_total', 'counter', 'Rows that were removed after they had expired.'),

    ('pgqueue_job_active', 'gauge', 'Whether the job is active.'),
    ('pgqueue_job_open_runs', 'gauge', 'Runs that have not ended, by status.'),
    ('pgqueue_job_recent_runs', 'gauge', 'The last 20 runs that have ended, by status.'),
    ('pgqueue_job_last_run_success', 'gauge', 'Whether the last run succeeded.'),
    ('pgqueue_job_last_run_timestamp_seconds', 'gauge', 'When the last run started, or was skipped.'),
    ('pgqueue_job_last_run_duration_seconds', 'gauge', 'How long the last run took.'),
    ('pgqueue_job_last_run_delay_seconds', 'gauge', 'How late the last run started.'),
    ('pgqueue_job_last_success_timestamp_seconds', 'gauge', 'When the last of the recent runs that succeeded ended.'),
    ('pgqueue_job_overdue_seconds', 'gauge', 'For how long the longest waiting run has been due.'),
    ('pgqueue_job_next_run_timestamp_seconds', 'gauge', 'When the job is due next.'),

    ('pgqueue_worker_start_timestamp_seconds', 'gauge', 'When the background worker started.'),
    ('pgqueue_worker_lag_seconds', 'gauge', 'How late the oldest run is that waits for a free slot.'),
    ('pgqueue_worker_last_round_duration_seconds', 'gauge', 'How long the last round took.'),
    ('pgqueue_worker_last_round_timestamp_seconds', 'gauge', 'When the last round ended.'),
    ('pgqueue_worker_rounds_total', 'counter', 'Rounds of the background worker.'),
    ('pgqueue_worker_purged_keys_total', 'counter', 'Expired keys that were removed.'),
    ('pgqueue_worker_started_runs_total', 'counter', 'Runs of jobs that were started.'),
    ('pgqueue_worker_errors_total', 'counter', 'Errors of the background worker.')
),
samples(metric, labels, value) AS (
    SELECT 'pgqueue_up', here, '1'
    UNION ALL
    SELECT v.metric, here || v.label, v.value
    FROM pgqueue.shared_memory() m JOIN pg_extension e ON e.extname = 'pgqueue' CROSS JOIN LATERAL (VALUES
        ('pgqueue_extension_info', ',' || pgqueue.prometheus_label('version', e.extversion), '1'),
        ('pgqueue_shared_memory_evicted_page_maps_total', '', m.evicted_maps::text),
        ('pgqueue_shared_memory_missing_page_map_nodes_total', '', m.missing_nodes::text),
        ('pgqueue_shared_memory_forgotten_leases_total', '', m.forgotten_leases::text)
    ) v(metric, label, value)
    UNION ALL
    SELECT v.metric, q.labels || v.label, v.value
    FROM (SELECT *, concat(here, ',', pgqueue.prometheus_label('queue', queue_name)) AS labels
          FROM queue.metrics OFFSET 0) q
    CROSS JOIN LATERAL (VALUES
        ('pgqueue_queue_messages', ',state="ready"', q.ready::text),
        ('pgqueue_queue_messages', ',state="in_flight"', q.in_flight::text),
        ('pgqueue_queue_messages', ',state="delayed"', q.delayed::text),
        ('pgqueue_queue_messages_margin', '', q.margin::text),
        ('pgqueue_queue_dead_letters', '', q.dead_letters::text),
        ('pgqueue_queue_sent_messages_total', '', q.sent_total::text),
        ('pgqueue_queue_deleted_messages_total', '', q.deleted_total::text),
        ('pgqueue_queue_archived_messages_total', '', q.archived_total::text),
        ('pgqueue_queue_dead_messages_total', '', q.dead_total::text),
        ('pgqueue_queue_expired_messages_total', '', q.expired_total::text),
        ('pgqueue_queue_oldest_message_age_seconds', '', q.oldest_age::text),
        ('pgqueue_queue_newest_message_age_seconds', '', q.newest_age::text),
        ('pgqueue_queue_ready_age_seconds', '', coalesce(q.ready_age, CASE WHEN q.ready = 0 THEN 0 END)::text),
        ('pgqueue_queue_paused', '', q.paused::integer::text),
        ('pgqueue_queue_size_bytes', '', q.table_bytes::text),
        ('pgqueue_queue_segments', '', q.segments::text)
    ) v(metric, label, value)
    UNION ALL
    SELECT v.metric, concat(here, ',', pgqueue.prometheus_label('queue', h.queue_name)), v.value
    FROM queue.handlers h CROSS JOIN LATERAL (VALUES
        ('pgqueue_handler_processes', h.processes::text),
        ('pgqueue_handler_concurrency', h.concurrency::text),
        ('pgqueue_handler_broken', (h.state = 'broken')::integer::text),
        ('pgqueue_handler_processed_messages_total', h.processed::text),
        ('pgqueue_handler_failed_messages_total', h.failed::text),
        ('pgqueue_handler_lost_messages_total', h.lost::text),
        ('pgqueue_handler_last_error_timestamp_seconds', extract(epoch FROM h.last_error_at)::text)
    ) v(metric, value)
    UNION ALL
    SELECT v.metric, concat(here, ',', pgqueue.prometheus_label('store', s.store)), v.value
    FROM pgqueue.stores s CROSS JOIN LATERAL (VALUES
        ('pgqueue_store_entries', s.entries::text),
        ('pgqueue_store_expired_entries', s.expired::text),
        ('pgqueue_store_max_entries', s.max_entries::text),
        ('pgqueue_store_size_bytes', s.bytes::text),
        ('pgqueue_store_hits_total', s.hits::text),
        ('pgqueue_store_misses_total', s.misses::text),
        ('pgqueue_store_purged_entries_total', s.purged::text)
    ) v(metric, value)
    UNION ALL
    SELECT v.metric, concat_ws(',', here, pgqueue.prometheus_label('job_name', coalesce(j.jobname, j.jobid::text)),
                               pgqueue.prometheus_label('jobid', j.jobid::text),
                               pgqueue.prometheus_label('username', j.username), v.label), v.value
    FROM pgqueue.jobs j CROSS JOIN LATERAL (VALUES
        ('pgqueue_job_active', NULL, j.active::integer::text),
        ('pgqueue_job_open_runs', 'status="waiting"', j.waiting::text),
        ('pgqueue_job_open_runs', 'status="running"', j.running::text),
        ('pgqueue_job_recent_runs', 'status="succeeded"', j.recent_succeeded::text),
        ('pgqueue_job_recent_runs', 'status="failed"', j.recent_failed::text),
        ('pgqueue_job_recent_runs', 'status="skipped"', j.recent_skipped::text),
        ('pgqueue_job_last_run_success', NULL, (j.last_status = 'succeeded')::integer::text),
        ('pgqueue_job_last_run_timestamp_seconds', NULL, extract(epoch FROM coalesce(j.last_start, j.last_due))::text),
        ('pgqueue_job_last_run_duration_seconds', NULL, extract(epoch FROM j.last_end - j.last_start)::text),
        ('pgqueue_job_last_run_delay_seconds', NULL, extract(epoch FROM j.last_start - j.last_start_after)::text),
        ('pgqueue_job_last_success_timestamp_seconds', NULL, extract(epoch FROM j.last_success)::text),
        ('pgqueue_job_overdue_seconds', NULL, j.overdue::text),
        ('pgqueue_job_next_run_timestamp_seconds', NULL, extract(epoch FROM j.next_run)::text)
    ) v(metric, label, value)
    UNION ALL
    SELECT v.metric, pgqueue.prometheus_label('database', w.database), v.value
    FROM pgqueue.workers w CROSS JOIN LATERAL (VALUES
        ('pgqueue_worker_start_timestamp_seconds', extract(epoch FROM w.started_at)::text),
        ('pgqueue_worker_lag_seconds', w.lag::text),
        ('pgqueue_worker_last_round_duration_seconds', greatest(w.last_round, 0)::text),
        ('pgqueue_worker_last_round_timestamp_seconds', extract(epoch FROM w.last_round_at)::text),
        ('pgqueue_worker_rounds_total', w.rounds::text),
        ('pgqueue_worker_purged_keys_total', w.keys_purged::text),
        ('pgqueue_worker_started_runs_total', w.runs_started::text),
        ('pgqueue_worker_errors_total', w.errors::text)
    ) v(metric, value)
    WHERE w.database IS NOT NULL
)
SELECT string_agg(format(E'# HELP %1$s %2$s\n# TYPE %1$s %3$s\n', f.metric, f.help, f.type) || s.lines, ''
                  ORDER BY f.metric COLLATE "C")
FROM families f JOIN (
    SELECT metric, string_agg(format(E'%s{%s} %s\n', metric, labels, value), '' ORDER BY labels COLLATE "C") AS lines
    FROM samples WHERE value IS NOT NULL GROUP BY metric
) s ON s.metric = f.metric
);
END
$$;

-- The page. What names hold is shown as it is, never as markup; what no markup may hold is shown as ?.
CREATE FUNCTION pgqueue.html_text(value text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
RETURN regexp_replace(
    replace(replace(replace(replace(replace(
        value, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;'),
    E'[\\u0001-\\u0008\\u000B\\u000C\\u000E-\\u001F]', '?', 'g');

CREATE FUNCTION pgqueue.html_count(value numeric)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
RETURN coalesce(to_char(value, 'FM999,999,999,999,999,990'), '&#8211;');

-- A span of time for people: two digits or so, in the unit that suits it.
CREATE FUNCTION pgqueue.short_seconds(value numeric)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
RETURN CASE WHEN value < 0.9995 THEN round(value * 1000) || ' ms'
            WHEN value < 9.95 THEN round(value, 1) || ' s'
            WHEN value < 119.5 THEN round(value) || ' s'
            WHEN value < 7200 THEN floor(value / 60) || ' min'
            WHEN value < 172800 THEN floor(value / 3600) || ' h'
            ELSE floor(value / 86400) || ' d' END;

CREATE FUNCTION pgqueue.html_seconds(value numeric)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
RETURN coalesce(replace(pgqueue.short_seconds(value), ' ', '&#160;'), '&#8211;');

-- How long ago, as a line of its own; nothing where there is no such time.
CREATE FUNCTION pgqueue.html_ago(at timestamptz)
RETURNS text LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN '<small>' || CASE WHEN at IS NOT NULL THEN
    pgqueue.html_seconds(greatest(extract(epoch FROM clock_timestamp() - at), 0)) END || '&#160;ago</small>';

CREATE FUNCTION pgqueue.html_bytes(value bigint)
RETURNS text LANGUAGE sql STABLE PARALLEL UNSAFE
RETURN coalesce(replace(pg_size_pretty(value), ' ', '&#160;'), '&#8211;');

-- A cell of a table: quiet where it is 0.
CREATE FUNCTION pgqueue.html_number(value numeric, class text DEFAULT '', about text DEFAULT '')
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
RETURN concat('<td class="n', CASE WHEN value = 0 THEN ' muted' END, class, '">', about, pgqueue.html_count(value),
              '</td>');

-- The same of what should be 0.
CREATE FUNCTION pgqueue.html_alarm(value numeric)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
RETURN pgqueue.html_number(value, CASE WHEN value > 0 THEN ' alarm' END);

-- A bar of up to three parts, as long as their sum is beside the largest one.
CREATE FUNCTION pgqueue.html_bar(parts numeric[], largest numeric)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
RETURN '<td class="chart"><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">' ||
       '<rect class="track" width="100" height="10"/>' || (
    SELECT coalesce(string_agg(format('<rect class="%s" x="%s" width="%s" height="10"/>',
               (ARRAY['ready', 'flight', 'delayed'])[i], round(until - width, 1), round(width, 1)), '' ORDER BY i)
               FILTER (WHERE width > 0), '')
    FROM (SELECT i, width, sum(width) OVER (ORDER BY i) AS until
          FROM unnest(parts) WITH ORDINALITY u(n, i),
               LATERAL (SELECT CASE WHEN n > 0 THEN 0.8 + 97.6 * n / largest ELSE 0 END AS width) w) p
) || '</svg></td>';

-- A word with a colour: good, warn, bad or plain.
CREATE FUNCTION pgqueue.html_badge(word text, tone text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
RETURN ' <span class="badge ' || tone || '">' || pgqueue.html_text(word) || '</span>';

CREATE FUNCTION pgqueue.html_tile(label text, figure numeric, below text, tone text DEFAULT '')
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
RETURN format(E'<div class="tile %s"><dt>%s</dt><dd>%s<small>%s</small></dd></div>\n', tone, label,
              pgqueue.html_count(coalesce(figure, 0)), below);

-- A table in a section of its own; without rows what to do to have some; and what was left out. The heads are words
-- with a class each, which may be empty.
CREATE FUNCTION pgqueue.html_section(title text, legend text, heads text[], lines text, hint text, note text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
RETURN concat('<section><h2>', title, '</h2>', CASE WHEN lines IS NULL THEN '<p class="none">' || hint || '</p>' ELSE
    concat(legend, '<div class="table"><table><thead><tr>', (
        SELECT string_agg(format('<th scope="col" class="%s">%s</th>', heads[i][2], heads[i][1]), '' ORDER BY i)
        FROM generate_subscripts(heads, 1) i
    ), E'</tr></thead><tbody>\n', lines, '</tbody></table></div>', '<p class="note">' || nullif(note, '') || '</p>')
    END, E'</section>\n');

-- The last runs of a job, the newest to the right: a bar up for one that succeeded, as high as it took long (by its
-- logarithm), one down for one that failed, a ring for one that was skipped.
CREATE FUNCTION pgqueue.html_runs(runs jsonb)
RETURNS text LANGUAGE sql STABLE PARALLEL UNSAFE
RETURN (
    WITH run AS (
        SELECT x ->> 'status' AS status, (x ->> 'at')::timestamptz AS at, (x ->> 'seconds')::numeric AS seconds, i,
               ln(1 + 100 * coalesce((x ->> 'seconds')::numeric, 0)) AS size
        FROM jsonb_array_elements(runs) WITH ORDINALITY e(x, i)
    ),
    drawn AS (
        SELECT *, 7 * (20 - count(*) OVER () + i - 1) AS x,
               round(3 + 16 * size / greatest(max(size) OVER (), 1), 1) AS height
        FROM run
    )
    SELECT format('<svg class="runs" width="140" height="30" viewBox="0 0 140 30" role="img" '
                  'aria-label="%s of the last %s runs succeeded"><path class="base" d="M0 20.5H140"/>',
                  count(*) FILTER (WHERE status = 'succeeded'), count(*)) ||
           string_agg(format('<g transform="translate(%s)"><title>%s, %s%s</title>%s</g>', x, pgqueue.html_text(status),
               to_char(at, 'YYYY-MM-DD HH24:MI:SS'), ', ' || pgqueue.short_seconds(seconds),
               CASE status
                   WHEN 'succeeded' THEN format('<rect class="good" x="1" y="%s" width="5" height="%s" rx="1"/>',
                                                20 - height, height)
                   WHEN 'failed' THEN '<rect class="bad" x="1" y="21" width="5" height="9" rx="1"/>'
                   ELSE '<circle class="skipped" cx="3.5" cy="16.5" r="2"/>' END), '' ORDER BY i) || '</svg>'
    FROM drawn HAVING count(*) > 0
);

CREATE FUNCTION pgqueue.html_style()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
RETURN '<style>
:root { --back: #f6f6f3; --card: #fff; --text: #1f2328; --muted: #59626d; --line: #e2e3df; --track: #ecece8;
  --code: #f0f0ec; --ready: #2f6fb5; --flight: #2a9d8f; --delayed: #b97f16; --good: #146c3d; --warn: #8a5a00;
  --bad: #b42318; --good-back: #e3f3ea; --warn-back: #fbf0d9; --bad-back: #fbe6e3; --plain-back: #ecedea; }
@media (prefers-color-scheme: dark) { :root { --back: #131618; --card: #1b1f22; --text: #e4e7ea; --muted: #9da7b1;
  --line: #2c3237; --track: #262b30; --code: #252a2f; --ready: #6ea8e6; --flight: #4cc0b0; --delayed: #e2b562;
  --good: #6fcf97; --warn: #e8b96a; --bad: #ff9a8f; --good-back: #17352a; --warn-back: #3a2e16; --bad-back: #43211e;
  --plain-back: #2a3036; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); -webkit-text-size-adjust: 100%; font: 15px/1.5 system-ui,
  -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif; }
main, header, footer { max-width: 1240px; margin: 0 auto; padding: 0 28px; }
header { padding-top: 36px; padding-bottom: 20px; }
header p { margin: 0; color: var(--muted); }
h1 { font-size: 28px; line-height: 1.2; font-weight: 650; letter-spacing: -0.015em; margin: 2px 0 6px;
  overflow-wrap: anywhere; }
h2 { font-size: 17px; font-weight: 650; letter-spacing: -0.005em; margin: 0 0 10px; }
section { margin: 36px 0; }
small { display: block; font-size: 12.5px; color: var(--muted); font-weight: 400; }
code, pre { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
header .brand { font-size: 13px; font-weight: 600; letter-spacing: 0.02em; color: var(--ready); }
.muted { color: var(--muted); }
.alarm { color: var(--bad); }
.calm { color: var(--good); margin: 0; }
.findings { list-style: none; margin: 0; padding: 0; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; }
.findings li { display: flex; gap: 14px; padding: 12px 18px; border-top: 1px solid var(--line); align-items: baseline; }
.findings li:first-child { border-top: 0; }
.findings .badge { flex: 0 0 70px; text-align: center; }
.findings p { margin: 0; overflow-wrap: anywhere; }
.findings .hint { color: var(--muted); font-size: 13.5px; }
.badge { display: inline-block; padding: 0 8px; border-radius: 9px; font-size: 12px; line-height: 19px;
  font-weight: 550; white-space: nowrap; }
.badge.good { color: var(--good); background: var(--good-back); }
.badge.warn { color: var(--warn); background: var(--warn-back); }
.badge.bad { color: var(--bad); background: var(--bad-back); }
.badge.plain { color: var(--muted); background: var(--plain-back); }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; margin: 24px 0 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px 13px; }
.tile dt { color: var(--muted); font-size: 13px; }
.tile dd { margin: 0; font-size: 25px; line-height: 1.3; font-weight: 600; letter-spacing: -0.015em;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.tile small { letter-spacing: 0; }
.tile.bad dd { color: var(--bad); }
.tile.warn small { color: var(--warn); font-weight: 550; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: -4px 0 10px; color: var(--muted); font-size: 13px; }
.legend svg { width: 10px; height: 10px; margin-right: 6px; }
.table { background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: 8px 12px; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--muted); font-size: 12.5px; font-weight: 500; white-space: nowrap;
  vertical-align: bottom; }
th:first-child, td:first-child { padding-left: 18px; }
th:last-child, td:last-child { padding-right: 18px; }
tbody th { font-weight: 550; min-width: 150px; overflow-wrap: anywhere; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.text { min-width: 180px; max-width: 340px; overflow-wrap: anywhere; }
small.error { max-width: 340px; color: var(--bad); overflow: hidden; overflow-wrap: anywhere; display: -webkit-box;
  -webkit-box-orient: vertical; -webkit-line-clamp: 2; }
tr.off * { color: var(--muted); }
.chart { min-width: 110px; width: 18%; }
.chart svg { display: block; width: 100%; height: 10px; margin-top: 6px; border-radius: 3px; }
.track { fill: var(--track); }
.ready { fill: var(--ready); }
.flight, .runs .good { fill: var(--flight); }
.delayed { fill: var(--delayed); }
.runs { display: block; }
.runs .base { stroke: var(--line); }
.runs .bad { fill: var(--bad); }
.runs .skipped { fill: none; stroke: var(--muted); }
.legend .runs { display: inline; }
.note, .none { color: var(--muted); font-size: 13.5px; margin: 8px 0 0; }
.none { margin: 0; }
.start { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 22px 26px; }
.start p { margin: 0 0 12px; max-width: 44em; }
.start pre { margin: 0 0 16px; padding: 12px 16px; background: var(--code); border-radius: 8px; overflow-x: auto;
  line-height: 1.6; }
.start pre:last-child { margin: 0; }
p code { background: var(--code); padding: 1px 5px; border-radius: 4px; }
footer { color: var(--muted); font-size: 13px; padding-top: 4px; padding-bottom: 40px; }
@media (max-width: 760px) {
  main, header, footer { padding-left: 16px; padding-right: 16px; }
  .wide, .chart, .bars { display: none; }
  .tiles { grid-template-columns: repeat(2, 1fr); gap: 10px; }
  .tile { padding: 11px 14px; }
  .tile dd { font-size: 21px; }
  th, td { padding-left: 7px; padding-right: 7px; }
  th:first-child { padding-left: 14px; }
  thead th, thead .n { white-space: normal; }
  tbody th { min-width: 165px; }
  .findings li { display: block; }
  .findings .badge { margin-bottom: 4px; padding: 0 10px; }
}
</style>';

-- One page that shows all of it, for whoever asks: no script, and nothing that has to be fetched. Of each table the
-- first rows; what is left out is counted.
CREATE FUNCTION pgqueue.dashboard()
RETURNS text LANGUAGE plpgsql PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_nestloop = off AS $$
#variable_conflict use_column
DECLARE
    most CONSTANT integer := 40;
    loaded CONSTANT boolean := current_setting('pgqueue.max_segments', true) IS NOT NULL;
    moment CONSTANT timestamptz := clock_timestamp();
    page text;
    findings record;
    queues record;
    handlers record;
    stores record;
    jobs record;
    worker text;
BEGIN
page := concat('<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/><title>pgqueue: ', pgqueue.html_text(current_database()), '</title>
', pgqueue.html_style(), '</head><body>
<header><p class="brand">pgqueue</p><h1>', pgqueue.html_text(current_database()), '</h1>
<p>', to_char(moment, 'FMDD Mon YYYY, HH24:MI:SS TZ'), ', seen by ', pgqueue.html_text(current_user), '</p></header>
<main>
');

SELECT count(*) AS number,
       string_agg(concat('<li>', pgqueue.html_badge(severity, tone), '<div><p>',
           '<b>' || pgqueue.html_text(queue_name) || '</b>: ', pgqueue.html_text(problem), '</p><p class="hint">',
           pgqueue.html_text(hint), E'</p></div></li>\n'), '' ORDER BY place) FILTER (WHERE place <= 10) AS lines
INTO findings
FROM (SELECT *, row_number() OVER () AS place,
             CASE severity WHEN 'critical' THEN 'bad' WHEN 'warning' THEN 'warn' ELSE 'plain' END AS tone
      FROM queue.health()) h;
page := page || CASE WHEN findings.number = 0 THEN
    E'<p class="calm">&#10003; All is well: queue.health() finds nothing to say.</p>\n'
ELSE concat(E'<ul class="findings">\n', findings.lines, E'</ul>\n', CASE WHEN findings.number > 10 THEN
    format(E'<p class="note">%s more findings: SELECT * FROM queue.health();</p>\n', findings.number - 10) END)
END;

IF loaded THEN
    WITH queues AS MATERIALIZED (
        SELECT m.*, q.fifo, q.unlogged, q.dead_letter, coalesce(m.ready + m.in_flight + m.delayed, 0) AS waiting,
               CASE WHEN NOT m.exact THEN '&#8776;&#8202;' END AS about
        FROM queue.metrics m JOIN queue.queues q ON q.queue_name = m.queue_name
    ),
    ranked AS (
        SELECT *, row_number() OVER (ORDER BY waiting DESC, queue_name COLLATE "C") AS place,
               greatest(max(waiting) OVER (), 1) AS largest
        FROM queues
    )
    SELECT count(*) AS number, sum(ready) AS ready, sum(in_flight) AS in_flight, sum(delayed) AS delayed,
           max(ready_age)::numeric AS ready_age, sum(table_bytes)::bigint AS bytes, bool_and(exact) AS exact,
           -- Queues that share a dead-letter queue show the same of it.
           (SELECT sum(n) FROM (SELECT max(dead_letters) AS n FROM queues GROUP BY dead_letter) d) AS dead,
           count(*) FILTER (WHERE paused) AS paused, sum(waiting) FILTER (WHERE place > most) AS left_out,
           string_agg(concat('<tr><th scope="row">', pgqueue.html_text(queue_name),
               CASE WHEN paused THEN pgqueue.html_badge('paused', 'warn') END,
               CASE WHEN fifo THEN pgqueue.html_badge('fifo', 'plain') END,
               CASE WHEN unlogged THEN pgqueue.html_badge('unlogged', 'plain') END, '</th>',
               pgqueue.html_number(ready, '', about), pgqueue.html_number(in_flight, '', about),
               pgqueue.html_number(delayed, '', about), pgqueue.html_bar(ARRAY[ready, in_flight, delayed], largest),
               CASE WHEN dead_letter IS NULL THEN '<td></td>' ELSE pgqueue.html_alarm(dead_letters) END,
               '<td class="n">', pgqueue.html_seconds(oldest_age::numeric), '</td>',
               pgqueue.html_number(sent_total, ' wide'), pgqueue.html_number(deleted_total + archived_total, ' wide'),
               '<td class="n wide">', pgqueue.html_bytes(table_bytes), E'</td></tr>\n'), ''
               ORDER BY place) FILTER (WHERE place <= most) AS lines
    INTO queues FROM ranked;

    SELECT count(*) AS number, count(*) FILTER (WHERE state = 'broken') AS broken, sum(processes) AS processes,
           sum(concurrency) AS concurrency,
           string_agg(concat('<tr><th scope="row">', pgqueue.html_text(queue_name), '</th><td><code>',
               pgqueue.html_text(handler), '</code><small>as ', pgqueue.html_text(run_as), '</small></td><td>',
               pgqueue.html_badge(state, CASE WHEN state = 'running' THEN 'good' WHEN state = 'broken' THEN 'bad'
                                              WHEN state ~ '^waiting' THEN 'warn' ELSE 'plain' END),
               '</td><td class="n">', processes, '&#160;/&#160;', concurrency, '</td>', pgqueue.html_number(processed),
               pgqueue.html_alarm(failed), '<td class="text">', pgqueue.html_text(left(last_error, 200)),
               pgqueue.html_ago(last_error_at), E'</td></tr>\n'), ''
               ORDER BY place) FILTER (WHERE place <= most) AS lines
    INTO handlers
    FROM (SELECT *, row_number() OVER (ORDER BY state = 'broken' DESC, failed DESC, queue_name COLLATE "C") AS place
          FROM queue.handlers) h;

    SELECT count(*) AS number, sum(entries) AS entries, sum(bytes)::bigint AS bytes, bool_and(exact) AS exact,
           sum(entries) FILTER (WHERE place > most) AS left_out,
           string_agg(concat('<tr><th scope="row">', pgqueue.html_text(store),
               CASE WHEN unlogged THEN pgqueue.html_badge('unlogged', 'plain') END, '</th>',
               pgqueue.html_number(entries, '', CASE WHEN NOT exact THEN '&#8776;&#8202;' END),
               pgqueue.html_bar(ARRAY[entries], largest), pgqueue.html_number(expired), '<td class="n">',
               CASE WHEN max_entries IS NOT NULL THEN pgqueue.html_count(max_entries) END, '</td><td class="n">',
               coalesce(round(hits * 100.0 / nullif(hits + misses, 0), 1) || '&#160;%', '&#8211;'), '</td>',
               pgqueue.html_number(hits + misses, ' wide'), pgqueue.html_number(purged, ' wide'), '<td class="n">',
               pgqueue.html_bytes(bytes), E'</td></tr>\n'), ''
               ORDER BY place) FILTER (WHERE place <= most) AS lines
    INTO stores
    FROM (SELECT *, row_number() OVER (ORDER BY entries DESC NULLS LAST, store COLLATE "C") AS place,
                 greatest(max(entries) OVER (), 1) AS largest
          FROM pgqueue.stores) s;

    SELECT count(*) AS number, count(*) FILTER (WHERE active) AS active,
           count(*) FILTER (WHERE last_status = 'failed') AS failing,
           min(next_run) FILTER (WHERE next_run > moment) AS next_run,
           string_agg(concat(CASE WHEN active THEN '<tr>' ELSE '<tr class="off">' END, '<th scope="row">',
               coalesce(pgqueue.html_text(jobname), 'job ' || jobid),
               CASE WHEN NOT active THEN pgqueue.html_badge('inactive', 'plain') END,
               CASE WHEN running > 0 THEN pgqueue.html_badge('running', 'good') END,
               CASE WHEN overdue > 0 THEN pgqueue.html_badge('waiting', 'warn') END,
               '<small>', pgqueue.html_text(username),
               CASE WHEN database <> current_database() THEN ' in ' || pgqueue.html_text(database) END,
               '</small></th><td><code>', pgqueue.html_text(schedule), '</code>',
               '<small>' || pgqueue.html_text(timezone) || '</small>', '</td><td>',
               CASE WHEN next_run IS NULL THEN '&#8211;' WHEN next_run > moment THEN
                   'in&#160;' || pgqueue.html_seconds(extract(epoch FROM next_run - moment))
               ELSE format('<span class="alarm">%s&#160;late</span>',
                           pgqueue.html_seconds(extract(epoch FROM moment - next_run))) END,
               '<small>' || to_char(next_run, 'FMDD Mon YYYY, HH24:MI') || '</small>', '</td><td>',
               coalesce(pgqueue.html_badge(last_status, CASE last_status WHEN 'succeeded' THEN 'good'
                                                                         WHEN 'failed' THEN 'bad' ELSE 'warn' END),
                        '<span class="muted">never ran</span>'), pgqueue.html_ago(coalesce(last_start, last_due)),
               '</td><td class="n">', pgqueue.html_seconds(extract(epoch FROM last_end - last_start)), '</td><td>',
               pgqueue.html_runs(recent), CASE WHEN last_status = 'failed' THEN
                   '<small class="error">' || pgqueue.html_text(left(last_message, 200)) || '</small>'
               END, E'</td></tr>\n'), '' ORDER BY place) FILTER (WHERE place <= most) AS lines
    INTO jobs
    FROM (SELECT *, row_number() OVER (ORDER BY active DESC, last_status = 'failed' DESC NULLS LAST, next_run,
                                       jobname COLLATE "C", jobid) AS place
          FROM pgqueue.jobs) j;

    SELECT string_agg(format('background worker %s, last round %s ago in %s, %s errors', pgqueue.html_text(state),
                             pgqueue.html_seconds(extract(epoch FROM greatest(moment, last_round_at) - last_round_at)),
                             pgqueue.html_seconds(last_round::numeric), pgqueue.html_count(errors)), '; ')
    INTO worker FROM pgqueue.workers WHERE database = current_database();
END IF;

IF NOT loaded THEN
    NULL; -- the finding above says so
ELSIF queues.number = 0 AND jobs.number = 0 AND stores.number = 1 AND stores.entries = 0 THEN
    page := page || '<section class="start"><h2>Nothing is here yet</h2>
<p>No queue, no key and no job that you may see. The first ones take a line each, in psql or from any client:</p>
<pre>SELECT queue.create(&#39;orders&#39;);
SELECT queue.send(&#39;orders&#39;, &#39;{&quot;order&quot;: 1}&#39;);
SELECT * FROM queue.read(&#39;orders&#39;);</pre>
<pre>SELECT kv.set(&#39;greeting&#39;, &#39;hello&#39;, ttl =&gt; 60);
SELECT kv.get(&#39;greeting&#39;);</pre>
<pre>SELECT cron.schedule(&#39;nightly&#39;, &#39;30 3 * * *&#39;, &#39;VACUUM ANALYZE&#39;);</pre></section>
';
ELSE
    page := concat(page, E'<dl class="tiles">\n',
        pgqueue.html_tile('Ready', queues.ready, CASE WHEN queues.ready_age > 0 THEN
            'the first for ' || pgqueue.html_seconds(queues.ready_age) ELSE 'nothing waits' END),
        pgqueue.html_tile('In flight', queues.in_flight, 'read, not acknowledged yet'),
        pgqueue.html_tile('Delayed', queues.delayed, 'due later'),
        pgqueue.html_tile('Dead letters', queues.dead, 'in dead-letter queues',
                          CASE WHEN queues.dead > 0 THEN 'bad' ELSE '' END),
        pgqueue.html_tile('Queues', queues.number,
                          concat(CASE WHEN queues.paused > 0 THEN queues.paused || ' paused, ' END,
                                 pgqueue.html_bytes(coalesce(queues.bytes, 0)))),
        pgqueue.html_tile('Handlers', handlers.number,
                          CASE WHEN handlers.broken > 0 THEN handlers.broken || ' broken'
                               WHEN handlers.number = 0 THEN 'none attached'
                               ELSE format('%s of %s processes', handlers.processes, handlers.concurrency) END,
                          CASE WHEN handlers.broken > 0 THEN 'warn' ELSE '' END),
        pgqueue.html_tile('Keys', stores.entries, format('in %s %s, %s', stores.number,
            CASE stores.number WHEN 1 THEN 'store' ELSE 'stores' END, pgqueue.html_bytes(coalesce(stores.bytes, 0)))),
        pgqueue.html_tile('Jobs', jobs.active,
                          CASE WHEN jobs.failing > 0 THEN jobs.failing || ' failed last time'
                               WHEN jobs.next_run IS NULL THEN 'none is due'
                               ELSE 'the next in ' || pgqueue.html_seconds(extract(epoch FROM jobs.next_run - moment))
                          END,
                          CASE WHEN jobs.failing > 0 THEN 'warn' ELSE '' END),
        E'</dl>\n');

    page := page || pgqueue.html_section('Queues', '<p class="legend bars">
<span><svg viewBox="0 0 1 1"><rect class="ready" width="1" height="1"/></svg>ready</span>
<span><svg viewBox="0 0 1 1"><rect class="flight" width="1" height="1"/></svg>in flight</span>
<span><svg viewBox="0 0 1 1"><rect class="delayed" width="1" height="1"/></svg>delayed</span></p>',
        ARRAY[['Queue', ''], ['Ready', 'n'], ['In flight', 'n'], ['Delayed', 'n'], ['', 'chart'], ['Dead letters', 'n'],
              ['Oldest', 'n'], ['Sent', 'n wide'], ['Done', 'n wide'], ['Size', 'n wide']], queues.lines,
        'You see none. <code>SELECT queue.create(&#39;orders&#39;)</code> makes one.',
        concat_ws(' ', CASE WHEN queues.number > most THEN
            format('The %s with the most messages are shown. %s others, with %s messages together, are left out.', most,
                   pgqueue.html_count(queues.number - most), pgqueue.html_count(queues.left_out)) END,
            CASE WHEN NOT queues.exact THEN '&#8776;: from a sample.' END));

    page := page || pgqueue.html_section('Handlers', '',
        ARRAY[['Queue', ''], ['Function', ''], ['State', ''], ['Processes', 'n'], ['Processed', 'n'], ['Failed', 'n'],
              ['Last error', '']], handlers.lines,
        'None. <code>SELECT queue.attach(&#39;orders&#39;, &#39;handle&#39;)</code> has the database process a queue.',
        CASE WHEN handlers.number > most THEN
            format('Those that fail are shown. %s others are left out.',
                   pgqueue.html_count(handlers.number - most)) END);

    page := page || pgqueue.html_section('Stores', '',
        ARRAY[['Store', ''], ['Keys', 'n'], ['', 'chart'], ['Expired', 'n'], ['Limit', 'n'], ['Hit rate', 'n'],
              ['Reads', 'n wide'], ['Purged', 'n wide'], ['Size', 'n']], stores.lines,
        'You see none. <code>SELECT kv.create_store(&#39;sessions&#39;)</code> makes one.',
        concat_ws(' ', CASE WHEN stores.number > most THEN
            format('The %s largest are shown. %s others, with %s keys together, are left out.', most,
                   pgqueue.html_count(stores.number - most), pgqueue.html_count(stores.left_out)) END,
            CASE WHEN NOT stores.exact THEN '&#8776;: from a sample.' END));

    page := page || pgqueue.html_section('Jobs', '<p class="legend">
<span><svg viewBox="0 0 1 1"><rect class="flight" width="1" height="1"/></svg>succeeded, the higher the longer</span>
<span><svg class="runs" viewBox="0 0 1 1"><rect class="bad" width="1" height="1"/></svg>failed, below the line</span>
<span><svg class="runs" viewBox="0 0 10 10"><circle class="skipped" cx="5" cy="5" r="4"/></svg>skipped</span></p>',
        ARRAY[['Job', ''], ['Schedule', ''], ['Next run', ''], ['Last run', ''], ['Took', 'n'], ['Last 20 runs', '']],
        jobs.lines,
        'You see none. <code>SELECT cron.schedule(&#39;0 3 * * *&#39;, &#39;VACUUM&#39;)</code> makes one.',
        CASE WHEN jobs.number > most THEN
            format('Those that fail and those that are due next are shown. %s others are left out.',
                   pgqueue.html_count(jobs.number - most)) END);
END IF;

RETURN concat(page, '</main>
<footer>pgqueue ', (SELECT extversion FROM pg_extension WHERE extname = 'pgqueue'), '; ',
coalesce(worker, 'no background worker'),
'. A role sees the queues and stores that it may SELECT from, and its own jobs; members of pg_monitor see all.</footer>
</body></html>
');
END
$$;
