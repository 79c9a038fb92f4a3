# Two workers, a slow one, one that is killed, and an event that kills its workers.
admin("TRUNCATE events; INSERT INTO events (topic, payload) VALUES ('t', '1'), ('t', '2')");
my ($one, $two) = (session(), session());
$one->run('BEGIN');
is($one->run("SELECT payload FROM next_event('t')"), '1', 'one takes the first event');
is($two->run("SELECT payload FROM next_event('t')"), '2', 'another one does not wait for it');
$one->kill;
ok(until_true("SELECT count(*) = 1 FROM events WHERE status = 'new'", 'the event is back'), 'killed in its transaction: it is back');

admin("TRUNCATE events; INSERT INTO events (topic, payload) VALUES ('t', '3')");
my $slow = session();
$slow->run("SELECT id, attempts FROM next_event('t', '0 s') \\gset");
is($two->run("SELECT payload, attempts FROM next_event('t')"), '3|2', 'a lease that has run out: another has the event');
is($slow->run("SELECT event_done(:id, :attempts) IS NULL"), 't', 'the slow one is fenced off');
is(admin('SELECT status FROM events'), 'processing', 'and the event is still the other one\'s');

admin("TRUNCATE events; INSERT INTO events (topic, payload) VALUES ('t', '4')");
is($two->run("SELECT count(*) FROM next_event('t', '0 s')"), '1', "lease $_ without an end") for 1 .. 5;
is($two->run("SELECT count(*) FROM next_event('t', '0 s')"), '0', 'not a sixth time');
is(admin('SELECT status, error FROM events'), 'failed|no worker came back', 'it has failed');

# The index serves the search for the next one.
admin("INSERT INTO events (topic, payload, status) SELECT 't', '5', 'done' FROM generate_series(1, 20000)");
admin('ANALYZE events');
like(admin("EXPLAIN SELECT id FROM events WHERE status IN ('new', 'processing') AND due_at <= now() ORDER BY due_at LIMIT 1"),
    qr/events_due_at_idx/, 'the next one is found by the index');
