-- A queue for the workers here, the queue of those that failed for good, and the table that the work fills.
--
-- Run: psql -f setup.sql    or, for another queue and lease: psql -v queue=mails -v lease=60 -f setup.sql
-- The role needs CREATE on the database and on a schema of its search_path.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
\o /dev/null
\if :{?queue}
\else
    \set queue jobs
\endif
\if :{?lease}
\else
    \set lease 30
\endif

-- No key that would refuse a second result of a job: it takes none.
CREATE TABLE IF NOT EXISTS results (queue text NOT NULL, job bigint NOT NULL, result text NOT NULL);

SELECT queue.create(:'queue' || '_dead');
SELECT queue.create(:'queue', vt => :lease, max_attempts => 5, backoff => 0.2, dead_letter => :'queue' || '_dead');
