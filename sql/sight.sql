-- What monitoring reads: pgqueue.prometheus() and pgqueue.dashboard(), their format, what they show and to whom.
CREATE DATABASE regress_pgqueue_sight;
ALTER DATABASE regress_pgqueue_sight SET pgqueue.cron_enabled = off;
\c regress_pgqueue_sight
\pset format unaligned
\pset tuples_only on
\pset null NULL
CREATE EXTENSION pgqueue;

-- The signatures are a contract.
SELECT format('%s(%s) -> %s', proname, pg_get_function_arguments(oid), pg_get_function_result(oid))
FROM pg_proc WHERE pronamespace = 'pgqueue'::regnamespace AND proname IN ('prometheus', 'dashboard', 'wake', 'shared_memory') ORDER BY proname COLLATE "C";
SELECT proname FROM pg_proc WHERE pronamespace = 'pgqueue'::regnamespace AND (proisstrict OR prosecdef);
SELECT attrelid::regclass, string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
WHERE attrelid IN ('pgqueue.progress'::regclass, 'pgqueue.workers'::regclass, 'pgqueue.jobs'::regclass, 'pgqueue.stores'::regclass) AND attnum > 0 GROUP BY attrelid ORDER BY attrelid::regclass::text COLLATE "C";

-- The text format, version 0.0.4, and Prometheus' own conventions. A row per complaint.
CREATE FUNCTION pg_temp.samples(page text, OUT metric text, OUT labels text, OUT value text, OUT place bigint) RETURNS SETOF record LANGUAGE sql AS $$
    SELECT m[1], m[2], m[3], i
    FROM regexp_split_to_table(rtrim(page, E'\n'), E'\n') WITH ORDINALITY l(line, i), regexp_match(line, '^([a-z_]+)\{(.*)\} (\S+)$') m
    WHERE line !~ '^#' AND m IS NOT NULL
$$;
CREATE FUNCTION pg_temp.complaints(page text) RETURNS SETOF text LANGUAGE sql AS $$
    WITH lines AS (SELECT line, i FROM regexp_split_to_table(page, E'\n') WITH ORDINALITY l(line, i) WHERE line <> ''),
    heads AS (SELECT m[1] AS kind, m[2] AS metric, m[3] AS rest, i FROM lines, regexp_match(line, '^# (HELP|TYPE) ([a-z_]+) (\S.*)$') m WHERE m IS NOT NULL),
    samples AS (SELECT * FROM pg_temp.samples(page))
    SELECT complaint FROM (
    SELECT 'last line without its end' AS complaint WHERE page !~ '[^\n]\n$'
    UNION ALL
    SELECT 'no such line: ' || line FROM lines
    WHERE line !~ '^# HELP pgqueue_[a-z_]+ [^\\]+$' AND line !~ '^# TYPE pgqueue_[a-z_]+ (gauge|counter)$'
      AND line !~ '^pgqueue_[a-z_]+\{[a-z_]+="([^"\\]|\\\\|\\"|\\n)*"(,[a-z_]+="([^"\\]|\\\\|\\"|\\n)*")*\} -?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?$'
    UNION ALL
    SELECT format('%s %s times: %s', kind, count(*), metric) FROM heads GROUP BY kind, metric HAVING count(*) > 1
    UNION ALL
    SELECT 'no HELP right before TYPE: ' || t.metric FROM heads t
    WHERE t.kind = 'TYPE' AND NOT EXISTS (SELECT FROM heads h WHERE h.kind = 'HELP' AND h.metric = t.metric AND h.i = t.i - 1)
    UNION ALL
    SELECT 'a sample away from its TYPE: ' || s.metric FROM samples s
    WHERE s.metric IS DISTINCT FROM (SELECT h.metric FROM heads h WHERE h.i < s.place ORDER BY h.i DESC LIMIT 1)
    UNION ALL
    SELECT 'a TYPE without samples: ' || metric FROM heads WHERE kind = 'TYPE' AND metric NOT IN (SELECT metric FROM samples)
    UNION ALL
    SELECT 'twice: ' || metric || labels FROM samples GROUP BY metric, labels HAVING count(*) > 1
    UNION ALL
    SELECT 'no name for a ' || rest || ': ' || metric FROM heads WHERE kind = 'TYPE' AND (rest = 'counter') <> (metric ~ '_total$')
    UNION ALL
    SELECT 'no unit: ' || metric FROM heads
    WHERE kind = 'TYPE' AND (metric ~ '_(age|duration|delay|lag|overdue|timestamp)(_|$)' AND metric !~ '_seconds$' OR metric ~ 'size' AND metric !~ '_bytes$')
    UNION ALL
    SELECT 'below zero: ' || metric FROM samples WHERE value ~ '^-'
    UNION ALL
    SELECT 'no database: ' || metric FROM samples WHERE labels !~ '^database="'
    UNION ALL
    -- Labels that Prometheus itself gives a sample.
    SELECT 'a label of Prometheus: ' || metric FROM samples WHERE labels ~ '(^|,)(job|instance)="'
    ) c ORDER BY complaint COLLATE "C"
$$;
-- It does complain.
SELECT pg_temp.complaints(page) FROM (VALUES
    (E'# HELP pgqueue_a_total A.\n# TYPE pgqueue_a_total counter\npgqueue_a_total{database="x"} 1'),
    (E'# HELP pgqueue_a A.\n# TYPE pgqueue_a gauge\npgqueue_a{database="x"y"} 1\n'),
    (E'# HELP pgqueue_a A.\n# TYPE pgqueue_a gauge\npgqueue_a{database="x\\t"} 1\n'),
    (E'# HELP pgqueue_a A.\n# TYPE pgqueue_a gauge\npgqueue_a{database="x"} \n'),
    (E'# TYPE pgqueue_a gauge\npgqueue_a{database="x"} 1\npgqueue_a{database="x"} 2\n'),
    (E'# HELP pgqueue_a A.\n# TYPE pgqueue_a gauge\n# HELP pgqueue_a A.\n# TYPE pgqueue_a gauge\npgqueue_a{database="x"} 1\n'),
    (E'# HELP pgqueue_a A.\n# TYPE pgqueue_a counter\npgqueue_a{database="x"} 1\npgqueue_b{database="x"} 1\n'),
    (E'# HELP pgqueue_x_age A.\n# TYPE pgqueue_x_age gauge\n# HELP pgqueue_size A.\n# TYPE pgqueue_size gauge\npgqueue_size{database="x"} -1\n'),
    (E'# HELP pgqueue_a_total A.\n# TYPE pgqueue_a_total gauge\npgqueue_a_total{state="x"} 1\n'),
    (E'# HELP pgqueue_a A.\n# TYPE pgqueue_a gauge\npgqueue_a{database="x",job="y"} 1\n')
) p(page);

-- An empty database.
SELECT pg_temp.complaints(pgqueue.prometheus());
SELECT metric, labels, value FROM pg_temp.samples(pgqueue.prometheus()) WHERE metric ~ '^pgqueue_(up|extension|shared|store_e|queue|job|handler)' ORDER BY place;
SELECT xml_is_well_formed_document(pgqueue.dashboard());
SELECT xpath('//h1/text()', page), xpath('//section/h2/text()', page), xpath('count(//dl)', page) FROM xmlparse(DOCUMENT pgqueue.dashboard()) page;

-- Something of everything, with names that want to be markup.
CREATE ROLE regress_sight_owner LOGIN;
CREATE ROLE regress_sight_nobody;
CREATE ROLE regress_sight_monitor IN ROLE pg_monitor;
CREATE ROLE "regress_sight_<i>""\&" LOGIN;
GRANT CREATE ON DATABASE regress_pgqueue_sight TO regress_sight_owner;
SET ROLE regress_sight_owner;
SELECT queue.create('dead'), queue.create('q.1', max_attempts => 3, dead_letter => 'dead'), queue.create('fifo', fifo => true, unlogged => true);
SELECT count(*) FROM queue.send_batch('q.1', array_fill('1'::jsonb, ARRAY[9]));
SELECT count(*) FROM queue.send_batch('q.1', array_fill('1'::jsonb, ARRAY[3]), delay => 3600);
SELECT count(*) FROM queue.read('q.1', qty => 2, vt => 3600);
SELECT queue.archive('q.1', 1), queue.send('dead', '1'), queue.pause('fifo'), queue.send('fifo', '1');
CREATE SCHEMA regress_sight_owner;
CREATE FUNCTION regress_sight_owner."<h>"(queue.message) RETURNS void LANGUAGE sql AS 'SELECT';
SELECT queue.create('handled'), queue.attach('handled', 'regress_sight_owner."<h>"', 3);
SELECT kv.create_store('s', max_entries => 100);
SELECT count(kv.set('k' || i, 'v', store => 's')) FROM generate_series(1, 20) i;
SELECT kv.incr('n', store => 's'), kv.get('k1', 's'), kv.get('none', 's');
SELECT cron.schedule(E'<b>"&\'\\ \n\x01', '0 0 1 1 *', 'SELECT ''a secret''') AS nasty \gset
SELECT cron.create_job('daily', '@daily', 'SELECT 1', timezone => 'Asia/Tokyo') AS daily \gset
SELECT cron.create_job('off', '@daily', 'SELECT 1', active => false) AS off \gset
SELECT cron.schedule('3 seconds', 'SELECT 1') AS unnamed, cron.at('2100-01-01 00:00Z', 'SELECT 1', 'once') AS once \gset
RESET ROLE;
INSERT INTO cron.job_run_details (jobid, database, username, command, status, return_message, start_time, end_time, due_time, start_after)
SELECT :nasty, current_database(), 'regress_sight_owner', 'a secret', CASE WHEN i % 5 = 0 THEN 'failed' WHEN i % 7 = 0 THEN 'skipped' ELSE 'succeeded' END, 'another secret',
       CASE WHEN i % 7 > 0 OR i % 5 = 0 THEN '2020-01-01 00:00Z'::timestamptz + i * interval '1 h' + interval '2.5 s' END, '2020-01-01 00:00Z'::timestamptz + i * interval '1 h' + interval '4 s',
       '2020-01-01 00:00Z'::timestamptz + i * interval '1 h', '2020-01-01 00:00Z'::timestamptz + i * interval '1 h'
FROM generate_series(1, 30) i;
INSERT INTO cron.job_run_details (jobid, database, username, command, status, due_time, start_after)
VALUES (:daily, current_database(), 'regress_sight_owner', 'SELECT 1', 'waiting', now() - interval '1 h', now() - interval '1 h');
INSERT INTO cron.job (schedule, command, jobname, username) VALUES ('@yearly', 'SELECT 1', 'other', 'regress_sight_<i>"\&');

SELECT pg_temp.complaints(pgqueue.prometheus());
SELECT metric, regexp_replace(labels, '"[0-9]+"', '"..."'), value FROM pg_temp.samples(pgqueue.prometheus())
WHERE metric ~ 'queue_(messages|dead_letters|paused|segments)|handler_conc|store_.*entries$|job_(active|.*_runs|.*success|.*duration|.*delay|last_run_t)' ORDER BY place;
SELECT metric FROM pg_temp.samples(pgqueue.prometheus()) GROUP BY metric ORDER BY metric COLLATE "C";
SELECT metric FROM pg_temp.samples(pgqueue.prometheus()) WHERE metric ~ '_age_|overdue' AND value::float8 NOT BETWEEN 0 AND CASE WHEN metric ~ 'overdue' THEN 7200 ELSE 600 END;
SELECT value::float8 >= 3600 FROM pg_temp.samples(pgqueue.prometheus()) WHERE metric ~ 'overdue' AND labels ~ 'job_name="daily"';
SELECT labels ~ 'job_name="once"', to_timestamp(value::float8) = '2100-01-01 00:00Z' FROM pg_temp.samples(pgqueue.prometheus()) WHERE metric ~ 'next_run' AND labels ~ 'job_name="(once|off)"';
-- A label leads back to the name.
SELECT replace(replace(replace(replace(m[1], '\\', E'\x02'), '\"', '"'), '\n', E'\n'), E'\x02', '\') = (SELECT jobname FROM cron.job WHERE jobid = :nasty)
FROM pg_temp.samples(pgqueue.prometheus()) s, regexp_match(labels, 'job_name="((?:[^"\\]|\\.)*)"') m WHERE metric = 'pgqueue_job_active' AND labels ~ 'jobid="1"';

-- The page: well-formed, names as they are, and nothing from elsewhere.
SELECT xml_is_well_formed_document(pgqueue.dashboard());
SELECT pgqueue.dashboard() ~* '<script|<link|<img|<iframe|url\(|@import|https?:|\son[a-z]+=';
CREATE TEMP TABLE page AS SELECT xmlparse(DOCUMENT pgqueue.dashboard()) AS page;
SELECT h.title, h.heads FROM page, xmltable('//section' PASSING page COLUMNS title text PATH 'h2', heads text PATH 'count(.//thead//th)') h;
SELECT q.* FROM page, xmltable('//section[h2="Queues"]//tbody/tr' PASSING page
    COLUMNS name text PATH 'th/text()[1]', badges text PATH 'string(th)', ready text PATH 'td[1]', in_flight text PATH 'td[2]', delayed text PATH 'td[3]', dead text PATH 'td[5]') q;
SELECT h.* FROM page, xmltable('//section[h2="Handlers"]//tbody/tr' PASSING page COLUMNS name text PATH 'th', handler text PATH 'td[1]/code', run_as text PATH 'td[1]/small') h;
SELECT s.* FROM page, xmltable('//section[h2="Stores"]//tbody/tr' PASSING page COLUMNS name text PATH 'th', keys text PATH 'td[1]', found text PATH 'td[5]') s;
SELECT replace(j.name, E'\n', '\n'), j.role, j.status, j.runs, j.titles, j.took FROM page, xmltable('//section[h2="Jobs"]//tbody/tr' PASSING page
    COLUMNS name text PATH 'th/text()[1]', role text PATH 'th/small', status text PATH 'td[3]/span', runs text PATH 'td[5]/svg/@aria-label', titles text PATH 'count(td[5]/svg/g/title)', took text PATH 'td[4]') j;
SELECT f.* FROM page, xmltable('//ul[@class="findings"]/li' PASSING page COLUMNS severity text PATH 'span', problem text PATH 'div/p[1]', hint text PATH 'div/p[2]') f WHERE f.problem ~ 'paused';
SELECT t.label, t.figure, CASE WHEN t.label <> 'Ready' THEN t.below END FROM page, xmltable('//div[dt]' PASSING page COLUMNS label text PATH 'dt', figure text PATH 'dd/text()', below text PATH 'dd/small') t WHERE t.label IN ('Ready', 'In flight', 'Delayed', 'Dead letters', 'Keys', 'Jobs');
SELECT page::text ~ 'secret' AS told FROM page;
SELECT pgqueue.html_text(E'<a href="&amp;" b=\'x\'>\x01\x1f\t\n'), pgqueue.html_text(NULL);
SELECT string_agg(pgqueue.short_seconds(s), ', ') FROM unnest(ARRAY[0, 0.0004, 0.5, 0.9994, 0.9996, 9.94, 9.96, 60, 119.4, 119.6, 7199, 7200, 172799, 172800, 1e8]::numeric[]) s;

-- Who sees what. Nobody: handlers and workers, as in their views. A monitor: all, but neither commands nor messages.
CREATE FUNCTION pg_temp.shows(OUT queues text, OUT stores text, OUT jobs text, OUT messages bigint) LANGUAGE sql AS $$
    SELECT (SELECT string_agg(queue_name, ' ' ORDER BY queue_name) FROM queue.metrics), (SELECT string_agg(store, ' ' ORDER BY store) FROM pgqueue.stores),
           (SELECT string_agg(coalesce(jobname, 'job'), ' ' ORDER BY jobid) FROM pgqueue.jobs), (SELECT count(last_message) FROM pgqueue.jobs)
$$;
SET ROLE regress_sight_nobody;
SELECT pg_temp.complaints(pgqueue.prometheus());
SELECT metric, regexp_replace(labels, '^database="[a-z_]+",?', '') FROM pg_temp.samples(pgqueue.prometheus()) WHERE metric !~ 'worker' ORDER BY place;
SELECT * FROM pg_temp.shows();
SELECT xpath('//section/h2/text()', page), xpath('count(//tbody/tr)', page) FROM xmlparse(DOCUMENT pgqueue.dashboard()) page;
-- A condition of the reader's own doesn't see what the view withholds.
CREATE FUNCTION pg_temp.peeks(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE NOTICE 'seen: %', $1; RETURN true; END $$;
SELECT count(*) FROM pgqueue.jobs WHERE pg_temp.peeks(jobname);
SET ROLE regress_sight_monitor;
SELECT pg_temp.complaints(pgqueue.prometheus());
SELECT queues, stores, replace(jobs, E'\n', '\n'), messages FROM pg_temp.shows();
SELECT xml_is_well_formed_document(pgqueue.dashboard()), pgqueue.dashboard() ~ 'secret';
SELECT kv.get('k1', 's');
SELECT count(*) FROM cron.job;
SET ROLE regress_sight_owner;
SELECT queues, stores, replace(jobs, E'\n', '\n'), messages FROM pg_temp.shows();
SELECT queue.grant('q.1', 'regress_sight_nobody', 'monitor'), kv.grant('s', 'regress_sight_nobody', 'read');
SET ROLE regress_sight_nobody;
SELECT * FROM pg_temp.shows();
RESET ROLE;

-- More than a page shows: the fullest come first, and the others are counted.
DO $$
BEGIN
    FOR i IN 1..40 LOOP
        PERFORM queue.create('many' || i), queue.send_batch('many' || i, array_fill('1'::jsonb, ARRAY[100 + i]));
    END LOOP;
END $$;
SELECT xpath('count(//section[h2="Queues"]//tbody/tr)', page), xpath('//section[h2="Queues"]//tbody/tr[1]/th/text()', page), xpath('//section[h2="Queues"]/p[@class="note"]/text()', page)
FROM xmlparse(DOCUMENT pgqueue.dashboard()) page;
SELECT pg_temp.complaints(pgqueue.prometheus());

-- A store of many pages is sampled, and what is said of it is close. One that can't be used hides no other.
SELECT kv.create_store('large');
SELECT count(kv.set('k' || i, repeat('x', 300), ttl => CASE WHEN i % 4 = 0 THEN 1000 END, store => 'large')) FROM generate_series(1, 20000) i;
SELECT pg_relation_size('kv.s_large') / 8192 > 500, entries BETWEEN 19000 AND 21000, expired, exact, bytes = (SELECT bytes FROM kv.stats WHERE store = 'large') FROM pgqueue.stores WHERE store = 'large';
CREATE FUNCTION pg_temp.blocks(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT json) ' || query INTO plan;
    RETURN (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::bigint + (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::bigint;
END $$;
SELECT least(pg_temp.blocks($$SELECT * FROM pgqueue.measure_store('large')$$), pg_temp.blocks($$SELECT * FROM pgqueue.measure_store('large')$$)) < 200 AS bounded;
ALTER TABLE kv.s_large RENAME COLUMN version TO other;
SELECT store, entries, bytes IS NULL FROM pgqueue.stores ORDER BY store COLLATE "C";
SELECT pg_temp.complaints(pgqueue.prometheus());
SELECT xml_is_well_formed_document(pgqueue.dashboard());
ALTER TABLE kv.s_large RENAME COLUMN other TO version;

-- A store that isn't there.
SELECT * FROM pgqueue.measure_store('no such');
SELECT * FROM pgqueue.measure_store(NULL);

-- In a transaction that may not write.
BEGIN READ ONLY;
SELECT count(*) > 50 FROM pg_temp.samples(pgqueue.prometheus());
SELECT xml_is_well_formed_document(pgqueue.dashboard());
COMMIT;

-- A run that ended before it began, by a clock that was put back. A job whose last due time is older than its last change, and one that runs once
-- and is at work: neither is late.
SELECT cron.create_job('changed', '@daily', 'SELECT 1', active => false) AS changed \gset
INSERT INTO cron.job_run_details (jobid, database, username, command, status, start_time, end_time, due_time, start_after)
VALUES (:changed, current_database(), current_user, 'SELECT 1', 'succeeded', now(), now() - interval '20 ms', now(), now());
INSERT INTO cron.job_state VALUES (:changed, now() - interval '30 days');
UPDATE cron.job SET active = true WHERE jobid = :changed;
BEGIN;
SELECT cron.at(now() + interval '1 hour', 'SELECT 1', 'at work') AS at_work \gset
INSERT INTO cron.job_state SELECT jobid, run_at FROM cron.job WHERE jobid = :at_work;
SELECT jobname, next_run > now() AS later, recent -> 0 ->> 'seconds' AS seconds FROM pgqueue.jobs WHERE jobid IN (:changed, :at_work) ORDER BY jobname COLLATE "C";
ROLLBACK;
SELECT pg_temp.complaints(pgqueue.prometheus());
SELECT xml_is_well_formed_document(pgqueue.dashboard());
-- What the asker's client has for a time zone says nothing.
DO $$
DECLARE deadline timestamptz := clock_timestamp() + interval '60 s';
BEGIN
    WHILE pgqueue.worker_timezone() IS NULL AND clock_timestamp() < deadline LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
SELECT next_run AS before FROM pgqueue.jobs WHERE jobid = :changed \gset
SELECT current_database() AS here \gset
\setenv PGTZ Asia/Tokyo
\c :here
SELECT current_setting('TimeZone'), next_run = :'before' FROM pgqueue.jobs WHERE jobid = :changed;
\setenv PGTZ
\c :here
-- The script itself knows no backslashes but those in E''.
BEGIN;
SET LOCAL standard_conforming_strings = off;
SET LOCAL escape_string_warning = off;
SET LOCAL client_min_messages = error;
DROP EXTENSION pgqueue CASCADE;
CREATE EXTENSION pgqueue;
ROLLBACK;

\c contrib_regression
DROP DATABASE regress_pgqueue_sight WITH (FORCE);
DROP ROLE regress_sight_owner, regress_sight_nobody, regress_sight_monitor, "regress_sight_<i>""\&";
