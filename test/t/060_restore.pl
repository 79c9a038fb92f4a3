# Dumps in every format, of everything together: queues with their settings, grants, bindings, handlers, error texts and
# deduplication keys, stores, jobs and their history; into an empty database and into one that has the extension; in two
# steps; what an owner who is no superuser can take along; and dumps of a database at work.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('restore', conf => "max_worker_processes = 40");
my $dir = $node->basedir;
sql($node, 'CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE boss LOGIN');
sql($node, 'CREATE DATABASE src');
sql($node, 'GRANT CREATE ON DATABASE src TO alice');
create_extension($node, 'src');
sql($node, <<'SQL', 'src');
CREATE TABLE log (message jsonb);
CREATE TABLE beats (at timestamptz DEFAULT now());
GRANT INSERT ON beats TO alice;
CREATE FUNCTION handle(m queue.message) RETURNS void LANGUAGE sql AS 'INSERT INTO public.log VALUES (m.message)';
SELECT queue.create('dead'), queue.create('q', vt => 600, max_attempts => 2, dead_letter => 'dead', backoff => 5, message_ttl => 86400),
       queue.create('groups', fifo => true), queue.create('worked'), queue.bind('shop.#', 'q'), queue.bind('shop.*.new', 'groups');
SELECT queue.pause('worked'), queue.attach('worked', 'handle'), queue.notify('worked', 0.5);
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 300) i), ttl => 80000);
SELECT count(*) FROM queue.send_batch('worked', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 3) i));
SELECT queue.send('groups', to_jsonb(i), group_key => 'g' || i % 3) FROM generate_series(1, 30) i;
SELECT queue.send('q', '"once"', dedup_key => 'key');
SELECT count(*) FROM queue.read('q', qty => 20);
SELECT queue.nack('q', 1, error => 'no luck'), queue.archive('q', 2), queue.delete('q', 3);
SELECT queue.publish('shop.order.new', '"published"');
SELECT kv.create_store('s', default_ttl => 3600), kv.set('k', 'v', store => 's'), kv.incr('n', 5, store => 's'), kv.set('d', 'default'), kv.incr('dn', 7);
SELECT kv.lock('job', 86400, 'me') > 0, (kv.rate_limit('r', 5, 86400, 3)).remaining;
SELECT cron.create_job('beat', '1 second', 'INSERT INTO public.beats DEFAULT VALUES', active => false, catch_up => 'none'),
       cron.create_job('fails', '@yearly', 'SELECT 1/0', timezone => 'UTC', max_runtime => 9);
SET SESSION AUTHORIZATION alice;
SELECT queue.create('a', vt => 9), kv.create_store('as');
SELECT count(*) FROM queue.send_batch('a', '{1,2,3,4,5}');
SELECT queue.grant('a', 'bob', 'consume'), kv.grant('as', 'bob', 'read');
SELECT msg_id FROM queue.read('a', vt => 86400);
SELECT queue.archive('a', 2), kv.set('mine', '1', store => 'as'), kv.incr('c', 3, store => 'as');
SQL
sql($node, "SELECT cron.run(jobid) FROM cron.job WHERE jobname IN ('beat', 'fails')", 'src');
ok(wait_for(sub { sql($node, "SELECT count(*) FROM cron.job_run_details WHERE status IN ('succeeded', 'failed')", 'src') eq '2' }, 'two runs'), 'a history');

my %look = (
    messages => q(SELECT tableoid::regclass::text, msg_id, enqueued_at, vt, receipt, read_ct, group_key, expires_at, message, headers FROM queue.q_q
        UNION ALL SELECT tableoid::regclass::text, msg_id, enqueued_at, vt, receipt, read_ct, group_key, expires_at, message, headers FROM queue.q_groups
        UNION ALL SELECT tableoid::regclass::text, msg_id, enqueued_at, vt, receipt, read_ct, group_key, expires_at, message, headers FROM queue.q_a ORDER BY 1, 2),
    archive => 'SELECT * FROM queue.a_q ORDER BY 1',
    queues => 'SELECT * FROM queue.queues ORDER BY 1',
    bindings => 'SELECT * FROM queue.bindings ORDER BY 1, 2',
    attachments => 'SELECT * FROM queue.attachments ORDER BY 1',
    errors => q(SELECT * FROM queue.errors('q', 1)),
    dedup => 'SELECT * FROM queue.dedup_keys ORDER BY 1, 2',
    keys => 'SELECT * FROM kv.v_s UNION ALL SELECT * FROM kv.v_default UNION ALL SELECT * FROM kv.v_as ORDER BY 1',
    stores => 'SELECT store, unlogged, default_ttl, max_entries, owner FROM kv.stores ORDER BY 1',
    jobs => 'SELECT jobid, jobname, schedule, command, username, active, timezone, overlap, catch_up, max_runtime FROM cron.job ORDER BY 1',
    history => 'SELECT runid, jobid, status, return_message, start_time, end_time, due_time FROM cron.job_run_details ORDER BY 1',
    rights => q(SELECT relname, relowner::regrole, relacl::text FROM pg_class WHERE relnamespace IN ('queue'::regnamespace, 'kv'::regnamespace) AND relname ~ '^[qascv]_' AND relkind IN ('r', 'v') ORDER BY 1));
my %source = map { $_ => sql($node, $look{$_}, 'src') } keys %look;

sub goes_on {
    my ($db, $what) = @_;
    same_lines(sql($node, $look{$_}, $db), $source{$_}, "$what: $_") for sort keys %look;
    is(sql($node, "SELECT queue.send('q', '\"twice\"', dedup_key => 'key') = (SELECT msg_id FROM queue.q_q WHERE message = '\"once\"')", $db), 't', "$what: a key is not sent twice");
    is(sql($node, "SELECT queue.publish('shop.cart.new', '1')", $db), '2', "$what: bindings bind");
    is(sql($node, "SELECT string_agg(message::text, ' ') FROM queue.read('groups', qty => 5)", $db), '1 2 3 4 5', "$what: groups are read");
    is(sql($node, "SELECT queue.resume('worked')", $db), 't', "$what: a paused queue is paused");
    ok(wait_for(sub { sql($node, 'SELECT count(*) FROM log', $db) eq '3' }, 'three messages'), "$what: its handler handles");
    sql($node, "SELECT cron.change_job('beat', active => true)", $db);
    job_runs($node, $db, "$what: the job runs");
    sql($node, "SELECT cron.change_job('beat', active => false)", $db);
    is(sql($node, "SELECT kv.incr('dn'), kv.lock('job', 60) IS NULL, kv.get('k', 's')", $db), '8|t|v', "$what: keys");
    is(sql($node, "SET SESSION AUTHORIZATION bob; SELECT kv.get('mine', 'as'), (SELECT count(*) FROM queue.read('a', qty => 9))", $db), '1|3', "$what: grants");
}

sub made { # NAME, whether it has the extension
    my ($db, $has) = @_;
    sql($node, "CREATE DATABASE $db TEMPLATE template0");
    create_extension($node, $db) if $has;
    return $db;
}

# Every format, into either kind of database.
my @psql = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1');
my %dumps = (plain => ['-Fp'], custom => ['-Fc'], directory => ['-Fd'], parallel => [ '-Fd', '-j', '3' ]);
for my $how (sort keys %dumps) {
    my $file = "$dir/$how.dump";
    $node->command_ok([ 'pg_dump', @{ $dumps{$how} }, '-f', $file, 'src' ], "pg_dump, $how");
    for my $has (0, 1) {
        my $db = made("${how}_$has", $has);
        $node->command_ok($how eq 'plain' ? [ @psql, '-f', $file, $db ]
            : [ 'pg_restore', '--exit-on-error', $how eq 'parallel' ? ('-j', '3') : (), '-d', $db, $file ], "$db: restored");
        goes_on($db, $how . ($has ? ', with the extension' : ', empty'));
        sql($node, "DROP DATABASE $db");
    }
}

# The tables first, the rows in a second step.
made('steps');
$node->command_ok([ 'pg_restore', '--exit-on-error', '--schema-only', '-d', 'steps', "$dir/custom.dump" ], 'pg_restore --schema-only');
is(sql($node, 'SELECT (SELECT count(*) FROM queue.queues), (SELECT count(*) FROM queue.q_q), (SELECT count(*) FROM cron.job)', 'steps'), '0|0|0', 'tables without settings are no queues yet');
$node->command_ok([ 'pg_restore', '--exit-on-error', '--data-only', '-d', 'steps', "$dir/custom.dump" ], 'pg_restore --data-only');
goes_on('steps', 'in two steps');
sql($node, 'DROP DATABASE steps');

# The tables alone, as queues of their own.
made('tables');
$node->command_ok([ 'pg_dump', '--schema-only', '-f', "$dir/schema.sql", 'src' ], 'pg_dump --schema-only');
$node->command_ok([ @psql, '-f', "$dir/schema.sql", 'tables' ], 'restored');
fails_with($node, "SELECT queue.send('q', '1')", '42P01', qr/HINT:  queue.create\('q'\) takes the table over/, 'a table is no queue', 'tables');
is(sql($node, "SELECT queue.create('q'), kv.create_store('s'), queue.send('q', '\"first\"'), kv.set('k', 'new', store => 's')", 'tables'), 't|t|1|t', 'create takes it over, empty');
is(sql($node, "SELECT message, kv.get('k', 's'), kv.get('d'), kv.incr('dn') FROM queue.read('q')", 'tables'), '"first"|new||1', 'and it works');
sql($node, 'DROP DATABASE tables');

# One queue and one store by their owner, who is no superuser. The tables are made by create, since nobody may make any in the schema.
$node->command_ok([ 'pg_dump', '-U', 'alice', '-Fd', '-j', '2', '-f', "$dir/own", '-t', 'queue.q_a', '-t', 'queue.q_a#*', '-t', 'queue.a_a', '-t', 'kv.s_as', '-t', 'kv.c_as', 'src' ], 'pg_dump by an owner');
made('own', 1);
sql($node, 'GRANT CREATE ON DATABASE own TO alice', 'own');
$node->command_fails_like([ 'pg_restore', '-U', 'alice', '--exit-on-error', '-d', 'own', "$dir/own" ], qr/permission denied for schema (queue|kv)/, 'the owner can not restore tables');
sql($node, "SET SESSION AUTHORIZATION alice; SELECT queue.create('a', vt => 9), kv.create_store('as')", 'own');
$node->command_ok([ 'pg_restore', '-U', 'alice', '--exit-on-error', '--data-only', '-j', '2', '-d', 'own', "$dir/own" ], 'but rows into the own ones');
is(sql($node, "SET SESSION AUTHORIZATION alice; SELECT queue.send('a', '6') > 5, queue.delete('a', 1, receipt) FROM queue.q_a WHERE msg_id = 1", 'own'), 't|t', 'ids go on, and a lease is acked');
is(sql($node, "SET SESSION AUTHORIZATION alice; SELECT string_agg(message::text, ' '), (SELECT count(*) FROM queue.a_a) FROM queue.read('a', qty => 9)", 'own'), '3 4 5 6|1', 'messages are read');
is(sql($node, "SET SESSION AUTHORIZATION alice; SELECT kv.get('mine', 'as'), kv.incr('c', store => 'as'), kv.set('mine', '2', store => 'as')", 'own'), '1|4|t', 'keys too');

# A whole database by its owner who is no superuser: what is others' is not shown to that role, and the dump says so instead of leaving it out.
sql($node, 'CREATE DATABASE bosses OWNER boss');
create_extension($node, 'bosses');
$node->command_fails_like([ 'pg_dump', '-U', 'boss', '-f', "$dir/boss.sql", 'bosses' ], qr/permission denied|may lack SELECT privilege|row-level security/, "a database's owner can not dump what is others'");

# Dumps of a database at work. What was sent is in the queue or its effect is there, never both and never neither.
sql($node, <<'SQL');
CREATE TABLE sent (id bigint);
CREATE TABLE done (id bigint);
CREATE TABLE last (client int PRIMARY KEY, value text);
SELECT queue.create('busy', vt => 2);
SQL
my $load = run_pgbench($node, 'load', <<'SQL', qw(-c 6 -T 40 --max-tries=100));
\set r random(1, 10)
BEGIN;
INSERT INTO sent SELECT queue.send('busy', to_jsonb(:r));
INSERT INTO sent SELECT queue.send_batch('busy', array_fill(to_jsonb(:r), ARRAY[:r]));
INSERT INTO done SELECT msg_id FROM queue.read('busy', qty => :r) WHERE CASE WHEN msg_id % 5 = 0 THEN queue.archive('busy', msg_id, receipt) ELSE queue.delete('busy', msg_id, receipt) END;
INSERT INTO last SELECT :client_id, v FROM (SELECT clock_timestamp()::text AS v) x WHERE kv.set('client ' || :client_id, v) ON CONFLICT (client) DO UPDATE SET value = excluded.value;
\if :r > 8
ROLLBACK;
\else
COMMIT;
\endif
SQL
ok(wait_for(sub { sql($node, 'SELECT count(*) > 500 FROM done') eq 't' }, 'load'), 'a database at work');
my %counts;
for my $round (1 .. 2) {
    for my $how (sort keys %dumps) {
        $node->command_ok([ 'pg_dump', @{ $dumps{$how} }, '-f', "$dir/busy_$how$round", 'postgres' ], "round $round: pg_dump under load, $how");
    }
}
ok(pgbench_runs($load), 'the load went on all the time');
$load->{handle}->signal('INT');
$load->{handle}->finish;
for my $round (1 .. 2) {
    for my $how (sort keys %dumps) {
        my $db = made("busy_$how$round");
        my $file = "$dir/busy_$how$round";
        $node->command_ok($how eq 'plain' ? [ @psql, '-f', $file, $db ]
            : [ 'pg_restore', '--exit-on-error', $how eq 'parallel' ? ('-j', '3') : (), '-d', $db, $file ], "$db: restored");
        note("$db: " . sql($node, 'SELECT (SELECT count(*) FROM sent), (SELECT count(*) FROM done), (SELECT count(*) FROM queue.q_busy)', $db));
        is(sql($node, 'SELECT count(*) FROM ((SELECT id FROM sent) EXCEPT ALL (SELECT id FROM done UNION ALL SELECT msg_id FROM queue.q_busy)) x', $db), '0', "$db: none lost");
        is(sql($node, 'SELECT count(*) FROM ((SELECT id FROM done UNION ALL SELECT msg_id FROM queue.q_busy) EXCEPT ALL (SELECT id FROM sent)) x', $db), '0', "$db: none twice");
        is(sql($node, 'SELECT count(*) FROM (SELECT id FROM done WHERE id % 5 = 0) d FULL JOIN queue.a_busy ON msg_id = id WHERE id IS NULL OR msg_id IS NULL', $db), '0', "$db: the archive agrees");
        is(sql($node, "SELECT count(*) FROM last WHERE value IS DISTINCT FROM kv.get('client ' || client)", $db), '0', "$db: so do keys");
        ok(wait_for(sub { sql($node, "INSERT INTO done SELECT msg_id FROM queue.read('busy', qty => 1000000, vt => 600) WHERE queue.delete('busy', msg_id)", $db); sql($node, 'SELECT count(*) FROM queue.q_busy', $db) eq '0' }, 'all'), "$db: the rest is worked off");
        is(sql($node, 'SELECT count(*) - count(DISTINCT id) = 0 AND count(*) = (SELECT count(*) FROM sent) FROM done', $db), 't', "$db: each once");
        sql($node, "DROP DATABASE $db");
    }
}
check_log($node);
done_testing();
