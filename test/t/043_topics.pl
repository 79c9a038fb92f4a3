# Bindings: they travel with a dump, survive a restart and a crash, follow a standby, and a session that has read them notices every
# change. Binding and unbinding beside publishers.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('topics');
my $dir = $node->basedir;
sql($node, 'CREATE DATABASE src');
create_extension($node, 'src');
sql($node, <<'SQL', 'src');
CREATE ROLE alice LOGIN;
GRANT CREATE ON DATABASE src TO alice;
SELECT queue.create('all'), queue.create('eu'), queue.create('un', unlogged => true);
SELECT queue.bind('#', 'all'), queue.bind('orders.eu.*', 'eu'), queue.bind('orders.#', 'un'), queue.bind('ü."odd''\.*', 'eu');
SET SESSION AUTHORIZATION alice;
SELECT queue.create('alices'), queue.bind('*.eu.#', 'alices');
SQL
my $bindings = 'SELECT pattern, queue_name, created_at FROM queue.bindings ORDER BY 2, 1';
my $publish = "SELECT string_agg(queue_name, ',' ORDER BY queue_name) FROM queue.publish_batch('orders.eu.new', ARRAY['1']::jsonb[])";
my $odd = q(SELECT queue.publish('ü."odd''\.x', '1'));
my $before = sql($node, $bindings, 'src');
is(sql($node, $publish, 'src'), 'alices,all,eu,un', 'published');

# Dumps
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/src.dump", 'src' ], 'pg_dump');
$node->command_ok([ 'pg_dump', '-f', "$dir/src.sql", 'src' ], 'pg_dump as SQL');
sql($node, "CREATE DATABASE $_") for qw(fresh parallel has);
$node->command_ok([ 'pg_restore', '-e', '-d', 'fresh', "$dir/src.dump" ], 'restored');
$node->command_ok([ 'pg_restore', '-e', '-j', '4', '-d', 'parallel', "$dir/src.dump" ], 'restored in parallel');
create_extension($node, 'has');
my $session = session($node, database => 'has');
is($session->query("SELECT queue.publish('orders.eu.new', '1')"), '0', 'a session that knows that there are no bindings');
my @psql = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d');
$node->command_ok([ @psql, 'has', '-f', "$dir/src.sql" ], 'restored into a database with the extension');
is($session->query($publish), 'alices,all,eu,un', 'it finds what was restored');
$session->quit;
for my $db (qw(fresh parallel has)) {
    same_lines(sql($node, $bindings, $db), $before, "$db: the bindings");
    is(sql($node, $publish, $db), 'alices,all,eu,un', "$db: published");
    is(sql($node, $odd, $db), '2', "$db: by an odd pattern");
    is(sql($node, "SELECT queue.bind('#', 'all')", $db), 'f', "$db: bound already");
    fails_with($node, "SET SESSION AUTHORIZATION alice; SELECT queue.unbind('#', 'all')", '42501', qr/permission denied/, "$db: rights hold", $db);
    is(sql($node, "SELECT queue.drop('eu'); SELECT count(*) FROM queue.bindings WHERE queue_name = 'eu'", $db), "t\n0", "$db: dropped with its bindings");
}

# Restart and crash
$node->restart;
is(sql($node, $publish, 'src'), 'alices,all,eu,un', 'after a restart');
sql($node, "SELECT queue.bind('late', 'all')", 'src');
$node->stop('immediate');
$node->start;
same_lines(sql($node, 'SELECT pattern FROM queue.bindings ORDER BY 1', 'src'), sql($node, q(SELECT * FROM (VALUES ('#'), ('*.eu.#'), ('late'), ('orders.#'), ('orders.eu.*'), ('ü."odd''\.*')) v(p) ORDER BY p COLLATE "C")), 'after a crash');
is(sql($node, $publish, 'src'), 'alices,all,eu,un', 'and published');

# The extension made anew is another table.
sql($node, 'CREATE DATABASE again');
create_extension($node, 'again');
$session = session($node, database => 'again');
sql($node, "SELECT queue.create('a'), queue.bind('x', 'a')", 'again');
is($session->query("SELECT queue.publish('x', '1')"), '1', 'bound');
sql($node, 'DROP EXTENSION pgqueue CASCADE; DROP SCHEMA IF EXISTS queue CASCADE', 'again');
create_extension($node, 'again');
is($session->query("SELECT queue.publish('x', '1')"), '0', 'a new extension has none');
$session->quit;

# Binders beside publishers: a stable binding is always found, and an unbound queue gets nothing more.
sql($node, "SELECT count(queue.create('p' || i)) FROM generate_series(1, 5) i; SELECT queue.bind('st.*', 'p1')");
my @runs;
push @runs, run_pgbench($node, 'binder', <<'SQL', '-T', 4, '-c', 3);
\set q random(2, 5)
\set w random(1, 50)
BEGIN;
SELECT queue.bind('st.' || :w || '.#', 'p' || :q);
SELECT queue.unbind('st.' || :w || '.#', 'p' || :q) WHERE random() < 0.7;
COMMIT;
SQL
push @runs, run_pgbench($node, 'publisher', <<'SQL', '-T', 4, '-c', 3);
\set w random(1, 50)
SELECT 1 / least(queue.publish('st.' || :w, to_jsonb(:w)), 1);
SQL
push @runs, run_pgbench($node, 'dropper', <<'SQL', '-T', 4, '-c', 1);
SELECT queue.create('brief'), queue.bind('st.#', 'brief');
SELECT queue.drop('brief');
SQL
# A queue dropped and made anew in one transaction is there at every moment.
sql($node, q(SELECT queue.create('anew')));
push @runs, run_pgbench($node, 'renewer', <<'SQL', '-T', 4, '-c', 1);
SELECT queue.drop('anew'), queue.create('anew');
SQL
push @runs, run_pgbench($node, 'sender', <<'SQL', '-T', 4, '-c', 2);
SELECT queue.send('anew', '1');
SELECT * FROM queue.read('anew');
SQL
finish_pgbench($_) for @runs;
is(sql($node, "SELECT count(*) FROM queue.bindings WHERE queue_name = 'brief'"), '0', 'no binding of a dropped queue is left');
check_log($node);
done_testing();
