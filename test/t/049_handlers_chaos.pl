# Handlers under fire: senders that roll back, functions that fail, processes that are killed, servers that crash. In the end
# each message has been processed exactly once or is a dead letter, and each group was worked through in order.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = queue_node('chaos', conf => "max_worker_processes = 20\nrestart_after_crash = on\nsynchronous_commit = on");
sql($node, <<'SQL');
CREATE TABLE sent (id bigint PRIMARY KEY, queue text NOT NULL, grp int, n bigint);
CREATE TABLE seq (grp int PRIMARY KEY, n bigint NOT NULL);
INSERT INTO seq SELECT g, 0 FROM generate_series(1, 8) g;
CREATE SEQUENCE ids;
CREATE TABLE done (id bigint PRIMARY KEY, queue text NOT NULL, attempt int NOT NULL);
CREATE TABLE place (grp int PRIMARY KEY, n bigint NOT NULL);
INSERT INTO place SELECT g, 0 FROM generate_series(1, 8) g;

SELECT queue.create('dead');
SELECT queue.create('plain', vt => 3, max_attempts => 3, dead_letter => 'dead', backoff => 0.02, backoff_max => 0.1);
SELECT queue.create('ordered', vt => 3, fifo => true, backoff => 0.02, backoff_max => 0.1);

-- A message of `plain` fails at its first attempts, or always; one of `ordered` at its first, now and then.
CREATE FUNCTION work(m queue.message) RETURNS void LANGUAGE plpgsql AS $$
DECLARE id bigint := m.message->>'id'; last bigint; mine int := m.message->>'grp';
BEGIN
    IF mine IS NOT NULL THEN
        UPDATE place SET n = (m.message->>'n')::bigint WHERE grp = mine AND n + 1 = (m.message->>'n')::bigint;
        IF NOT FOUND THEN
            SELECT n INTO last FROM place WHERE grp = mine;
            RAISE WARNING 'OUT OF ORDER: group % has % after %', mine, m.message->>'n', last;
        END IF;
    END IF;
    INSERT INTO done VALUES (id, CASE WHEN mine IS NULL THEN 'plain' ELSE 'ordered' END, m.read_ct);
    IF m.read_ct <= (m.message->>'fails')::int THEN RAISE EXCEPTION 'attempt % of %', m.read_ct, id; END IF;
END $$;

CREATE PROCEDURE send_one(k int) LANGUAGE plpgsql AS $$
DECLARE new_id bigint := nextval('ids'); g int; m bigint;
BEGIN
    IF k % 2 = 0 THEN
        INSERT INTO sent VALUES (new_id, 'plain');
        PERFORM queue.send('plain', jsonb_build_object('id', new_id, 'fails', (ARRAY[0, 0, 0, 1, 2, 100])[1 + k / 2 % 6]));
    ELSE
        g := 1 + k / 2 % 8;
        UPDATE seq SET n = n + 1 WHERE grp = g RETURNING n INTO m;
        INSERT INTO sent VALUES (new_id, 'ordered', g, m);
        PERFORM queue.send('ordered', jsonb_build_object('id', new_id, 'grp', g, 'n', m, 'fails', CASE WHEN k % 9 = 0 THEN 1 ELSE 0 END), group_key => g::text);
    END IF;
    IF k % 7 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
END $$;
SELECT queue.attach('plain', 'work', 3, batch => 5);
SELECT queue.attach('ordered', 'work', 3, batch => 4);
SQL

my $script = "\\set k random(1, 10000)\nCALL send_one(:k);\n";
my $kill = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgqueue handler' ORDER BY random() LIMIT 2) p";

for my $round (1 .. 3) {
    my $senders = run_pgbench($node, "senders$round", $script, '-c', 4, '-t', 250);
    my $killed = 0;
    while (pgbench_runs($senders)) {
        $killed += sql($node, $kill);
        select(undef, undef, undef, 0.05);
    }
    finish_pgbench($senders);
    $killed += sql($node, $kill);
    note("round $round: $killed processes ended");
    if ($round < 3) {
        $node->stop('immediate');
        $node->start;
    }
}

my $left = "SELECT (SELECT count(*) FROM queue.q_plain), (SELECT count(*) FROM queue.q_ordered)";
ok(wait_for(sub { sql($node, $left) eq '0|0' }, 'all messages'), 'all messages come to their end');
is(sql($node, "SELECT count(*) FROM sent WHERE queue = 'ordered' AND id NOT IN (SELECT id FROM done)"), '0', 'every message of a group was processed');
is(sql($node, "SELECT count(*) FROM place JOIN seq USING (grp) WHERE place.n <> seq.n"), '0', 'each group in order, to its end');
is(sql($node, "SELECT count(*) FROM done WHERE id NOT IN (SELECT id FROM sent)"), '0', 'nothing that was rolled back');
my $dead = "SELECT (message->>'id')::bigint AS id FROM queue.q_dead";
is(sql($node, "SELECT count(*) FROM ($dead) d JOIN done USING (id)"), '0', 'nothing is both processed and dead');
is(sql($node, "SELECT count(*) - count(DISTINCT id) FROM ($dead) d"), '0', 'nothing is dead twice');
is(sql($node, "SELECT count(*) FROM sent WHERE id NOT IN (SELECT id FROM done UNION ALL $dead)"), '0', 'everything is one of the two');
cmp_ok(sql($node, 'SELECT count(*) FROM queue.q_dead'), '>', 0, 'some are dead');
is(sql($node, "SELECT count(*) FROM queue.q_dead WHERE headers->'dead_letter'->>'queue' <> 'plain' OR (headers->'dead_letter'->>'attempts')::int < 3"), '0', 'each with where it came from, after its attempts');
cmp_ok(sql($node, "SELECT count(*) FROM done WHERE attempt > 1"), '>', 0, 'some needed more than one attempt');
unlike(slurp_file($node->logfile), qr/WARNING:  OUT OF ORDER/, 'no group was out of order at any attempt');
check_log($node);
done_testing();
