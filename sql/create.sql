-- Creating, altering and dropping queues.
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

-- The second time: false for the same settings, an error for others.
SELECT queue.create('create_a');
SELECT queue.create('create_a');
SELECT queue.create('create_a', NULL, NULL, NULL);
SELECT queue.create('create_a', vt => 30, delay => 0, unlogged => false);
SELECT pg_temp.attempt($$SELECT queue.create('create_a', vt => 31)$$);
SELECT pg_temp.attempt($$SELECT queue.create('create_a', delay => 1)$$);
SELECT pg_temp.attempt($$SELECT queue.create('create_a', unlogged => true)$$);

-- Names are case-sensitive.
SELECT queue.create('Create_A', vt => 5, delay => 0.5);
SELECT queue.create('create.a-b_C.9');
SELECT queue.create('-');
SELECT queue.create('..');
SELECT queue.create('select');
SELECT queue.create(repeat('n', 48));
SELECT queue.create(repeat('n', 47) || 'm');
SELECT pg_temp.attempt($$SELECT queue.create('')$$);
SELECT pg_temp.attempt($$SELECT queue.create(repeat('n', 49))$$);
SELECT pg_temp.attempt($$SELECT queue.create(repeat('n', 2000))$$) LIKE '42602 | invalid queue name: "nnn%';
SELECT pg_temp.attempt($$SELECT queue.create('a b')$$);
SELECT pg_temp.attempt($$SELECT queue.create('a#1')$$);
SELECT pg_temp.attempt($$SELECT queue.create('a/b')$$);
SELECT pg_temp.attempt($$SELECT queue.create('a"b')$$);
SELECT pg_temp.attempt($$SELECT queue.create('a''b')$$);
SELECT pg_temp.attempt($$SELECT queue.create(E'a\nb')$$);
SELECT pg_temp.attempt($$SELECT queue.create(U&'\00e4')$$);
SELECT pg_temp.attempt($$SELECT queue.create(NULL)$$);
SELECT queue_name, vt, delay, unlogged, paused, owner = current_user
FROM queue.queues
WHERE queue_name LIKE 'nnn%' OR lower(queue_name) LIKE 'create%' OR queue_name IN ('-', '..', 'select')
ORDER BY queue_name COLLATE "C";

-- Each of them works.
SELECT q, queue.send(q, to_jsonb(q)) INTO TEMP TABLE sent
FROM unnest(ARRAY['Create_A', 'create.a-b_C.9', '-', '..', 'select', repeat('n', 48), repeat('n', 47) || 'm']) q;
SELECT q, send, msg_id, message FROM sent, LATERAL queue.pop(q);

-- One segment below a parent that stays empty.
SELECT queue.send('create_a', '1');
SELECT count(*) FROM ONLY queue.q_create_a;
SELECT tableoid::regclass, msg_id FROM queue.q_create_a;
SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'queue.q_create_a'::regclass;
SELECT attname, atttypid::regtype, attnotnull
FROM pg_attribute
WHERE attrelid = 'queue."q_create_a#1"'::regclass AND attnum > 0
ORDER BY attnum;
SELECT attname, atttypid::regtype, attnotnull
FROM pg_attribute
WHERE attrelid = 'queue.a_create_a'::regclass AND attnum > 10
ORDER BY attnum;
SELECT pg_get_indexdef(indexrelid), indisprimary
FROM pg_index
WHERE indrelid IN ('queue."q_create_a#1"'::regclass, 'queue.a_create_a'::regclass)
ORDER BY 1;
SELECT tgrelid::regclass, tgname, tgenabled
FROM pg_trigger
WHERE tgrelid IN ('queue.q_create_a'::regclass, 'queue."q_create_a#1"'::regclass)
ORDER BY tgrelid, tgname;

-- An unlogged queue is unlogged in all its tables; its ids don't start again after a crash.
SELECT queue.create('create_u', unlogged => true);
SELECT relname, relpersistence
FROM pg_class
WHERE relnamespace = 'queue'::regnamespace AND relname LIKE '__create_u%' AND relkind IN ('r', 'i', 'S')
ORDER BY relname COLLATE "C";
SELECT queue.create('create_u', unlogged => true);
SELECT pg_temp.attempt($$SELECT queue.create('create_u')$$);
SELECT queue.send('create_u', '1');
SELECT msg_id, message FROM queue.read('create_u');
SELECT queue.drop('create_u');

-- Altering: NULL leaves a setting alone.
SELECT queue.alter('create_a');
SELECT queue.alter('create_a', vt => 7);
SELECT queue.alter('create_a', vt => 7);
SELECT queue.alter('create_a', delay => 3600);
SELECT vt, delay FROM queue.queues WHERE queue_name = 'create_a';
SELECT queue.create('create_a', vt => 7, delay => 3600);
SELECT queue.send('create_a', '2');
SELECT msg_id, round(extract(epoch FROM vt - last_read_at)) FROM queue.read('create_a', qty => 10);
SELECT msg_id, vt - enqueued_at FROM queue.q_create_a WHERE msg_id = 2;
SELECT pg_temp.attempt($$SELECT queue.alter('create_a', vt => -1)$$);
SELECT pg_temp.attempt($$SELECT queue.alter('create_a', delay => 'NaN')$$);
SELECT pg_temp.attempt($$SELECT queue.alter('create_none', vt => 1)$$);
SELECT pg_temp.attempt($$SELECT queue.alter(NULL)$$);

-- What is created and rolled back leaves nothing behind.
BEGIN;
SELECT queue.create('create_gone');
SELECT queue.send('create_gone', '1');
ROLLBACK;
SELECT pg_temp.attempt($$SELECT queue.send('create_gone', '1')$$);
SELECT count(*) FROM queue.queues WHERE queue_name = 'create_gone';
SELECT to_regclass('queue.q_create_gone');
BEGIN;
SELECT queue.drop('create_a');
SELECT pg_temp.attempt($$SELECT queue.send('create_a', '1')$$);
SELECT queue.create('create_a');
SELECT queue.send('create_a', '"new"');
ROLLBACK;
SELECT queue.send('create_a', '3');

-- Dropping.
SELECT queue.drop('create_none');
SELECT queue.drop('create_a');
SELECT queue.drop('create_a');
SELECT relname FROM pg_class WHERE relnamespace = 'queue'::regnamespace AND relname ~ '^._create_a';
SELECT count(*) FROM queue.settings WHERE queue_name = 'create_a';
SELECT pg_temp.attempt($$SELECT * FROM queue.read('create_a')$$);
SELECT pg_temp.attempt($$SELECT queue.drop('a b')$$);
SELECT pg_temp.attempt($$SELECT queue.drop(NULL)$$);

-- The same name again: a new queue, its ids from 1, nothing of the old one in it.
SELECT queue.create('create_a');
SELECT count(*) FROM queue.read('create_a', qty => 10);
SELECT queue.send('create_a', '1');
SELECT msg_id, message FROM queue.read('create_a', qty => 10);

SELECT queue.drop(q)
FROM unnest(ARRAY['create_a', 'Create_A', 'create.a-b_C.9', '-', '..', 'select', repeat('n', 48), repeat('n', 47) || 'm']) q;
SELECT relname
FROM pg_class
WHERE relnamespace = 'queue'::regnamespace AND (relname ~* '^._create|^._n{40}' OR relname IN ('q_-', 'q_..', 'q_select'));
