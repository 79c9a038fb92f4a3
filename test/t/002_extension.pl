# The extension, queues and their owners come and go; sessions that knew them notice.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $node = queue_node('life');

# The extension twice.
fails_with($node, 'CREATE EXTENSION pgqueue', '42710', qr/already exists/, 'CREATE EXTENSION twice');
sql($node, 'CREATE EXTENSION IF NOT EXISTS pgqueue');

# A queue that is created and rolled back, by a session that has it in its cache by then.
my $session = session($node);
my $other = session($node);
$session->query_ok(<<SQL, 'create, send and read in one transaction');
BEGIN;
SELECT queue.create('q');
SELECT queue.send('q', '"lost"');
SELECT msg_id FROM queue.read('q');
ROLLBACK;
SQL
$session->query("SELECT queue.send('q', '1')");
like($session->error, qr/42P01: queue "q" does not exist/, 'a rolled-back queue is not there');
is($session->query("SELECT queue.drop('q')"), 'f', 'nor to be dropped');
is($session->query("SELECT queue.create('q')"), 't', 'it can be created');
is($session->query("SELECT queue.send('q', '\"first\"')"), '1', 'and its ids start at 1');
is($other->query("SELECT message FROM queue.read('q', vt => 0)"), '"first"', 'for other sessions too');

# To a savepoint.
$session->query_ok(<<SQL, 'a queue that is created in a savepoint');
BEGIN;
SAVEPOINT s;
SELECT queue.create('sp');
SELECT queue.send('sp', '1');
ROLLBACK TO s;
SELECT queue.create('sp', vt => 5);
SELECT queue.send('sp', '2');
COMMIT;
SQL
is($session->query("SELECT msg_id, message, round(extract(epoch FROM vt - last_read_at)) FROM queue.read('sp')"),
    '1|2|5', 'the second one counts');

# Everything in one transaction that commits.
is($session->query(<<SQL), "t\n1\n2\n1\n2\nt", 'create, send, read, delete and commit');
BEGIN;
SELECT queue.create('once');
SELECT queue.send('once', '1');
SELECT queue.send('once', '2');
SELECT msg_id FROM queue.read('once', qty => 9);
SELECT queue.delete('once', 1);
COMMIT;
SQL
is(sql($node, 'SELECT msg_id, read_ct FROM queue.q_once'), '2|1', 'the other message is leased');

# A drop that is rolled back, in the middle of work.
$session->query_ok(<<SQL, 'a drop that is rolled back');
BEGIN;
SELECT queue.send('q', '"second"');
SELECT queue.drop('q');
ROLLBACK;
SQL
is($session->query("SELECT message FROM queue.read('q')"), '"first"', 'the queue is as it was');
is($session->query("SELECT queue.delete('q', 1)"), 't', 'and goes on');
is($other->query("SELECT queue.send('q', '3')"), '3', 'ids are not given out again');
is($session->query("SELECT msg_id FROM queue.read('q')"), '3', 'its messages arrive');

# A drop that commits, and another queue of the same name.
is($session->query("SELECT queue.drop('q')"), 't', 'a drop');
$other->query("SELECT queue.read('q')");
like($other->error, qr/42P01: queue "q" does not exist/, 'another session notices');
is(sql($node, "SELECT count(*) FROM pg_class WHERE relnamespace = 'queue'::regnamespace AND relname ~ '^(q|a)_q(#|\$)'"),
    '0', 'nothing is left of it');
$session->query_ok("SELECT queue.create('q'); SELECT queue.send('q', '\"anew\"')", 'created again');
is($other->query("SELECT msg_id, message FROM queue.read('q')"), '1|"anew"', 'the other session finds the new one');

# One session drops while another is about to send.
$session->query_ok("BEGIN; SELECT queue.drop('q')", 'a drop that is not committed yet');
$other->start("SELECT queue.send('q', '2')");
ok( wait_for(
        sub { sql($node, 'SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = ' . $other->pid) eq '1' },
        'the sender waits for the drop'),
    'a sender waits');
$session->query_ok('COMMIT');
$other->finish;
like($other->error, qr/42P01: queue "q" does not exist/, 'and is told');

# The tables by hand.
sql($node, "SELECT queue.create('hand'); SELECT queue.send('hand', '1')");
$session->query_ok("SELECT queue.send('hand', '2')");
sql($node, 'DROP TABLE queue.q_hand CASCADE');
$session->query("SELECT queue.send('hand', '3')");
like($session->error, qr/42P01: queue "hand" does not exist/, 'a table dropped by hand is a queue less');
is(sql($node, "SELECT queue.create('hand', vt => 7)"), 't', 'it can be created again, with other settings');
is($session->query("SELECT queue.send('hand', '1') > 0"), 't', 'and used');

# The extension with its queues.
fails_with($node, 'DROP EXTENSION pgqueue', '2BP01', qr/depend/, 'DROP EXTENSION with queues wants CASCADE');
$session->query_ok('BEGIN; SET LOCAL client_min_messages = error; DROP EXTENSION pgqueue CASCADE; ROLLBACK',
    'DROP EXTENSION that is rolled back');
is($session->query("SELECT count(*) FROM queue.read('hand')"), '1', 'everything is as it was');
sql($node, 'SET client_min_messages = error; DROP EXTENSION pgqueue CASCADE');
is(sql($node, "SELECT count(*) FROM pg_namespace WHERE nspname = 'queue'"), '0', 'CASCADE takes the queues along');
$session->query("SELECT queue.send('hand', '1')");
like($session->error, qr/3F000|42883/, 'a session that used it is told');
is($session->query('SELECT 1'), '1', 'and lives');

$session->query_ok('BEGIN; CREATE EXTENSION pgqueue; SELECT queue.create($$hand$$); ROLLBACK',
    'CREATE EXTENSION that is rolled back');
is(sql($node, "SELECT count(*) FROM pg_extension WHERE extname = 'pgqueue'"), '0', 'leaves nothing');
create_extension($node);
is($session->query("SELECT queue.create('hand')"), 't', 'the same session uses the new extension');
is($session->query("SELECT queue.send('hand', '\"new\"')"), '1', 'a new queue of an old name');
is($other->query("SELECT message FROM queue.read('hand')"), '"new"', 'so does the other one');
sql($node, "SELECT queue.drop('hand')");
sql($node, 'DROP EXTENSION pgqueue');
is(sql($node, "SELECT count(*) FROM pg_namespace WHERE nspname = 'queue'"), '0', 'DROP EXTENSION without queues');
create_extension($node);

# Owners.
sql($node, 'CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; GRANT CREATE ON DATABASE postgres TO alice');
my $alice = session($node, role => 'alice');
my $bob = session($node, role => 'bob');
$alice->query_ok("SELECT queue.create('a1'); SELECT queue.create('a2'); SELECT queue.send('a1', '1')", 'a role creates');
$bob->query("SELECT queue.send('a1', '1')");
like($bob->error, qr/42501: permission denied/, 'another role may not send');
fails_with($node, 'DROP ROLE alice', '2BP01', qr/depend/, 'a role that owns queues stays');
sql($node, 'REASSIGN OWNED BY alice TO bob');
is(sql($node, 'SELECT DISTINCT owner FROM queue.queues'), 'bob', 'REASSIGN OWNED');
$alice->query("SELECT queue.send('a1', '2')");
like($alice->error, qr/42501: permission denied/, 'the old owner has no rights any more');
is($bob->query("SELECT queue.send('a1', '2')"), '2', 'the new owner has');
is($bob->query("SELECT count(*) FROM queue.read('a1', qty => 9)"), '2', 'and reads');
is($bob->query("SELECT queue.archive('a1', 1)"), 't', 'archives');
is($bob->query("SELECT queue.alter('a1', vt => 3)"), 't', 'alters');
is($bob->query("SELECT queue.drop('a2')"), 't', 'and drops');
$alice->quit;
sql($node, 'DROP OWNED BY alice; DROP ROLE alice');

is(sql($node, 'DROP OWNED BY bob; SELECT count(*) FROM queue.queues'), '0', 'DROP OWNED drops the queues');
is(sql($node, "SELECT count(*) FROM pg_class WHERE relnamespace = 'queue'::regnamespace AND relname LIKE '%\\_a1%'"), '0',
    'with all they consist of');
$bob->query("SELECT queue.send('a1', '3')");
like($bob->error, qr/42P01: queue "a1" does not exist/, 'a session that knew one is told');
$bob->quit;
sql($node, 'DROP ROLE bob');
is(sql($node, "SELECT queue.create('a1')"), 't', 'the name is free for somebody else');

$_->quit for $session, $other;

# A schema of pg_cron's, or of somebody else's, is in the way: nothing is made, and what to do is said.
sql($node, 'CREATE DATABASE taken');
sql($node, 'CREATE SCHEMA cron', 'taken');
fails_with($node, 'CREATE EXTENSION pgqueue', '42P06', qr/schema "cron" already exists.*HINT:  Rename or drop that schema first/s, 'a schema cron is in the way', 'taken');
is(sql($node, "SELECT count(*) FROM pg_namespace WHERE nspname IN ('queue', 'kv', 'pgqueue')", 'taken'), '0', 'nothing is made');
sql($node, 'ALTER SCHEMA cron RENAME TO old_cron', 'taken');
create_extension($node, 'taken');
sql($node, 'CREATE EXTENSION IF NOT EXISTS pgqueue', 'taken');

check_log($node);
done_testing();
