-- Settings of queues: every one, set when created and changed live.
\set VERBOSITY terse
CREATE FUNCTION pg_temp.attempt(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; message text; hint text;
BEGIN
    EXECUTE command;
    RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', state, message, nullif(hint, ''));
END $$;
\t on
\a

SELECT queue.create('settings_dead');
SELECT queue.create('settings', 20, 1, false, true, 3, 'settings_dead', 2, 60, 3600, 86400);
SELECT queue.create('settings', 20, 1, false, true, 3, 'settings_dead', 2, 60, 3600, 86400);
SELECT pg_temp.attempt($$SELECT queue.create('settings', 20, 1, false, true, 4, 'settings_dead', 2, 60, 3600, 86400)$$);
CREATE VIEW pg_temp.shown AS SELECT vt, delay, unlogged, fifo, max_attempts, dead_letter, backoff, backoff_max, message_ttl,
       archive_retention FROM queue.queues WHERE queue_name = 'settings';
TABLE pg_temp.shown;

-- NULL leaves a setting as it is.
SELECT queue.alter('settings');
SELECT queue.alter('settings', 20), queue.alter('settings', max_attempts => 3);
SELECT queue.alter('settings', 10, 0, false, 5, NULL, 1, 30, 7200, 0);
TABLE pg_temp.shown;
SELECT queue.alter('settings', reset => '{max_attempts,dead_letter,message_ttl,archive_retention}');
TABLE pg_temp.shown;
SELECT queue.alter('settings', reset => '{vt,delay,fifo,backoff,backoff_max}');
TABLE pg_temp.shown;
SELECT queue.alter('settings', fifo => true, max_attempts => 2);
TABLE pg_temp.shown;
SELECT queue.alter('settings', reset => '{fifo,max_attempts}');

SELECT pg_temp.attempt($$SELECT queue.alter('settings', reset => '{color}')$$);
SELECT pg_temp.attempt($$SELECT queue.alter('settings', vt => 1, reset => '{vt}')$$);
SELECT pg_temp.attempt($$SELECT queue.alter('settings', reset => '{NULL}')$$);
SELECT pg_temp.attempt($$SELECT queue.alter('settings', max_attempts => 0)$$);
SELECT pg_temp.attempt($$SELECT queue.alter('settings', max_attempts => 3000000000)$$);
SELECT pg_temp.attempt($$SELECT queue.alter('settings', message_ttl => 0)$$);
SELECT pg_temp.attempt($$SELECT queue.alter('settings', backoff => 'infinity')$$);
SELECT pg_temp.attempt($$SELECT queue.alter('settings', archive_retention => -1)$$);
SELECT pg_temp.attempt($$SELECT queue.alter('settings', dead_letter => 'settings')$$);
SELECT pg_temp.attempt($$SELECT queue.alter('settings', dead_letter => 'settings_none')$$);
SELECT pg_temp.attempt($$SELECT queue.alter('settings', dead_letter => 'not a name')$$);
SELECT pg_temp.attempt($$SELECT queue.alter('settings_none', vt => 1)$$);
TABLE pg_temp.shown;

-- No circle of dead letters.
SELECT queue.create('settings_third', dead_letter => 'settings');
SELECT queue.alter('settings', dead_letter => 'settings_dead');
SELECT pg_temp.attempt($$SELECT queue.alter('settings_dead', dead_letter => 'settings_third')$$);
SELECT queue.alter('settings', reset => '{dead_letter}');

-- The right to send to it is needed when it is set.
CREATE ROLE regress_pgqueue_setter;
SELECT format('GRANT CREATE ON DATABASE %I TO regress_pgqueue_setter', current_database()) \gexec
SET ROLE regress_pgqueue_setter;
SELECT queue.create('settings_own');
SELECT pg_temp.attempt($$SELECT queue.alter('settings_own', dead_letter => 'settings_dead')$$);
SELECT pg_temp.attempt($$SELECT queue.create('settings_other', dead_letter => 'settings_dead')$$);
SELECT pg_temp.attempt($$SELECT queue.alter('settings', vt => 1)$$);
RESET ROLE;
SELECT queue.grant('settings_dead', 'regress_pgqueue_setter', 'send');
SET ROLE regress_pgqueue_setter;
SELECT queue.alter('settings_own', dead_letter => 'settings_dead');
SELECT queue.drop('settings_own');
RESET ROLE;

-- Priorities and fifo exclude each other.
SELECT queue.send('settings', '1', priority => 1) > 0;
SELECT pg_temp.attempt($$SELECT queue.alter('settings', fifo => true)$$);
SELECT queue.alter('settings_third', fifo => true, reset => '{dead_letter}');
SELECT pg_temp.attempt($$SELECT queue.send('settings_third', '1', priority => 1)$$);
SELECT pg_temp.attempt($$SELECT queue.send_batch('settings_third', '{1}', priority => -1)$$);

SELECT queue.drop('settings'), queue.drop('settings_third'), queue.drop('settings_dead');
SELECT format('REVOKE CREATE ON DATABASE %I FROM regress_pgqueue_setter', current_database()) \gexec
DROP ROLE regress_pgqueue_setter;
