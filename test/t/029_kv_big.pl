# A value of 200 MB; pg_upgrade with stores.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = queue_node('kv_old', conf => "max_wal_size = 2GB\nfsync = off");
my $new = queue_node('kv_new', start => 0);
sql($old, "SELECT kv.create_store('s'); ALTER TABLE kv.s_s ALTER value SET STORAGE EXTERNAL");
is(sql($old, "SELECT kv.set('big', repeat('0123456789abcdef', 13107200), ttl => 86400, store => 's')"), 't', 'a value of 200 MB is set');
is(sql($old, "SELECT length(kv.get('big', 's')), md5(kv.get('big', 's')) = md5(repeat('0123456789abcdef', 13107200))"), '209715200|t', 'and read');
is(sql($old, "SELECT kv.touch('big', 90000, 's'), kv.exists('big', 's'), kv.ttl('big', 's') > 80000"), 't|t|t', 'touched');
is(sql($old, "BEGIN; SELECT kv.set('big', 'small', store => 's'); ROLLBACK; SELECT length(kv.get('big', 's'))"), "t\n209715200", 'replaced, and rolled back');
is(sql($old, "SELECT length(kv.getset('big', 'small', store => 's')); SELECT kv.get('big', 's')"), "209715200\nsmall", 'replaced');
sql($old, 'VACUUM FULL kv.s_s');

# pg_upgrade, here to the same version.
sql($old, <<'SQL');
CREATE ROLE alice LOGIN;
GRANT CREATE ON DATABASE postgres TO alice;
SELECT count(kv.set('k' || i, md5(i::text), ttl => 10000 + i, store => 's')), count(kv.incr('n' || i % 10, store => 's')) FROM generate_series(1, 1000) i;
SELECT kv.set('d', 'in default'), kv.incr('dn', 7), kv.alter_store('default', default_ttl => 7200);
SELECT kv.create_store('u', unlogged => true), kv.set('a', '1', store => 'u');
SET SESSION AUTHORIZATION alice;
SELECT kv.create_store('a', max_entries => 10), kv.set('mine', '1', store => 'a');
SQL
my $token = sql($old, "SELECT kv.lock('job', 86400, 'me', store => 's')");
my @looks = (
    'SELECT key, version, expires_at, md5(value) FROM kv.s_s ORDER BY 1', 'SELECT kind, key, number, expires_at, owner FROM kv.c_s ORDER BY 1, 2',
    'SELECT key, value, version FROM kv.v_default ORDER BY 1', 'SELECT * FROM kv.stores ORDER BY 1', 'SELECT key, value FROM kv.s_u');
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
is(sql($new, "SELECT kv.get('k500', 's'), kv.incr('n1', store => 's'), kv.get('d'), kv.incr('dn')"), sql($new, q(SELECT md5('500'), 101, 'in default', 8)), 'they are read and counted with');
is(sql($new, "SELECT kv.cas('k500', 'new', version, store => 's') > greatest(version, $token) FROM kv.get_entry('k500', 's')"), 't', 'versions go on');
is(sql($new, "SELECT kv.lock('job', 60, store => 's'), kv.unlock('job', $token, 's')"), '|t', 'a lock is held');
cmp_ok(sql($new, "SELECT kv.lock('job', 60, store => 's')"), '>', $token, 'tokens go on');
is(sql($new, "SELECT kv.set('x', 'y'); SELECT kv.ttl('x') > 7000"), "t\nt", 'settings hold');
is(sql($new, "SET SESSION AUTHORIZATION alice; SELECT kv.get('mine', 'a'), kv.drop_store('a')"), '1|t', 'an owner owns');
check_log($new);
done_testing();
