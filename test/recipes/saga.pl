# The server dies in the middle of a step, once on the way there and once on the way back.
admin("UPDATE stock SET free = 100");
my $states = "SELECT count(*) = %d FROM kv.scan('trip/') WHERE value LIKE '%%\"done\"%%' OR value LIKE '%%\"undone\"%%'";
my $blocks = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND backend_type = 'pgqueue handler'";

my $holder = session('postgres');
$holder->run("BEGIN; SELECT * FROM stock WHERE what = 'hotel' FOR UPDATE");
admin(q[SELECT start_trip(5, '{"card": "good", "amount": 1}')]);
ok(until_true($blocks, 'the second step is under way'), 'a trip is in the middle of a step, and the server dies');
crash();
ok(until_true(sprintf($states, 5), 'the trip has gone on'), 'the trip goes on');
is(admin("SELECT kv.get_json('trip/5') ->> 'state'"), 'done', 'to its end');
is(admin("SELECT string_agg(what || free, ' ' ORDER BY what) FROM stock"), 'flight99 hotel99', 'each step was done once');

$holder = session('postgres');
$holder->run("BEGIN; SELECT * FROM bookings FOR UPDATE; LOCK TABLE payments");
admin(q[SELECT start_trip(6, '{"card": "expired", "amount": 1}')]);
ok(until_true("SELECT kv.get_json('trip/6') ->> 'state' = 'undoing hotel'", 'it is on its way back'), 'another is refused')
  or diag(admin("SELECT kv.get('trip/6')"));
$holder->run('COMMIT');
crash();
ok(until_true(sprintf($states, 6), 'it is undone'), 'the server dies on the way back, and goes on');
is(admin("SELECT kv.get('trip/6')"), '{"why": "the card has expired", "state": "undone"}', 'to its beginning');
is(admin("SELECT string_agg(what || free, ' ' ORDER BY what) FROM stock"), 'flight99 hotel99', 'each step was undone once');
is(admin("SELECT count(*) FROM queue.q_trips, queue.q_trips_back"), '0', 'nothing is left to do');
