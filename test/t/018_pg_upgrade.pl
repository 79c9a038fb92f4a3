# pg_upgrade: messages, leases and numbers survive it. To the same version, or from the server whose bin folder is in
# PGQUEUE_OLD_INSTALL, which must have the extension too: PGQUEUE_OLD_INSTALL=/usr/lib/postgresql/15.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Both with checksums: what initdb does without being told differs between versions.
my @init = (init => ['--data-checksums']);
my $old = queue_node('old', @init, install_path => $ENV{PGQUEUE_OLD_INSTALL});
my $new = queue_node('new', @init, start => 0);
sql($old, <<'SQL');
CREATE ROLE alice LOGIN;
GRANT CREATE ON DATABASE postgres TO alice;
SELECT queue.create('q', vt => 600);
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 1000) i));
SELECT queue.send('q', to_jsonb(string_agg(md5(i::text), ''))) FROM generate_series(1, 2000) i;
SELECT count(*) FROM queue.read('q', qty => 100);
SELECT queue.archive('q', 50), queue.delete('q', 51);
SELECT queue.create('u', unlogged => true);
SELECT queue.send('u', '1');
SET SESSION AUTHORIZATION alice;
SELECT queue.create('a');
SELECT queue.send('a', '1');
SQL
my $last_receipt = sql($old, 'SELECT max(receipt) FROM queue.q_q');
my @looks = (
    'SELECT msg_id, vt, last_read_at, receipt, read_ct, md5(message::text) FROM queue.q_q ORDER BY 1',
    'SELECT * FROM queue.a_q', 'SELECT * FROM queue.queues ORDER BY 1', 'SELECT msg_id, message FROM queue.q_u');
my @before = map { sql($old, $_) } @looks;
$old->stop;

chdir $new->basedir or die $!; # where it leaves its files
command_ok(
    [   'pg_upgrade', '--no-sync', '--old-datadir', $old->data_dir, '--new-datadir', $new->data_dir,
        '--old-bindir', $old->config_data('--bindir'), '--new-bindir', $new->config_data('--bindir'),
        '--socketdir', $new->host, '--old-port', $old->port, '--new-port', $new->port
    ],
    'pg_upgrade');
$new->start;

same_lines(sql($new, $looks[$_]), $before[$_], "the same: $looks[$_]") for 0 .. $#looks;
is(sql($new, "SELECT queue.create('q', vt => 600)"), 'f', 'the queue is the queue it was');
my ($id, $receipt) = split /\|/, sql($new, "SELECT msg_id, receipt FROM queue.read('q')");
is($id, 101, 'a read goes on after the leases');
cmp_ok($receipt, '>', $last_receipt, 'with a new receipt');
is(sql($new, "SELECT queue.delete('q', 1, receipt) FROM queue.q_q WHERE msg_id = 1"), 't', 'an old lease is acked');
is(sql($new, "SELECT queue.send('q', '1') > 1001"), 't', 'ids go on');
is(sql($new, "SELECT count(*) FROM queue.read('u')"), '1', 'an unlogged queue kept its message');
is(sql($new, "SET SESSION AUTHORIZATION alice; SELECT queue.drop('a')"), 't', 'an owner owns');
is(scalar drain($new, 'q', 500), 901, 'and the rest is read');
check_storage($new);
check_log($new);
done_testing();
