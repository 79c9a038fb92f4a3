# Messages from nothing to 50 MB through send, read, archive and delete; compressed ones, and ones that come out of
# another table's TOAST.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgQueueTest;
use Test::More;

my $node = queue_node('big', conf => "max_wal_size = 4GB\nlog_statement = none");

# A text that doesn't compress: of `bytes` characters, or of as many that do.
sql($node, <<'SQL');
SELECT queue.create('q', vt => 600);
CREATE FUNCTION noise(bytes int, seed int) RETURNS text LANGUAGE sql AS
$$ SELECT left(string_agg(encode(sha512(int4send(i) || int4send(seed)), 'base64'), ''), bytes)
   FROM generate_series(1, bytes / 88 + 1) i $$;
CREATE TABLE sent (msg_id bigint, digest text, bytes bigint);
SQL

my $work = sub {
    my ($what) = @_;
    # Read whole, in order; one half deleted, the other archived.
    is(sql($node, <<'SQL'), 't', "$what: every byte arrives");
SELECT coalesce(bool_and(md5(m.message::text) IS NOT DISTINCT FROM s.digest AND s.msg_id IS NOT NULL), false)
FROM queue.read('q', qty => 1000) m LEFT JOIN sent s USING (msg_id)
SQL
    is(sql($node, 'SELECT count(*) FROM queue.q_q WHERE read_ct <> 1'), '0', "$what: all of them");
    sql($node, "SELECT queue.archive('q', msg_id) FROM queue.q_q WHERE msg_id % 2 = 0");
    is(sql($node, <<'SQL'), 't', "$what: the archive has the same");
SELECT bool_and(md5(a.message::text) IS NOT DISTINCT FROM s.digest) FROM queue.a_q a LEFT JOIN sent s USING (msg_id)
SQL
    sql($node, "SELECT queue.delete('q', msg_id) FROM queue.q_q; TRUNCATE queue.a_q, sent");
    is(sql($node, 'SELECT count(*) FROM queue.q_q'), '0', "$what: and all acked");
};

# Small ones around the sizes at which rows are compressed and stored elsewhere; no message, and the shortest.
sql($node, <<'SQL');
INSERT INTO sent SELECT queue.send('q', m, h), md5(m::text), 0
FROM (VALUES (NULL::jsonb, NULL::jsonb), ('""', NULL), ('{}', '{}'), ('null', '{"a": 1}'), (NULL, '{"b": 2}')) v(m, h);
INSERT INTO sent SELECT queue.send('q', m), md5(m::text), bytes
-- OFFSET 0: computed once
FROM (SELECT to_jsonb(noise(bytes, bytes)) AS m, bytes FROM generate_series(1, 9000, 450) bytes
      UNION ALL SELECT to_jsonb(repeat('a', bytes)), bytes FROM generate_series(1, 900000, 90000) bytes
      UNION ALL SELECT to_jsonb(noise(bytes, 1)), bytes FROM unnest(ARRAY[1980, 1990, 1996, 1997, 2000, 2030, 8100, 8160]) bytes OFFSET 0) x;
SQL
is(sql($node, 'SELECT count(*) FROM queue.q_q WHERE message IS NULL'), '2', 'bare signals');
$work->('small');

# Headers and message both large.
sql($node, "SELECT queue.send('q', to_jsonb(noise(100000, 1)), jsonb_build_object('h', noise(100000, 2)))");
is(sql($node, "SELECT md5(message::text) = md5(to_jsonb(noise(100000, 1))::text), headers ->> 'h' = noise(100000, 2) FROM queue.pop('q')"),
    't|t', 'large headers beside a large message');

# Large ones, up to 50 MB.
sql($node, <<'SQL');
INSERT INTO sent SELECT queue.send('q', m), md5(m::text), bytes
FROM (SELECT to_jsonb(noise(bytes, bytes)) AS m, bytes FROM unnest(ARRAY[100000, 1000000, 10000000]) bytes OFFSET 0) x;
INSERT INTO sent SELECT queue.send('q', m), md5(m::text), length(m::text)
FROM (SELECT to_jsonb(repeat('0123456789', 5000000)) AS m OFFSET 0) x;
SQL
is(sql($node, 'SELECT max(bytes) FROM sent'), '50000002', 'fifty million characters');
$work->('large');

# A batch with several large ones among small ones.
sql($node, <<'SQL');
WITH m AS (SELECT array_agg(CASE WHEN i % 5 = 0 THEN to_jsonb(noise(700000, i)) ELSE to_jsonb(i) END ORDER BY i) AS messages
           FROM generate_series(1, 30) i)
INSERT INTO sent
SELECT id, md5(messages[n]::text), 0 FROM m, LATERAL queue.send_batch('q', messages) WITH ORDINALITY AS s(id, n);
SQL
$work->('batch');

# Out of another table, where they lie compressed, outside of the row, or both. Then that row goes, and VACUUM takes what
# belonged to it: the message must be a copy of its own.
for my $storage ('extended', 'external', 'main') {
    sql($node, <<SQL);
CREATE TABLE src (id int, big jsonb);
ALTER TABLE src ALTER big SET STORAGE $storage;
INSERT INTO src SELECT i, to_jsonb(noise(40000 * i, i)) FROM generate_series(1, 5) i;
INSERT INTO src SELECT i, to_jsonb(repeat(md5(i::text), 3000)) FROM generate_series(6, 10) i;
INSERT INTO sent SELECT queue.send('q', t.big), md5(t.big::text), 0 FROM src t;
INSERT INTO sent SELECT id, md5(big::text), 0
FROM (SELECT array_agg(big ORDER BY id) AS all_of_them FROM src) a, LATERAL queue.send_batch('q', all_of_them)
     WITH ORDINALITY AS s(id, n), LATERAL (SELECT all_of_them[n] AS big) m;
DELETE FROM src;
SQL
    sql($node, 'VACUUM src');
    sql($node, 'DROP TABLE src');
    $work->("storage $storage");
}

# A message read by one statement stays whole when the next one deletes it.
sql($node, "SELECT queue.send('q', to_jsonb(noise(500000, 9)))");
is(sql($node, <<'SQL'), 't', 'read and deleted in one transaction, looked at afterwards');
BEGIN;
CREATE TEMP TABLE kept AS SELECT * FROM queue.read('q');
SELECT FROM kept, queue.delete('q', kept.msg_id);
COMMIT;
VACUUM queue."q_q#1";
SELECT md5(message::text) = md5(to_jsonb(noise(500000, 9))::text) FROM kept;
SQL
is(sql($node, q(SELECT count(*) FROM queue.q_q)), '0', 'it is acked');

# Dead messages give their TOAST back.
sql($node, 'VACUUM queue."q_q#1"');
is( sql($node, q(SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'queue."q_q#1"'::regclass)), '0',
    'nothing is left in the TOAST table');

check_storage($node);
check_log($node);
done_testing();
