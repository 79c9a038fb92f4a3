#!/usr/bin/env python3
"""The consumer `billing`: books each event, in the transaction that ends its message.

Run:   python3 billing.py      Start as many as you like, and kill them at any moment.
Needs: psycopg 3 (Debian: python3-psycopg); setup.sql. PGHOST, PGDATABASE and so on say where the server is.
"""
import psycopg


def book_one(conn):
    """False: there was nothing to do."""
    with conn.transaction():
        row = conn.execute(
            "SELECT msg_id, receipt, headers ->> 'topic', message FROM queue.read('billing')"
        ).fetchone()
        if row is None:
            return False
        msg_id, receipt, topic, event = row
        conn.execute("INSERT INTO bus.ledger VALUES (%s, %s, %s)", (event["order"], topic, event["amount"]))
        conn.execute("SELECT queue.delete('billing', %s, %s)", (msg_id, receipt))
    # Committed: the entry is there and the message is gone. An error or a crash before this line undoes both, and the
    # message is handed out again at once: no state `processing` in which it could be forgotten.
    return True


def main():
    with psycopg.connect(autocommit=True) as conn:
        while True:
            # Until there is something. It looks at the queue first, so it doesn't matter how long nobody listened; and
            # it is outside of the transaction, which would hold a snapshot for as long.
            conn.execute("CALL queue.wait('billing', 20)")
            while book_one(conn):
                pass


if __name__ == "__main__":
    main()
