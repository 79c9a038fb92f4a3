# Monitoring from outside: what docs/sight holds for Prometheus, Grafana and psql fits what pgqueue.prometheus() says;
# and both functions have an answer on a standby, beside locks, and where the library isn't loaded.
use strict;
use warnings FATAL => 'all';

use Encode qw(decode_utf8);
use FindBin;
use JSON::PP;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $sight = "$FindBin::RealBin/../../docs/sight";
my $node = queue_node('sight', streaming => 1, conf => "max_worker_processes = 16\nwal_level = replica");
served_are($node, 'postgres');
sql($node, <<'SQL');
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
CREATE FUNCTION handle(queue.message) RETURNS void LANGUAGE sql AS 'SELECT';
SELECT queue.create('dead'), queue.create('q', max_attempts => 1, dead_letter => 'dead'), queue.create('empty'), queue.create('un', unlogged => true);
SELECT queue.send('q', '1') FROM generate_series(1, 5);
SELECT queue.send('q', '1', delay => 1000), queue.send('dead', '1');
SELECT queue.attach('empty', 'handle', 2);
SELECT kv.create_store('s', max_entries => 10), kv.create_store('un', unlogged => true);
SELECT kv.set('a', 'b', store => 's'), kv.get('a', 's'), kv.get('c', 's');
SELECT cron.schedule(E'tick "\\\n', '1 second', 'SELECT 1'), cron.schedule('bad', '1 second', 'SELECT 1 / 0'), cron.schedule('@yearly', 'SELECT 1');
SQL
job_runs($node, 'postgres');
ok(wait_for(sub { sql($node, "SELECT count(DISTINCT last_status) FROM pgqueue.jobs") eq '2' }, 'runs'), 'runs that succeed and that fail');
sql($node, 'ALTER SYSTEM SET pgqueue.cron_enabled = off; ALTER SYSTEM SET pgqueue.handler_idle_time = 100');
sql($node, 'SELECT pg_reload_conf()');
ok(wait_for(sub { sql($node, "SELECT (SELECT count(*) FROM cron.job_run_details WHERE status = 'running') + (SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'handler')") eq '0' }, 'quiet'), 'quiet');

# A full strip of runs.
sql($node, "INSERT INTO cron.job_run_details (jobid, database, username, command, status, start_time, end_time, due_time, start_after) SELECT 1, 'postgres', username, command, 'succeeded', now(), now() + interval '1 s', now(), now() FROM cron.job, generate_series(1, 25) WHERE jobid = 1");

# Metric and labels to value.
sub samples {
    my ($node, $role) = @_;
    my %found;
    for (split /\n/, sql($node, ($role ? "SET SESSION AUTHORIZATION $role; " : '') . 'SELECT pgqueue.prometheus()')) {
        next if /^#/ || $_ eq '';
        my ($series, $value) = /^(\w+\{.*\}) (\S+)$/ or die "no sample: $_";
        my ($metric, $labels) = $series =~ /^(\w+)\{(.*)\}$/;
        $found{"$metric " . join ' ', sort $labels =~ /(\w+="(?:[^"\\]|\\.)*")/g} = $value;
    }
    return %found;
}
sub types { return { sql($_[0], 'SELECT pgqueue.prometheus()') =~ /^# TYPE (\w+) (\w+)$/mg } }
my %samples = samples($node, 'watcher');
my %types = %{ types($node) };
cmp_ok(scalar keys %samples, '>', 100, 'there are samples');

# The exporter's file: each query gives, column by column, the samples of the function.
my %exported;
my ($space, %queries, %columns);
for (split /\n/, slurp_file("$sight/postgres_exporter.yaml")) {
    if (/^(\w+):$/) { $space = $1 }
    elsif (/^    - (\w+): \{usage: (\w+), description: \S.*\}$/) { push @{ $columns{$space} }, [ $1, $2 ] }
    elsif (/^    (\S.*)$/) { $queries{$space} .= "$1 " }
    elsif (!/^(#.*|  query: >-|  metrics:|)$/) { die "not understood: $_" }
}
is(scalar keys %queries, 10, 'the exporter has ten queries');
for my $name (sort keys %queries) {
    my $rows = decode_json(sql($node, "SET SESSION AUTHORIZATION watcher; SELECT coalesce(json_agg(r), '[]') FROM ($queries{$name}) r"));
    cmp_ok(scalar @$rows, '>', 0, "$name: rows");
    is(join(' ', sort keys %{ $rows->[0] }), join(' ', sort map { $_->[0] } @{ $columns{$name} }), "$name: every column is described");
    for my $column (grep { $_->[1] ne 'LABEL' } @{ $columns{$name} }) {
        is($types{"${name}_$column->[0]"}, lc $column->[1], "$name: $column->[0]") if exists $types{"${name}_$column->[0]"};
        for my $row (@$rows) {
            next if !defined $row->{ $column->[0] };
            my @labels = map {
                my $value = $row->{ $_->[0] };
                $value =~ s/([\\"])/\\$1/g;
                $value =~ s/\n/\\n/g;
                "$_->[0]=\"$value\""
            } grep { $_->[1] eq 'LABEL' } @{ $columns{$name} };
            $exported{"${name}_$column->[0] " . join ' ', sort @labels} = $row->{ $column->[0] };
        }
    }
}
delete $samples{'pgqueue_up database="postgres"'};
same_lines(join("\n", sort keys %exported), join("\n", sort keys %samples), 'the exporter and the function know the same');
my @differ = grep { /entries|messages|_runs|active|success |paused|processes|concurrency|hits|misses/ && ($exported{$_} // '') ne $samples{$_} } sort keys %samples;
is("@differ", '', 'and agree on it');

# What charts and rules ask for is there.
my $dashboard = decode_json(slurp_file("$sight/grafana.json"));
my %ids;
$ids{ $_->{id} }++ for @{ $dashboard->{panels} };
is(scalar grep({ $_ > 1 } values %ids), 0, 'the panels of the chart have ids of their own');
my @expressions = map { my $p = $_; map { $_->{expr} } @{ $p->{targets} // [] } } @{ $dashboard->{panels} };
push @expressions, map { $_->{definition} // () } @{ $dashboard->{templating}{list} };
cmp_ok(scalar @expressions, '>', 30, 'the chart asks');
push @expressions, slurp_file("$sight/alerts.yaml") =~ /^        expr: (.*)$/mg;
my %asked = map { $_ => 1 } map { /\b(pgqueue_\w+)/g } @expressions;
is(join(' ', grep { !$types{$_} } sort keys %asked), '', 'only for metrics that there are');
for my $expression (@expressions) {
    my %known = map { $_ => 1 } map { /(\w+)="/g } keys %samples;
    is(join(' ', grep { !$known{$_} } map { /(\w+)!?=~?"/g } $expression), '', "only by labels that there are: $expression");
}

# The page for the terminal: 100 columns, with data and without.
sub top {
    my ($database) = @_;
    my $script = slurp_file("$sight/top.psql");
    ok($script =~ s/^\\watch 2$/;/m, 'it watches');
    my $file = $node->basedir . "/top_$database.psql";
    unlink $file;
    append_to_file($file, $script);
    my ($out, $err) = run_command([ 'psql', '-X', '-d', $node->connstr($database), '-f', $file ]);
    is($err, '', "the terminal's page in $database");
    $out =~ s/\x1b\[[0-9;]*[mJH]//g;
    my @wide = grep { length > 100 } split /\n/, decode_utf8($out);
    is("@wide", '', 'is at most 100 columns wide');
    unlike($out, qr/\x1b/, 'and has no other control characters');
    return $out;
}
like(top('postgres'), qr/^q +5 +0 +1 .*\n.*^s +1 .*^tick "\\\? +1 second/ms, 'it shows queues, stores and jobs');
sql($node, 'CREATE DATABASE bare');
create_extension($node, 'bare');
like(top('bare'), qr/none yet: SELECT queue\.create.*none yet: SELECT cron\.schedule/s, 'without data what to do');

# Nobody is waited for.
my $holder = session($node);
$holder->query_ok('BEGIN; LOCK TABLE queue."q_q#1" IN ACCESS EXCLUSIVE MODE; LOCK TABLE kv.s_s IN ACCESS EXCLUSIVE MODE');
my %locked = samples($node, 'watcher');
is(join(' ', map { $locked{$_} // 'none' } 'pgqueue_queue_messages database="postgres" queue="q" state="ready"', 'pgqueue_store_entries database="postgres" store="s"'), 'none none', 'no figures of what somebody has for himself');
is(join(' ', map { $locked{$_} // 'none' } 'pgqueue_queue_messages database="postgres" queue="dead" state="ready"', 'pgqueue_store_max_entries database="postgres" store="s"'), '1 10', 'those of all others');
like(sql($node, 'SELECT pgqueue.dashboard()'), qr/locked by another session/, 'the page says why');
$holder->query_ok('ROLLBACK');
$holder->quit;

# A standby.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
my %there = samples($standby);
is(join(' ', map { $there{"pgqueue_$_"} // 'none' } 'up database="postgres"', 'queue_messages database="postgres" queue="q" state="ready"', 'queue_messages database="postgres" queue="un" state="ready"',
        'store_entries database="postgres" store="s"', 'store_entries database="postgres" store="un"', 'store_max_entries database="postgres" store="s"'),
    '1 5 none 1 none 10', 'a standby has figures of what it holds');
is(sql($standby, 'SELECT xml_is_well_formed_document(pgqueue.dashboard())'), 't', 'and a page');
$standby->stop;

# Without the library.
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;
is(sql($node, 'SELECT pgqueue.prometheus()'), "# HELP pgqueue_up Whether the library is loaded.\n# TYPE pgqueue_up gauge\npgqueue_up{database=\"postgres\"} 0\n", 'without the library it is down');
my $page = sql($node, 'SELECT pgqueue.dashboard()');
like($page, qr/the library pgqueue is not loaded/, 'and the page says what to do');
is(sql($node, 'SELECT xml_is_well_formed_document(pgqueue.dashboard())'), 't', 'it is a page');

check_log($node);
done_testing();
