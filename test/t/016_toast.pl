# Big messages from eight senders at once, read and acked by others, with statements cancelled in the middle of all of it:
# no deadlock through the TOAST table, no page forgotten by a look that was cut short, no lease that doesn't come back.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $node = queue_node('toast', conf => "shared_buffers = 4MB\nlog_statement = none\nlog_min_messages = panic\nmax_wal_size = 2GB\n"
      . "pgqueue.page_map_size = 64kB");
srand(42);
sql($node, <<'SQL');
SELECT queue.create('q', vt => 600);
CREATE TABLE sent (msg_id bigint, digest text);
CREATE TABLE got (msg_id bigint, digest text);
-- Messages of 100 bytes to 2 MB, some compressed, to be sent over and over.
CREATE TABLE src (n int PRIMARY KEY, message jsonb, digest text);
INSERT INTO src SELECT n, m, md5(m::text)
FROM (SELECT n, to_jsonb(n || (SELECT string_agg(encode(sha512(int4send(i) || int4send(n)), 'base64'), '')
                              FROM generate_series(1, (1.65 ^ n)::int) i)) AS m
      FROM generate_series(1, 20) n
      UNION ALL SELECT n, to_jsonb(repeat(n::text, n * 2000)) FROM generate_series(21, 30) n OFFSET 0) x;
SQL

# Each statement is a transaction of its own, that the timeout may end anywhere.
sub timeout { return 'SET statement_timeout = ' . (rand() < 0.3 ? 0 : 1 + int(rand(40))); }

sub sends {
    my ($count) = @_;
    return join "\n", map {
        timeout() . ';' . (
            rand() < 0.8
            ? sprintf('INSERT INTO sent SELECT queue.send($$q$$, message, priority => %d), digest FROM src WHERE n = %d;',
                int(rand(3)), 1 + int(rand(30)))
            : sprintf('INSERT INTO sent SELECT id, digest FROM (SELECT array_agg(message ORDER BY n) AS m FROM src WHERE n %% 7 = %d) b, '
                  . 'queue.send_batch($$q$$, m) WITH ORDINALITY AS s(id, o) JOIN '
                  . '(SELECT digest, row_number() OVER (ORDER BY n) AS o FROM src WHERE n %% 7 = %d) d USING (o);', (int(rand(7))) x 2)
        )
    } 1 .. $count;
}

sub reads {
    my ($count) = @_;
    return join "\n", map {
        timeout() . ';' . sprintf('INSERT INTO got SELECT msg_id, md5(message::text) FROM queue.read($$q$$, qty => %d, wait => %s) '
              . 'WHERE queue.%s($$q$$, msg_id, receipt);', 1 + int(rand(12)), rand() < 0.2 ? '0.02' : '0', rand() < 0.5 ? 'delete' : 'archive')
    } 1 .. $count;
}

my @senders = map { session($node) } 1 .. 8;
my @readers = map { session($node) } 1 .. 3;
$_->start(sends(60)) for @senders;
$_->start(reads(150)) for @readers;
my $cancelled = 0;
for my $session (@senders, @readers) {
    $session->finish;
    my $error = $session->error;
    $cancelled += () = $error =~ /57014: canceling statement/g;
    $error =~ s/.*57014: canceling statement.*//g;
    unlike($error, qr/ERROR|FATAL|deadlock|connection/, 'no error but cancels') or diag($error);
    $session->quit;
}
cmp_ok($cancelled, '>', 50, "$cancelled statements were cancelled");

ok( wait_for(
        sub {
            sql($node, "INSERT INTO got SELECT msg_id, md5(message::text) FROM queue.pop('q', qty => 1000)");
            sql($node, 'SELECT count(*) FROM queue.q_q') eq '0';
        },
        'the rest'),
    'everything that is left can be read at once: each lease came back, no page is hidden');
cmp_ok(sql($node, 'SELECT count(*) FROM sent'), '>', 100, sql($node, 'SELECT count(*) FROM sent') . ' messages were sent');
is(sql($node, 'SELECT count(*) FROM ((TABLE sent EXCEPT TABLE got) UNION ALL (TABLE got EXCEPT TABLE sent)) x'), '0',
    'all that was sent was read, byte for byte');
is(sql($node, 'SELECT count(*) - count(DISTINCT msg_id) FROM got'), '0', 'once');
is(sql($node, 'SELECT count(*) FROM queue.a_q a LEFT JOIN sent s USING (msg_id) WHERE md5(a.message::text) IS DISTINCT FROM s.digest'), '0',
    'the archive is whole too');
check_storage($node);
check_log($node);
done_testing();
