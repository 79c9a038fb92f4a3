# A session that gets no more memory in the middle of a big batch: ERROR, out of memory, and the session and everybody else go on. A postmaster
# whose children may have little of it: what is too big is refused, the rest works.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'no program prlimit' if system('prlimit --version >/dev/null') != 0;

my $node = queue_node('memory', conf => "max_worker_processes = 40\nwork_mem = 64MB");
sql($node, <<'SQL');
CREATE TABLE log (message jsonb);
CREATE FUNCTION handle(m queue.message) RETURNS void LANGUAGE sql AS $$INSERT INTO log SELECT to_jsonb(length(m.message::text))$$;
SELECT queue.create('q', vt => 600), queue.create('big', vt => 600), queue.create('groups', fifo => true, vt => 600), queue.create('handled');
SELECT queue.attach('handled', 'handle'), queue.bind('all', 'q'), queue.bind('all', 'groups');
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg(to_jsonb((SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 38) j))) FROM generate_series(1, 2000) i));
SELECT count(*) FROM queue.send_batch('groups', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 3000) i), group_keys => (SELECT array_agg('g' || i % 1000) FROM generate_series(1, 3000) i));
SELECT count(*) FROM generate_series(1, 8) i, queue.send('big', (SELECT jsonb_agg(md5(i::text || j)) FROM generate_series(1, 50000) j));
SQL

sub used {
    my ($pid) = @_;
    my ($kb) = slurp_file("/proc/$pid/status") =~ /^VmSize:\s+(\d+) kB/m;
    return $kb * 1024;
}
sub limit {
    my ($pid, $size) = @_;
    system_or_bail('prlimit', '--pid', $pid, "--as=$size:");
}

# Each call with ever less room beyond what the session has: it works, or fails as it should, whole.
my %calls = (
    'send_batch' => "SELECT count(*) FROM queue.send_batch('q', array_fill(to_jsonb(repeat('x', 200)), ARRAY[100000]))",
    'a big send' => "SELECT queue.send('q', (SELECT jsonb_agg(md5(i::text)) FROM generate_series(1, 100000) i)) > 0",
    'publish' => "SELECT count(*) FROM queue.publish_batch('all', array_fill(to_jsonb(repeat('x', 200)), ARRAY[50000]))",
    'read' => "SELECT count(*), sum(length(message::text)) > 0 FROM queue.read('q', qty => 1000000)",
    'a big read' => "SELECT count(*), sum(length(message::text)) > 0 FROM queue.read('big', qty => 1000000)",
    'a grouped read' => "SELECT count(*) FROM queue.read('groups', qty => 1000000)",
    'pop' => "SELECT count(*) FROM queue.pop('big', qty => 100)",
    'archive' => "SELECT count(*) FROM queue.archive_batch('big', '{1,2,3,4,5,6,7,8}')",
    'delete_batch' => "SELECT count(*) FROM queue.delete_batch('q', (SELECT array_agg(msg_id) FROM queue.q_q))",
    'mset' => "SELECT kv.mset((SELECT array_agg('k' || i) FROM generate_series(1, 100000) i), (SELECT array_agg(repeat(md5(i::text), 10)) FROM generate_series(1, 100000) i))",
    'a big value' => "SELECT kv.set('value', repeat('x', 30000000))");
my $state = q(SELECT (SELECT count(*) FROM queue.q_q), (SELECT count(*) FROM queue.q_big), (SELECT count(*) FROM queue.q_groups), (SELECT count(*) FROM queue.a_big), (SELECT count(*) FROM kv.s_default),
    (SELECT count(*) FROM queue.peek('q', qty => 1000000)), (SELECT count(*) FROM queue.peek('groups', qty => 1000000)), (SELECT count(*) FROM queue.peek('big', qty => 1000000)));
my $before = sql($node, $state);
my ($failed, $worked) = (0, 0);
for my $name (sort keys %calls) {
    my $beside = run_pgbench($node, "beside $name", <<'SQL', qw(-c 2 -T 600 -R 100));
SELECT queue.send('handled', '1');
SELECT kv.incr('n');
SQL
    my $session = session($node);
    $session->query('BEGIN');
    $session->query("SELECT queue.send('q', '1'), kv.get('x'), count(*) FROM queue.peek('q')");
    $session->query('ROLLBACK');
    my @answers;
    for my $room (0, 1, 4, 16) {
        limit($session->pid, used($session->pid) + $room * 1048576);
        $session->query('BEGIN');
        $session->query($calls{$name});
        my $error = $session->error;
        $session->query('ROLLBACK');
        my $goes_on = $session->query("SELECT queue.set_vt('q', 1, 0) IS NULL");
        push @answers, $error eq '' ? 'works' : $error =~ /ERROR:  (53200): out of memory/ ? 'refused' : $error;
        $error eq '' ? $worked++ : $failed++;
        $goes_on eq 'f' || $session->error =~ /53200/ or push @answers, 'then: ' . $session->error;
    }
    is(join(' ', grep { !/^(works|refused)$/ } @answers), '', "$name: " . join(' ', @answers));
    limit($session->pid, 'unlimited');
    is($session->query($calls{$name} =~ s/^/BEGIN; /r) ne '', 1, "$name: with room the session does it") or diag($session->error);
    is($session->error, '', "$name: without an error");
    $session->query('ROLLBACK');
    $session->quit;
    is(sql($node, $state), $before, "$name: nothing is lost, leased or left behind");
    ok(pgbench_runs($beside), "$name: others go on");
    $beside->{handle}->signal('INT');
    $beside->{handle}->finish;
}
note("$failed calls refused, $worked worked");
cmp_ok($failed, '>=', 20, 'many calls had too little');

ok(wait_for(sub { sql($node, 'SELECT count(*) FROM queue.q_handled') eq '0' }, 'the handler'), 'a handler has done all');
check_storage($node);
check_log($node);
done_testing();
