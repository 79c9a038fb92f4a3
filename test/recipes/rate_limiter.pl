# A window ends although attempts go on, in both ways; many at one time are counted exactly; a rollback counts.
admin("CREATE FUNCTION quick(address text) RETURNS boolean LANGUAGE sql AS
    \$\$ SELECT kv.incr('quick/' || address, ttl => 3) <= 5 \$\$");
is(admin("SELECT count(*) FILTER (WHERE quick('a')) FROM generate_series(1, 9)"), '5', 'five of nine');
ok(until_true("SELECT quick('a')", 'a new window begins'), 'the window ends although attempts go on');

admin("UPDATE attempts SET window_ends = clock_timestamp()");
is(admin("SELECT may_try('203.0.113.7')"), 't', "the table's window ends as well");
is(admin('SELECT n FROM attempts'), '1', 'and the count starts anew');

my @callers = map { session() } 1 .. 4;
for my $limiter ("may_log_in('many')", "may_try('192.0.2.1')", "seconds_to_wait('many') = 0") {
    $_->start("SELECT count(*) FILTER (WHERE $limiter) FROM generate_series(1, 10) n") for @callers;
    my $sum = 0;
    $sum += $_->finish for @callers;
    is($sum, 5, "four callers at one time, $limiter: five may");
}
$callers[0]->run("BEGIN; SELECT may_log_in('undone'); ROLLBACK");
is(admin("SELECT kv.get('login/undone')"), '1', 'a rolled back attempt has counted');
