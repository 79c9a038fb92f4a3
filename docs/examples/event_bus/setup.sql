-- The event bus: the tables of the business, a queue for each consumer, and what each of them wants to hear.
--
-- Run: psql -f setup.sql    It starts anew each time: what is left of an earlier run is dropped.
-- The role needs CREATE on the database.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
\o /dev/null

SELECT queue.drop(name) FROM unnest(ARRAY['billing', 'search', 'mail', 'mail_dead']) AS name;
DROP SCHEMA IF EXISTS bus CASCADE;
CREATE SCHEMA bus;

CREATE TABLE bus.orders (
    id bigint PRIMARY KEY,
    customer text NOT NULL,
    email text NOT NULL,
    amount numeric NOT NULL CHECK (amount > 0)
);

-- What the consumers do. The keys would refuse a second time: nothing below says ON CONFLICT, since there is none.
CREATE TABLE bus.ledger (order_id bigint, event text, amount numeric, PRIMARY KEY (order_id, event));
CREATE TABLE bus.search_index (order_id bigint, event text, document text, PRIMARY KEY (order_id, event));
CREATE TABLE bus.mails (order_id bigint PRIMARY KEY, recipient text NOT NULL, body text NOT NULL);

-- billing: nothing special. What fails is rolled back, and comes again.
SELECT queue.create('billing');
SELECT queue.bind('order.*', 'billing');            -- order.created, order.paid; not order.item.returned

-- search: slow. A short lease, so that a crash is noticed soon; its worker renews it for as long as it works.
SELECT queue.create('search', vt => 5);
SELECT queue.bind('order.#', 'search');             -- everything about orders

-- mail: fails at times. Three attempts, with a pause that doubles, then a queue for a human to look at.
SELECT queue.create('mail_dead');
SELECT queue.create('mail', max_attempts => 3, backoff => 0.2, backoff_max => 60, dead_letter => 'mail_dead');
SELECT queue.bind('*.created', 'mail');

-- This one has no program: the server calls the function for each message. The row and the message's end are one
-- transaction. A mail itself can't be rolled back, so what is written here is an outbox, for a program that sends mails.
CREATE FUNCTION bus.write_mail(m queue.message) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    o bus.orders;
BEGIN
    SELECT * INTO STRICT o FROM bus.orders WHERE id = (m.message ->> 'order')::bigint;
    IF o.email NOT LIKE '%_@_%' THEN
        RAISE EXCEPTION 'order %: "%" is no mail address', o.id, o.email;
    END IF;
    INSERT INTO bus.mails VALUES (o.id, o.email, format('Dear %s, thank you for %s.', o.customer, o.amount));
END
$$;
SELECT queue.attach('mail', 'bus.write_mail', concurrency => 2);
