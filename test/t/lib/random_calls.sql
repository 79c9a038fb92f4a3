-- Calls of every function of the extension with values that nobody expects, until the time is up. What a call answers is kept in the table
-- `outcomes`, by function and SQLSTATE; the caller says which are allowed.

CREATE TABLE outcomes (function text, state text, example text, calls bigint);
-- Values that are compressed or stored out of line when a function gets them.
CREATE TABLE stored (id int PRIMARY KEY, compressed text, external text, json jsonb, texts text[], numbers bigint[], jsons jsonb[]);
ALTER TABLE stored ALTER external SET STORAGE EXTERNAL;
INSERT INTO stored
SELECT 1, repeat('compressed ', 20000), (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 3000) i),
       (SELECT jsonb_object_agg('key' || i, md5(i::text)) FROM generate_series(1, 3000) i),
       (SELECT array_agg('f' || i % 7) FROM generate_series(1, 5000) i), (SELECT array_agg(i) FROM generate_series(1, 5000) i),
       (SELECT array_agg(to_jsonb(md5(i::text))) FROM generate_series(1, 2000) i);
CREATE FUNCTION handle(queue.message) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION handle_badly(m queue.message) RETURNS void LANGUAGE sql AS 'SELECT 1 / 0';
CREATE ROLE random_a LOGIN;
CREATE ROLE random_b NOLOGIN;

-- For a type, expressions for its values.
CREATE TABLE vals (type regtype, position bigint, expression text, PRIMARY KEY (type, position));
INSERT INTO vals
SELECT type::regtype, row_number() OVER (PARTITION BY type), expression
FROM (VALUES
    ('text', $$'f' || floor(random() * 8)$$), ('text', $$'f' || floor(random() * 8)$$), ('text', $$'f' || floor(random() * 8)$$),
    ('text', $$'f' || floor(random() * 8)$$), ('text', $$'f' || floor(random() * 8)$$), ('text', $$'f' || floor(random() * 8)$$),
    ('text', $$'default'$$), ('text', 'NULL'), ('text', $$''$$), ('text', $$' '$$), ('text', $$'x'$$), ('text', $$repeat('n', 63)$$), ('text', $$repeat('n', 64)$$),
    ('text', $$repeat('k', 3000)$$), ('text', $$repeat('ä', 40)$$), ('text', $$E'line\nand\ttab'$$), ('text', $$'%s%n$1'$$), ('text', $$'"; DROP TABLE x; --'$$),
    ('text', $$'*'$$), ('text', $$'#'$$), ('text', $$'a.*.#.b'$$), ('text', $$'a..b'$$), ('text', $$'a.b'$$),
    ('text', $$'* * * * *'$$), ('text', $$'@every 1h'$$), ('text', $$'30 seconds'$$), ('text', $$'61 25 * * 8'$$), ('text', $$'Europe/Berlin'$$), ('text', $$'Nowhere/Land'$$),
    ('text', $$'SELECT 1'$$), ('text', $$'SELECT 1/0'$$), ('text', $$'handle'$$), ('text', $$'handle_badly'$$), ('text', $$'pg_sleep'$$),
    ('text', $$'if_absent'$$), ('text', $$'if_present'$$), ('text', $$'always'$$), ('text', $$'skip'$$), ('text', $$'queue'$$), ('text', $$'send'$$), ('text', $$'consume'$$),
    ('text', $$'read'$$), ('text', $$'write'$$), ('text', $$'postgres'$$), ('text', $$'random_a'$$), ('text', $$'public'$$),
    ('text', '(SELECT compressed FROM stored)'), ('text', '(SELECT external FROM stored)'),
    ('name', $$'random_a'$$), ('name', $$'random_b'$$), ('name', $$'postgres'$$), ('name', $$'public'$$), ('name', $$'nobody at all'$$), ('name', $$''$$), ('name', 'NULL'),
    ('bigint', 'floor(random() * 300)::bigint'), ('bigint', 'floor(random() * 300)::bigint'), ('bigint', 'floor(random() * 300)::bigint'), ('bigint', 'floor(random() * 10)::bigint'),
    ('bigint', '0'), ('bigint', '1'), ('bigint', '-1'), ('bigint', 'NULL'), ('bigint', '9223372036854775807'), ('bigint', '(-9223372036854775808)::bigint'),
    ('bigint', '2147483648'), ('bigint', '4294967295'), ('bigint', '1000000'),
    ('integer', '1'), ('integer', 'NULL'), ('integer', '-2147483648'),
    ('double precision', '0'), ('double precision', '0.01'), ('double precision', '0.05'), ('double precision', '1'), ('double precision', '30'), ('double precision', '-1'),
    ('double precision', 'NULL'), ('double precision', $$'NaN'$$), ('double precision', $$'Infinity'$$), ('double precision', $$'-Infinity'$$),
    ('double precision', '1e-300'), ('double precision', '1e300'), ('double precision', '-0.0'), ('double precision', '315360000'), ('double precision', '1e15'),
    ('numeric', '0'), ('numeric', '1'), ('numeric', '-0.5'), ('numeric', '1234567.891'), ('numeric', '1e100'), ('numeric', $$'NaN'$$), ('numeric', $$'Infinity'$$), ('numeric', 'NULL'),
    ('numeric[]', $$'{}'$$), ('numeric[]', 'NULL'), ('numeric[]', $$'{1,2,3}'$$), ('numeric[]', $$'{1,NULL,NaN,-Infinity}'$$), ('numeric[]', $$'{{1,2},{3,4}}'$$),
    ('boolean', 'true'), ('boolean', 'false'), ('boolean', 'false'), ('boolean', 'NULL'),
    ('timestamptz', 'clock_timestamp()'), ('timestamptz', $$clock_timestamp() + interval '50 ms'$$), ('timestamptz', $$clock_timestamp() - interval '1 day'$$), ('timestamptz', 'NULL'),
    ('timestamptz', $$'infinity'$$), ('timestamptz', $$'-infinity'$$), ('timestamptz', $$'4713-01-01 00:00:00+00 BC'$$), ('timestamptz', $$'294276-12-31 23:59:59.999999+00'$$), ('timestamptz', $$'epoch'$$),
    ('jsonb', $$'{}'$$), ('jsonb', $$'{"a": 1}'$$), ('jsonb', $$'{"a": 1, "b": [1, 2, {"c": null}]}'$$), ('jsonb', $$'null'$$), ('jsonb', 'NULL'), ('jsonb', $$'[]'$$), ('jsonb', $$'"text"'$$),
    ('jsonb', $$'-1e1000'$$), ('jsonb', $$(repeat('[', 500) || repeat(']', 500))::jsonb$$), ('jsonb', '(SELECT json FROM stored)'),
    ('jsonb', 'to_jsonb((SELECT compressed FROM stored))'),
    ('bytea', $$''$$), ('bytea', $$'\x00ff'$$), ('bytea', 'NULL'), ('bytea', '(SELECT external::bytea FROM stored)'),
    ('text[]', $$'{}'$$), ('text[]', 'NULL'), ('text[]', $$'{f1,f2,f3}'$$), ('text[]', $$'{f1,NULL,f1}'$$), ('text[]', $$'{{f1,f2},{f3,f4}}'$$), ('text[]', $$'[5:6]={f1,f2}'$$),
    ('text[]', '(SELECT texts FROM stored)'), ('text[]', $$array_fill('same'::text, ARRAY[1000])$$), ('text[]', $$ARRAY[repeat('x', 5000), '']$$), ('text[]', $$'{delay,max_attempts}'$$),
    ('text[]', $$'{a,b}'$$), ('text[]', $$'{a}'$$),
    ('bigint[]', $$'{}'$$), ('bigint[]', 'NULL'), ('bigint[]', $$'{1,2,3}'$$), ('bigint[]', $$'{1,NULL,1}'$$), ('bigint[]', $$'{{1,2},{3,4}}'$$), ('bigint[]', $$'[-3:-2]={1,2}'$$),
    ('bigint[]', '(SELECT numbers FROM stored)'), ('bigint[]', '(SELECT array_agg(floor(random() * 300)::bigint) FROM generate_series(1, 20))'), ('bigint[]', $$'{-1,0,9223372036854775807}'$$),
    ('jsonb[]', $$'{}'$$), ('jsonb[]', 'NULL'), ('jsonb[]', $$'{1,2}'$$), ('jsonb[]', $$'{1}'$$), ('jsonb[]', $$'{NULL,1}'$$), ('jsonb[]', $$'{{1,2},{3,4}}'$$), ('jsonb[]', $$'[7:8]={1,2}'$$),
    ('jsonb[]', '(SELECT jsons FROM stored)'), ('jsonb[]', $$ARRAY['{"a": 1}', (SELECT json FROM stored)]$$)) v(type, expression);

-- The functions, with the names and types of their arguments; those of which the first k have no default.
CREATE VIEW callable AS
SELECT row_number() OVER (ORDER BY p.oid) AS number, p.oid::regprocedure::text AS signature,
       CASE p.prokind WHEN 'p' THEN 'CALL ' ELSE 'SELECT * FROM ' END || p.pronamespace::regnamespace || '.' || quote_ident(p.proname) AS call,
       p.proargnames[1:p.pronargs] AS names, p.proargtypes::oid[] AS types, p.pronargs - p.pronargdefaults AS required
FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgqueue');

CREATE FUNCTION random_value(wanted regtype) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    chosen text := (SELECT expression FROM vals WHERE type = wanted OFFSET floor(random() * (SELECT count(*) FROM vals WHERE type = wanted)) LIMIT 1);
BEGIN
    IF chosen IS NULL THEN
        RAISE EXCEPTION 'no values of type %', wanted;
    END IF;
    RETURN format('(%s)::%s', chosen, wanted);
END $$;

CREATE FUNCTION random_call() RETURNS TABLE (signature text, call text) LANGUAGE plpgsql AS $$
DECLARE
    f record;
    args text[] := '{}';
BEGIN
    SELECT * INTO f FROM callable WHERE number = 1 + floor(random() * (SELECT count(*) FROM callable));
    FOR i IN 1 .. coalesce(array_length(f.names, 1), 0) LOOP
        IF i <= f.required OR random() < 0.4 THEN
            -- Queues and stores are few, so that calls meet.
            args := args || format('%I => %s', f.names[i],
                CASE WHEN f.names[i] IN ('queue_name', 'store', 'dead_letter', 'key', 'name') AND random() < 0.85
                     THEN quote_literal('f' || floor(random() * 8))
                     WHEN f.names[i] IN ('wait', 'seconds')  -- which would wait
                     THEN (ARRAY['0', '0.01', '-1', 'NULL', '''NaN''', '''Infinity''', '1e300'])[1 + floor(random() * 7)]
                     ELSE random_value((f.types::oid[])[i - 1 + array_lower(f.types, 1)]::regtype) END);
        END IF;
    END LOOP;
    signature := f.signature;
    call := format('%s(%s)', f.call, array_to_string(args, ', '));
    RETURN NEXT;
END $$;

-- The server's caches of its catalogs grow with each table that is made, and what serves this statement comes and goes.
CREATE FUNCTION memory_in_use() RETURNS bigint LANGUAGE sql AS $$
    SELECT sum(used_bytes)::bigint FROM pg_backend_memory_contexts
    WHERE name NOT IN ('CacheMemoryContext', 'index info', 'relation rules', 'MessageContext', 'ExecutorState', 'ExprContext', 'PortalContext')
      AND name NOT LIKE 'TupleSort%'
$$;

CREATE PROCEDURE random_calls(seed double precision, seconds double precision) LANGUAGE plpgsql AS $$
DECLARE
    until timestamptz := clock_timestamp() + make_interval(secs => seconds);
    chance double precision;
    f record;
    state text;
    message text;
BEGIN
    PERFORM setseed(seed);
    WHILE clock_timestamp() < until LOOP
        chance := random();
        IF chance < 0.10 THEN
            COMMIT;
        ELSIF chance < 0.12 THEN
            ROLLBACK;
        ELSIF chance < 0.14 THEN
            COMMIT;
            SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
        ELSIF chance < 0.15 THEN
            COMMIT;
            SET TRANSACTION READ ONLY;
        END IF;
        SELECT * INTO f FROM random_call();
        BEGIN
            state := '00000';
            message := NULL;
            EXECUTE f.call;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
        END;
        IF current_setting('transaction_read_only') = 'off' THEN
            INSERT INTO outcomes VALUES (f.signature, state, left(f.call, 500) || coalesce(': ' || left(message, 500), ''), 1);
        ELSIF state LIKE 'XX%' THEN
            RAISE EXCEPTION '%: % %', left(f.call, 500), state, message;
        END IF;
    END LOOP;
END $$;
