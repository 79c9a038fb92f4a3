# A change that commits late is seen, too; and a burst is refreshed a few times, not once a change.
my ($one, $two) = (session(), session());
admin("SELECT cron.unschedule('sales by product')");
$one->run("BEGIN; INSERT INTO sales (product, amount) VALUES ('late', 1)");
$two->run("INSERT INTO sales (product, amount) VALUES ('early', 1)");
ok(until_true("SELECT count(*) = 1 FROM sales_by_product WHERE product = 'early'", 'the early one is there'), 'an early commit');
$one->run('COMMIT');
ok(until_true("SELECT count(*) = 1 FROM sales_by_product WHERE product = 'late'", 'the late one is there'), 'a late commit');
my $before = admin('SELECT processed FROM queue.handlers');
$two->run("INSERT INTO sales (product, amount) VALUES ('burst', 1)") for 1 .. 50;
ok(until_true("SELECT sold = 50 FROM sales_by_product WHERE product = 'burst'", 'the burst is there'), 'a burst of changes');
ok(admin('SELECT processed FROM queue.handlers') - $before < 50, 'refreshed fewer times than there were changes');
