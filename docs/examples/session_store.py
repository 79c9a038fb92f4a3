#!/usr/bin/env python3
"""Sessions of a web application, kept in kv.

Shows: kv.set_json with a ttl at login; kv.get_json and kv.touch in one round trip for each request, so that the end
slides; kv.set_json with if_present and keep_ttl for a change; kv.delete at logout. An expired session is gone for every
function, at once, and nobody has to sweep.

Run:   python3 session_store.py          a walk through it all; or import SessionStore
Needs: psycopg 3 (Debian: python3-psycopg). PGHOST, PGDATABASE and so on say where the server is. The role needs CREATE
       on the database, once, to make the store.
"""
import hashlib
import secrets
import sys
import time

import psycopg
from psycopg.types.json import Jsonb


class SessionStore:
    """Sessions that end `ttl` seconds after their last request. The connection is in autocommit mode."""

    def __init__(self, conn, ttl=1800.0, store="sessions"):
        self.conn, self.ttl, self.store = conn, ttl, store
        conn.execute("SELECT kv.create_store(%s)", (store,))  # false: it is there already

    @staticmethod
    def key(token):
        # What lies in the database, or in a backup of it, is no token that somebody could use.
        return "session:" + hashlib.sha256(token.encode()).hexdigest()

    def login(self, data):
        """Makes a session and returns its token, for the cookie."""
        token = secrets.token_urlsafe(32)
        stored = self.conn.execute(
            "SELECT kv.set_json(%s, %s, ttl => %s, mode => 'if_absent', store => %s)",
            (self.key(token), Jsonb(data), self.ttl, self.store),
        ).fetchone()[0]
        if not stored:
            raise RuntimeError("a session token was drawn twice")
        return token

    def request(self, token):
        """The session's data, or None where there is no such session (any more). Its ttl starts anew."""
        row = self.conn.execute(
            "SELECT kv.get_json(%(key)s, store => %(store)s) WHERE kv.touch(%(key)s, %(ttl)s, store => %(store)s)",
            {"key": self.key(token), "ttl": self.ttl, "store": self.store},
        ).fetchone()
        return row[0] if row else None

    def change(self, token, data):
        """Replaces the data. False: the session is gone, and a late request doesn't bring it back."""
        return self.conn.execute(
            "SELECT kv.set_json(%s, %s, mode => 'if_present', keep_ttl => true, store => %s)",
            (self.key(token), Jsonb(data), self.store),
        ).fetchone()[0]

    def logout(self, token):
        """False: there was no such session."""
        return self.conn.execute("SELECT kv.delete(%s, store => %s)", (self.key(token), self.store)).fetchone()[0]

    def seconds_left(self, token):
        """None: no such session. Doesn't touch it."""
        return self.conn.execute("SELECT kv.ttl(%s, store => %s)", (self.key(token), self.store)).fetchone()[0]


def walk_through(conn):
    sessions = SessionStore(conn)
    token = sessions.login({"user": "ada", "cart": []})
    print("login: a session for", sessions.request(token)["user"])

    before = sessions.seconds_left(token)
    while sessions.seconds_left(token) > before - 0.05:
        time.sleep(0.01)
    aged = sessions.seconds_left(token)
    sessions.request(token)
    print("request: the end slid" if sessions.seconds_left(token) > aged else "request: the end DID NOT slide")

    sessions.change(token, {"user": "ada", "cart": ["tea"]})
    print("change: the cart holds", *sessions.request(token)["cart"])

    print("somebody else's token:", sessions.request("guessed"))
    print("logout:", sessions.logout(token))
    print("after logout: request", sessions.request(token), "change", sessions.change(token, {}))

    short = SessionStore(conn, ttl=0.5)
    token = short.login({"user": "bob"})
    patience = time.monotonic() + 30
    while short.seconds_left(token) is not None:
        if time.monotonic() > patience:
            raise RuntimeError("the session doesn't expire")
        time.sleep(0.02)
    print("expired: request", short.request(token), "logout", short.logout(token))


def main():
    try:
        with psycopg.connect(autocommit=True) as conn:
            walk_through(conn)
    except psycopg.Error as error:
        sys.exit(f"session_store: {error}")


if __name__ == "__main__":
    main()
