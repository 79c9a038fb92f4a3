# pg_dump and pg_restore: stores travel whole, with settings, owners, grants, values, counters, locks and limits; the store
# "default" too, altered or not, into a fresh server and into one that has the extension.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('kv_dump');
my $dir = $node->basedir;
sql($node, 'CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE dumper LOGIN BYPASSRLS; GRANT pg_read_all_data TO dumper');
sql($node, 'CREATE DATABASE src');
sql($node, 'GRANT CREATE ON DATABASE src TO alice');
create_extension($node, 'src');
sql($node, <<'SQL', 'src');
SELECT kv.create_store('s', default_ttl => 3600, max_entries => 5000);
SELECT count(kv.set('k' || i, md5(i::text), ttl => 1000 + i, store => 's')) FROM generate_series(1, 1000) i;
SELECT kv.set_json('j', '{"a": ["ü", 1.50]}', store => 's'), kv.set_bytes('b', '\x00ff', ttl => -1, store => 's'), kv.set('big', repeat(md5('x'), 10000), store => 's');
SELECT kv.set(E'odd\t\n\\ "'' key', E'odd\t\n\\. value', store => 's'), kv.set(repeat('k', 1024), '', store => 's');
SELECT kv.incr('n', -5, store => 's'), kv.incr('m', 9223372036854775807, ttl => 9000, store => 's');
SELECT kv.lock('job', 86400, 'me', store => 's'), kv.rate_limit('r', 5, 86400, 3, 's');
SELECT kv.set('gone', 'x', ttl => 0.001, store => 's');
SELECT kv.create_store('un-logged.1', unlogged => true);
SELECT kv.set('a', '1', store => 'un-logged.1');
SELECT kv.set('d', 'in default'), kv.incr('dn', 7), kv.alter_store('default', default_ttl => 7200);
SET SESSION AUTHORIZATION alice;
SELECT kv.create_store('a', max_entries => 10);
SELECT kv.set('mine', '1', store => 'a'), kv.grant('a', 'bob', 'read'), kv.grant('a', 'public', 'write');
SQL
my $lock = sql($node, "SELECT number FROM kv.c_s WHERE kind = 'l'", 'src');
my %look = (
    values => "SELECT key, version, expires_at, type, md5(value), value_json, value_bytes FROM kv.s_s ORDER BY key COLLATE \"C\"",
    cells => 'SELECT kind, key, number, expires_at, owner FROM kv.c_s ORDER BY kind, key',
    default => 'SELECT key, value, type, version FROM kv.v_default ORDER BY key',
    others => 'SELECT key, value FROM kv."s_un-logged.1" UNION ALL SELECT key, value FROM kv.s_a ORDER BY 1',
    stores => 'SELECT store, unlogged, default_ttl, max_entries, owner FROM kv.stores ORDER BY 1',
    rights => q(SELECT relname, relkind, relpersistence, relowner::regrole, relacl::text FROM pg_class WHERE relnamespace = 'kv'::regnamespace AND relname ~ '^[scv]_' AND relkind IN ('r', 'v') ORDER BY 1),
    triggers => q(SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid WHERE relnamespace = 'kv'::regnamespace ORDER BY 1, 2),
    columns => q(SELECT attrelid::regclass::text, attnum, attname, atttypid::regtype, attnotnull, attstorage, attcollation FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'kv'::regnamespace AND relname ~ '^[sc]_' AND relkind = 'r' AND attnum > 0 ORDER BY 1, 2),
    members => q(SELECT count(*) FROM pg_depend WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgqueue')));
my %source = map { $_ => sql($node, $look{$_}, 'src') } keys %look;

sub goes_on {
    my ($db, $what) = @_;
    same_lines(sql($node, $look{$_}, $db), $source{$_}, "$what: $_") for sort keys %look;
    is(sql($node, "SELECT kv.create_store('s', default_ttl => 3600, max_entries => 5000), kv.create_store('default', default_ttl => 7200), kv.create_store('a', max_entries => 10)", $db), 'f|f|f', "$what: they are the stores they were");
    is(sql($node, "SELECT kv.get('k500', 's'), length(kv.get('big', 's')), kv.get('d'), kv.incr('dn'), kv.incr('n', store => 's'), kv.get('gone', 's'), kv.get_json('j', 's') -> 'a' -> 0, kv.ttl('b', 's')", $db),
        sql($node, q(SELECT md5('500'), 320000, 'in default', 8, -4, NULL, '"ü"'::jsonb, -1)), "$what: they are read and counted with");
    is(sql($node, "SELECT kv.purge('s')", $db), '1', "$what: a purge finds what has expired");
    is(sql($node, "SELECT kv.lock('job', 60, store => 's')", $db), '', "$what: a lock is held");
    is(sql($node, "SELECT kv.unlock('job', $lock, 's'); SELECT kv.lock('job', 60, store => 's') > $lock", $db), "t\nt", "$what: and is given back, and taken by a newer token");
    is(sql($node, "SELECT (kv.rate_limit('r', 5, 86400, 0, 's')).remaining", $db), '2', "$what: a limit");
    is(sql($node, "SELECT kv.cas('k500', 'new', version, store => 's') > greatest(version, $lock) FROM kv.get_entry('k500', 's')", $db), 't', "$what: versions go on");
    is(sql($node, "SELECT kv.set('ttl', 'x'), kv.set('ttl', 'x', store => 's'); SELECT kv.ttl('ttl') > 7000, kv.ttl('ttl', 's') > 3500", $db), "t|t\nt|t", "$what: settings hold");
    is(sql($node, "SET SESSION AUTHORIZATION bob; SELECT kv.get('mine', 'a'), kv.set('x', 'y', store => 'a')", $db), '1|t', "$what: grants hold");
    fails_with($node, "SET SESSION AUTHORIZATION bob; SELECT kv.get('k1', 's')", '42501', qr/permission denied for store s/, "$what: and no more", $db);
    fails_with($node, "INSERT INTO kv.s_s VALUES (1, now(), 't', 'x', 'y')", '0A000', qr/HINT:  Use kv.set/, "$what: INSERT is refused", $db);
    is(sql($node, "SET SESSION AUTHORIZATION alice; SELECT kv.alter_store('a', max_entries => 20), kv.drop_store('a')", $db), 't|t', "$what: the owner owns it");
    is(sql($node, "SELECT kv.create_store('fresh'), kv.set('a', 'b', store => 'fresh'), kv.drop_store('s'), kv.drop_store('un-logged.1')", $db), 't|t|t|t', "$what: stores are made and dropped");
}

sub restored {
    my ($db) = @_;
    sql($node, "CREATE DATABASE $db TEMPLATE template0");
    return $db;
}

my @psql = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1');
$node->command_ok([ 'pg_dump', '-f', "$dir/plain.sql", 'src' ], 'pg_dump, plain');
$node->command_ok([ @psql, '-f', "$dir/plain.sql", restored('plain') ], 'restored by psql');
goes_on('plain', 'plain');
$node->command_ok([ 'pg_dump', '-U', 'dumper', '-Fc', '-f', "$dir/custom.dump", 'src' ], 'pg_dump, custom, by no superuser');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-j', '2', '-d', restored('custom'), "$dir/custom.dump" ], 'pg_restore');
goes_on('custom', 'custom');
# A dump of a dump.
sql($node, 'DROP DATABASE plain');
$node->command_ok([ @psql, '-f', "$dir/plain.sql", restored('plain') ], 'restored again');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/again.dump", 'plain' ], 'dumped again');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', restored('again'), "$dir/again.dump" ], 'and restored');
goes_on('again', 'second generation');

# Into a database that has the extension: the dump's CREATE EXTENSION IF NOT EXISTS finds it, and the data follow.
sql($node, 'DROP DATABASE plain');
restored('has');
create_extension($node, 'has');
my $session = session($node, database => 'has');
is($session->query("SELECT kv.get('d'), kv.get('dn')"), '|', 'a session that knows the empty default store');
$session->query("SELECT kv.set('x', 'y')");
is($session->query("SELECT kv.ttl('x'), kv.delete('x')"), '-1|t', 'which has no ttl yet');
$node->command_ok([ @psql, '-f', "$dir/plain.sql", 'has' ], 'restored into a database with the extension');
is($session->query("SELECT kv.get('d'), kv.get('dn')"), 'in default|7', 'it finds what was restored');
$session->query("SELECT kv.set('x', 'y')");
is($session->query("SELECT kv.ttl('x') > 7000, kv.delete('x')"), 't|t', 'it sets with the ttl that was restored, and deletes');
# A counter that is copied in beside a value gives way to it, once it is known whether there is one.
my $counter = "COPY kv.c_default FROM STDIN;\n5\tinfinity\tc\tboth\t\\N\n\\.\n";
$session->query("BEGIN; SELECT kv.set('both', 'value')");
fails_with($node, $counter, '55P03', qr/is being given a value by a transaction that is still open/, 'a counter where a value is undecided', 'has');
$session->query('ROLLBACK');
sql($node, "BEGIN; $counter; ROLLBACK", 'has');
is($session->query("SELECT kv.set('both', 'value'), kv.get('both')"), 't|', 'none came');
sql($node, $counter, 'has');
is($session->query("SELECT kv.get('both'), count(*) FROM kv.c_default WHERE key = 'both'"), 'value|0', 'a counter where a value is');
is($session->query("SELECT kv.delete('both')"), 't', 'the value is deleted');
is($session->query("SELECT kv.get('both')"), '', 'and no counter is below it');
$session->quit;
goes_on('has', 'with the extension');

# An empty default store with its settings unaltered leaves nothing in the way; restored where it has data it is refused.
sql($node, 'CREATE DATABASE small');
create_extension($node, 'small');
$node->command_ok([ 'pg_dump', '-f', "$dir/small.sql", 'small' ], 'pg_dump of a database with nothing in it');
$node->command_ok([ @psql, '-f', "$dir/small.sql", restored('small2') ], 'restored');
is(sql($node, "SELECT kv.create_store('default'), kv.set('a', '1')", 'small2'), 'f|t', 'its default store is there');

# One store by itself: its tables, which create_store takes over.
sql($node, 'CREATE DATABASE one');
create_extension($node, 'one');
$node->command_ok([ 'pg_dump', '-t', 'kv.s_s', '-t', 'kv.c_s', '-f', "$dir/one.sql", 'src' ], 'pg_dump of one store');
$node->command_ok([ @psql, '-f', "$dir/one.sql", 'one' ], 'restored');
fails_with($node, "SELECT kv.get('k500', 's')", '42P01', qr/kv.create_store\('s'\) takes the table over/, 'no store yet', 'one');
is(sql($node, "SELECT kv.create_store('s', default_ttl => 60)", 'one'), 't', 'create_store takes it over');
is(sql($node, "SELECT kv.get('k500', 's'), kv.incr('n', store => 's'), (SELECT count(*) > 1000 FROM kv.v_s)", 'one'), sql($node, q(SELECT md5('500'), -4, true)), 'with its rows');
is(sql($node, "SELECT kv.cas('k400', 'new', version, store => 's') > version FROM kv.get_entry('k400', 's')", 'one'), 't', 'versions are above those that came');
is(sql($node, "SELECT kv.lock('job', 60, store => 's')", 'one'), '', 'the lock is held');
is(sql($node, "SELECT kv.unlock('job', $lock, 's'); SELECT kv.lock('job', 60, store => 's') > $lock", 'one'), "t\nt", 'its next token is above it');
check_log($node);
done_testing();
