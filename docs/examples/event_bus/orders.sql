-- The publisher. It knows topics, not queues: who listens is none of its business.
--
-- Run: psql -f orders.sql    after setup.sql
\set ON_ERROR_STOP on
\set QUIET on
\pset format unaligned
\pset tuples_only on

-- The order and its event are one transaction. Nobody can see the one without the other, whatever crashes.
BEGIN;
INSERT INTO bus.orders VALUES (1, 'Ada', 'ada@example.com', 120);
SELECT 'copies of order.created: ' || queue.publish('order.created', '{"order": 1, "amount": 120}');
COMMIT;

-- Rolled back: there was no order, and so no event. A broker beside the database would have sent one by now.
BEGIN;
INSERT INTO bus.orders VALUES (2, 'Eve', 'eve@example.com', 999);
SELECT 'copies, all rolled back: ' || queue.publish('order.created', '{"order": 2, "amount": 999}');
ROLLBACK;

-- A savepoint is enough: only the second order of these two is there in the end.
BEGIN;
SAVEPOINT one;
INSERT INTO bus.orders VALUES (3, 'Eve', 'eve@example.com', 999);
SELECT 'copies, a savepoint:     ' || queue.publish('order.created', '{"order": 3, "amount": 999}');
ROLLBACK TO one;
INSERT INTO bus.orders VALUES (4, 'Bob', 'bob@example.com', 80);
SELECT 'copies of order.created: ' || queue.publish('order.created', '{"order": 4, "amount": 80}');
COMMIT;

-- Other topics reach other queues.
SELECT 'copies of order.paid:    ' || queue.publish('order.paid', '{"order": 1, "amount": 120}');
SELECT 'copies of the return:    ' || queue.publish('order.item.returned', '{"order": 1, "amount": -20}');
SELECT 'copies of user.deleted:  ' || queue.publish('user.deleted', '{"user": 1}');

-- Many at a time. Every fifth has an address to which no mail can go.
\o /dev/null
WITH placed AS (
    INSERT INTO bus.orders
    SELECT id, 'Customer ' || id, CASE WHEN id % 5 = 0 THEN 'nowhere' ELSE 'c' || id || '@example.com' END, id
    FROM generate_series(11, 30) AS id
    RETURNING id, amount)
SELECT queue.publish('order.created', jsonb_build_object('order', id, 'amount', amount)) FROM placed ORDER BY id;
