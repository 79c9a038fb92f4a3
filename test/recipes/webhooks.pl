# A program that dies in mid-request, a slow one that answers for a message it has lost, and sixteen failures.
admin("SELECT queue.purge('webhooks')");
my ($one, $two) = (session(), session());
is($one->run("SELECT tell('order.sent', '{}')"), '1', 'one endpoint, the other is off');
my $event = admin("SELECT headers ->> 'event_id' FROM queue.q_webhooks");
$one->run("SELECT msg_id, receipt FROM queue.read('webhooks', vt => 0.1) \\gset");
is($two->run("SELECT headers ->> 'event_id' FROM queue.read('webhooks', wait => 30)"), $event, 'it dies: the same event again');
is($one->run('SELECT delivered(:msg_id, :receipt, 200)'), 'delivered', 'the first one answers late');
is(admin('SELECT count(*) FROM queue.q_webhooks'), '1', 'which deletes nothing');

admin("SELECT queue.purge('webhooks')");
$one->run("SELECT tell('order.sent', '{}')");
for my $attempt (1 .. 16) {
    $one->run("SELECT msg_id, receipt FROM queue.read('webhooks', wait => 30) \\gset");
    $one->run('SELECT delivered(:msg_id, :receipt, 500, 0)');
}
is(admin("SELECT headers -> 'dead_letter' ->> 'attempts', headers -> 'dead_letter' ->> 'error' FROM queue.peek('webhooks_dead')"),
    '16|HTTP 500', 'sixteen failures make a dead letter');
