-- What writes refuses a read-only transaction; what only looks doesn't.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgqueue;
RESET client_min_messages;
CREATE FUNCTION pg_temp.attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; message text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', state, message, nullif(hint, ''));
END $$;
\pset format unaligned
\pset tuples_only on
\pset null NULL

SELECT queue.create('readonly', vt => 3600);
SELECT queue.send_batch('readonly', '{1,2,3}');
BEGIN READ ONLY;
SELECT pg_temp.attempt(statement)
FROM unnest(ARRAY[$$SELECT queue.send('readonly', '1')$$, $$SELECT queue.send_batch('readonly', '{1}')$$, $$SELECT queue.send_batch('readonly', '{}')$$,
    $$SELECT queue.read('readonly')$$, $$SELECT queue.pop('readonly')$$, $$SELECT queue.delete('readonly', 1)$$,
    $$SELECT queue.delete_batch('readonly', '{1}')$$, $$SELECT queue.delete_batch('readonly', '{}')$$,
    $$SELECT queue.archive('readonly', 1)$$, $$SELECT queue.archive_batch('readonly', '{1}')$$,
    $$SELECT queue.set_vt('readonly', 1, 1)$$, $$SELECT queue.set_vt_batch('readonly', '{1}', 1)$$, $$SELECT queue.nack('readonly', 1)$$,
    $$SELECT queue.purge('readonly')$$, $$SELECT queue.pause('readonly')$$, $$SELECT queue.resume('readonly')$$,
    $$SELECT queue.alter('readonly', vt => 1)$$, $$SELECT queue.create('readonly_x')$$, $$SELECT queue.drop('readonly')$$,
    $$SELECT queue.grant('readonly', 'public', 'send')$$, $$SELECT queue.revoke('readonly', 'public', 'send')$$]) statement;
SELECT message FROM queue.peek('readonly', 10);
SELECT queue_name, paused FROM queue.queues WHERE queue_name = 'readonly';
SELECT ready FROM queue.metrics WHERE queue_name = 'readonly';
COMMIT;
SET default_transaction_read_only = on;
SELECT pg_temp.attempt($$SELECT queue.read('readonly')$$);
CALL queue.wait('readonly', 0);
RESET default_transaction_read_only;
SELECT message, read_ct FROM queue.read('readonly', qty => 10);
SELECT queue.drop('readonly');
