# Notifications: a listener that never polls hears of everything that can be read, and of nothing else.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = queue_node('notify');
my $listener = session($node);

# The notifications that have come since the last call, as "channel payload", after `seconds`.
sub heard {
    my ($seconds) = @_;
    usleep(($seconds // 0) * 1e6);
    my $out = $listener->query('SELECT 1');
    my @heard;
    push @heard, "$1 $2" while $out =~ /Asynchronous notification "([^"]*)" with payload "([^"]*)"/g;
    return @heard;
}
sub hears {
    my ($expected, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my %all;
    wait_for(sub { $all{$_}++ for heard(); $all{$expected} }, $what);
    is(join(', ', sort keys %all), $expected, $what);
}
sub silent {
    my ($seconds, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(join(', ', heard($seconds)), '', $what);
}
# Reads and deletes all, and lets a notification that is on its way come.
sub empty { sql($node, "SELECT count(*) FROM queue.pop('$_[0]', 1000)"); usleep(200_000); heard(); }

sql($node, "SELECT queue.create('q')");
$listener->query('LISTEN "queue.q"; LISTEN other');
sql($node, "SELECT queue.send('q', '1')");
silent(1, 'no notifications unless asked for');
sql($node, "SELECT queue.notify('q')");
hears('queue.q q', 'what waits already');
empty('q');
silent(1, 'an empty queue is silent');
sql($node, "SELECT queue.send('q', '1')");
hears('queue.q q', 'a send');
empty('q');
sql($node, "BEGIN; SELECT queue.send('q', '1'); ROLLBACK");
silent(1, 'a send that is rolled back');
sql($node, "SELECT queue.send('q', '1', delay => 1)");
silent(0.5, 'a delayed send');
hears('queue.q q', 'is told of when the delay ends');
sql($node, "SELECT * FROM queue.read('q', vt => 1.5)");
usleep(200_000);
heard();
silent(0.8, 'a leased message');
hears('queue.q q', 'is told of when the lease has run out');
my ($id) = split /\|/, sql($node, "SELECT msg_id, receipt FROM queue.read('q', vt => 600)");
usleep(200_000);
heard();
silent(0.8, 'a leased message');
sql($node, "SELECT queue.nack('q', $id)");
hears('queue.q q', 'is told of at a nack');
my $reader = session($node);
$reader->query("BEGIN; SELECT * FROM queue.read('q', vt => 600)");
usleep(200_000);
heard();
silent(0.8, 'a message that was read in a transaction');
$reader->query('ROLLBACK');
hears('queue.q q', 'is told of when that is rolled back');

# Coming late, and again and again.
$listener->query('UNLISTEN *');
heard(0.5);
$listener->query('LISTEN "queue.q"; LISTEN other');
hears('queue.q q', 'a listener that comes late');
sql($node, "SELECT queue.notify('q', 0.1)");
heard(0.5);
my $many = heard(4);
ok($many >= 1 && $many <= 6, "unread messages are told of again, with growing pauses: $many in 4 s");
empty('q');

# Coalesced.
sql($node, "SELECT queue.notify('q', 1)");
heard(1.5);
my $senders = run_pgbench($node, 'senders', "SELECT queue.send('q', '1');\n", qw(-c 2 -T 4));
finish_pgbench($senders);
my $told = heard(0.2);
ok($told >= 2 && $told <= 8, "thousands of sends in 4 s, throttle 1 s: $told notifications");
sql($node, "SELECT queue.purge('q')");
heard(0.3);

# Another channel, off, and on again, live.
sql($node, "SELECT queue.notify('q', 0, 'other')");
sql($node, "SELECT queue.send('q', '1')");
hears('other q', 'another channel');
empty('q');
sql($node, "SELECT queue.notify('q', -1)");
usleep(200_000);
heard();
sql($node, "SELECT queue.send('q', '1')");
silent(1, 'off');
sql($node, "SELECT queue.notify('q', NULL, NULL)");
hears('queue.q q', 'on again, with the defaults');
sql($node, "SELECT queue.pause('q')");
usleep(200_000);
heard();
sql($node, "SELECT queue.send('q', '1')");
silent(1.5, 'a paused queue is silent');
sql($node, "SELECT queue.resume('q')");
hears('queue.q q', 'until it is resumed');
empty('q');

# By others than the worker's own session, and under its feet.
sql($node, "SELECT count(*) FROM queue.pop('q', 100); VACUUM FULL queue.\"q_q#1\"");
heard(0.5);
sql($node, "SELECT queue.send('q', '1')");
hears('queue.q q', 'after VACUUM FULL');
empty('q');
sql($node, "SELECT queue.drop('q'); SELECT queue.create('q'); SELECT queue.send('q', '1')");
silent(1, 'a queue of the same name has no notifications');
sql($node, "SELECT queue.notify('q'); SELECT queue.purge('q')");
heard(1);

# A restart.
$listener->quit;
$node->restart;
$listener = session($node);
$listener->query('LISTEN "queue.q"');
ok(wait_for(sub { served($node) eq 'postgres' }, 'worker'), 'restarted');
sql($node, "SELECT queue.send('q', '1')");
hears('queue.q q', 'after a restart');
empty('q');
sql($node, "SELECT pg_terminate_backend(" . worker_pid($node, 'postgres') . ")");
sql($node, "SELECT queue.send('q', '1')");
hears('queue.q q', 'after the end of the worker');

# What is refused.
sql($node, 'CREATE ROLE alice');
fails_with($node, "SET ROLE alice; SELECT queue.notify('q')", '42501', qr/must be owner of queue q/, 'not the owner');
fails_with($node, "SELECT queue.notify('none')", '42P01', qr/does not exist/, 'no such queue');
fails_with($node, "SELECT queue.notify('q', 'NaN')", '22023', qr/throttle is out of range/, 'no number');
fails_with($node, "SELECT queue.notify('q', 'Infinity')", '22023', qr/throttle is out of range/, 'for ever');
fails_with($node, "SELECT queue.notify('q', 1, repeat('x', 64))", '22023', qr/channel must be 1 to 63 bytes long/, 'a long channel');
fails_with($node, "SELECT queue.notify('q', 1, '')", '22023', qr/channel must be 1 to 63 bytes long/, 'an empty one');
fails_with($node, "SELECT queue.notify(NULL)", '22004', qr/queue_name must not be null/, 'NULL');
check_log($node);
$listener->quit;
$reader->quit;
$node->stop;
done_testing();
