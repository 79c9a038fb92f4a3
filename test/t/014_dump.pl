# pg_dump and pg_restore: queues travel whole, with settings, leases, archive, owners and grants, and go on where they
# were; a single queue travels too and is adopted.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('dump');
my $dir = $node->basedir;
sql($node, 'CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE dumper LOGIN BYPASSRLS; GRANT pg_read_all_data TO dumper');
sql($node, 'CREATE DATABASE src');
sql($node, 'GRANT CREATE ON DATABASE src TO alice');
create_extension($node, 'src');
sql($node, <<'SQL', 'src');
SELECT queue.create('q', vt => 77, delay => 0);
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 500) i));
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 20) i), priority => 5);
SELECT queue.send('q', jsonb_build_object('t', string_agg(md5(i::text), '')), '{"big": true}') FROM generate_series(1, 2000) i;
SELECT count(*) FROM queue.read('q', qty => 100, vt => 6000);
SELECT queue.archive('q', 501), queue.delete('q', 502), queue.archive('q', 503);
SELECT queue.send('q', '"later"', delay => 6000);
ALTER TABLE queue.q_q ADD COLUMN note text;
UPDATE queue.q_q SET note = 'mine' WHERE msg_id = 5;
SELECT queue.create('p', delay => 3.5);
SELECT queue.send('p', '1', delay => 0);
SELECT queue.pause('p');
SELECT queue.create('un-logged.1', unlogged => true);
SELECT count(*) FROM queue.send_batch('un-logged.1', array_fill('1'::jsonb, ARRAY[5]));
SELECT queue.create(rpad('l.-', 48, 'o')), queue.send(rpad('l.-', 48, 'o'), '1');
SELECT queue.create('empty');
SELECT count(*) FROM queue.send_batch('empty', array_fill('1'::jsonb, ARRAY[5]));
SELECT count(*) FROM queue.pop('empty', 5);
CREATE FUNCTION public.noise() RETURNS int LANGUAGE sql AS 'SELECT 1';
SET SESSION AUTHORIZATION alice;
SELECT queue.create('a', vt => 9);
SELECT count(*) FROM queue.send_batch('a', array_fill('1'::jsonb, ARRAY[5]));
SELECT queue.grant('a', 'bob', 'consume');
SELECT queue.grant('a', 'public', 'send');
SQL
my $held = sql($node, 'SELECT msg_id, receipt FROM queue.q_q WHERE receipt <> 0 ORDER BY msg_id LIMIT 1', 'src');
my ($held_id, $held_receipt) = split /\|/, $held;
my $last_receipt = sql($node, 'SELECT max(receipt) FROM queue.q_q', 'src');

my %look = (
    messages => 'SELECT msg_id, enqueued_at, vt, last_read_at, receipt, read_ct, priority, message, headers, note FROM queue.q_q ORDER BY 1',
    archive  => 'SELECT msg_id, archived_at, receipt, message FROM queue.a_q ORDER BY 1',
    settings => 'SELECT * FROM queue.queues ORDER BY 1',
    others   => 'SELECT tableoid::regclass::text, msg_id, vt, message FROM queue.q_a UNION ALL SELECT tableoid::regclass::text, msg_id, vt, message FROM queue."q_un-logged.1" ORDER BY 1, 2',
    rights   => q(SELECT relname, relkind, relpersistence, relowner::regrole, relacl::text FROM pg_class WHERE relnamespace = 'queue'::regnamespace AND relname ~ '^[qa]_' ORDER BY 1),
    triggers => q(SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid WHERE relnamespace = 'queue'::regnamespace ORDER BY 1, 2),
    members  => q(SELECT count(*) FROM pg_depend WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgqueue'))
);
my %source = map { $_ => sql($node, $look{$_}, 'src') } keys %look;

# Everything that a restored database must still do.
sub goes_on {
    my ($db, $what) = @_;
    for my $part (sort keys %look) {
        same_lines(sql($node, $look{$part}, $db), $source{$part}, "$what: $part");
    }
    is(sql($node, "SELECT queue.create('q', vt => 77)", $db), 'f', "$what: it is a queue with its settings");
    is(sql($node, "SELECT msg_id FROM queue.read('q', qty => 30, vt => 600) LIMIT 1", $db), '81', "$what: a read goes on after the leases");
    is(sql($node, "SELECT min(receipt) > $last_receipt FROM queue.q_q WHERE vt > now() AND receipt > $last_receipt", $db), 't',
        "$what: receipts go on");
    is(sql($node, "SELECT queue.delete('q', $held_id, $held_receipt + 1)", $db), 'f', "$what: a lease still has its fence");
    is(sql($node, "SELECT queue.delete('q', $held_id, $held_receipt)", $db), 't', "$what: and can be acked");
    is(sql($node, "SELECT queue.send('q', '\"new\"', priority => 9) > (SELECT max(msg_id) FROM queue.q_q)", $db), 't', "$what: ids go on");
    is(sql($node, "SELECT message FROM queue.read('q')", $db), '"new"', "$what: what is sent is read");
    is(sql($node, "SELECT queue.send('empty', '1') > 5", $db), 't', "$what: ids of an empty queue too");
    is(sql($node, "SELECT count(*) FROM queue.read('p')", $db), '0', "$what: a paused queue is paused");
    is(sql($node, "SELECT queue.resume('p'); SELECT count(*) FROM queue.read('p')", $db), "t\n1", "$what: and resumes");
    is(sql($node, "SET SESSION AUTHORIZATION bob; SELECT count(*) FROM queue.read('a', qty => 9)", $db), '5', "$what: a grant to consume");
    fails_with($node, "SET SESSION AUTHORIZATION bob; SELECT count(*) FROM queue.read('q')", '42501', qr/permission denied/, "$what: and none", $db);
    is(sql($node, "SET SESSION AUTHORIZATION alice; SELECT queue.alter('a', vt => 10)", $db), 't', "$what: the owner owns it");
    fails_with($node, 'INSERT INTO queue.q_q SELECT * FROM queue.q_q', '0A000', qr/HINT:  Use queue.send/, "$what: INSERT is refused", $db);
    is(sql($node, "SELECT queue.create('fresh'); SELECT queue.send('fresh', '1')", $db), "t\n1", "$what: new queues can be made");
    is(sql($node, "SELECT queue.drop('q')", $db), 't', "$what: old ones dropped");
}

sub restored { # NAME: an empty database
    my ($db) = @_;
    sql($node, "CREATE DATABASE $db TEMPLATE template0");
    return $db;
}

# Plain, into an empty database.
$node->command_ok([ 'pg_dump', '-f', "$dir/plain.sql", 'src' ], 'pg_dump, plain');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql", restored('plain') ], 'restored by psql');
goes_on('plain', 'plain');

# Custom, by a role that is no superuser but may read everything; with two jobs.
$node->command_ok([ 'pg_dump', '-U', 'dumper', '-Fc', '-f', "$dir/custom.dump", 'src' ], 'pg_dump, custom, by no superuser');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-j', '2', '-d', restored('custom'), "$dir/custom.dump" ], 'pg_restore');
goes_on('custom', 'custom');

# Rows as INSERT commands: the triggers come after them.
$node->command_ok([ 'pg_dump', '--inserts', '-f', "$dir/inserts.sql", 'src' ], 'pg_dump --inserts');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/inserts.sql", restored('inserts') ], 'restored');
goes_on('inserts', 'inserts');

# A dump of a dump: nothing is worn off on the way.
sql($node, 'DROP DATABASE plain');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql", restored('plain') ], 'restored again');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/again.dump", 'plain' ], 'dumped again');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', restored('again'), "$dir/again.dump" ], 'and restored');
goes_on('again', 'second generation');

# Only the rows, into queues that are there: COPY goes through the triggers, which tell the map. A session that knows the
# empty queue sees them.
sql($node, 'DROP DATABASE plain');
sql($node, "CREATE DATABASE rows");
create_extension($node, 'rows');
my $session = session($node, database => 'rows');
$session->query_ok("SELECT queue.create('q', vt => 77); SELECT * FROM queue.read('q')", 'an empty queue');
sql($node, 'ALTER TABLE queue.q_q ADD COLUMN note text', 'rows');
$node->command_ok([ 'pg_dump', '--data-only', '-t', 'queue.q_q*', '-t', 'queue.a_q', '-f', "$dir/rows.sql", 'src' ], 'pg_dump --data-only of a queue');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/rows.sql", 'rows' ], 'restored by COPY');
same_lines(sql($node, $look{messages}, 'rows'), $source{messages}, 'its rows are there');
is($session->query("SELECT count(*) FROM queue.read('q', qty => 1000)"),
    sql($node, 'SELECT count(*) FROM queue.q_q WHERE vt <= now()', 'src'), 'all that is due is read');
is($session->query("SELECT queue.send('q', '1') > 522"), 't', 'ids go on');
$session->quit;

# A single queue, into a database with the extension, by its owner as far as that goes: the dump. queue.create adopts it.
sql($node, 'CREATE DATABASE single');
create_extension($node, 'single');
sql($node, 'GRANT CREATE ON DATABASE single TO alice', 'single');
$node->command_ok([ 'pg_dump', '-U', 'alice', '-Fc', '-t', 'queue.q_a', '-t', 'queue.q_a#*', '-t', 'queue.a_a', '-f', "$dir/single.dump", 'src' ],
    'pg_dump of a queue by its owner');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'single', "$dir/single.dump" ], 'restored into another database');
fails_with($node, "SELECT queue.send('a', '1')", '42P01', qr/HINT:  queue.create\('a'\) takes the table over/, 'a table is no queue yet', 'single');
is(sql($node, "SET SESSION AUTHORIZATION alice; SELECT queue.create('a', vt => 9)", 'single'), 't', 'queue.create adopts it');
is(sql($node, "SET SESSION AUTHORIZATION alice; SELECT queue.create('a', vt => 9)", 'single'), 'f', 'once');
is(sql($node, "SET SESSION AUTHORIZATION bob; SELECT queue.send('a', '6') > 5", 'single'), 't', 'ids go on, and grants count');
is(sql($node, "SET SESSION AUTHORIZATION bob; SELECT array_agg(message) FROM queue.read('a', qty => 9)", 'single'), '{1,1,1,1,1,6}', 'its messages are read');

# And with a pattern as users write it.
$node->command_ok([ 'pg_dump', '-Fc', '-t', 'queue.*_q*', '-f', "$dir/pattern.dump", 'src' ], 'pg_dump of a queue by a pattern');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'single', "$dir/pattern.dump" ], 'restored');
is(sql($node, "SELECT queue.create('q', vt => 77)", 'single'), 't', 'adopted');
same_lines(sql($node, $look{messages}, 'single'), $source{messages}, 'with its messages and leases');
is(sql($node, "SELECT queue.delete('q', $held_id, $held_receipt)", 'single'), 't', 'a lease can be acked');
is(sql($node, "SELECT count(*) FROM queue.read('q', qty => 10, vt => 600)", 'single'), '10', 'and new ones taken');
is(sql($node, "SELECT count(*) FROM (SELECT msg_id FROM queue.q_q WHERE receipt = $last_receipt) m, queue.set_vt('q', m.msg_id, 0)", 'single'),
    '1', 'a lease of before ends');
is(sql($node, "SELECT min(receipt) > $last_receipt FROM queue.read('q', qty => 11)", 'single'), 't', 'new receipts are beyond the old ones');

check_log($node);
done_testing();
