# Consumers that go away in the middle of their work: a lease comes back at once where the backend ends in good order, at
# the end of its time where it was killed, and its receipt is worth nothing any more.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('killed', conf => "restart_after_crash = on\nwal_writer_delay = 10ms");
sql($node, "SELECT queue.create('q', vt => 600)");

sub lease_in_transaction {
    my ($session, $message) = @_;
    sql($node, "SELECT queue.send('q', '$message')");
    $session->query_ok('BEGIN');
    return split /\|/, $session->query("SELECT msg_id, receipt FROM queue.read('q')");
}

# Ended by the server.
my $worker = session($node);
my ($id, $receipt) = lease_in_transaction($worker, 1);
is(sql($node, "SELECT count(*) FROM queue.read('q')"), '0', 'the message is out');
sql($node, 'SELECT pg_terminate_backend(' . $worker->pid . ')');
my ($again, $read_ct, $new_receipt) =
  split /\|/, sql($node, "SELECT msg_id, read_ct, receipt FROM queue.read('q', wait => 60)");
is("$again $read_ct", "$id 2", 'pg_terminate_backend gives the lease back at once; the attempt counts');
is(sql($node, "SELECT queue.delete('q', $id, $receipt)"), 'f', 'the old receipt is worth nothing');
is(sql($node, "SELECT queue.delete('q', $id, $new_receipt)"), 't', 'the new one is');
$worker->quit;

# Ended by its own timeout while it idles in the transaction.
$worker = session($node);
$worker->query("SET idle_in_transaction_session_timeout = '100ms'");
($id, $receipt) = lease_in_transaction($worker, 1);
is(sql($node, "SELECT msg_id, read_ct FROM queue.read('q', wait => 60)"), "$id|2", 'idle_in_transaction_session_timeout does so too');
is(sql($node, "SELECT queue.delete('q', $id)"), 't', 'and its message can be acked');
$worker->quit;

# The client dies: the server notices and rolls back. A reader that waits already gets the message.
$worker = session($node);
my $waiter = session($node);
($id, $receipt) = lease_in_transaction($worker, 2);
$waiter->start("SELECT msg_id, read_ct FROM queue.read('q', wait => 120)");
$waiter->wait_asleep($node);
$worker->kill;
is($waiter->finish, "$id|2", 'a client that dies gives its lease back to a reader that waits');
sql($node, "SELECT queue.delete('q', $id)");

# A lease whose transaction has committed stays, whatever becomes of the session.
$worker = session($node);
($id, $receipt) = lease_in_transaction($worker, 3);
$worker->query_ok('COMMIT');
sql($node, 'SELECT pg_terminate_backend(' . $worker->pid . ')');
pid_gone($node, $worker->pid);
$worker->quit;
is(sql($node, "SELECT count(*) FROM queue.read('q')"), '0', 'a committed lease stays');
is(sql($node, "SELECT queue.delete('q', $id, $receipt)"), 't', 'and whoever has the receipt can ack it');

# Several leases of one worker, some in savepoints, some acked already.
$worker = session($node);
sql($node, "SELECT queue.send_batch('q', array_fill('4'::jsonb, ARRAY[6]))");
$worker->query_ok(<<SQL, 'leases at three levels');
BEGIN;
SELECT msg_id FROM queue.read('q', qty => 2);
SAVEPOINT a;
SELECT msg_id FROM queue.read('q', qty => 2);
SAVEPOINT b;
SELECT queue.delete('q', msg_id, receipt) FROM queue.read('q');
RELEASE b;
SQL
sql($node, 'SELECT pg_terminate_backend(' . $worker->pid . ')');
pid_gone($node, $worker->pid);
$worker->quit;
is(sql($node, "SELECT count(*), sum(read_ct) FROM queue.read('q', qty => 9)"), '6|11', 'all of them come back');
sql($node, "SELECT queue.purge('q')");

# SIGKILL: the whole server starts anew. Nobody could give the lease back, so it runs out.
$worker = session($node);
($id, $receipt) = lease_in_transaction($worker, 5);
$worker->query_ok("SELECT queue.set_vt('q', $id, 3, $receipt)", 'a lease of three seconds');
my $committed = sql($node, "SELECT queue.send('q', '6', delay => 600)");
my $postmaster_start = sql($node, 'SELECT pg_postmaster_start_time()');
kill 'KILL', $worker->pid;
ok($node->poll_query_until('postgres',
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = " . $worker->pid), 'the server is back');
$worker->quit;
is(sql($node, 'SELECT pg_postmaster_start_time()'), $postmaster_start, 'it was a crash of its processes, no restart');
($again, $read_ct, $new_receipt) =
  split /\|/, sql($node, "SELECT msg_id, read_ct, receipt FROM queue.read('q', wait => 60)");
is("$again $read_ct", "$id 2", 'the lease of a killed backend runs out and the message comes again');
cmp_ok($new_receipt, '>', $receipt, 'with a new receipt');
is(sql($node, "SELECT queue.delete('q', $id, $receipt)"), 'f', 'the old one is worth nothing');
is(sql($node, "SELECT queue.delete('q', $id, $new_receipt)"), 't', 'the new one is');
is(sql($node, "SELECT count(*) FROM queue.read('q')"), '0', 'what is delayed still is');
is(sql($node, 'SELECT msg_id FROM queue.q_q'), $committed, 'and there');

# A killed reader that waits leaves nothing behind that keeps others from being woken.
$worker = session($node);
$worker->start("SELECT * FROM queue.read('q', wait => 300)");
$worker->wait_asleep($node);
sql($node, 'SELECT pg_terminate_backend(' . $worker->pid . ')');
$waiter->quit;
$waiter = session($node);
$waiter->start("SELECT message FROM queue.read('q', wait => 120)");
$waiter->wait_asleep($node);
sql($node, "SELECT queue.send('q', '7')");
is($waiter->finish, '7', 'a reader is woken after another one was ended in its sleep');

$_->quit for $worker, $waiter;
my $log = slurp_file($node->logfile);
$log =~ s/.*was terminated by signal 9.*//g;
unlike($log, qr/PANIC|TRAP:|was terminated by signal/, 'no other crash');
done_testing();
