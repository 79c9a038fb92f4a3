# Two tabs at the same moment; two changes of one blob.
my ($one, $two) = (session(), session());
my $subscribe = q[INSERT INTO subscriptions (data) VALUES ('{"customer": 2, "plan": "video", "status": "active"}')
    ON CONFLICT ((data ->> 'customer'), (data ->> 'plan')) WHERE data ->> 'status' = 'active'
    DO UPDATE SET data = subscriptions.data || EXCLUDED.data];
$one->run("BEGIN; $subscribe");
$two->start($subscribe);
ok(waits('the second tab waits'), 'the second tab waits');
$one->run('COMMIT');
is($two->finish, '', 'and finds the first');
is(admin(q[SELECT count(*) FROM subscriptions WHERE data @> '{"customer": 2}']), '1', 'it is one subscription');

my $change = q[UPDATE subscriptions SET data = data || '{"%s": 1}' WHERE data @> '{"customer": 2}'];
$one->run('BEGIN; ' . sprintf $change, 'a');
$two->start(sprintf $change, 'b');
ok(waits('the second change waits'), 'a second change waits for the first');
$one->run('COMMIT');
$two->finish;
is(admin(q[SELECT data ? 'a' AND data ? 'b' FROM subscriptions WHERE data @> '{"customer": 2}']), 't', 'none is lost');
