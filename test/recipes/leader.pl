# A leader that is gone without a word, and one that wakes up late; the lock outlives a crash.
my ($one, $two) = (session(), session());
$one->run("SELECT kv.lock('gone', 0.2) AS token \\gset");
my $first = $one->run('\echo :token');
my $second = $two->run("SELECT kv.lock('gone', 100, wait => 30)");
cmp_ok($second, '>', $first, 'another takes over, with a higher token');
like($one->run("BEGIN; INSERT INTO invoice_numbers VALUES (true, 0, 0) ON CONFLICT DO NOTHING;
    SELECT kv.assert_lock('gone', :token)"), qr/ERROR:/, 'the late one is told in its transaction');
$one->run('ROLLBACK');
is($one->run("SELECT kv.renew('gone', :token, 10), kv.unlock('gone', :token)"), 'f|f', 'and can neither renew nor unlock');
crash();
$two = session();
is($two->run("SELECT kv.lock('gone', 100) IS NULL, kv.renew('gone', $second, 100)"), 't|t', 'a crash of the server changes nothing');
