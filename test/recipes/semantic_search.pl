# A document that is changed while the model is at work keeps no stale vector; a worker that dies leaves its batch.
admin("SELECT queue.purge('embed')");
my ($one, $two) = (session(), session());
$one->run("INSERT INTO documents (body) VALUES ('a cat')");
$one->run("SELECT msg_id, receipt, message ->> 'id' AS id FROM queue.read('embed') \\gset");
$one->run('CREATE TEMP TABLE answers AS SELECT id, version, embed(body) AS embedding FROM documents WHERE id = :id');
$two->run("UPDATE documents SET body = 'a car' WHERE body = 'a cat'");
$one->run('UPDATE documents d SET embedding = a.embedding, embedded_version = a.version
    FROM answers a WHERE d.id = a.id AND d.version = a.version');
is($one->run("SELECT queue.delete('embed', :msg_id, :receipt)"), 't', 'the first version is done');
is(admin("SELECT embedding IS NULL FROM documents WHERE body = 'a car'"), 't', 'and has left no stale vector');
is(admin("SELECT ready FROM queue.metrics WHERE queue_name = 'embed'"), '1', 'the second version is in the queue');
