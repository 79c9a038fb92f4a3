-- Every bad input: its SQLSTATE, message and hint.
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

SELECT queue.create('errors', vt => 3600);
SELECT queue.send('errors', '1');

-- A queue that isn't there, names that can't be, NULL for what is required.
SELECT pg_temp.attempt(format(statement, 'errors_none')), statement
FROM (VALUES ('SELECT queue.send(%L, ''1'')'), ('SELECT queue.send_batch(%L, ''{1}'')'),
             ('SELECT queue.read(%L)'), ('SELECT queue.pop(%L)'), ('SELECT queue.peek(%L)'),
             ('SELECT queue.delete(%L, 1)'), ('SELECT queue.delete_batch(%L, ''{1}'')'),
             ('SELECT queue.archive(%L, 1)'), ('SELECT queue.archive_batch(%L, ''{1}'')'),
             ('SELECT queue.set_vt(%L, 1, 1)'), ('SELECT queue.set_vt_batch(%L, ''{1}'', 1)'),
             ('SELECT queue.nack(%L, 1)'), ('SELECT queue.purge(%L)'), ('SELECT queue.pause(%L)'),
             ('SELECT queue.resume(%L)'), ('SELECT queue.alter(%L, vt => 1)'),
             ('SELECT queue.grant(%L, ''public'', ''send'')'), ('SELECT queue.revoke(%L, ''public'', ''send'')'),
             ('SELECT queue.send_batch(%L, ''{}'')'), ('SELECT queue.delete_batch(%L, ''{}'')'),
             ('SELECT queue.archive_batch(%L, ''{}'')'), ('SELECT queue.set_vt_batch(%L, ''{}'', 1)')) v(statement);
CALL queue.wait('errors_none', 1);
SELECT pg_temp.attempt(format(statement, name)), format(statement, name)
FROM (VALUES (''), ('a b'), ('q_errors#1'), (NULL)) n(name),
     (VALUES ('SELECT queue.send(%L, ''1'')'), ('SELECT queue.read(%L)'), ('SELECT queue.peek(%L)'), ('SELECT queue.delete(%L, 1)'),
             ('SELECT queue.nack(%L, 1)'), ('SELECT queue.purge(%L)'), ('SELECT queue.pause(%L)')) v(statement)
ORDER BY statement COLLATE "C", name COLLATE "C";
CALL queue.wait('a b', 1);
CALL queue.wait(NULL, 1);
SELECT pg_temp.attempt($$SELECT queue.send(repeat('x', 100000), '1')$$) ~ '^42602 \| invalid queue name: "xxx';
SELECT pg_temp.attempt($$SELECT queue.send('ERRORS', '1')$$);
SELECT pg_temp.attempt($$SELECT queue.send_batch('errors', NULL)$$);
SELECT pg_temp.attempt($$SELECT queue.delete('errors', NULL)$$);
SELECT pg_temp.attempt($$SELECT queue.delete_batch('errors', NULL)$$);
SELECT pg_temp.attempt($$SELECT queue.archive('errors', NULL)$$);
SELECT pg_temp.attempt($$SELECT queue.archive_batch('errors', NULL)$$);
SELECT pg_temp.attempt($$SELECT queue.set_vt('errors', NULL, 1)$$);
SELECT pg_temp.attempt($$SELECT queue.set_vt('errors', 1, NULL)$$);
SELECT pg_temp.attempt($$SELECT queue.set_vt_batch('errors', NULL, 1)$$);
SELECT pg_temp.attempt($$SELECT queue.set_vt_batch('errors', '{1}', NULL)$$);
SELECT pg_temp.attempt($$SELECT queue.nack('errors', NULL)$$);
SELECT pg_temp.attempt($$SELECT queue.grant('errors', NULL, 'send')$$);
SELECT pg_temp.attempt($$SELECT queue.grant('errors', 'public', NULL)$$);

-- Numbers out of range.
SELECT pg_temp.attempt(format('SELECT queue.send(%L, %L, delay => %L)', 'errors', '1', seconds)), seconds
FROM unnest(ARRAY['-1', '-0.000001', '-Infinity', 'Infinity', 'NaN', '315576001', '1e308', '1e-308', '-0']::float8[]) seconds;
SELECT queue.purge('errors');
SELECT queue.send('errors', '1') AS id \gset
SELECT pg_temp.attempt($$SELECT queue.send_batch('errors', '{1}', delay => -1)$$);
SELECT pg_temp.attempt($$SELECT queue.send('errors', '1', delay => 1, deliver_at => now())$$);
SELECT pg_temp.attempt($$SELECT queue.send_batch('errors', '{1}', delay => 0, deliver_at => now())$$);
SELECT pg_temp.attempt($$SELECT queue.send('errors', '1', deliver_at => 'infinity')$$);
SELECT pg_temp.attempt($$SELECT queue.send('errors', '1', deliver_at => '-infinity')$$);
SELECT pg_temp.attempt($$SELECT queue.send('errors', '1', deliver_at => '294000-12-31')$$);
SELECT pg_temp.attempt($$SELECT queue.send('errors', '1', deliver_at => now() + interval '11 years')$$);
SELECT pg_temp.attempt($$SELECT queue.send('errors', '1', priority => 2147483648)$$);
SELECT pg_temp.attempt($$SELECT queue.send('errors', '1', priority => -9223372036854775808)$$);
SELECT pg_temp.attempt($$SELECT queue.read('errors', vt => -1)$$);
SELECT pg_temp.attempt($$SELECT queue.read('errors', vt => 'NaN')$$);
SELECT pg_temp.attempt($$SELECT queue.read('errors', vt => 'infinity')$$);
SELECT pg_temp.attempt($$SELECT queue.read('errors', vt => 315576001)$$);
SELECT pg_temp.attempt($$SELECT queue.read('errors', qty => 0)$$);
SELECT pg_temp.attempt($$SELECT queue.read('errors', qty => -9223372036854775808)$$);
SELECT pg_temp.attempt($$SELECT queue.read('errors', wait => -1)$$);
SELECT pg_temp.attempt($$SELECT queue.read('errors', wait => 'NaN')$$);
SELECT pg_temp.attempt($$SELECT queue.read('errors', wait => 300.5)$$);
SELECT pg_temp.attempt($$SELECT queue.pop('errors', 0)$$);
SELECT pg_temp.attempt($$SELECT queue.pop('errors', -1)$$);
SELECT pg_temp.attempt($$SELECT queue.peek('errors', 0)$$);
SELECT pg_temp.attempt($$SELECT queue.set_vt('errors', 1, -1)$$);
SELECT pg_temp.attempt($$SELECT queue.set_vt('errors', 1, 'NaN')$$);
SELECT pg_temp.attempt($$SELECT queue.set_vt('errors', 1, 1, visible_at => now())$$);
SELECT pg_temp.attempt($$SELECT queue.set_vt('errors', 1, NULL, visible_at => 'infinity')$$);
SELECT pg_temp.attempt($$SELECT queue.set_vt_batch('errors', '{1}', 'NaN')$$);
SELECT pg_temp.attempt($$SELECT queue.nack('errors', 1, delay => -1)$$);
SELECT pg_temp.attempt($$SELECT queue.create('errors_x', vt => 'NaN')$$);
SELECT pg_temp.attempt($$SELECT queue.create('errors_x', vt => 1e12)$$);
SELECT pg_temp.attempt($$SELECT queue.create('errors_x', delay => -1)$$);
CALL queue.wait('errors', -1);
CALL queue.wait('errors', 'NaN');

-- Shapes.
SELECT pg_temp.attempt($$SELECT queue.send('errors', '1', '[]')$$);
SELECT pg_temp.attempt($$SELECT queue.send('errors', '1', '1')$$);
SELECT pg_temp.attempt($$SELECT queue.send('errors', '1', 'null')$$);
SELECT pg_temp.attempt($$SELECT queue.send('errors', '1', '"x"')$$);
SELECT pg_temp.attempt($$SELECT queue.send('errors', 'no json')$$);
SELECT pg_temp.attempt($$SELECT queue.send_batch('errors', '{{1,2},{3,4}}')$$);
SELECT pg_temp.attempt($$SELECT queue.send_batch('errors', '{1,2}', '{{"{}"},{"{}"}}')$$);
SELECT pg_temp.attempt($$SELECT queue.send_batch('errors', '{1,2}', ARRAY['{}', '[]']::jsonb[])$$);
SELECT pg_temp.attempt($$SELECT queue.send_batch('errors', '{1,2}', ARRAY['{}']::jsonb[])$$);
SELECT pg_temp.attempt($$SELECT queue.send_batch('errors', '{1,2}', '{}')$$);
SELECT pg_temp.attempt($$SELECT queue.delete_batch('errors', '{{1},{2}}')$$);
SELECT pg_temp.attempt($$SELECT queue.delete_batch('errors', '{1,NULL}')$$);
SELECT pg_temp.attempt($$SELECT queue.delete_batch('errors', '{1,2}', '{1}')$$);
SELECT pg_temp.attempt($$SELECT queue.delete_batch('errors', '{1,2}', '{1,NULL}')$$);
SELECT pg_temp.attempt($$SELECT queue.archive_batch('errors', '{1,NULL}')$$);
SELECT pg_temp.attempt($$SELECT queue.archive_batch('errors', '{1,2}', '{}')$$);
SELECT pg_temp.attempt($$SELECT queue.set_vt_batch('errors', '{1,NULL}', 1)$$);
SELECT pg_temp.attempt($$SELECT queue.set_vt_batch('errors', '{1}', 1, '{1,2}')$$);
SELECT pg_temp.attempt($$SELECT queue.grant('errors', 'public', 'everything')$$);
SELECT pg_temp.attempt($$SELECT queue.grant('errors', 'regress_pgqueue_nobody', 'send')$$);

SELECT pg_temp.attempt($$SELECT queue.send('errors', '1', ttl => 0)$$);
SELECT pg_temp.attempt($$SELECT queue.send('errors', '1', group_key => '')$$);
SELECT pg_temp.attempt($$SELECT queue.send('errors', '1', group_key => repeat('x', 1025))$$);
SELECT pg_temp.attempt($$SELECT queue.send_batch('errors', '{1}', group_keys => '{x,y}')$$);
SELECT pg_temp.attempt($$SELECT queue.send_batch('errors', '{1}', ttl => 'NaN')$$);

-- In-place changes are refused where recovery could not replay them.
SET wal_consistency_checking = 'generic';
SELECT pg_temp.attempt($$SELECT queue.read('errors')$$);
SELECT pg_temp.attempt($$SELECT queue.pop('errors')$$);
SELECT pg_temp.attempt(format($$SELECT queue.set_vt('errors', %s, 1)$$, :id));
SELECT pg_temp.attempt(format($$SELECT queue.nack('errors', %s)$$, :id));
SET wal_consistency_checking = 'all';
SELECT pg_temp.attempt($$SELECT queue.read('errors')$$);
SET wal_consistency_checking = 'heap,btree';
SELECT pg_temp.attempt($$SELECT queue.read('errors')$$);
RESET wal_consistency_checking;

-- The end of the ids.
SELECT queue.create('errors_x');
SELECT setval('queue."q_errors_x#ids"', 9223372036854775807);
SELECT pg_temp.attempt($$SELECT queue.send('errors_x', '1')$$);
SELECT pg_temp.attempt($$SELECT queue.send_batch('errors_x', '{1,2}')$$);
SELECT queue.drop('errors_x');

-- A trigger function of ours elsewhere, or called by hand.
SELECT queue.on_insert();
CREATE TABLE errors_table (id int);
CREATE TRIGGER t BEFORE INSERT ON errors_table FOR EACH ROW EXECUTE FUNCTION queue.on_insert();
INSERT INTO errors_table VALUES (1);
DROP TABLE errors_table;
CREATE TABLE errors_table (msg_id bigint, enqueued_at timestamptz, vt timestamptz, last_read_at timestamptz, receipt bigint,
                           read_ct int, priority int, message jsonb, headers jsonb, group_key text);
INSERT INTO errors_table VALUES (1);
CREATE TRIGGER t BEFORE UPDATE ON errors_table FOR EACH ROW EXECUTE FUNCTION queue.on_update();
UPDATE errors_table SET read_ct = 1;
DROP TRIGGER t ON errors_table;
CREATE TRIGGER t AFTER UPDATE ON errors_table FOR EACH ROW EXECUTE FUNCTION queue.on_change();
UPDATE errors_table SET read_ct = 1;
DROP TRIGGER t ON errors_table;
CREATE TRIGGER t AFTER UPDATE ON errors_table FOR EACH STATEMENT EXECUTE FUNCTION queue.on_change();
UPDATE errors_table SET read_ct = 1;
DROP TABLE errors_table;

-- Handlers: what is no handler.
SELECT queue.attach('errors', 'no_such_function');
SELECT queue.attach('errors', 'no_such_schema.handler');
SELECT queue.attach('errors', 'handler(queue.message)');
CREATE FUNCTION errors_set(m queue.message) RETURNS SETOF integer LANGUAGE sql AS 'SELECT 1';
SELECT queue.attach('errors', 'errors_set');
DROP FUNCTION errors_set;

-- After all of it the queue works, with the one message it had; only the reads that went through have taken it.
SELECT msg_id = :id, read_ct FROM queue.q_errors WHERE message = '1' ORDER BY msg_id LIMIT 1;
SELECT queue.drop('errors');
