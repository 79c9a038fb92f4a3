# Refreshing with one token twice at a time, and beside a sign-out.
my $sign_in = "SELECT session, refresh FROM auth.sign_in('https://accounts.example.com', '7', 'bob\@example.com', 'Bob') \\gset";
my ($one, $two) = (session(), session());

$one->run($sign_in);
my $refresh = $one->run("\\echo :refresh");
$one->run('BEGIN');
$one->run("SELECT session, refresh FROM auth.refresh('$refresh') \\gset");
$two->start("SELECT count(*) FROM auth.refresh('$refresh')");
ok(waits('the second refresh waits'), 'a second refresh with the same token waits for the first');
$one->run('COMMIT');
is($two->finish, '0', 'it gets no token');
is($one->run("SELECT auth.user_of(:'session') IS NULL, count(*) FROM auth.refresh(:'refresh')"), 't|0',
    'and the sign-in is over, the newest token included');
is(admin('SELECT count(*) FROM auth.logins'), '0', 'nothing is left of it');

# A sign-out meets a refresh that isn't committed.
$one->run($sign_in);
my $login = admin('SELECT max(id) FROM auth.logins');
$one->run('BEGIN');
$one->run("SELECT session, refresh FROM auth.refresh(:'refresh') \\gset");
$two->start("SELECT auth.sign_out($login)");
ok(waits('the sign-out waits'), 'a sign-out waits for a refresh');
$one->run('COMMIT');
$two->finish;
is($one->run("SELECT auth.user_of(:'session') IS NULL"), 't', 'and ends the session that it made');
is(admin("SELECT count(*) FROM kv.scan(store => 'sessions')"), '0', 'no session is left');

# Somebody signs in for the first time, twice at the same moment.
$one->run('BEGIN');
$one->run($sign_in =~ s/'7'/'8'/r);
$two->start($sign_in =~ s/'7'/'8'/r);
ok(waits('the second sign-in waits'), 'of two first sign-ins one waits');
$one->run('COMMIT');
$two->finish;
is(admin("SELECT count(DISTINCT user_id), count(*) FROM auth.logins"), '1|2', 'one user, two logins');

# A purge of what ends within two hours meets a refresh.
admin("UPDATE auth.logins SET expires_at = now() + interval '1 h'");
$one->run('BEGIN');
is($one->run("SELECT count(*) FROM auth.refresh(:'refresh')"), '1', 'a login is refreshed');
$two->start("DELETE FROM auth.logins WHERE expires_at <= now() + interval '2 h'");
ok(waits('the purge waits'), 'the purge comes upon it');
$one->run('COMMIT');
$two->finish;
is(admin('SELECT count(*) FROM auth.logins'), '1', 'and removes the other one only');
