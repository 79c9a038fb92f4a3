# play.pl docs/recipes/NAME.md DIRECTORY: plays a recipe in the database `shop`, made anew, and prints TAP. The page with
# what was really printed goes to the directory.
#
# Each ```sql block is run by psql as the role `app`. A plain ``` block right after it is what that printed, to the letter
# but for empty lines and blanks at the end of lines; a block without one may print anything but an error. First comes
# the SQL of the directory's README.md. HTML comments, which a reader of the page doesn't see, say more:
#
#   <!-- as ROLE -->              the next block is run by this role, in a session that stays for its later blocks
#   <!-- session NAME -->         the next block is run by app in another session of this name
#   <!-- until SQL -->            wait until SQL, asked by a superuser, answers true
#   <!-- repeat until TEXT -->    the next block is run again and again until it prints the text; what counts is the last time
#   <!-- masked -->               in what the next block prints, times and numbers of six digits and more may be any
#   <!-- requires extension X --> the recipe is skipped where the server doesn't have it
#
# Then test/recipes/NAME.pl, where there is one, looks behind the scenes: with further sessions, killed in mid-step.
use strict;
use warnings;

use File::Basename;
use IPC::Open2;
use Test::More;
use Time::HiRes qw(time usleep);

# Far more than anything here takes: only what hangs meets it.
use constant PATIENCE => 60;

$SIG{ALRM} = sub { die "no answer from psql within " . PATIENCE . " seconds\n" };
$SIG{PIPE} = 'IGNORE';

package Session {
    my $mark = 0;

    # plain: rows as lines and columns separated by |, for checks; else as psql prints for people.
    sub open {
        my ($class, $role, $database, $plain) = @_;
        my @psql = ('psql', '-Xq', '-U', $role, '-d', $database, '-P', 'pager=off', '-P', 'footer=off');
        push @psql, '-At' if $plain;
        my $self = bless {}, $class;
        $self->{pid} = IPC::Open2::open2($self->{out}, $self->{in}, 'sh', '-c', 'exec "$@" 2>&1', 'sh', @psql);
        $self->{out}->binmode(':utf8');
        $self->{in}->binmode(':utf8');
        $self->run("SET client_min_messages = warning;\n");
        return $self;
    }

    # Begins to run SQL, which may have to wait for another session.
    sub start {
        my ($self, $sql) = @_;
        $mark++;
        $self->{mark} = "-- end $mark --";
        $self->{in}->print("$sql\n;\\echo $self->{mark}\n");
        $self->{in}->flush;
    }

    # What it printed.
    sub finish {
        my ($self) = @_;
        my ($text, $ended) = ('', 0);
        alarm main::PATIENCE;
        while (defined(my $line = readline $self->{out})) {
            if ($line eq "$self->{mark}\n") { $ended = 1; last }
            $text .= $line;
        }
        alarm 0;
        $text .= "psql has ended\n" unless $ended;
        chomp $text if $ended;
        return $text;
    }

    sub run {
        my ($self, $sql) = @_;
        $self->start($sql);
        return $self->finish;
    }

    # Gone without a word to anybody, as a worker that is killed. The server may take a moment to notice: see gone().
    sub kill {
        my ($self) = @_;
        kill 'KILL', $self->{pid};
        waitpid $self->{pid}, 0;
    }

    sub close {
        my ($self) = @_;
        CORE::close $self->{in};
        waitpid $self->{pid}, 0;
    }
}

my ($file, $directory) = @ARGV;
die "usage: play.pl FILE DIRECTORY\n" unless $directory;
my $name = basename($file, '.md');

sub slurp {
    my ($path) = @_;
    open my $in, '<:utf8', $path or die "$path: $!\n";
    local $/;
    return <$in>;
}

# A recipe as a list of steps.
sub steps_of {
    my ($path) = @_;
    my @lines = split /\n/, slurp($path);
    my ($number, $role, $session, $repeat, $masked, @steps) = (0, 'app', '');
    my $block = sub {
        my @block;
        while (defined(my $line = shift @lines)) {
            $number++;
            return join "\n", @block if $line =~ /^```\s*$/;
            push @block, $line;
        }
        die "$path: a block without an end\n";
    };
    while (defined(my $line = shift @lines)) {
        $number++;
        if ($line =~ /^<!-- as (\w+) -->$/) { $role = $1 }
        elsif ($line =~ /^<!-- session (\w+) -->$/) { $session = $1 }
        elsif ($line =~ /^<!-- repeat until (.*) -->$/) { $repeat = $1 }
        elsif ($line eq '<!-- masked -->') { $masked = 1 }
        elsif ($line =~ /^<!-- until (.*) -->$/) { push @steps, { until => $1, line => $number } }
        elsif ($line =~ /^<!-- requires extension (\w+) -->$/) { push @steps, { requires => $1 } }
        elsif ($line =~ /^<!--/) { die "$path:$number: not understood: $line\n" }
        elsif ($line =~ /^```sql$/) {
            push @steps, { sql => undef, line => $number, role => $role, session => $session, repeat => $repeat,
                masked => $masked };
            $steps[-1]{sql} = $block->();
            die "$path:$number: the statement before has no end\n"
              unless (split /\n/, $steps[-1]{sql})[-1] =~ /;\s*(--.*)?$|\\(g\w*|\w+)\b/;
            ($role, $session, $repeat, $masked) = ('app', '');
            # The next block is its output if there are only empty lines in between.
            my $i = 0;
            $i++ while $i < @lines && $lines[$i] eq '';
            if ($i < @lines && $lines[$i] eq '```') {
                $number += $i + 1;
                splice @lines, 0, $i + 1;
                $steps[-1]{from} = $number;
                $steps[-1]{prints} = $block->();
                $steps[-1]{to} = $number - 1;
            }
        }
        elsif ($line =~ /^```/) { $block->() }
    }
    return @steps;
}

my @steps = (steps_of(dirname($file) . '/README.md'), steps_of($file));

my $server = Session->open('postgres', 'postgres', 1);
for my $step (grep { $_->{requires} } @steps) {
    next if $server->run("SELECT count(*) FROM pg_available_extensions WHERE name = '$step->{requires}'") eq '1';
    plan skip_all => "the server has no extension $step->{requires}";
}
my $trouble = $server->run('DROP DATABASE IF EXISTS shop WITH (FORCE)') . $server->run('CREATE DATABASE shop OWNER app');
die $trouble if $trouble =~ /ERROR/;

# For checks: by a superuser, and further sessions of any role.
my $admin = Session->open('postgres', 'shop', 1);
sub admin { return $admin->run($_[0]) }
sub session { return Session->open($_[0] // 'app', 'shop', 1) }

# Until SQL answers t, or what is given.
sub until_true {
    my ($sql, $what) = @_;
    my ($deadline, $answer) = (time + PATIENCE, '');
    while (time < $deadline) {
        $answer = admin($sql);
        return 1 if $answer eq 't';
        usleep(20_000);
    }
    diag("waited in vain until $what: $sql\nanswered $answer");
    return 0;
}

# Another session waits for a lock.
sub waits {
    my ($what) = @_;
    return until_true("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'app'", $what);
}

# The server dies and comes back.
sub crash {
    system("pg_ctl -D \"\$PGDATA\" -l \"\$PGDATA/../server.log\" -w -m immediate restart >/dev/null 2>&1") == 0
      or die "the server does not come back\n";
    $admin = Session->open('postgres', 'shop', 1);
}

# A queue's notification that is sent again counts once, and whose process it came from doesn't matter.
sub tidy {
    my ($text) = @_;
    $text =~ s/(received from server process with PID) \d+/$1 4711/g;
    $text =~ s/^(Asynchronous notification "queue\..*\n)\1+/$1/mg;
    return join "\n", grep { $_ ne '' } map { s/\s+$//r } split /\n/, $text;
}

# The same for what differs from run to run, and the width of its column.
sub mask {
    my ($text) = @_;
    $text =~ s/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00/<time>/g;
    $text =~ s/\b\d{6,}\b/<number>/g;
    return $text =~ s/-{2,}/--/gr =~ s/ +/ /gr;
}

my @page = split /\n/, slurp($file);
my %sessions;
for my $step (@steps) {
    next if $step->{requires};
    if ($step->{until}) {
        ok(until_true($step->{until}, "line $step->{line}"), "line $step->{line}: it comes true");
        next;
    }
    my $session = $sessions{"$step->{role} $step->{session}"} //= Session->open($step->{role}, 'shop');
    my ($printed, $deadline) = ('', time + PATIENCE);
    do { $printed = $session->run($step->{sql}) }
      until !defined $step->{repeat} || index($printed, $step->{repeat}) >= 0 || time > $deadline;
    if (defined $step->{prints}) {
        my ($got, $expected) = map { $step->{masked} ? mask(tidy($_)) : tidy($_) } $printed, $step->{prints};
        is($got, $expected, "line $step->{line}: prints what the page says")
          or $step->{printed} = $printed =~ s/[ \t]+$//mgr =~ s/\n+$//r =~ s/(with PID) \d+/$1 4711/gr;
    } else {
        ok($printed !~ /ERROR:|FATAL:|psql has ended|invalid command/, "line $step->{line}: no error") or diag($printed);
    }
}

for my $step (grep { defined $_->{printed} } reverse @steps) {
    splice @page, $step->{from}, $step->{to} - $step->{from}, $step->{printed};
}
open my $out, '>:utf8', "$directory/$name.md" or die "$directory/$name.md: $!\n";
print $out "$_\n" for @page;
close $out;

my $checks = dirname($0) . "/$name.pl";
if (-e $checks) {
    my $code = slurp($checks);
    eval "#line 1 \"$checks\"\n$code; 1" or fail("$checks: $@");
}
$_->close for values %sessions;
done_testing();
