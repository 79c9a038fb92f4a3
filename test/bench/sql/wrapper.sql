-- A queue of functions around a table with a visibility timeout, in the style of the
-- well-known extension of that kind: one table a queue, its name put together at run
-- time, hence dynamic SQL in every call.
CREATE SCHEMA wrapper;

CREATE FUNCTION wrapper.create(queue text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE TABLE wrapper.%I (
            msg_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            read_ct     integer NOT NULL DEFAULT 0,
            enqueued_at timestamptz NOT NULL DEFAULT now(),
            vt          timestamptz NOT NULL,
            message     jsonb,
            headers     jsonb)', 'q_' || queue);
    EXECUTE format('CREATE INDEX ON wrapper.%I (vt)', 'q_' || queue);
    EXECUTE format(
        'CREATE TABLE wrapper.%I (
            msg_id      bigint PRIMARY KEY,
            read_ct     integer NOT NULL,
            enqueued_at timestamptz NOT NULL,
            archived_at timestamptz NOT NULL DEFAULT now(),
            vt          timestamptz NOT NULL,
            message     jsonb,
            headers     jsonb)', 'a_' || queue);
END $$;

CREATE FUNCTION wrapper.drop(queue text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS wrapper.%I, wrapper.%I', 'q_' || queue, 'a_' || queue);
END $$;

CREATE FUNCTION wrapper.send(queue text, message jsonb, headers jsonb DEFAULT NULL,
                             visible_at timestamptz DEFAULT clock_timestamp())
RETURNS SETOF bigint LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'INSERT INTO wrapper.%I (vt, message, headers) VALUES ($1, $2, $3) RETURNING msg_id',
        'q_' || queue)
    USING visible_at, message, headers;
END $$;

CREATE FUNCTION wrapper.send_batch(queue text, messages jsonb[],
                                   visible_at timestamptz DEFAULT clock_timestamp())
RETURNS SETOF bigint LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'INSERT INTO wrapper.%I (vt, message) SELECT $1, unnest($2) RETURNING msg_id',
        'q_' || queue)
    USING visible_at, messages;
END $$;

CREATE TYPE wrapper.message AS (
    msg_id bigint, read_ct integer, enqueued_at timestamptz, vt timestamptz,
    message jsonb, headers jsonb);

CREATE FUNCTION wrapper.read(queue text, vt double precision, qty integer)
RETURNS SETOF wrapper.message LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'WITH due AS (
            SELECT msg_id FROM wrapper.%1$I
            WHERE vt <= clock_timestamp()
            ORDER BY msg_id
            LIMIT $1
            FOR UPDATE SKIP LOCKED)
         UPDATE wrapper.%1$I q
         SET vt = clock_timestamp() + make_interval(secs => $2), read_ct = q.read_ct + 1
         FROM due WHERE q.msg_id = due.msg_id
         RETURNING q.msg_id, q.read_ct, q.enqueued_at, q.vt, q.message, q.headers',
        'q_' || queue)
    USING qty, vt;
END $$;

CREATE FUNCTION wrapper.pop(queue text, qty integer DEFAULT 1)
RETURNS SETOF wrapper.message LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'WITH due AS (
            SELECT msg_id FROM wrapper.%1$I
            WHERE vt <= clock_timestamp()
            ORDER BY msg_id
            LIMIT $1
            FOR UPDATE SKIP LOCKED)
         DELETE FROM wrapper.%1$I q USING due WHERE q.msg_id = due.msg_id
         RETURNING q.msg_id, q.read_ct, q.enqueued_at, q.vt, q.message, q.headers',
        'q_' || queue)
    USING qty;
END $$;

CREATE FUNCTION wrapper.delete(queue text, id bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    gone bigint;
BEGIN
    EXECUTE format('DELETE FROM wrapper.%I WHERE msg_id = $1 RETURNING msg_id', 'q_' || queue)
    USING id INTO gone;
    RETURN gone IS NOT NULL;
END $$;

CREATE FUNCTION wrapper.delete_batch(queue text, ids bigint[]) RETURNS SETOF bigint
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'DELETE FROM wrapper.%I WHERE msg_id = ANY ($1) RETURNING msg_id', 'q_' || queue)
    USING ids;
END $$;

CREATE FUNCTION wrapper.archive(queue text, id bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    moved bigint;
BEGIN
    EXECUTE format(
        'WITH gone AS (
            DELETE FROM wrapper.%I WHERE msg_id = $1
            RETURNING msg_id, read_ct, enqueued_at, vt, message, headers)
         INSERT INTO wrapper.%I (msg_id, read_ct, enqueued_at, vt, message, headers)
         SELECT msg_id, read_ct, enqueued_at, vt, message, headers FROM gone
         RETURNING msg_id', 'q_' || queue, 'a_' || queue)
    USING id INTO moved;
    RETURN moved IS NOT NULL;
END $$;
