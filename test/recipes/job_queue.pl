# Workers that die, and one that is slow.
admin("SELECT queue.create('work', vt => 60); SELECT queue.grant('work', 'app', 'consume'); GRANT SELECT ON queue.q_work TO app");
admin("CREATE TABLE done (job bigint PRIMARY KEY); GRANT ALL ON done TO app");
admin("SELECT queue.send('work', '1')");

my $dies = session();
is($dies->run("BEGIN; SELECT message FROM queue.read('work'); INSERT INTO done VALUES (1);"), '1', 'one has the job');
my $other = session();
is($other->run("SELECT count(*) FROM queue.read('work')"), '0', 'nobody else gets it');
$dies->kill;
is($other->run("SELECT message FROM queue.read('work', wait => 30)"), '1', 'killed in its transaction: another has the job');
is($other->run('SELECT count(*) FROM done'), '0', 'and the work is undone');

# The lease of one that is slow runs out: it learns so from its receipt.
admin("SELECT queue.send('work', '2')");
my $slow = session();
$slow->run("SELECT msg_id, receipt FROM queue.read('work', vt => 0.1) \\gset");
is($other->run("SELECT message, read_ct FROM queue.read('work', wait => 30)"), '2|2', 'a lease that ran out: another has the job');
is($slow->run("SELECT count(*) FROM queue.set_vt('work', :msg_id, 60, :receipt)"), '0', 'the heartbeat says so');
is($slow->run("SELECT queue.delete('work', :msg_id, :receipt)"), 'f', 'and so does the delete');
