#!/usr/bin/env python3
"""A worker: reads in batches, keeps its leases while it works, and ends a message together with what was done for it.

Run:   python3 worker.py [QUEUE [LEASE]]     jobs, 30 seconds. Start as many as you like; SIGTERM stops one.
Needs: psycopg 3 (Debian: python3-psycopg); setup.sql. PGHOST, PGDATABASE and so on say where the server is.
"""
import signal
import sys
import threading
import time
from concurrent import futures

import psycopg
from psycopg.rows import namedtuple_row

QUEUE = sys.argv[1] if len(sys.argv) > 1 else "jobs"
LEASE = float(sys.argv[2]) if len(sys.argv) > 2 else 30.0
BATCH = 10
WAIT = 2  # seconds for which an idle worker may overlook SIGTERM

stop = threading.Event()
thread = futures.ThreadPoolExecutor(max_workers=1)


def work(job, attempt):
    """The slow part, outside of any transaction. Yours goes here: this one sleeps, and fails as the message says."""
    time.sleep(job["seconds"])
    if attempt <= job["failures"]:
        raise RuntimeError(f"job {job['id']}: attempt {attempt} failed")
    return f"attempt {attempt}"


class Database:
    conn = None

    def run(self, action, *args):
        """What action(conn, ...) answers. A lost connection is made anew, and the action done again: that is safe for
        all of them, since the receipt lets none take effect twice."""
        while True:
            try:
                if self.conn is None:
                    # No prepared statements, for the sake of PgBouncer before 1.21.
                    self.conn = psycopg.connect(autocommit=True, prepare_threshold=None, row_factory=namedtuple_row)
                return action(self.conn, *args)
            except psycopg.OperationalError as error:
                say("connection:", str(error).strip().splitlines()[0])
                if self.conn is not None:
                    self.conn.close()
                    self.conn = None
                if stop.is_set():
                    sys.exit("stopped without a connection: what was in hand comes back when its lease runs out")
                stop.wait(0.5)


def read(conn):
    return conn.execute("SELECT * FROM queue.read(%s, vt => %s, qty => %s)", (QUEUE, LEASE, BATCH)).fetchall()


def wait(conn):
    conn.execute("CALL queue.wait(%s, %s)", (QUEUE, WAIT))


def renew(conn, hand, seconds):
    """Moves the end of all leases in hand, and lets go of those that somebody else has by now."""
    kept = conn.execute(
        "SELECT msg_id FROM queue.set_vt_batch(%s, %s, %s, %s)", (QUEUE, list(hand), seconds, list(hand.values()))
    ).fetchall()
    for msg_id in hand.keys() - {row.msg_id for row in kept}:
        say("lost the lease of", msg_id)
        del hand[msg_id]


def finish(conn, m, result):
    """The ack and the result, both or neither. False: the lease was lost, and so the work was somebody else's."""
    with conn.transaction():
        if not conn.execute("SELECT queue.delete(%s, %s, %s)", (QUEUE, m.msg_id, m.receipt)).fetchone()[0]:
            return False
        conn.execute("INSERT INTO results VALUES (%s, %s, %s)", (QUEUE, m.message["id"], result))
    return True


def give_up(conn, m, error):
    conn.execute("SELECT queue.nack(%s, %s, %s, error => %s)", (QUEUE, m.msg_id, m.receipt, str(error)))


def handle(db, m, hand):
    future = thread.submit(work, m.message, m.read_ct)
    while futures.wait([future], LEASE / 3).not_done:
        db.run(renew, hand, LEASE)
    try:
        done = db.run(finish, m, future.result())
        say("done" if done else "too late, the lease was lost:", m.msg_id)
    except Exception as error:  # of the work or of its INSERT: the message's fault, not ours
        say("failed:", error)
        db.run(give_up, m, error)


def say(*words):
    print(*words, flush=True)


def main():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    db = Database()
    while not stop.is_set():
        batch = db.run(read)
        if not batch:
            db.run(wait)
        hand = {m.msg_id: m.receipt for m in batch}
        for m in batch:
            if not stop.is_set() and m.msg_id in hand:
                handle(db, m, hand)
                hand.pop(m.msg_id, None)
        if hand:
            db.run(renew, hand, 0)  # to stop is to give the rest back, at once
            say("gave back", len(hand))


if __name__ == "__main__":
    main()
