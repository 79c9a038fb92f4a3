#!/usr/bin/env python3
"""One leader among several processes.

Shows: kv.lock with wait, which answers a fencing token to one of them; kv.renew while it leads; work that is fenced by
kv.assert_lock in its own transaction; stepping down when the lock is lost; another leader when this one is killed. Lock
and renewal are on disk before they are answered, so a crash of the server grants nothing twice, and tokens only grow.

Run:   python3 leader_election.py [--ttl SECONDS]     in several terminals; kill one, or suspend it for a while
       psql -c 'SELECT * FROM election_log ORDER BY step DESC LIMIT 20'
Needs: psycopg 3 (Debian: python3-psycopg). PGHOST, PGDATABASE and so on say where the server is. The role needs CREATE
       on a schema of its search_path for the tables, and once, from the extension's owner:
       SELECT kv.grant('default', 'the_role', 'read'), kv.grant('default', 'the_role', 'write');
"""
import argparse
import os
import signal
import socket
import sys
import threading

import psycopg

LOCK = "example-leader"
ME = f"{socket.gethostname()[:40]}:{os.getpid()}"
stop = threading.Event()


def say(*words):
    print(ME, *words, flush=True)


class LockLost(Exception):
    pass


def make_tables(conn):
    with conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(hashtext('election'))")  # several start at a time
        conn.execute("CREATE TABLE IF NOT EXISTS election (token bigint NOT NULL, step bigint NOT NULL)")
        conn.execute("INSERT INTO election SELECT 0, 0 WHERE NOT EXISTS (SELECT FROM election)")
        conn.execute("CREATE TABLE IF NOT EXISTS election_log (step bigint PRIMARY KEY, token bigint, leader text)")


def work(conn, token):
    """One step of the leader's work, in one transaction."""
    with conn.transaction():
        # Raises lock_not_available where somebody else leads by now: all of this is rolled back.
        conn.execute("SELECT kv.assert_lock(%s, %s)", (LOCK, token))
        # The lock could still run out between here and the commit, if we are suspended right now. So the data carries
        # the token, too: who comes late with an old one changes nothing.
        row = conn.execute(
            "UPDATE election SET token = %s, step = step + 1 WHERE token <= %s RETURNING step", (token, token)
        ).fetchone()
        if row is None:
            raise LockLost
        conn.execute("INSERT INTO election_log VALUES (%s, %s, %s)", (row[0], token, ME))


def lead(conn, token, ttl):
    """Until the lock is lost, or we are to stop. Work that takes longer than a ttl renews from a thread of its own."""
    say("leads with token", token)
    try:
        while not stop.is_set():
            if not conn.execute("SELECT kv.renew(%s, %s, %s)", (LOCK, token, ttl)).fetchone()[0]:
                raise LockLost
            work(conn, token)
            stop.wait(ttl / 5)
    except (LockLost, psycopg.errors.LockNotAvailable):
        say("lost the lock, token", token)
        return
    conn.execute("SELECT kv.unlock(%s, %s)", (LOCK, token))  # the next one needn't wait for our ttl
    say("gave the lock back, token", token)


def run_for_leader(ttl):
    with psycopg.connect(autocommit=True) as conn:
        # A leader that is suspended inside a transaction must not keep its row locks.
        conn.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, false)", (f"{ttl}s",))
        make_tables(conn)
        say("runs for leader")
        while not stop.is_set():
            # A wait holds a snapshot for as long, so it is short, and starts again.
            token = conn.execute(
                "SELECT kv.lock(%s, %s, owner => %s, wait => %s)", (LOCK, ttl, ME, min(ttl, 5))
            ).fetchone()[0]
            if token is not None:
                lead(conn, token, ttl)


def main():
    parser = argparse.ArgumentParser(description="one leader among several processes")
    parser.add_argument("--ttl", type=float, default=10, help="seconds until a dead leader is replaced (10)")
    ttl = parser.parse_args().ttl
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.is_set():
        try:
            run_for_leader(ttl)
        except (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout) as error:
            # No connection, or no longer: we don't lead any more.
            say("connection:", str(error).strip().splitlines()[0])
            stop.wait(1)
        except psycopg.Error as error:
            sys.exit(f"leader_election: {error}")


if __name__ == "__main__":
    main()
