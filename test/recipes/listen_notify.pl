# One that comes late, one that is gone while a message is sent, and one that waits in the server.
my $late = session();
admin("SELECT queue.send('mails', '{\"to\": \"bob\"}')");
$late->run('LISTEN "queue.mails"');
my $printed = '';
my $deadline = time + 60;
$printed .= $late->run('SELECT 1') until $printed =~ /Asynchronous/ || time > $deadline;
like($printed, qr/notification "queue.mails" with payload "mails"/, 'hears of it all the same');

admin("SELECT queue.purge('mails')");
my $waits = session();
$waits->start("CALL queue.wait('mails', 300)");
ok(until_true("SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'CALL queue.wait%' AND backend_xmin IS NULL
    AND state = 'active'", 'somebody waits'), 'one waits in the server, without a snapshot');
admin("SELECT queue.send('mails', '{}')");
is($waits->finish, '', 'and returns when something is sent, long before the end of its time');
