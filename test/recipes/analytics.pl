# What else it might try, after it has switched off the read-only setting; and tables that come later.
my $analyst = session('analyst');
$analyst->run('SET default_transaction_read_only = off');
for my $try (
    'CREATE TABLE public.t (a int)',
    'CREATE SCHEMA s',
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT queue.publish('t', '1')",
    "SELECT queue.create('mine')",
    "SELECT queue.send('orders', '1')",
    "SELECT queue.delete('orders', 1)",
    "SELECT kv.set('k', 'v')",
    "SELECT kv.get('k')",
    "SELECT kv.create_store('mine')",
    'SELECT email FROM shop.orders') {
    like($analyst->run($try), qr/ERROR:  permission denied/, "refused: $try");
}
session()->run('CREATE TABLE reports.later AS SELECT 1 AS a');
is($analyst->run('SELECT * FROM reports.later'), '1', 'a table that came later may be read');
is($analyst->run('DELETE FROM reports.later') =~ /permission denied/, 1, 'and not written');
