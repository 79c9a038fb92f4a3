# A row that is being refreshed while the purge runs: the naive one deletes it, as the page says, the page's doesn't.
admin("SELECT cron.unschedule('purge previews')");
admin("SELECT count(*) FROM cron.job_run_details WHERE status = 'running'");
ok(until_true("SELECT count(*) = 0 FROM cron.job_run_details WHERE status IN ('running', 'waiting')", 'no run is under way'),
    'the purge is off');

my ($reader, $purge) = (session(), session());
my $old = "INSERT INTO previews VALUES ('refreshed', 'x', now() - interval '1 h')
    ON CONFLICT (url) DO UPDATE SET expires_at = EXCLUDED.expires_at";
my $refresh = "BEGIN; UPDATE previews SET expires_at = now() + interval '1 h' WHERE url = 'refreshed'";

admin($old);
$reader->run($refresh);
$purge->start("DELETE FROM previews WHERE url IN (
    SELECT url FROM previews WHERE expires_at <= now() ORDER BY expires_at LIMIT 1000)");
ok(waits('the naive purge comes upon the row'), 'the naive purge waits for the refresh');
$reader->run('COMMIT');
$purge->finish;
is(admin("SELECT count(*) FROM previews WHERE url = 'refreshed'"), '0', 'and deletes the refreshed row');

admin($old);
$reader->run($refresh);
is($purge->run('CALL purge_previews()'), '', 'the right purge does not wait');
$reader->run('COMMIT');
is(admin("SELECT count(*) FROM previews WHERE url = 'refreshed'"), '1', 'and leaves the refreshed row alone');
is($purge->run('CALL purge_previews()'), '', 'nor later');
is(admin("SELECT count(*) FROM previews WHERE url = 'refreshed'"), '1', 'it is still there');

# An entry of kv that has expired is gone without a purge.
is(session()->run("SELECT kv.set('short', 'x', ttl => 0.05, store => 'pages')"), 't', 'an entry with a short life');
ok(until_true("SELECT kv.get('short', store => 'pages') IS NULL", 'it is gone'), 'is gone by itself');
