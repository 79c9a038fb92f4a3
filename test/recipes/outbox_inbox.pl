# A relay that dies after it has told; the gap of ids in a table that is read by id; two at the same moment.
admin("SELECT queue.purge('outbox')");
my ($one, $two) = (session(), session());
$one->run("SELECT tell(7, 'created'), tell(7, 'paid'), tell(8, 'created')");
is($two->run("SELECT headers ->> 'event_id' FROM queue.read('outbox', vt => 0.1)"), 'orders/7/created', 'a relay reads');
$two->kill;
ok(until_true("SELECT ready = 3 FROM queue.metrics WHERE queue_name = 'outbox'", 'the lease has ended'), 'it dies: the lease ends');
is($one->run("SELECT string_agg(headers ->> 'event_id', ' ' ORDER BY msg_id) FROM queue.read('outbox', qty => 9)"),
    'orders/7/created orders/7/paid orders/8/created', 'the event comes again, with the same id, and in order');

# Two relays: what one has out of an order keeps the rest of that order back.
admin("SELECT queue.purge('outbox')");
$one->run("SELECT tell(7, 'created'), tell(7, 'paid'), tell(8, 'created')");
is($one->run("SELECT headers ->> 'event_id' FROM queue.read('outbox')"), 'orders/7/created', 'one relay has an order');
my $other = session();
is($other->run("SELECT headers ->> 'event_id' FROM queue.read('outbox', qty => 9)"), 'orders/8/created', 'another one the other');

# The usual outbox: read by id, it misses what commits late.
admin('CREATE TABLE outbox (id bigserial PRIMARY KEY, event text); GRANT ALL ON outbox, outbox_id_seq TO app');
$one->run("BEGIN; INSERT INTO outbox (event) VALUES ('early, commits late')");
$other->run("INSERT INTO outbox (event) VALUES ('late, commits early')");
my $last = admin('SELECT max(id) FROM outbox');
$one->run('COMMIT');
is(admin("SELECT count(*) FROM outbox WHERE id > $last"), '0', 'a table that is read by id: the early one is never told');

# Two at the same moment, the first of which fails.
my $call = "SELECT receive('shop', 'orders/9/paid', '{\"order\": 9, \"event\": \"paid\"}')";
$one->run("BEGIN; $call");
$other->start($call);
ok(waits('the second waits'), 'the second waits for the first');
$one->run('ROLLBACK');
is($other->finish, 't', 'which fails: the second does the work');
$one->run("BEGIN; $call");
is($one->run('COMMIT') . admin('SELECT count(*) FROM invoices WHERE order_id = 9'), '1', 'once');
