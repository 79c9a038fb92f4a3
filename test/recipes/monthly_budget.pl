# The sums are those of a loop, for random figures, and don't depend on the session's time zone.
admin("INSERT INTO budgets VALUES ('random', '2023-01-01', 100);
    SELECT setseed(0.5);
    INSERT INTO expenses (category, amount, spent_at)
    SELECT 'random', round((random() * 60)::numeric, 2), '2022-12-31 23:00+00'::timestamptz + random() * interval '500 days'
    FROM generate_series(1, 60)");
is(admin(q[
    WITH RECURSIVE rows AS (SELECT *, row_number() OVER (ORDER BY month) n FROM budget WHERE category = 'random'),
    walk AS (
        SELECT n, planned - spent AS plain, greatest(planned - spent, 0) AS forgiving FROM rows WHERE n = 1
        UNION ALL
        SELECT r.n, w.plain + planned - spent, greatest(w.forgiving + planned - spent, 0)
        FROM walk w JOIN rows r ON r.n = w.n + 1)
    SELECT count(*) > 12, bool_and(w.plain = r.left_over), bool_and(w.forgiving = f.left_over),
        bool_and(r.carried_over = r.left_over - r.planned + r.spent)
    FROM walk w JOIN rows r USING (n) JOIN forgiving_budget f ON f.category = 'random' AND f.month = r.month]),
    't|t|t|t', 'the windows agree with a walk month by month');
my $here = admin('SELECT md5(string_agg(b::text, E\'\n\' ORDER BY category, month)) FROM budget b');
for my $zone ('Pacific/Kiritimati', 'America/Los_Angeles') {
    is(admin("SET timezone = '$zone'; SELECT md5(string_agg(b::text, E'\n' ORDER BY category, month)) FROM budget b"),
        $here, "the same in $zone");
}
admin('RESET timezone');
