# What the TAP tests share: servers with the extension, errors with their SQLSTATE, sessions that work in the background,
# conditions with a deadline.
package PgQueueTest;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(queue_node configure create_extension sql fails_with drain session wait_for pid_gone run_pgbench pgbench_runs
  finish_pgbench check_log check_storage served served_are worker_pid job_runs cpu_ticks
  wal_of same_lines);

# A server with the library preloaded and, once it runs, the extension in the database postgres.
#   init       initdb's options          conf       lines of postgresql.conf
#   preload    0: without the library    start      0: not started, no extension
#   streaming  as init's allows_streaming
#   archiving  as init's has_archiving
#   install_path   of another server
sub queue_node {
    my ($name, %options) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name, $options{install_path} ? (install_path => $options{install_path}) : ());
    $node->init(
        extra => [ '--encoding=UTF8', '--locale=C', @{ $options{init} // [] } ],
        allows_streaming => $options{streaming} // 0,
        has_archiving => $options{archiving} // 0);
    configure($node, "shared_buffers = 32MB\nmax_connections = 40\nautovacuum = off");
    # Expired entries stay until a test purges them, or turns this on.
    configure($node, "shared_preload_libraries = 'pgqueue'\npgqueue.purge_interval = 0") if $options{preload} // 1;
    configure($node, $options{conf}) if $options{conf};
    if ($options{start} // 1) {
        $node->start;
        create_extension($node) if $options{preload} // 1;
    }
    return $node;
}

sub configure {
    my ($node, $lines) = @_;
    $node->append_conf('postgresql.conf', $lines);
}

sub create_extension {
    my ($node, $database) = @_;
    sql($node, 'CREATE EXTENSION pgqueue', $database);
}

# Runs SQL that must succeed; rows as lines, columns separated by |.
sub sql {
    my ($node, $sql, $database) = @_;
    return $node->safe_psql($database // 'postgres', $sql);
}

# The SQL must fail with this SQLSTATE and a text that matches.
sub fails_with {
    my ($node, $sql, $state, $text, $what, $database) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($out, $err) = ('', '');
    my $status = $node->psql(
        $database // 'postgres', "\\set VERBOSITY verbose\n$sql",
        stdout => \$out,
        stderr => \$err);
    ok($status != 0 && $err =~ /ERROR:  \Q$state\E: / && $err =~ $text, $what)
      or diag("exit status $status, output: $out\nerror: $err");
}

# Two long answers must be the same; says where they differ first.
sub same_lines {
    my ($got, $expected, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return 1 if ok($got eq $expected, $what);
    my (%got, %expected);
    $got{$_}++ for split /\n/, $got;
    $expected{$_}++ for split /\n/, $expected;
    my @extra = grep { !$expected{$_} } split /\n/, $got;
    my @missing = grep { !$got{$_} } split /\n/, $expected;
    diag("rows: " . keys(%got) . ", expected: " . keys(%expected));
    diag("$_ too many") for @extra > 5 ? @extra[ 0 .. 4 ] : @extra;
    diag("$_ missing") for @missing > 5 ? @missing[ 0 .. 4 ] : @missing;
    return 0;
}

# Reads and deletes all that can be read now; the ids in the order in which they came.
sub drain {
    my ($node, $queue, $batch, $database) = @_;
    $batch //= 100;
    my $ids = sql($node, <<SQL, $database);
CREATE FUNCTION pg_temp.drain() RETURNS SETOF bigint LANGUAGE plpgsql AS \$\$
DECLARE ids bigint[];
BEGIN
    LOOP
        SELECT array_agg(msg_id) INTO ids FROM queue.read('$queue', vt => 600, qty => $batch);
        EXIT WHEN ids IS NULL;
        PERFORM queue.delete_batch('$queue', ids);
        RETURN QUERY SELECT unnest(ids);
    END LOOP;
END \$\$;
SELECT drain FROM pg_temp.drain();
SQL
    return split /\n/, $ids;
}

# Asks until the condition is true, at most `seconds`.
sub wait_for {
    my ($condition, $what, $seconds) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $deadline = time + ($seconds // $PostgreSQL::Test::Utils::timeout_default);
    while (time < $deadline) {
        return 1 if $condition->();
        usleep(20_000);
    }
    diag("waited in vain: $what");
    return 0;
}

sub pid_gone {
    my ($node, $pid) = @_;
    wait_for(sub { sql($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") eq '0' }, "end of process $pid");
}

# pgbench in the background. script: its SQL. Returns what finish_pgbench needs.
sub run_pgbench {
    my ($node, $name, $script, @options) = @_;
    my $file = $node->basedir . "/$name.sql";
    unlink $file;
    append_to_file($file, $script);
    my %run = (out => '', name => $name);
    local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port);
    $run{handle} = IPC::Run::start([ 'pgbench', '-n', '-f', $file, @options, 'postgres' ],
        '<', \undef, '>', \$run{out}, '2>&1', IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
    return \%run;
}

# Whether it is still at work; takes what it has printed.
sub pgbench_runs {
    my ($run) = @_;
    return eval { $run->{handle}->pump_nb; 1 } && $run->{handle}->pumpable;
}

# Waits for its end; a test of its own. Fails where a client was aborted, but for an error that matches `allowed`.
sub finish_pgbench {
    my ($run, $allowed) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $run->{handle}->finish;
    my @aborted = grep { /client \d+ .*aborted/ && !($allowed && $_ =~ $allowed) } split /\n/, $run->{out};
    my $good = !@aborted && ($allowed || $run->{handle}->full_result(0) == 0);
    ok($good, "pgbench $run->{name} ran to its end") or diag($run->{out});
    return $good;
}

# The databases in which workers are, sorted; one that has two of them twice.
sub served {
    my ($node) = @_;
    return sql($node, <<'SQL');
SELECT coalesce(string_agg(datname, ' ' ORDER BY datname), '') FROM pg_stat_activity WHERE backend_type = 'pgqueue worker'
SQL
}

# A test that these have a worker each, and no others, soon.
sub served_are {
    my ($node, $databases, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(wait_for(sub { served($node) eq $databases }, "workers in $databases"), $what // "workers in $databases")
      or diag(served($node));
}

sub worker_pid {
    my ($node, $database) = @_;
    return sql($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgqueue worker' AND datname = '$database'");
}

# A test that a job of the database, one that is due all the time, runs.
sub job_runs {
    my ($node, $database, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $runs = "SELECT coalesce(max(runid), 0) FROM cron.job_run_details WHERE status = 'succeeded'";
    my $last = sql($node, $runs, $database);
    ok(wait_for(sub { sql($node, $runs, $database) > $last }, "a run in $database"), $what // "jobs run in $database");
}

# The clock ticks that a process has spent on a CPU; on Linux.
sub cpu_ticks {
    my ($pid) = @_;
    my ($fields) = slurp_file("/proc/$pid/stat") =~ /\) (.*)/;
    my @fields = split / /, $fields;
    return $fields[11] + $fields[12];
}

# Nothing that must never be in a server's log is in it.
sub check_log {
    my ($node) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @bad = grep { /PANIC:|TRAP:|was terminated by signal|corrupt|ERROR:  XX|invalid page/ && !/might be corrupted/ }
      split /\n/, slurp_file($node->logfile);
    is(join("\n", @bad), '', "no crash and no corruption in the log of " . $node->name);
}

# The server's own checks of every heap and btree in the schema queue, a row of which must be in every index.
sub check_storage {
    my ($node, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $found = sql($node, <<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS amcheck;
SELECT c.relname, v.* FROM pg_class c, LATERAL verify_heapam(c.oid) v
WHERE relnamespace = 'queue'::regnamespace AND relkind = 'r';
SELECT bt_index_check(i.indexrelid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'queue'::regnamespace OR c.oid IN
      (SELECT reltoastrelid FROM pg_class WHERE relnamespace = 'queue'::regnamespace);
SQL
    $found =~ s/^\n+//;
    is($found, '', $what // 'heaps and indexes are sound');
}

# The WAL records that touch a table (its name as regclass) while SQL runs: resource manager and type, one per line.
sub wal_of {
    my ($node, $table, $sql) = @_;
    return sql($node, <<SQL);
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_walinspect;
SELECT pg_relation_filenode('$table') AS file, pg_current_wal_insert_lsn() AS start \\gset
\\o /dev/null
$sql;
SELECT pg_logical_emit_message(true, '', ''); -- a commit that flushes
\\o
SELECT resource_manager, record_type FROM pg_get_wal_records_info(:'start', pg_current_wal_flush_lsn())
WHERE block_ref LIKE '%/' || :'file' || ' %';
SQL
}

# A session in the background.
sub session {
    my ($node, %options) = @_;
    return PgQueueTest::Session->new($node, %options);
}

package PgQueueTest::Session;

use Test::More;

sub new {
    my ($class, $node, %options) = @_;
    my $psql = $node->background_psql($options{database} // 'postgres', on_error_stop => 0);
    my $self = bless { psql => $psql, node => $node, count => 0, error => '' }, $class;
    $self->query('\set VERBOSITY verbose');
    $self->query("SET SESSION AUTHORIZATION $options{role}") if $options{role};
    $self->{pid} = $self->query('SELECT pg_backend_pid()');
    return $self;
}

# The pid of the server's process.
sub pid { return $_[0]->{pid}; }

# What the last statement left on stderr: errors and notices.
sub error { return $_[0]->{error}; }

# Runs SQL and returns its rows, with the error, if any, in error().
sub query {
    my ($self, $sql) = @_;
    return $self->start($sql)->finish;
}

# As query, but an error is a failed test.
sub query_ok {
    my ($self, $sql, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $out = $self->query($sql);
    is($self->{error}, '', $what // $sql);
    return $out;
}

# Starts SQL and returns at once. One statement can be under way at a time.
sub start {
    my ($self, $sql) = @_;
    my $psql = $self->{psql};
    my $done = 'statement done ' . ++$self->{count};
    $psql->{stdout} = $psql->{stderr} = '';
    $psql->{stdin} .= "$sql\n;\n\\echo '$done'\n\\warn '$done'\n";
    $self->{done} = $done;
    $psql->{run}->pump_nb;
    return $self;
}

# Whether the started SQL has ended; doesn't wait.
sub done {
    my ($self) = @_;
    my $psql = $self->{psql};
    $psql->{run}->pump_nb;
    return $psql->{stdout} =~ /^\Q$self->{done}\E$/m && $psql->{stderr} =~ /^\Q$self->{done}\E$/m;
}

# Waits for the started SQL's end and returns its rows.
sub finish {
    my ($self) = @_;
    my $psql = $self->{psql};
    my $mark = qr/^\Q$self->{done}\E\n/m;
    for my $stream (qw(stdout stderr)) {
        next if eval { PostgreSQL::Test::Utils::pump_until($psql->{run}, $psql->{timeout}, \$psql->{$stream}, $mark) };
        diag("process $self->{pid} has not ended its statement: $@");
        diag(PgQueueTest::sql($self->{node}, <<'SQL'));
SELECT pid, state, wait_event_type, wait_event, pg_blocking_pids(pid), now() - query_start, left(query, 80)
FROM pg_stat_activity WHERE backend_type = 'client backend'
SQL
        die "a statement did not end: $psql->{stdout}\n$psql->{stderr}";
    }
    my $out = $psql->{stdout};
    $out =~ s/$mark//;
    chomp $out;
    ($self->{error} = $psql->{stderr}) =~ s/$mark//;
    return $out;
}

# Waits until the started SQL sleeps in a wait for a message.
sub wait_asleep {
    my ($self, $node) = @_;
    PgQueueTest::wait_for(
        sub {
            PgQueueTest::sql($node,
                "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $self->{pid}") eq 'Extension';
        },
        "sleep of process $self->{pid}") or die 'the session does not wait';
}

# Ends the session in good order, or after the server ended it.
sub quit {
    my ($self) = @_;
    my $psql = $self->{psql};
    if ($psql->{run}->pumpable) {
        eval { $psql->{stdin} .= "\\q\n"; $psql->{run}->finish; 1 } or note("quit: $@");
    }
}

# Kills psql, which leaves the server's process to find out.
sub kill { $_[0]->{psql}{run}->kill_kill; }

1;
