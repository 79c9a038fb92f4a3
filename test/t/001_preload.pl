# Without the library in shared_preload_libraries: a clear error and a server that lives on.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('bare', preload => 0);

my $clear = qr/must be loaded when the server starts.*HINT:  .*shared_preload_libraries/s;
fails_with($node, 'CREATE EXTENSION pgqueue', '55000', $clear, 'CREATE EXTENSION is refused with a hint');
fails_with($node, "LOAD 'pgqueue'", '55000', $clear, 'LOAD is refused with a hint');

# The same session goes on, as often as it tries.
my $session = session($node);
for my $try (1, 2) {
    $session->query('CREATE EXTENSION pgqueue');
    like($session->error, $clear, "try $try in one session");
}
is($session->query('SELECT 1'), '1', 'the session lives');
is(sql($node, "SELECT count(*) FROM pg_extension WHERE extname = 'pgqueue'"), '0', 'nothing is left of the tries');
is(sql($node, "SELECT count(*) FROM pg_namespace WHERE nspname = 'queue'"), '0', 'no schema either');

# A preload for the session comes too late as well.
fails_with($node, "SET session_preload_libraries = 'pgqueue'; LOAD 'pgqueue'", '55000', $clear, 'nor from a session');
$session->quit;

# The functions of a database that has the extension, on a server that lost the setting.
configure($node, "shared_preload_libraries = 'pgqueue'");
$node->restart;
create_extension($node);
sql($node, "SELECT queue.create('q'); SELECT queue.send('q', '{\"n\": 1}')");
configure($node, "shared_preload_libraries = ''");
$node->restart;
for my $call ("queue.send('q', '1')", "queue.read('q')", "queue.create('r')", "queue.drop('q')", "queue.peek('q')",
    "queue.delete('q', 1)", "queue.purge('q')") {
    fails_with($node, "SELECT * FROM $call", '55000', $clear, "$call without the library");
}
fails_with($node, 'UPDATE queue.q_q SET vt = now()', '55000', $clear, 'an UPDATE, whose trigger is ours');
is(sql($node, 'SELECT msg_id, message FROM queue.q_q'), '1|{"n": 1}', 'SELECT on the table works');
is(sql($node, 'SELECT queue_name FROM queue.queues'), 'q', 'and so does the list of queues');

configure($node, "shared_preload_libraries = 'pgqueue'");
$node->restart;
is(sql($node, "SELECT message FROM queue.read('q')"), '{"n": 1}', 'with the library everything is there again');
check_log($node);

done_testing();
