-- Who may do what: PostgreSQL's own grants on the store's table of values, checked by the functions.
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

SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_kv_owner, regress_kv_reader, regress_kv_writer, regress_kv_nobody, regress_kv_group;
RESET client_min_messages;
CREATE ROLE regress_kv_owner;
CREATE ROLE regress_kv_reader;
CREATE ROLE regress_kv_writer;
CREATE ROLE regress_kv_nobody;
CREATE ROLE regress_kv_group;
-- Each function once: what a role may do and what not.
CREATE FUNCTION pg_temp.tries(store text) RETURNS TABLE (what text, outcome text) LANGUAGE sql AS $$
    SELECT split_part(statement, '(', 1), pg_temp.attempt('SELECT kv.' || format(statement, store))
    FROM unnest(ARRAY['get(''a'', %L)', 'get_json(''none'', %L)', 'get_bytes(''none'', %L)', 'get_entry(''a'', %L)', 'mget(''{a}'', %L)', 'exists(''a'', %L)', 'ttl(''a'', %L)', 'scan(store => %L)', 'assert_lock(''l'', 1, %L)',
        'set(''a'', ''1'', store => %L)', 'set_json(''b'', ''1'', store => %L)', 'set_bytes(''c'', ''1'', store => %L)', 'cas(''a'', ''1'', 0, store => %L)', 'mset(''{a}'', ''{1}'', store => %L)', 'getset(''a'', ''1'', store => %L)', 'take(''a'', %L)',
        'touch(''a'', 60, %L)', 'incr(''n'', store => %L)', 'rate_limit(''r'', 5, 60, store => %L)', 'lock(''l'', 60, store => %L)', 'renew(''l'', 1, 60, %L)', 'unlock(''l'', 1, %L)',
        'delete(''none'', %L)', 'delete_batch(''{none}'', %L)', 'purge(%L)', 'clear(%L)',
        'alter_store(%L, default_ttl => 5)', 'grant(%L, ''public'', ''read'')', 'revoke(%L, ''public'', ''read'')', 'drop_store(%L)', 'create_store(%L)']) statement $$;
CREATE FUNCTION pg_temp.allowed(store text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(what, ' ') FILTER (WHERE outcome NOT LIKE '42501%'), 'nothing') FROM pg_temp.tries(store) $$;
GRANT CREATE ON DATABASE contrib_regression TO regress_kv_owner;

-- Creating needs CREATE on the database; nobody may create in the schema.
SET ROLE regress_kv_nobody;
SELECT regexp_replace(pg_temp.attempt($$SELECT kv.create_store('kv_priv')$$), 'DATABASE \S+', 'DATABASE ...');
SELECT pg_temp.attempt('CREATE TABLE kv.mine (a int)'), pg_temp.attempt('CREATE FUNCTION kv.mine() RETURNS int LANGUAGE sql AS ''SELECT 1''');
SET ROLE regress_kv_owner;
SELECT kv.create_store('kv_priv');
SELECT pg_temp.attempt('CREATE TABLE kv.mine (a int)');
SELECT store, owner FROM kv.stores WHERE store = 'kv_priv';
SELECT relname, pg_get_userbyid(relowner), relacl FROM pg_class WHERE relnamespace = 'kv'::regnamespace AND relname ~ '^[scv]_kv_priv$' ORDER BY relname;
-- The owner may do all.
SELECT what, outcome FROM pg_temp.tries('kv_priv') WHERE outcome <> 'ok';
SELECT kv.create_store('kv_priv'), kv.set('a', '1', store => 'kv_priv');
-- Nobody else anything by default, with a hint.
SET ROLE regress_kv_nobody;
SELECT what, outcome FROM pg_temp.tries('kv_priv');
SELECT pg_temp.attempt('SELECT * FROM kv.s_kv_priv'), pg_temp.attempt('SELECT * FROM kv.c_kv_priv'), pg_temp.attempt('SELECT * FROM kv.v_kv_priv'), pg_temp.attempt('DELETE FROM kv.s_kv_priv');
SELECT count(*) FROM kv.stats WHERE store = 'kv_priv';
SELECT store, owner FROM kv.stores WHERE store = 'kv_priv';
SELECT pg_temp.allowed('default');
SELECT kv.purge();

-- read and write.
SET ROLE regress_kv_owner;
SELECT kv.grant('kv_priv', 'regress_kv_reader', 'read'), kv.grant('kv_priv', 'regress_kv_writer', 'write');
SET ROLE regress_kv_reader;
SELECT pg_temp.allowed('kv_priv');
SELECT key, value FROM kv.v_kv_priv;
SELECT count(*) FROM kv.s_kv_priv;
SELECT count(*) FROM kv.c_kv_priv;
SELECT count(*) FROM kv.stats WHERE store = 'kv_priv';
SET ROLE regress_kv_writer;
SELECT pg_temp.allowed('kv_priv');
SELECT pg_temp.attempt('SELECT * FROM kv.s_kv_priv'), pg_temp.attempt('INSERT INTO kv.s_kv_priv VALUES (1, now(), ''t'', ''x'', ''y'')');
SELECT count(*) FROM kv.stats WHERE store = 'kv_priv';
SET ROLE regress_kv_owner;
SELECT kv.set('a', '1', store => 'kv_priv'), kv.grant('kv_priv', 'regress_kv_writer', 'read');
SET ROLE regress_kv_writer;
SELECT pg_temp.allowed('kv_priv');
SET ROLE regress_kv_owner;
SELECT kv.set('a', '1', store => 'kv_priv'), kv.revoke('kv_priv', 'regress_kv_writer', 'write'), kv.revoke('kv_priv', 'regress_kv_writer', 'read'), kv.revoke('kv_priv', 'regress_kv_reader', 'read');
SET ROLE regress_kv_writer;
SELECT pg_temp.allowed('kv_priv');
SET ROLE regress_kv_reader;
SELECT pg_temp.allowed('kv_priv');
-- Each privilege by itself, as GRANT gives it on the table of values.
RESET ROLE;
GRANT INSERT ON kv.s_kv_priv TO regress_kv_nobody;
SET ROLE regress_kv_nobody;
SELECT pg_temp.allowed('kv_priv');
RESET ROLE;
REVOKE INSERT ON kv.s_kv_priv FROM regress_kv_nobody;
GRANT UPDATE ON kv.s_kv_priv TO regress_kv_nobody;
SET ROLE regress_kv_nobody;
SELECT pg_temp.allowed('kv_priv');
RESET ROLE;
REVOKE UPDATE ON kv.s_kv_priv FROM regress_kv_nobody;
GRANT DELETE ON kv.s_kv_priv TO regress_kv_nobody;
SET ROLE regress_kv_nobody;
SELECT pg_temp.allowed('kv_priv');
RESET ROLE;
REVOKE DELETE ON kv.s_kv_priv FROM regress_kv_nobody;
GRANT SELECT ON kv.s_kv_priv TO regress_kv_nobody;
SET ROLE regress_kv_nobody;
SELECT pg_temp.allowed('kv_priv');
RESET ROLE;
REVOKE SELECT ON kv.s_kv_priv FROM regress_kv_nobody;
-- By membership, and to everybody; a role that takes another on has its rights at once.
GRANT regress_kv_group TO regress_kv_nobody;
SET ROLE regress_kv_owner;
SELECT kv.set('a', '1', store => 'kv_priv'), kv.grant('kv_priv', 'regress_kv_group', 'read');
SET ROLE regress_kv_nobody;
SELECT kv.get('a', 'kv_priv');
RESET ROLE;
REVOKE regress_kv_group FROM regress_kv_nobody;
SET ROLE regress_kv_nobody;
SELECT pg_temp.attempt($$SELECT kv.get('a', 'kv_priv')$$);
SET ROLE regress_kv_owner;
SELECT kv.grant('kv_priv', 'public', 'read');
SET ROLE regress_kv_nobody;
SELECT kv.get('a', 'kv_priv');
SET ROLE regress_kv_owner;
SELECT kv.revoke('kv_priv', 'public', 'read');
SET ROLE regress_kv_nobody;
SELECT pg_temp.attempt($$SELECT kv.get('a', 'kv_priv')$$);
-- In a SECURITY DEFINER function: its owner's.
SET ROLE regress_kv_owner;
CREATE FUNCTION pg_temp.look() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT kv.get('a', 'kv_priv') $$;
GRANT EXECUTE ON FUNCTION pg_temp.look() TO PUBLIC;
SET ROLE regress_kv_nobody;
SELECT pg_temp.look(), pg_temp.attempt($$SELECT kv.get('a', 'kv_priv')$$), pg_temp.look();
-- What else is asked of grant.
SET ROLE regress_kv_owner;
SELECT pg_temp.attempt(statement) FROM unnest(ARRAY[$$SELECT kv.grant('kv_priv', 'regress_kv_none', 'read')$$, $$SELECT kv.grant('kv_priv', 'regress_kv_reader', 'admin')$$, $$SELECT kv.grant('kv_priv', 'regress_kv_reader', 'READ')$$, $$SELECT kv.revoke('kv_priv', 'regress_kv_reader', '')$$, $$SELECT kv.revoke('kv_priv', 'regress_kv_reader', 'read')$$,
    $$SELECT kv.grant('kv_priv', '', 'read')$$, $$SELECT kv.revoke('kv_priv', '', 'write')$$, $$SELECT kv.grant('kv_priv', 'PUBLIC', 'read')$$, $$SELECT kv.grant('kv_priv', 'current_user', 'read')$$, $$SELECT kv.grant('kv_priv', 'none', 'read')$$]) statement;
-- A purge of all stores takes those where it may.
SELECT kv.set('short', 'x', ttl => 0.001, store => 'kv_priv');
SELECT pg_sleep(0.003);
SELECT kv.purge();
-- Somebody else's store of that name; one's own settings are for nobody else to change.
RESET ROLE;
GRANT CREATE ON DATABASE contrib_regression TO regress_kv_nobody;
SET ROLE regress_kv_nobody;
SELECT pg_temp.attempt($$SELECT kv.create_store('kv_priv')$$), pg_temp.attempt($$SELECT kv.create_store('kv_priv', unlogged => true)$$);
SELECT pg_temp.attempt('SELECT * FROM kv.settings'), pg_temp.attempt('DELETE FROM kv.settings'), pg_temp.attempt('SELECT * FROM kv.versions'), pg_temp.attempt($$SELECT nextval('kv.versions')$$);
-- The table goes to another owner.
RESET ROLE;
ALTER TABLE kv.s_kv_priv OWNER TO regress_kv_nobody;
SELECT pg_temp.attempt($$SELECT kv.get('a', 'kv_priv')$$);
ALTER TABLE kv.c_kv_priv OWNER TO regress_kv_nobody;
ALTER VIEW kv.v_kv_priv OWNER TO regress_kv_nobody;
SET ROLE regress_kv_nobody;
SELECT kv.get('a', 'kv_priv'), kv.incr('new', store => 'kv_priv'), kv.alter_store('kv_priv', default_ttl => 60);
SET ROLE regress_kv_owner;
SELECT pg_temp.allowed('kv_priv');
RESET ROLE;
SELECT kv.drop_store('kv_priv');
REVOKE CREATE ON DATABASE contrib_regression FROM regress_kv_owner, regress_kv_nobody;
DROP FUNCTION pg_temp.look();
DROP OWNED BY regress_kv_owner, regress_kv_reader, regress_kv_writer, regress_kv_nobody, regress_kv_group;
DROP ROLE regress_kv_owner, regress_kv_reader, regress_kv_writer, regress_kv_nobody, regress_kv_group;
