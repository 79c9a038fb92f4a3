# One connection, two users after each other, and a transaction that fails in between.
my $web = session('web');
$web->run("BEGIN; SELECT set_config('app.user_id', '1', true)");
is($web->run('SELECT text FROM notes'), 'call Ada', 'the own row');
$web->run('SELECT 1/0');
$web->run('ROLLBACK');
is($web->run('SELECT count(*) FROM notes'), '0', 'the connection has forgotten the user');
like($web->run("INSERT INTO notes (text) VALUES ('x')"), qr/violates row-level security/, 'nobody can write');
is($web->run("SELECT queue.send('reminders', '{\"user\": 1, \"note\": 1}')"), '1', 'web may send');

# The handler of the page, as web.
admin("SELECT queue.grant('reminders', 'web', 'consume')");
admin("SELECT queue.attach('reminders', 'remind', run_as => 'web')");
ok(until_true("SELECT count(*) = 1 FROM notes WHERE text = 'call Ada!'", 'the handler has worked'), 'a handler works for a user');
$web->run("SELECT queue.send('reminders', '{\"user\": 2, \"note\": 1}')");
ok(until_true('SELECT processed = 2 FROM queue.handlers', 'the second message is done'), 'for another user');
is(admin("SELECT text FROM notes WHERE user_id = 1"), 'call Ada!', "it changes nothing of somebody else's");
