# Transaction ids run out: the vacuum that prevents it comes to the tables of queues, archives, stores and jobs, although autovacuum is off
# for all else, beside a load; and ids that have gone once around leave every message, lease, key and lock as it was.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('around', conf => "autovacuum_freeze_max_age = 100000\nautovacuum_naptime = 1\nautovacuum_vacuum_cost_delay = 0\nlog_autovacuum_min_duration = 0\nmax_worker_processes = 40");
sql($node, <<'SQL');
CREATE TABLE sent (id bigint);
CREATE TABLE done (id bigint);
CREATE UNLOGGED TABLE burnt (i int);
CREATE PROCEDURE burn(n int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. n LOOP
        BEGIN
            INSERT INTO burnt VALUES (i);
        EXCEPTION WHEN division_by_zero THEN
        END;
        IF i % 10000 = 0 THEN
            TRUNCATE burnt;
            COMMIT;
        END IF;
    END LOOP;
END $$;
SELECT queue.create('q', vt => 864000), queue.create('groups', fifo => true, vt => 864000), queue.create('busy', vt => 5);
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 3000) i));
SELECT queue.send('q', (SELECT jsonb_agg(md5(i::text)) FROM generate_series(1, 5000) i)), queue.send('q', '"later"', delay => 864000);
SELECT queue.send('groups', to_jsonb(i), group_key => 'g' || i % 5) FROM generate_series(1, 100) i;
SELECT count(*) FROM queue.read('q', qty => 500);
SELECT count(*) FROM queue.read('groups', qty => 3);
SELECT count(queue.delete('q', i)) FROM generate_series(1, 100) i;
SELECT count(queue.archive('q', i)) FROM generate_series(101, 200) i;
SELECT count(kv.set('k' || i, i::text)), count(kv.incr('n' || i, i)) FROM generate_series(1, 1000) i;
SELECT kv.lock('job', 864000), (kv.rate_limit('r', 5, 864000, 3)).remaining, cron.schedule('yearly', '@yearly', 'SELECT 1');
SQL
my %look = (
    q => 'SELECT msg_id, vt, last_read_at, receipt, read_ct, md5(message::text) FROM queue.q_q ORDER BY 1',
    groups => 'SELECT msg_id, vt, receipt, group_key, message FROM queue.q_groups ORDER BY 1',
    archive => 'SELECT msg_id, archived_at, message FROM queue.a_q ORDER BY 1',
    keys => 'SELECT key, version, value FROM kv.s_default WHERE key ~ $$^k\d$$ ORDER BY key',
    cells => 'SELECT kind, key, number, expires_at FROM kv.c_default WHERE kind <> $$c$$ OR key ~ $$^n\d$$ ORDER BY 1, 2',
    jobs => 'SELECT * FROM cron.job ORDER BY 1');
my %source = map { $_ => sql($node, $look{$_}) } keys %look;
my $token = sql($node, "SELECT number FROM kv.c_default WHERE kind = 'l'");
my $ours = q(FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 't') AND
    (nspname IN ('queue', 'kv', 'cron') OR c.oid IN (SELECT reltoastrelid FROM pg_class WHERE relnamespace IN ('queue'::regnamespace, 'kv'::regnamespace, 'cron'::regnamespace))));

sub unchanged {
    my ($what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    same_lines(sql($node, $look{$_}), $source{$_}, "$what: $_") for sort keys %look;
}

# Ids are burnt beside a load.
my $load = run_pgbench($node, 'load', <<'SQL', qw(-c 3 -T 300));
\set fate random(1, 5)
BEGIN;
INSERT INTO sent SELECT queue.send('busy', '1');
INSERT INTO done SELECT msg_id FROM queue.read('busy', qty => 2) WHERE queue.delete('busy', msg_id, receipt);
SELECT kv.set('busy', :fate::text), kv.incr('busy n');
\if :fate = 1
ROLLBACK;
\else
COMMIT;
\endif
SQL
sql($node, "SET synchronous_commit = off; CALL burn(500000)");
my $young = "SELECT count(*) = 0 $ours AND age(relfrozenxid) > 100000";
ok(wait_for(sub { sql($node, $young) eq 't' }, 'vacuum'), 'no table of ours is old') or diag(sql($node, "SELECT c.oid::regclass, age(relfrozenxid) $ours ORDER BY 2 DESC"));
$load->{handle}->signal('INT');
$load->{handle}->finish;
my $log = slurp_file($node->logfile);
like($log, qr/vacuum to prevent wraparound of table "postgres\.\Q$_\E"/, "$_ was vacuumed for that")
  for 'queue.q_q', 'queue.q_q#1', 'queue.a_q', 'queue.q_groups#1', 'kv.s_default', 'kv.c_default', 'cron.job', 'queue.settings';
is(sql($node, 'SELECT count(*) FROM ((SELECT id FROM sent) EXCEPT ALL (SELECT id FROM done UNION ALL SELECT msg_id FROM queue.q_busy)) x'), '0', 'of the load nothing is lost');
is(sql($node, 'SELECT count(*) FROM ((SELECT id FROM done UNION ALL SELECT msg_id FROM queue.q_busy) EXCEPT ALL (SELECT id FROM sent)) x'), '0', 'nor there twice');
unchanged('burnt');
check_storage($node, 'burnt: storage is sound');

# Once around, in leaps that are each nearly as far as ids may be apart.
my $segment = 32 * 32768;
my $all_young = 'SELECT bool_and(age(datfrozenxid) < 10000000) FROM pg_database';
my $era = 0;
for my $leap ([ 0, 1500 ], [ 0, 3000 ], [ 0, 4000 ], [ 1, 1000 ], [ 1, 2500 ]) {
    my ($epoch, $segments) = @$leap;
    $era++;
    sql($node, "SELECT count(*) FROM queue.send_batch('busy', array_fill('$era'::jsonb, ARRAY[10])); SELECT kv.set('era $era', '$era'), kv.incr('eras')");
    sql($node, "SELECT queue.delete('busy', msg_id, receipt) FROM queue.read('busy')");
    $node->stop;
    my $next = $segments * $segment;
    my $file = $node->data_dir . sprintf('/pg_xact/%04X', $segments);
    append_to_file($file, "\0" x (32 * 8192)) unless -e $file;
    system_or_bail('pg_resetwal', '-D', $node->data_dir, '-x', $next, '-e', $epoch);
    $node->start;
    is(sql($node, "SELECT pg_current_xact_id()::text::numeric >= $epoch * 4294967296 + $next"), 't', "leap $era: a billion ids are gone");
    unchanged("leap $era");
    is(sql($node, "SELECT queue.delete('busy', msg_id, receipt), kv.get('era $era') FROM queue.read('busy')"), "t|$era", "leap $era: it works");
    sql($node, "SET synchronous_commit = off; CALL burn(20000)");
    ok(wait_for(sub { sql($node, $all_young) eq 't' }, 'vacuum'), "leap $era: everything is frozen") or diag(sql($node, "SELECT datname, age(datfrozenxid) FROM pg_database"));
    unchanged("leap $era, frozen");
}
is(sql($node, "SELECT count(*), count(DISTINCT msg_id) FROM queue.read('q', qty => 10000)"), '2501|2501', 'around: what is due is read');
is(sql($node, "SELECT count(queue.delete('q', msg_id, receipt)) FROM queue.q_q WHERE receipt <> 0"), '2801', 'and acked, old leases too');
is(sql($node, "SELECT count(*) FROM queue.read('groups', qty => 1000)"), '40', 'groups of which a message is out wait');
is(sql($node, "SELECT kv.lock('job', 60) IS NULL, kv.unlock('job', $token), kv.incr('n7'), kv.incr('eras'), kv.delete('k1')"), 't|t|8|6|t', 'keys, counters and locks');
check_storage($node, 'around: storage is sound');
check_log($node);
done_testing();
