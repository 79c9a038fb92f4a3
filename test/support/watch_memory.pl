# watch_memory.pl PROGRAM: each five seconds, for each process of that program, one line: its start (jiffies), pid, kind,
# seconds since it was first seen, and the kilobytes of memory that is its own (anonymous: shared buffers don't count).
# Until it is killed.
# watch_memory.pl --table FILE: what became of them.
use strict;
use warnings FATAL => 'all';

use constant { SETTLED => 30, LEAST_AGE => 60 };

sub first_line {
    my ($file) = @_;
    open my $handle, '<', $file or return;
    my $line = <$handle>;
    return $line;
}

# What a process is, by its title.
sub kind_of {
    my ($title) = @_;
    $title =~ s/\0.*//s;
    $title =~ s/\s+$//;
    return $1 if $title =~ /^postgres: (pgqueue \w+)/;
    return 'a client\'s session' if $title =~ /^postgres: \S+ \S+ \[local\]/;
    return $1 if $title =~ /^postgres: ([a-z ]*[a-z])/;
    return 'postmaster';
}

sub watch {
    my ($program) = @_;
    my %seen;
    $| = 1;
    for (;;) {
        for my $dir (glob '/proc/[0-9]*') {
            my $exe = readlink "$dir/exe";
            next if !defined $exe || $exe ne $program;
            my $title = first_line("$dir/cmdline") // next;
            my $stat = first_line("$dir/stat") // next;
            $stat =~ s/^.*\) //;
            my $start = (split / /, $stat)[19];
            open my $handle, '<', "$dir/smaps_rollup" or next;
            my ($anonymous) = map { /^Anonymous:\s+(\d+)/ ? $1 : () } <$handle>;
            next if !defined $anonymous;
            my ($pid) = $dir =~ /(\d+)/;
            $seen{"$start $pid"} //= time;
            printf "%s,%s,%s,%d,%d\n", $start, $pid, kind_of($title), time - $seen{"$start $pid"}, $anonymous;
        }
        sleep 5;
    }
    return;
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[$#sorted / 2];
}

sub table {
    my ($file) = @_;
    my %process;
    open my $handle, '<', $file or die "$file: $!\n";
    while (my $line = <$handle>) {
        my ($start, $pid, $kind, $age, $kb) = $line =~ /^(\d+),(\d+),([^,]+),(\d+),(\d+)$/ or next;
        my $this = $process{"$start $pid"} //= { most => 0 };
        @$this{qw(kind age last)} = ($kind, $age, $kb);  # a new process has its parent's title at first
        $this->{settled} //= $kb if $age >= SETTLED;
        $this->{most} = $kb if $kb > $this->{most};
    }
    my %kinds;
    for my $this (values %process) { push @{ $kinds{ $this->{kind} } }, $this if $this->{age} >= LEAST_AGE }
    printf "%-32s %9s %9s | %9s %9s %9s | %9s\n", 'own memory, MB', 'processes', 'oldest, s', 'after 30s', 'at end', 'growth', 'most ever';
    for my $kind (sort keys %kinds) {
        my @all = @{ $kinds{$kind} };
        printf "%-32s %9d %9d | %9.1f %9.1f %9.1f | %9.1f\n", $kind, scalar @all, (sort { $b <=> $a } map { $_->{age} } @all)[0],
            map({ $_ / 1024 } median(map { $_->{settled} } @all), median(map { $_->{last} } @all),
                (sort { $b <=> $a } map { $_->{last} - $_->{settled} } @all)[0], (sort { $b <=> $a } map { $_->{most} } @all)[0]);
    }
    print "after 30 s and at the end: medians; growth: the largest of any process\n";
    return;
}

@ARGV == 2 && $ARGV[0] eq '--table' ? table($ARGV[1]) : @ARGV == 1 ? watch($ARGV[0]) : die "see the comment\n";
