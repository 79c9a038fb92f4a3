# No room on the disk, during every kind of write: a clear error, nothing lost, nothing half done, what needs no room goes on, and so does everything
# when there is room again. Three ways to run out: a limit to the size of a session's files, a small disk under a tablespace, and
# a small disk under the WAL, the only one that takes the server down.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $disk = $ENV{PGQUEUE_SMALL_DISK};
my $text = "repeat(md5(random()::text), 50)";

# Repeats a call, in which %d counts, until it fails; what the others answered.
sub until_full {
    my ($session, $call, $error, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @told;
    for my $i (1 .. 4000) {
        my $answer = $session->query($call =~ s/%d/$i/gr);
        last if $session->error ne '';
        push @told, $answer;
    }
    like($session->error, $error, "$what: a clear error after " . @told);
    return @told;
}

sub trial {
    my ($node, $name, $fill, $room, $error) = @_;
    my $session = session($node);
    $session->query_ok(<<'SQL', "$name: a queue and a store");
SET work_mem = '64MB';
SELECT queue.create('q', vt => 600), kv.create_store('s');
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg(to_jsonb(repeat('x', 1000))) FROM generate_series(1, 600) i));
SELECT count(*) FROM queue.read('q', qty => 600) WHERE queue.archive('q', msg_id);
SELECT count(*) FROM queue.send_batch('q', (SELECT array_agg(to_jsonb(repeat('x', 1000))) FROM generate_series(1, 300) i));
SELECT kv.incr('n', store => 's'), kv.set('k', '0', store => 's');
SQL
    if ($name eq 'small disk') {
        my $moves = sql($node, q(SELECT string_agg(format('ALTER %s %s SET TABLESPACE tiny', CASE relkind WHEN 'i' THEN 'INDEX' ELSE 'TABLE' END, oid::regclass), ';')
            FROM pg_class WHERE relkind IN ('r', 'i') AND relname ~ '^([qa]_q|[sc]_s)(#1)?(_pkey|_key.*)?$'));
        sql($node, $moves);
    }
    sql($node, "SELECT queue.create('elsewhere'), kv.create_store('elsewhere')");
    my %held = map { split /\|/ } split /\n/, $session->query("SELECT msg_id, receipt FROM queue.read('q', qty => 100)");
    my @held = sort { $a <=> $b } keys %held;
    $fill->($session);

    my @sent = until_full($session, "SELECT queue.send('q', '\"%d\"', jsonb_build_object('t', $text))", $error, "$name: send");
    my @batches = until_full($session, "SELECT count(*) FROM queue.send_batch('q', array_fill(to_jsonb($text), ARRAY[50]))", $error, "$name: send_batch");
    $session->query("SELECT queue.send('q', (SELECT jsonb_agg(md5(i::text)) FROM generate_series(1, 200000) i))");
    like($session->error, $error, "$name: a big message");
    my $expected = 300 + @sent + 50 * @batches;
    is($session->query("SELECT count(*) FROM queue.q_q"), $expected, "$name: what was told is there, and no more");
    is(scalar(@sent = split /\n/, $session->query("SELECT msg_id FROM queue.read('q', qty => 20)")), 20, "$name: a read needs no room");
    is($session->query("SELECT count(*) FROM queue.set_vt('q', $held[0], 1000)"), '1', "$name: nor a heartbeat");
    is($session->query("SELECT queue.nack('q', $held[1], delay => 0)"), 't', "$name: nor a nack");
    is($session->query("SELECT queue.delete('q', $held[2], $held{$held[2]})"), 't', "$name: nor an ack");
    # Archives, until one fails: it is still in the queue, and in the hands of who has it.
    my @archived = until_full($session, "SELECT queue.archive('q', (SELECT min(msg_id) FROM queue.q_q WHERE msg_id > $held[2]))", $error, "$name: archive");
    my $first = $held[2] + 1 + @archived;
    is($session->query("SELECT count(*) - 600 FROM queue.a_q"), scalar(@archived), "$name: what is archived is there");
    is($session->query('SELECT count(*) FROM queue.q_q'), $expected - 1 - @archived, "$name: what is not is in the queue");
    is($session->query("SELECT queue.delete('q', msg_id, receipt) FROM queue.q_q WHERE msg_id = $first"), 't', "$name: and can be acked");
    $session->query("SELECT queue.archive('q', msg_id) FROM queue.read('q', qty => 60)");
    like($session->error, $error, "$name: a read whose archive fails");
    is(sql($node, "SELECT count(*) > 0 FROM queue.peek('q')"), 't', "$name: is given back at once");

    my @set = until_full($session, "SELECT kv.set('k', '%d ' || $text, store => 's')", $error, "$name: kv.set");
    is($session->query("SELECT split_part(kv.get('k', 's'), ' ', 1)"), scalar(@set), "$name: the last value that was told is there");
    my @counted = until_full($session, "SELECT kv.incr('key of a new counter ' || %d || left($text, 800), store => 's')", $error, "$name: kv.incr of a new key");
    is($session->query("SELECT count(*) FROM kv.c_s WHERE key LIKE 'key%'"), scalar(@counted), "$name: no half a counter");
    is($session->query("SELECT kv.incr('n', store => 's')"), '2', "$name: kv.incr of one that is there");
    $session->query("SELECT kv.mset((SELECT array_agg('m' || i) FROM generate_series(1, 1000) i), (SELECT array_agg($text) FROM generate_series(1, 1000) i), store => 's')");
    like($session->error, $error, "$name: kv.mset");
    is($session->query("SELECT count(*) FROM kv.s_s WHERE key LIKE 'm%'"), '0', "$name: is all or nothing");
    is(sql($node, "SELECT queue.send('elsewhere', '1'); SELECT count(*) FROM queue.pop('elsewhere'); SELECT kv.set('a', 'b', store => 'elsewhere')"), "1\n1\nt", "$name: others go on");
    sql($node, "SELECT cron.at(now(), 'SELECT 1')");
    ok(wait_for(sub { sql($node, 'SELECT count(*) FROM cron.job') eq '0' }, 'a run'), "$name: jobs too");

    $room->($session);
    is($session->query("SELECT count(*) FROM queue.send_batch('q', array_fill(to_jsonb($text), ARRAY[200]))"), '200', "$name: with room again send_batch works");
    is($session->query("SELECT queue.send('q', '\"after\"') > 0, kv.set('k', 'after', store => 's'), kv.incr('n', store => 's'), kv.incr('other', store => 's')"), 't|t|3|1', "$name: so do send, kv.set and kv.incr");
    my $left = $session->query('SELECT count(*) FROM queue.q_q');
    is($left, $expected - 2 - @archived + 201, "$name: nothing is lost");
    sql($node, "SELECT count(*) FROM queue.q_q q, queue.set_vt('q', q.msg_id, 0)");
    is($session->query("SELECT count(*) FROM queue.read('q', qty => 100000) r WHERE queue.archive('q', r.msg_id)"), $left, "$name: all is read and archived, once");
    is($session->query("SELECT count(*), count(DISTINCT msg_id) FROM queue.a_q"),  join('|', ($left + @archived + 600) x 2), "$name: and there");
    $session->quit;
    check_storage($node, "$name: storage is sound");
    sql($node, "SELECT queue.drop('q'), queue.drop('elsewhere'), kv.drop_store('s'), kv.drop_store('elsewhere')");
}

my $node = queue_node('full', init => ['--wal-segsize=1']);
SKIP: {
    skip('no program prlimit', 1) if system('prlimit --version >/dev/null') != 0;
    my $limit = sub { my ($session, $size) = @_; system_or_bail('prlimit', '--pid', $session->pid, "--fsize=$size:"); };
    trial($node, 'file size', sub { $limit->($_[0], 1048576) }, sub { $limit->($_[0], 'unlimited') }, qr/ERROR:  \w+: could not extend file "[^"]+"[^\n]*: File too large/);
}

# Takes all the room there is.
sub fill {
    open(my $file, '>', "$disk/ballast") or die "$disk/ballast: $!";
    for my $size (1048576, 65536, 4096) {
        1 while (syswrite($file, 'x' x $size) // 0) == $size;
    }
    close($file);
}
sub room { unlink("$disk/ballast") or die "$disk/ballast: $!"; }

SKIP: {
    skip('no small disk: the tests are not run as root, or nothing can be mounted here', 1) unless $disk;
    mkdir "$disk/tiny";
    sql($node, "CREATE TABLESPACE tiny LOCATION '$disk/tiny'");
    trial($node, 'small disk', \&fill, \&room, qr/ERROR:  53100: could not extend file "[^"]+"[^\n]*: No space left on device\nHINT:  Check free disk space/);
    sql($node, 'DROP TABLESPACE tiny');
    rmdir "$disk/tiny";

    # The WAL's own disk. The server goes down; with room again it comes up by itself with all that it had answered.
    my $wal = queue_node('full_wal', init => [ '--wal-segsize=1', '-X', "$disk/wal" ], conf => "min_wal_size = 2MB\nmax_wal_size = 8MB\nwal_recycle = off\nsynchronous_commit = on");
    sql($wal, "SELECT queue.create('q', vt => 600), queue.create('work', vt => 600), kv.create_store('s')");
    sql($wal, "SELECT count(*) FROM queue.send_batch('work', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 100000) i))");
    sql($wal, 'CHECKPOINT');
    my %calls = (
        send => "SELECT queue.send('q', to_jsonb($text))",
        read => "SELECT msg_id, receipt FROM queue.read('work')",
        archive => "SELECT msg_id FROM queue.read('work') WHERE queue.archive('work', msg_id)",
        set => "SELECT kv.set('k', i.kv_incr || ' ' || $text, store => 's'), i.kv_incr FROM (SELECT kv.incr('n', store => 's') AS kv_incr OFFSET 0) i");
    my %clients;
    for my $name (sort keys %calls) {
        my $file = $wal->basedir . "/$name.sql";
        append_to_file($file, "$calls{$name};\n" x 100_000);
        my %client = (out => '', err => '');
        $client{handle} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $wal->connstr('postgres'), '-f', $file ],
            '<', \undef, '>', \$client{out}, '2>', \$client{err}, IPC::Run::timeout(3 * $PostgreSQL::Test::Utils::timeout_default));
        $clients{$name} = \%client;
    }
    ok(wait_for(sub { sql($wal, 'SELECT count(*) > 100 FROM queue.a_work') eq 't' }, 'load'), "WAL's disk: load");
    fill();
    $_->{handle}->finish for values %clients;
    ok(wait_for(sub { !-e $wal->data_dir . '/postmaster.pid' }, 'the end'), "WAL's disk: the server is down");
    like(slurp_file($wal->logfile), qr/PANIC:  could not write to file "pg_wal\/[^"]+": No space left on device/, "WAL's disk: the log says why");
    $wal->stop('immediate', fail_ok => 1);
    room();
    $wal->start;
    my %told = map { $_ => [ split /\n/, $clients{$_}{out} ] } keys %clients;
    note(join ', ', map { "$_: " . @{ $told{$_} } } sort keys %told);
    cmp_ok(scalar(@{ $told{$_} }), '>', 0, "WAL's disk: $_: clients were told something") for sort keys %told;
    my %there = map { $_ => 1 } split /\n/, sql($wal, 'SELECT msg_id FROM queue.q_q');
    is(scalar(grep { !$there{$_} } @{ $told{send} }), 0, "WAL's disk: every send that was told is there");
    %there = map { $_ => 1 } split /\n/, sql($wal, 'SELECT msg_id FROM queue.a_work');
    is(scalar(grep { !$there{$_} } @{ $told{archive} }), 0, "WAL's disk: every archive");
    is(sql($wal, 'SELECT count(*), count(DISTINCT msg_id) FROM (SELECT msg_id FROM queue.q_work UNION ALL SELECT msg_id FROM queue.a_work) x'), '100000|100000', "WAL's disk: each message is in one place");
    my ($last) = map { (split /\|/)[1] } $told{set}[-1];
    is(sql($wal, "SELECT kv.get('n', 's')::int >= $last, split_part(kv.get('k', 's'), ' ', 1)::int >= $last"), 't|t', "WAL's disk: the last value and count");
    my $highest = (sort { $b <=> $a } map { (split /\|/)[1] } @{ $told{read} })[0];
    is(sql($wal, "SELECT queue.send('q', '\"after\"') > 0, receipt > $highest FROM queue.read('work')"), 't|t', "WAL's disk: it goes on, receipts too");
    check_storage($wal, "WAL's disk: storage is sound");
    $wal->stop;
}
check_log($node);
done_testing();
