# Version 0.1 of the extension's objects under this library: all works, workers included. ALTER EXTENSION UPDATE beside
# running work loses nothing and leaves the same objects as a fresh CREATE EXTENSION.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('update', conf => "max_worker_processes = 20\npgqueue.purge_interval = 100ms\npgqueue.handler_idle_time = 500");
my $dir = $node->basedir;
sql($node, 'CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE DATABASE stays');
my $version = "SELECT extversion FROM pg_extension WHERE extname = 'pgqueue'";
is(sql($node, $version), '0.2', 'the default is 0.2');
sql($node, 'DROP EXTENSION pgqueue');
for my $database ('postgres', 'stays') {
    sql($node, "CREATE EXTENSION pgqueue VERSION '0.1'; GRANT CREATE ON DATABASE $database TO alice", $database);
}
is(sql($node, $version), '0.1', 'version 0.1 can be had');

sub soon {
    my ($database, $sql, $expected, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $got = '';
    wait_for(sub { ($got = sql($node, $sql, $database)) eq $expected }, $what);
    is($got, $expected, $what);
}

# Something of everything, by an ordinary role, and what stays as it is from now on.
my $content = <<'SQL';
SET SESSION AUTHORIZATION alice;
CREATE SCHEMA alice;
CREATE TABLE alice.log (id bigint GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION alice.handle(m queue.message) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF m.message ? 'fail' THEN RAISE EXCEPTION 'no %', m.message; END IF;
    INSERT INTO alice.log (what) VALUES (m.message ->> 'n');
END $$;
SELECT queue.create('dead'), queue.create('plain', vt => 1000, max_attempts => 3, dead_letter => 'dead', backoff => 0.5, message_ttl => 9000);
SELECT queue.create('groups', fifo => true), queue.create('handled', max_attempts => 1, dead_letter => 'dead'), queue.create('un-logged.1', unlogged => true);
SELECT queue.create('load');
SELECT queue.grant('plain', 'bob', 'consume'), queue.bind('a.*', 'plain'), queue.notify('groups', 1);
SELECT count(*) FROM queue.send_batch('plain', ARRAY(SELECT to_jsonb(i) FROM generate_series(1, 3000) i));
SELECT queue.send('plain', '"delayed"', delay => 9000, dedup_key => 'once'), queue.send('plain', '"first"', priority => 3);
SELECT count(*) FROM queue.read('plain', qty => 10);
SELECT queue.archive('plain', 1), queue.nack('plain', 2, error => 'broken'), queue.publish('a.b', '"published"');
SELECT queue.send('groups', to_jsonb(i), group_key => 'g' || i % 3) FROM generate_series(1, 30) i;
SELECT count(*) FROM queue.read('groups', qty => 3, vt => 1000);
SELECT queue.attach('handled', 'alice.handle', 2);
SELECT kv.create_store('s', default_ttl => 9000, max_entries => 5000), kv.create_store('fast', unlogged => true);
SELECT count(kv.set('k' || i, md5(i::text), store => 's')) FROM generate_series(1, 1000) i;
SELECT kv.incr('n', 41, store => 's'), kv.lock('lock', 9000, store => 's'), kv.set('short', 'x', ttl => 0.01, store => 's'), kv.grant('s', 'bob', 'read');
SELECT (kv.rate_limit('r', 5, 9000, store => 's')).remaining;
SELECT cron.schedule('tick', '1 second', $$INSERT INTO alice.log (what) VALUES ('tick')$$);
SELECT cron.create_job('rare', '0 0 1 1 *', 'SELECT 1', timezone => 'Asia/Tokyo', retries => 2, jitter => 3), cron.at('2100-01-01 00:00Z', 'SELECT 2');
SQL
my %look = (
    settings => 'SELECT * FROM queue.queues ORDER BY queue_name',
    messages => 'SELECT * FROM queue.q_plain ORDER BY msg_id',
    groups => 'SELECT * FROM queue.q_groups ORDER BY msg_id',
    archive => 'SELECT * FROM queue.a_plain ORDER BY msg_id',
    failures => 'SELECT * FROM queue.failures ORDER BY 1, 2',
    bindings => 'SELECT * FROM queue.bindings ORDER BY 1, 2',
    attachments => 'SELECT * FROM queue.attachments ORDER BY 1',
    dedup => 'SELECT * FROM queue.dedup_keys ORDER BY 1',
    stores => 'SELECT * FROM kv.stores ORDER BY 1',
    values => 'SELECT * FROM kv.s_s ORDER BY key',
    cells => 'SELECT * FROM kv.c_s ORDER BY kind, key',
    jobs => 'SELECT jobid, schedule, command, database = current_database(), username, active, jobname, timezone, overlap, catch_up, retries, retry_delay, jitter, run_at, is_local, counts_from FROM cron.job ORDER BY jobid',
    rights => q(SELECT relname, relowner::regrole, relacl::text FROM pg_class WHERE relname ~ '^[qasc]_' AND relnamespace IN ('queue'::regnamespace, 'kv'::regnamespace) ORDER BY 1));

# All of it at work: sends, reads, a handler that does and one that fails, jobs, the purge, figures, health.
my $round = 0;
sub works {
    my ($database, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $n = ++$round;
    is(sql($node, <<SQL, $database), "t\n$n\nt\nt", "$what: messages go through");
SET SESSION AUTHORIZATION alice;
SELECT queue.send('un-logged.1', '$n') > 0;
SELECT message FROM queue.pop('un-logged.1');
SELECT count(*) = 0 FROM queue.read('groups');
SELECT queue.publish('a.c', '1') = 1;
SQL
    sql($node, "SELECT queue.send('handled', jsonb_build_object('n', 'handled $n')), queue.send('handled', '{\"fail\": $n}')", $database);
    soon($database, "SELECT count(*) FROM alice.log WHERE what = 'handled $n'", '1', "$what: the handler handles");
    soon($database, "SELECT count(*) FROM queue.q_dead WHERE message ? 'fail' AND message ->> 'fail' = '$n'", '1', "$what: and fails into the dead letters");
    job_runs($node, $database, "$what: jobs run");
    is(sql($node, "SELECT kv.incr('n', store => 's') - kv.incr('n', -1, store => 's'), kv.get('k7', 's') = md5('7')", $database), '1|t', "$what: keys");
    sql($node, "SELECT kv.set('short', 'x', ttl => 0.01, store => 's')", $database);
    soon($database, "SELECT count(*) FROM kv.s_s WHERE key = 'short'", '0', "$what: the worker purges");
    is(sql($node, "SELECT count(*) FROM queue.metrics WHERE ready >= 0", $database), '6', "$what: figures");
    is(sql($node, "SELECT count(*), min(state) <> 'version mismatch' FROM pgqueue.workers WHERE database = '$database'", $database), '1|t', "$what: the worker is content");
    is(sql($node, "SELECT problem FROM queue.health() WHERE severity = 'critical' OR problem ~ 'version'", $database), '', "$what: so is health");
}
sql($node, $content, $_) for 'postgres', 'stays';
works($_, "0.1 in $_") for 'postgres', 'stays';
is(sql($node, "SELECT to_regproc('pgqueue.prometheus') IS NULL"), 't', '0.1 is 0.1');
like(slurp_file($node->logfile), qr/LOG:  pgqueue: this database's extension is older than the library, 0\.2\n.*HINT:  Run ALTER EXTENSION pgqueue UPDATE/, 'the log says that there is something newer');
fails_with($node, "ALTER EXTENSION pgqueue UPDATE TO '0.7'", '22023', qr/no update path/, 'a version that there is not');

# What a dump of 0.1 holds goes into 0.2.
sql($node, "SELECT cron.unschedule('tick')", 'stays');
soon('stays', "SELECT count(*) FROM cron.job_run_details WHERE status IN ('waiting', 'running')", '0', 'quiet');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/old.dump", 'stays' ], 'a dump of 0.1');
sql($node, 'CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'restored', "$dir/old.dump" ], 'restored');
is(sql($node, $version, 'restored'), '0.2', 'as 0.2');
same_lines(sql($node, $look{$_}, 'restored'), sql($node, $look{$_}, 'stays'), "restored: $_")
  for grep { $_ ne 'dedup' } sort keys %look;
sql($node, "SET SESSION AUTHORIZATION alice; SELECT cron.schedule('tick', '1 second', \$\$INSERT INTO alice.log (what) VALUES ('tick')\$\$)", $_) for 'stays', 'restored';
works('restored', 'restored');

# The update, beside all that.
my %before = map { $_ => sql($node, $look{$_}) } keys %look;
my $session = session($node);
$session->query_ok('PREPARE figures AS SELECT queue_name, paused FROM queue.metrics ORDER BY 1; EXECUTE figures');
my $worker = worker_pid($node);
my $sent = <<'SQL';
SELECT queue.send('load', '1');
BEGIN;
SELECT msg_id, receipt FROM queue.read('load') \gset
SELECT queue.delete('load', :msg_id, :receipt);
COMMIT;
SELECT kv.incr('beside', store => 's');
SELECT sum(ready) FROM queue.metrics;
SQL
my $load = run_pgbench($node, 'load', $sent, '-c', 3, '-t', 150);
ok(wait_for(sub { sql($node, "SELECT coalesce(kv.get('beside', 's')::int, 0) > 20") eq 't' }, 'load'), 'there is load');
sql($node, 'ALTER EXTENSION pgqueue UPDATE');
is(sql($node, $version), '0.2', 'updated');
finish_pgbench($load);
is(sql($node, "SELECT kv.get('beside', 's'), (SELECT count(*) FROM queue.q_load)"), '450|0', 'nothing was lost');
is($session->query('EXECUTE figures'), "dead|f\ngroups|f\nhandled|f\nload|f\nplain|f\nun-logged.1|f", 'an open session goes on');
like($session->query('SELECT pgqueue.prometheus()'), qr/^pgqueue_up\{database="postgres"\} 1$/m, 'and has what is new');
$session->quit;
is(worker_pid($node), $worker, 'the worker stayed');
same_lines(sql($node, $look{$_}), $before{$_}, "after the update: $_") for grep { $_ ne 'values' && $_ ne 'cells' } sort keys %look;
works('postgres', '0.2');
works('stays', '0.1 beside it');
is(sql($node, 'ALTER EXTENSION pgqueue UPDATE; ' . $version), '0.2', 'once more changes nothing');
fails_with($node, "ALTER EXTENSION pgqueue UPDATE TO '0.1'", '22023', qr/no update path/, 'there is no way back');

# Every member of the extension, and what belongs to it, as text.
my $members = <<'SQL';
CREATE TEMP TABLE member AS
SELECT classid, objid, pg_describe_object(classid, objid, 0) AS name FROM pg_depend
WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgqueue');
CREATE TEMP TABLE line AS
SELECT 'member' AS kind, name AS line FROM member
UNION ALL
SELECT 'extension', concat_ws(' ', extversion, extrelocatable, extnamespace::regnamespace, extcondition::text,
    (SELECT string_agg(c::regclass::text, ' ' ORDER BY i) FROM unnest(extconfig) WITH ORDINALITY x(c, i)))
FROM pg_extension WHERE extname = 'pgqueue'
UNION ALL
SELECT 'function', concat_ws(' ', name, pg_get_functiondef(oid), proacl, proowner::regrole, prosecdef, procost, prorows)
FROM member JOIN pg_proc ON oid = objid AND classid = 'pg_proc'::regclass
UNION ALL
SELECT 'relation', concat_ws(' ', name, relkind, relacl, relowner::regrole, reloptions, relrowsecurity, relforcerowsecurity, relpersistence, relreplident,
    CASE WHEN relkind = 'v' THEN pg_get_viewdef(oid) END)
FROM member JOIN pg_class ON oid = objid AND classid = 'pg_class'::regclass
UNION ALL
SELECT 'column', concat_ws(' ', name, attnum, attname, format_type(atttypid, atttypmod), attnotnull, attcollation::regcollation, attstorage, attidentity, attgenerated, attacl,
    pg_get_expr(adbin, adrelid))
FROM member JOIN pg_attribute ON attrelid = objid AND classid = 'pg_class'::regclass LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0
UNION ALL
SELECT 'type', concat_ws(' ', name, typtype, typacl, typowner::regrole, (SELECT string_agg(attnum || attname || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = typrelid AND attnum > 0))
FROM member JOIN pg_type ON oid = objid AND classid = 'pg_type'::regclass
UNION ALL
SELECT 'schema', concat_ws(' ', name, nspacl, nspowner::regrole) FROM member JOIN pg_namespace ON oid = objid AND classid = 'pg_namespace'::regclass
UNION ALL
SELECT 'index', concat_ws(' ', name, pg_get_indexdef(indexrelid), indisvalid) FROM member JOIN pg_index ON indrelid = objid AND classid = 'pg_class'::regclass
UNION ALL
SELECT 'constraint', concat_ws(' ', name, conname, pg_get_constraintdef(oid)) FROM member JOIN pg_constraint ON conrelid = objid AND classid = 'pg_class'::regclass
UNION ALL
SELECT 'trigger', concat_ws(' ', name, pg_get_triggerdef(oid), tgenabled) FROM member JOIN pg_trigger ON tgrelid = objid AND classid = 'pg_class'::regclass
UNION ALL
SELECT 'policy', concat_ws(' ', name, polname, polcmd, polpermissive, pg_get_expr(polqual, polrelid)) FROM member JOIN pg_policy ON polrelid = objid AND classid = 'pg_class'::regclass
UNION ALL
SELECT 'sequence', concat_ws(' ', name, seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle) FROM member JOIN pg_sequence ON seqrelid = objid AND classid = 'pg_class'::regclass
UNION ALL
SELECT 'comment', concat_ws(' ', name, objsubid, description) FROM member m JOIN pg_description d ON d.classoid = m.classid AND d.objoid = m.objid
UNION ALL
SELECT 'privileges', concat_ws(' ', name, objsubid, privtype, initprivs) FROM member m JOIN pg_init_privs p ON p.classoid = m.classid AND p.objoid = m.objid
UNION ALL
SELECT 'dependency', concat_ws(' ', name, d.objsubid, d.deptype, pg_describe_object(refclassid, refobjid, refobjsubid))
FROM member m JOIN pg_depend d ON d.classid = m.classid AND d.objid = m.objid;
SELECT string_agg(kind, ' ' ORDER BY kind) FROM (SELECT DISTINCT kind FROM line) k;
SELECT kind || ': ' || regexp_replace(line, '\n', '\\n', 'g') FROM line ORDER BY kind, line COLLATE "C";
SQL
sql($node, 'CREATE DATABASE fresh TEMPLATE template0');
create_extension($node, 'fresh');
my $fresh = sql($node, $members, 'fresh');
like($fresh, qr/^column comment constraint dependency extension function index member policy privileges relation schema sequence trigger type\n/, 'there is something of each kind to compare');
like($fresh, qr/^function: function pgqueue\.prometheus\(\) CREATE OR REPLACE FUNCTION/m, 'what is new is among it');
same_lines(sql($node, $members), $fresh, 'after an update the objects are those of a fresh installation');

# Workers and handlers go on after a restart with both versions.
$node->restart;
works('stays', '0.1 after a restart');
works('postgres', '0.2 after a restart');
sql($node, 'ALTER EXTENSION pgqueue UPDATE', 'stays');
works('stays', 'updated too');

check_log($node);
done_testing();
