# Two-phase commit: COMMIT PREPARED and ROLLBACK PREPARED run in any session, without a callback of ours. A reader that
# waits notices all the same.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $node = queue_node('prepared', conf => 'max_prepared_transactions = 20');
sql($node, "SELECT queue.create('q', vt => 600)");
my $reader = session($node);

# SQL that ends a prepared transaction, while a reader waits; the reader must see `expected` within three seconds.
sub noticed {
    my ($prepare, $end, $expected, $what) = @_;
    sql($node, $prepare);
    $reader->start("SELECT msg_id, message, clock_timestamp() FROM queue.read('q', wait => 60)");
    $reader->wait_asleep($node);
    my ($ended) = sql($node, "$end; SELECT clock_timestamp()");
    my ($id, $message, $read) = split /\|/, $reader->finish;
    is($message, $expected, $what);
    is(sql($node, "SELECT '$read'::timestamptz < '$ended'::timestamptz + '3 s'"), 't', 'soon');
    return $id;
}

my $id = noticed(
    "BEGIN; SELECT queue.send('q', '\"send\"'); PREPARE TRANSACTION 'p'",
    "COMMIT PREPARED 'p'", '"send"', 'a prepared send that is committed');
sql($node, "SELECT queue.delete('q', $id)");

$id = noticed(
    "BEGIN; SELECT queue.send('q', '\"urgent\"', priority => 7); PREPARE TRANSACTION 'p'",
    "COMMIT PREPARED 'p'", '"urgent"', 'of a priority that nobody used yet');
sql($node, "SELECT queue.delete('q', $id)");

# Among messages of others, so that the page was looked at.
sql($node, "SELECT queue.send_batch('q', array_fill('1'::jsonb, ARRAY[30]), delay => 900)");
$id = noticed(
    "BEGIN; SELECT queue.send('q', '\"among\"'); PREPARE TRANSACTION 'p'",
    "COMMIT PREPARED 'p'", '"among"', 'on a page with others');
sql($node, "SELECT queue.delete('q', $id)");

# Waiting the other way.
sql($node, "BEGIN; SELECT queue.send('q', '\"call\"'); PREPARE TRANSACTION 'p'");
$reader->start("CALL queue.wait('q', 60)");
$reader->wait_asleep($node);
is($reader->done ? 1 : 0, 0, 'CALL queue.wait waits for the prepared send');
sql($node, "COMMIT PREPARED 'p'");
$reader->finish;
is($reader->query("SELECT message FROM queue.read('q')"), '"call"', 'and ends with its commit');

# An ack that is rolled back. Its lease has run out by then.
$id = sql($node, "SELECT queue.send('q', '\"ack\"')");
sql($node, "SELECT msg_id FROM queue.read('q', vt => 0)");
noticed("BEGIN; SELECT queue.delete('q', $id); PREPARE TRANSACTION 'p'",
    "ROLLBACK PREPARED 'p'", '"ack"', 'a prepared ack that is rolled back gives its message back');
is(sql($node, "SELECT queue.delete('q', $id)"), 't', 'to be acked again');

# An ack that is committed.
$id = sql($node, "SELECT queue.send('q', '\"gone\"')");
sql($node, "SELECT msg_id FROM queue.read('q', vt => 0)");
sql($node, "BEGIN; SELECT queue.archive('q', $id); PREPARE TRANSACTION 'p'");
is(sql($node, "SELECT count(*) FROM queue.read('q')"), '0', 'a message whose ack is prepared is not read');
sql($node, "COMMIT PREPARED 'p'");
is(sql($node, "SELECT count(*) FROM queue.read('q')"), '0', 'nor after its commit');
is(sql($node, "SELECT message FROM queue.a_q WHERE msg_id = $id"), '"gone"', 'it is in the archive');

# An ack that waits for a prepared one.
$id = sql($node, "SELECT queue.send('q', '\"twice\"')");
sql($node, "BEGIN; SELECT queue.delete('q', $id); PREPARE TRANSACTION 'p'");
my $acker = session($node);
$acker->start("SELECT queue.delete('q', $id)");
ok(wait_for(sub { sql($node, 'SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = ' . $acker->pid) eq '1' },
        'a lock that is waited for'), 'a second ack waits');
sql($node, "ROLLBACK PREPARED 'p'");
is($acker->finish, 't', 'and has it when the first is rolled back');

# A lease in a prepared transaction stays, however it ends: there is nobody to give it back.
$id = sql($node, "SELECT queue.send('q', '\"lease\"')");
sql($node, "BEGIN; SELECT msg_id FROM queue.read('q', vt => 600); SELECT queue.send('q', '2', delay => 900); PREPARE TRANSACTION 'p'");
sql($node, "ROLLBACK PREPARED 'p'");
is(sql($node, "SELECT msg_id, read_ct, vt > now() + '9 min' FROM queue.q_q WHERE message = '\"lease\"'"), "$id|1|t",
    'a prepared lease runs out by itself');
is(sql($node, "SELECT queue.delete('q', $id)"), 't', 'and can be acked');

# A temporary thing that PREPARE refuses gives everything back, as any error at commit does.
$id = sql($node, "SELECT queue.send('q', '\"refused\"')");
$acker->query("BEGIN; CREATE TEMP TABLE t (); SELECT msg_id FROM queue.read('q'); PREPARE TRANSACTION 'p'");
like($acker->error, qr/0A000.*temporary/s, 'PREPARE is refused');
is(sql($node, "SELECT msg_id, read_ct FROM queue.read('q', wait => 60)"), "$id|2", 'the lease came back');
sql($node, "SELECT queue.delete('q', $id)");

# Across a crash: the map knows nothing of what is prepared.
sql($node, "BEGIN; SELECT queue.send('q', '\"crash\"'); PREPARE TRANSACTION 'p'");
sql($node, "BEGIN; SELECT queue.send('q', '\"undone\"'); PREPARE TRANSACTION 'r'");
$_->quit for $reader, $acker;
$node->stop('immediate');
$node->start;
$reader = session($node);
noticed("SELECT count(*) FROM queue.read('q')", "ROLLBACK PREPARED 'r'; COMMIT PREPARED 'p'", '"crash"',
    'a send that was prepared before a crash');
is(sql($node, "SELECT count(*) FROM queue.q_q WHERE message = '\"undone\"'"), '0', 'and one that was rolled back');
$reader->quit;

check_storage($node);
check_log($node);
done_testing();
