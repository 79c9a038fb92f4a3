# check.pl DOCS SOURCES: compares the reference manual with what there is, both ways, and prints TAP.
# check.pl --print: what there is, in the manual's notation, to copy from.
#
# What there is: the members of the extension pgqueue, and its settings, on the server that the environment points to
# (database PGDATABASE); the messages, in the sources. In the manual
#
#   ### queue.send            and a fenced block right below: signatures, as signature() below writes them, in lines of
#                             any length; then a paragraph "**Rights** ... **Effect** ... **Errors** ..."
#   ### queue.queues          and "View.", "Table." or "Type." below, with "SELECT: everyone" where everyone may, and a
#                             table | column | type | ...; queue.q_NAME is any queue's table
#   ### Internal tables       a table | table | ... of those whose columns are nobody's business
#   ### pgqueue.workers       in settings.md: what it does; and a row of the table of all
#   ## 22023 ...              in errors.md: a SQLSTATE with its messages, | `message` | ...; an ellipsis is any text
use strict;
use warnings;
use utf8;

use File::Basename;
use Test::More;

binmode $_, ':utf8' for *STDOUT, *STDERR, Test::More->builder->output, Test::More->builder->failure_output;

sub rows {
    my ($sql) = @_;
    my @psql = ('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-F', "\t", '-R', "\x1e");
    open my $out, '-|:utf8', @psql, '-c', $sql or die "psql: $!\n";
    my $text = do { local $/; <$out> } // '';
    close $out or die "psql failed\n";
    $text =~ s/\n\z//;
    return map { [split /\t/, $_, -1] } split /\x1e/, $text;
}

sub slurp {
    my ($path) = @_;
    open my $in, '<:utf8', $path or die "$path: $!\n";
    local $/;
    return <$in>;
}

# What there is.

sub short { return $_[0] =~ s/timestamp with time zone/timestamptz/gr }

sub signature {
    my ($kind, $name, $volatile, $set, $type, $in, $out) = @_;
    $in =~ s/::[a-z ]+(\[\])?//g;    # of defaults
    my $call = short("$name($in)");
    return "CALL $call" if $kind eq 'p';
    my $result = $out ne '' ? "TABLE ($out)" : ($set eq 't' ? 'SETOF ' : '') . $type;
    return "$call RETURNS " . short($result) . ($volatile eq 's' ? ' STABLE' : '');
}

use constant MEMBERS => "deptype = 'e' AND refclassid = 'pg_extension'::regclass AND "
  . "refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgqueue')";

sub functions {
    my $list = "SELECT string_agg(argument, ', ' ORDER BY i) FROM (SELECT i, proargnames[i] || ' ' || "
      . "format_type(coalesce(proallargtypes[i], proargtypes[i - 1]), NULL) || coalesce(' = ' || "
      . "pg_get_function_arg_default(p.oid, i), '') AS argument FROM generate_series(1, cardinality(proargnames)) i "
      . "WHERE coalesce(proargmodes[i], 'i')";
    my %functions;
    push @{ $functions{ $_->[1] } }, signature(@$_)
      for rows("SELECT prokind, pronamespace::regnamespace || '.' || proname, provolatile, proretset, "
          . "format_type(prorettype, NULL), coalesce(($list = 'i') a), ''), coalesce(($list <> 'i') a), '') "
          . "FROM pg_depend JOIN pg_proc p ON p.oid = objid WHERE classid = 'pg_proc'::regclass AND "
          . MEMBERS . ' ORDER BY 2, pronargs');
    return %functions;
}

my %kinds = (r => 'Table', v => 'View', c => 'Type');

# Relations and types, and the tables of a queue and of a store.
sub relations {
    my %relations;
    rows("SELECT queue.create('NAME')");
    for (
        rows("SELECT c.oid::regclass, relkind, coalesce(bool_or(a.grantee = 0 AND privilege_type = 'SELECT'), false) "
            . "FROM (SELECT objid AS oid FROM pg_depend WHERE classid = 'pg_class'::regclass AND "
            . MEMBERS
            . ' UNION SELECT typrelid FROM pg_depend JOIN pg_type t ON t.oid = objid '
            . "WHERE classid = 'pg_type'::regclass AND "
            . MEMBERS
            . " UNION SELECT unnest(ARRAY['queue.\"q_NAME\"', 'queue.\"a_NAME\"']::regclass[])) m "
            . 'JOIN pg_class c USING (oid) LEFT JOIN LATERAL aclexplode(relacl) a ON true '
            . "WHERE relkind <> 'i' GROUP BY 1, 2")
      )
    {
        my ($table, $kind, $public) = @$_;
        my @columns = map { [$_->[0], short($_->[1])] }
          rows("SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = '$table'::regclass "
              . 'AND attnum > 0 AND NOT attisdropped ORDER BY attnum');
        $table =~ s/"//g;
        $table =~ s/^(kv\.[scv])_default$/$1_NAME/;
        $relations{$table} = { kind => $kinds{$kind} // 'Sequence', public => $public eq 't', columns => \@columns };
    }
    rows("SELECT queue.drop('NAME')");
    # Domains, enums and the like have no columns. Newer minor releases count array types as members too.
    $relations{ $_->[0] } = { kind => 'Type', columns => [] }
      for rows("SELECT format_type(objid, NULL) FROM pg_depend JOIN pg_type t ON t.oid = objid WHERE typrelid = 0 AND "
          . 'NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid) AND '
          . "classid = 'pg_type'::regclass AND " . MEMBERS);
    return %relations;
}

sub settings {
    my %settings;
    $settings{ $_->[0] } = [@$_[1 .. 5]]
      for rows("SELECT name, vartype, unit, current_setting(name), min_val || ' to ' || max_val, context "
          . "FROM pg_settings WHERE name LIKE 'pgqueue.%'");
    return %settings;
}

my %functions = functions();
my %relations = relations();
my %settings = settings();

if (($ARGV[0] // '') eq '--print') {
    print map { "$_\n" } map { @{ $functions{$_} } } sort keys %functions;
    for my $name (sort keys %relations) {
        print "\n$name: $relations{$name}{kind}", $relations{$name}{public} ? ', SELECT: everyone' : '', "\n";
        print map { "| `$_->[0]` | $_->[1] | |\n" } @{ $relations{$name}{columns} };
    }
    print "\n", map { "| `$_` | " . join(' | ', @{ $settings{$_} }) . " |\n" } sort keys %settings;
    exit;
}

# What the manual says.

my ($docs, $sources) = @ARGV;
die "usage: check.pl DOCS SOURCES, or check.pl --print\n" unless $sources;

# A page as sections: { page, line, level, name, lines }.
sub sections_of {
    my ($page) = @_;
    my ($number, $fenced, @sections) = (0, 0);
    for my $line (split /\n/, slurp($page =~ m{/} ? $page : "$docs/$page")) {
        $number++;
        $fenced = !$fenced if $line =~ /^```/;
        if (!$fenced && $line =~ /^(#+) (.*)$/) {
            push @sections, { page => $page, line => $number, level => length $1, name => $2, lines => [] };
        } elsif (@sections) {
            push @{ $sections[-1]{lines} }, $line;
        }
    }
    return @sections;
}

# The rows below a table's header that begins with these columns.
sub table_of {
    my ($section, @header) = @_;
    my ($found, @rows);
    for my $line (@{ $section->{lines} }) {
        if ($line !~ /^\|/) { last if $found; next }
        my @cells = map { s/^\s+|\s+$//gr =~ s/\\\|/|/gr } split /(?<!\\)\|/, $line =~ s/^\|//r =~ s/\|\s*$//r, -1;
        if (!$found) {
            $found = "@cells[0 .. $#header]" eq "@header" if @cells >= @header;
        } elsif ($cells[0] !~ /^-+$/) {
            push @rows, \@cells;
        }
    }
    return @rows;
}

sub plain { return $_[0] =~ s/^`(.*)`$/$1/r }

# The signatures in the block right below a heading.
sub signatures_of {
    my ($section) = @_;
    my @lines = @{ $section->{lines} };
    shift @lines while @lines && $lines[0] eq '';
    return unless @lines && shift(@lines) eq '```';
    my @signatures;
    for my $line (@lines) {
        last if $line eq '```';
        if ($line =~ /^\S/) { push @signatures, $line }
        else { $signatures[-1] .= ' ' . $line =~ s/^\s+//r }
    }
    s/\s+/ /g, s/\( /(/g for @signatures;
    return @signatures;
}

my @pages = sort map { basename($_) } glob "$docs/*.md";
my @sections = map { sections_of($_) } @pages;
sub where { return "$_[0]{page}:$_[0]{line}" }

# Both lists, the same in any order.
sub same_names {
    my ($documented, $there, $what) = @_;
    my %documented = map { $_ => 1 } @$documented;
    my %there = map { $_ => 1 } @$there;
    my @missing = grep { !$documented{$_} } sort keys %there;
    my @wrong = grep { !$there{$_} } sort keys %documented;
    ok(!@missing && !@wrong, $what)
      or diag(join "\n", (map { "not in the manual: $_" } @missing), (map { "only in the manual: $_" } @wrong));
}

# Lines of both, in one order.
sub same_lines {
    my ($manual, $there, $what) = @_;
    return pass($what) if join("\n", @$manual) eq join("\n", @$there);
    my %manual = map { $_ => 1 } @$manual;
    my %there = map { $_ => 1 } @$there;
    my @lines = map { "manual: $_" } grep { !$there{$_} } @$manual;
    push @lines, map { "server: $_" } grep { !$manual{$_} } @$there;
    fail($what);
    diag(join "\n", @lines ? @lines : 'the same in another order');
}

my %documented;
for my $section (@sections) {
    my $name = $section->{name};
    next if $section->{page} eq 'settings.md';
    my $place = where($section);
    my @signatures = signatures_of($section);
    if (@signatures && $signatures[0] =~ /^(CALL )?\w+\.\w+\(/) {
        my %here;
        push @{ $here{ $_ =~ s/^CALL //r =~ s/\(.*//r } }, $_ for @signatures;
        for (sort keys %here) {
            fail("$place: $_ stands elsewhere already") if $documented{$_}++;
            same_lines($here{$_}, $functions{$_} // ['no such function'], "$place: $_");
        }
        next if $name eq 'Trigger functions' || $name eq 'Internal functions';
        is(join(' ', keys %here), $name, "$place: the heading names the function");
        my $text = join "\n", @{ $section->{lines} };
        ok($text =~ /^\*\*Rights\*\* .*\*\*Effect\*\* .*\*\*Errors\*\* /ms,
            "$place: rights, effect and errors of $name");
    } elsif ($name =~ /^(queue|kv|cron|pgqueue)\.\w+$/) {
        $documented{$name}++;
        my $relation = $relations{$name};
        ok($relation, "$place: $name is there") or next;
        my ($first) = grep { $_ ne '' } @{ $section->{lines} };
        my ($kind) = $first =~ /^(\w+)\./;
        is($kind, $relation->{kind}, "$place: $name is a $relation->{kind}");
        is($first =~ /SELECT: everyone/ ? 1 : 0, $relation->{public} ? 1 : 0, "$place: who may read $name")
          if $relation->{kind} ne 'Type';
        same_lines([map { plain($_->[0]) . " $_->[1]" } table_of($section, 'column', 'type')],
            [map { "@$_" } @{ $relation->{columns} }], "$place: the columns of $name");
    } elsif ($name eq 'Internal tables') {
        for my $row (table_of($section, 'table')) {
            my $table = plain($row->[0]);
            $documented{$table}++;
            ok($relations{$table} && !$relations{$table}{public}, "$place: $table is there, and not for everyone");
        }
    }
}
same_names([keys %documented], [keys %functions, keys %relations], 'functions, types, views, tables: all are there');
diag("to be added: $_") for map { @{ $functions{$_} } } grep { !$documented{$_} } sort keys %functions;
is((rows("SELECT count(*) FROM pg_depend JOIN pg_proc p ON p.oid = objid WHERE classid = 'pg_proc'::regclass AND "
          . MEMBERS . " AND (proisstrict OR proparallel <> 'u')"))[0][0], 0, 'none is STRICT, all are PARALLEL UNSAFE');

my @kinds = sort map { $_->[0] } rows('SELECT DISTINCT classid::regclass FROM pg_depend WHERE ' . MEMBERS);
same_lines(\@kinds, [qw(pg_class pg_namespace pg_proc pg_type)], 'the extension has no other kinds of objects');

# Settings. Those that the server doesn't show have no row.
my @settings = grep { $_->{page} eq 'settings.md' } @sections;
my %rows = map { plain($_->[0]) => [@$_[1 .. 5]] }
  map { table_of($_, 'setting', 'type', 'unit', 'default', 'range', 'context') } @settings;
same_names([keys %rows], [keys %settings], 'settings: the table has them all');
same_lines([join ' | ', @{ $rows{$_} }], [join ' | ', @{ $settings{$_} }], "settings.md: $_")
  for grep { $settings{$_} } sort keys %rows;
my %defined = map { $_ => 1 } slurp("$sources/settings.cpp") =~ /"(pgqueue\.\w+)"/g;
my @described = grep { /^pgqueue\./ } map { $_->{name} } @settings;
same_names(\@described, [keys %defined], 'settings: each has its paragraph');

# The guides, and the README, tell some of the defaults as well.
for my $guide (glob "$docs/../*.md $docs/../../README.md") {
    my @told = map { table_of($_, 'setting', 'default') } sections_of($guide);
    next unless @told;
    my @false = grep { (($settings{ plain($_->[0]) } // [])->[2] // '') ne plain($_->[1]) } @told;
    ok(!@false, basename($guide) . ': the defaults of ' . @told . ' settings')
      or diag(join "\n", map { "$_->[0] $_->[1]" } @false);
}

# Messages.
my $string = qr/"(?:[^"\\]|\\.)*+"/;
my $parens = qr/(\((?:[^()"]++|$string|(?1))*+\))/;

# Adjacent literals and formats, as one message.
sub message {
    my ($literals) = @_;
    my $text = join '', map { $_ =~ /^"/ ? substr($_, 1, -1) : '%d' } $literals =~ /($string|INT64_FORMAT)/g;
    $text =~ s/\\(["\\])/$1/g;
    return $text =~ s/%[-+ 0#]*\d*(?:\.(?:\d+|\*))?(?:z|ll?)?[a-zA-Z]/…/gr;
}

my %sqlstates;
chomp(my $include = `pg_config --includedir-server`);
my $codes = slurp("$include/utils/errcodes.h");
while ($codes =~ /#define (ERRCODE_\w+) MAKE_SQLSTATE\(([^)]*)\)/g) {
    my ($name, $state) = ($1, $2);
    $sqlstates{$name} = $state =~ s{[^0-9A-Z]}{}gr;
}

my $literals = qr/(?:$string|INT64_FORMAT|\s)+/;
my (%raised, %reasons);
my ($written, $understood) = (0, 0);
for my $file (split /\n/, `find "$sources" "$sources/../include" -name '*.cpp' -o -name '*.hpp'`) {
    my $code = slurp($file);
    $written += () = $code =~ /\berrmsg\(/g;
    while ($code =~ /\bereport\s*$parens/g) {
        my $report = $1;
        $understood += () = $report =~ /\berrmsg\(/g;
        my ($level) = $report =~ /^\(\s*(\w+)/;
        my @codes = map { $sqlstates{$_} } map { /(ERRCODE_\w+)/g } $report =~ /errcode$parens/g;
        @codes = ('In the server\'s log') if $level eq 'LOG';
        for my $text (grep { $_ ne '…' } map { message($_) } $report =~ /errmsg\(($literals)/g) {
            $raised{"$_ $text"} = 1 for @codes;
        }
    }
    $raised{ '22023 ' . message($1) } = 1 while $code =~ /\bInvalid\(($literals),/g;
    my $of = basename($file);
    $reasons{queue}{ message($1) } = 1
      while $of eq 'queue.cpp' && $code =~ /RaiseLayout\(\s*rel,\s*(?:psprintf\()?($literals)/g;
    $reasons{store}{ message($1) } = 1
      while $of eq 'store.cpp' && $code =~ /(?:RaiseLayout\(\s*rel,\s*|return )(?:psprintf\()?($literals)[,;]/g;
    $reasons{schedule}{ message($1) } = 1 while $of eq 'schedule.cpp' && $code =~ /("(?!day of )[a-z]+ [^"]+")/g;
}

is($understood, $written, 'errors.md: all messages of the sources were read');

my @errors = grep { $_->{page} eq 'errors.md' } @sections;
my (%explained, %explained_reasons);
my $chapter = '';
for my $section (@errors) {
    $chapter = $section->{name} =~ /^([0-9A-Z]{5}) / ? $1 : $section->{name} if $section->{level} == 2;
    $explained{"$chapter " . plain($_->[0])} = 1 for table_of($section, 'message');
    my ($of) = $section->{name} =~ /Reasons.*\b(queue|store|schedule)\b/;
    $explained_reasons{$of}{ plain($_->[0]) } = 1 for $of ? table_of($section, 'reason') : ();
}
same_names([keys %explained], [keys %raised], 'errors.md: the messages of the sources');
same_names([keys %{ $explained_reasons{$_} }], [keys %{ $reasons{$_} }], "errors.md: why a $_ is refused")
  for qw(queue store schedule);

# SQLSTATEs that a function's section names are explained.
my %explained_states = map { $_ => 1 } map { $_->{name} =~ /^([0-9A-Z]{5}) / } @errors;
$explained_states{ plain($_->[0]) } = 1 for map { table_of($_, 'SQLSTATE') } @sections;
for my $section (@sections) {
    my ($errors) = join("\n", @{ $section->{lines} }) =~ /\*\*Errors\*\* (.*?)(\n\n|\z)/s or next;
    my @unknown = grep { !$explained_states{$_} } $errors =~ /\b(\d[0-9A-Z]{4})\b/g;
    ok(!@unknown, where($section) . ": errors.md explains what $section->{name} raises")
      or diag("not explained: @unknown");
}

# Links lead somewhere, and the index names everything.
my (%anchors, %linked);
for my $section (@sections) {
    my $anchor = lc $section->{name} =~ s/[^\w\- ]//gr =~ s/ /-/gr;
    $anchors{"$section->{page}#$anchor"} = $section;
}
for my $page (@pages) {
    my @dead;
    my $text = slurp("$docs/$page") =~ s/^```.*?^```$//gmsr;
    while ($text =~ /\]\(([^)#\s]*)(#[^)\s]*)?\)/g) {
        my ($file, $anchor) = ($1 eq '' ? $page : $1, $2 // '');
        next if $file =~ /^https?:/;
        $linked{"$file$anchor"} = 1 if $page eq 'README.md';
        my $found = -e "$docs/$file" && ($anchor eq '' || $file =~ m{/} || $anchors{"$file$anchor"});
        push @dead, "$file$anchor" unless $found;
    }
    ok(!@dead, "$page: its links lead somewhere") or diag("dead: @dead");
}
my $object = qr/^(queue|kv|cron|pgqueue)\.\w+$/;
my @entries = grep { $anchors{$_}{name} =~ $object } keys %anchors;
my @named = grep { $anchors{$_} && $anchors{$_}{name} =~ $object } keys %linked;
same_names(\@named, \@entries, 'README.md: the index has everything');

done_testing();
