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

admin(<<'SQL');
CREATE FUNCTION held_up() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN OLD; END';
CREATE TRIGGER held_up BEFORE DELETE ON bookings FOR EACH ROW EXECUTE FUNCTION held_up();
SQL
$holder = session('postgres');
$holder->run('SELECT pg_advisory_lock(1)');
admin(q[SELECT start_trip(6, '{"card": "expired", "amount": 1}')]);
ok(until_true("SELECT kv.get_json('trip/6') ->> 'state' = 'undoing hotel'", 'it is on its way back'), 'another is refused')
  or diag(admin("SELECT kv.get('trip/6')"));
ok(until_true($blocks, 'the step back is under way'), 'in the middle of a step back');
crash();
ok(until_true(sprintf($states, 6), 'it is undone'), 'the server dies on the way back, and goes on');
is(admin("SELECT kv.get('trip/6')"), '{"why": "the card has expired", "state": "undone"}', 'to its beginning');
is(admin("SELECT string_agg(what || free, ' ' ORDER BY what) FROM stock"), 'flight99 hotel99', 'each step was undone once');
is(admin("SELECT count(*) FROM queue.q_trips, queue.q_trips_back"), '0', 'nothing is left to do');
