# Every function with values that nobody expects, from several sessions at once: an answer or an error that says what was wrong, never a crash,
# an internal error, or memory that isn't given back. FUZZ_SECONDS=3600 FUZZ_SEED=0.5 for longer runs.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{FUZZ_SECONDS} // 20;
my $seed = $ENV{FUZZ_SEED} // sprintf('%.6f', rand);
my $sessions = 4;
diag("FUZZ_SEED=$seed FUZZ_SECONDS=$seconds");

my $node = queue_node('random',
    conf => "max_worker_processes = 16\nlock_timeout = '500ms'\ndeadlock_timeout = '100ms'\npgqueue.purge_interval = 1\npgqueue.segment_size = '128kB'\nmax_locks_per_transaction = 256");
sql($node, slurp_file("$FindBin::RealBin/lib/random_calls.sql"));
sql($node, "SELECT queue.create('f' || i, fifo => i % 3 = 0, unlogged => i % 4 = 0), kv.create_store('f' || i, unlogged => i % 2 = 0) FROM generate_series(0, 7) i");

# A short run first, after which memory should not grow any more.
my @sessions = map { session($node) } 1 .. $sessions;
# What these keep, their plans, is much, and not much more the next time.
$_->query('SELECT length(pgqueue.prometheus()), length(pgqueue.dashboard()), (SELECT count(*) FROM queue.health())') for @sessions;
for my $phase ('warm-up', 'run') {
    my @before = map { $_->query('SELECT memory_in_use()') } @sessions;
    my $i = 0;
    $_->{psql}{timeout}->start($seconds + $PostgreSQL::Test::Utils::timeout_default) for @sessions;
    $_->start(sprintf('CALL random_calls(%.9f, %d)', $seed / ++$i, $phase eq 'run' ? $seconds : $seconds / 4)) for @sessions;
    for my $session (@sessions) {
        $session->finish;
        is($session->error =~ s/^(NOTICE|WARNING|DETAIL|HINT|LOCATION|CONTEXT|PL\/pgSQL|SQL).*\n//gmr, '', "$phase: a session came to its end");
    }
    next if $phase eq 'warm-up';
    my @grown = map { $sessions[$_]->query('SELECT memory_in_use()') - $before[$_] } 0 .. $#sessions;
    cmp_ok($_, '<', 4 << 20, 'a session keeps no memory') for @grown;
    diag('bytes more in use after the run: ' . join(' ', @grown));
}
$_->quit for @sessions;

is(sql($node, "SELECT string_agg(signature, ' ') FROM callable WHERE NOT EXISTS (SELECT FROM outcomes WHERE function = signature)"), '', 'every function was called')
  if $seconds >= 20;
is(sql($node, "SELECT function, state, min(example) FROM outcomes WHERE state ~ '^(XX|58|57|F0)' GROUP BY 1, 2"), '', 'no internal error');
diag(sql($node, "SELECT sum(calls) || ' calls, ' || sum(calls) FILTER (WHERE state = '00000') || ' without an error, ' || count(DISTINCT state) || ' kinds of errors' FROM outcomes"));
note(sql($node, "SELECT 'never without an error: ' || string_agg(signature, ' ') FROM callable WHERE NOT EXISTS (SELECT FROM outcomes WHERE function = signature AND state = '00000')"));
cmp_ok(sql($node, "SELECT count(DISTINCT function) FROM outcomes WHERE state = '00000'"), '>', sql($node, 'SELECT count(*) / 2 FROM callable'), 'most functions answered');

# What is there still works.
sql($node, "SELECT queue.resume(queue_name) FROM queue.queues");
drain($node, $_) for split /\n/, sql($node, 'SELECT queue_name FROM queue.queues');
sql($node, 'SELECT queue.purge(queue_name) FROM queue.queues');  # what is leased or delayed, and what waits behind it
is(sql($node, 'SELECT count(*) FROM queue.queues q, queue.peek(q.queue_name)'), '0', 'queues can be emptied');
check_storage($node);
sql($node, 'DELETE FROM cron.job; SELECT count(queue.drop(queue_name)) FROM queue.queues');
sql($node, "SELECT count(kv.drop_store(store)) FROM kv.stores WHERE store <> 'default'");
is(sql($node, "SELECT count(*) FROM pg_class WHERE relnamespace = 'queue'::regnamespace AND relname ~ '^[qaed]_'"), '0', 'queues can be dropped');
check_log($node);
$node->stop;
done_testing();
