"""Keys, counters and limits beside plain SQL on a table of keys, and beside Redis."""

import os
import re
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from statistics import median

from .horizon import Holder
from .load import Pgbench
from .server import BenchError, Session
from .workloads import Case, Sample, Workload

KEYS = 100_000
MANY = 1_000_000
VALUE = "x" * 100
MGET = 64
HELD_WINDOW = 5         # of the run that is measured, the last fifth

SETUP = f"""
SELECT kv.create_store('free', unlogged => true);
CREATE TABLE plain (key text PRIMARY KEY, value text, number bigint, expires_at timestamptz);
CREATE UNLOGGED TABLE plain_free (LIKE plain INCLUDING ALL);
INSERT INTO plain SELECT i, '{VALUE}' FROM generate_series(0, {KEYS - 1}) i;
INSERT INTO plain_free SELECT * FROM plain;
INSERT INTO plain VALUES ('hot', '{VALUE}', 0);
INSERT INTO plain_free VALUES ('hot', '{VALUE}', 0);
SELECT count(kv.set(i::text, '{VALUE}')) FROM generate_series(0, {KEYS - 1}) i;
SELECT count(kv.set(i::text, '{VALUE}', store => 'free')) FROM generate_series(0, {KEYS - 1}) i;
SELECT kv.set('hot', '{VALUE}');
SELECT kv.incr('count'), kv.incr('count', store => 'free');
"""

KEY = f"\\set key random(0, {KEYS - 1})\n"
NEW = "\\set key random(1000000000, 1000000000000000)\n"
UPSERT = ("INSERT INTO {table} (key, value) VALUES (:key, :message)"
          " ON CONFLICT (key) DO UPDATE SET value = excluded.value")
COUNT = ("INSERT INTO plain (key, number) VALUES ('count', 1)"
         " ON CONFLICT (key) DO UPDATE SET number = plain.number + 1 RETURNING number")
SPREAD = ",".join(str(i * (KEYS // MGET)) for i in range(MGET))

# What a workload does by kv and by plain SQL.
WORK = {
    "get": (KEY + "SELECT kv.get(:key)", KEY + "SELECT value FROM plain WHERE key = :key"),
    "mget": (f"SELECT count(value) FROM kv.mget('{{{SPREAD}}}')",
             f"SELECT count(value) FROM plain WHERE key = ANY ('{{{SPREAD}}}')"),
    "set": (KEY + "SELECT kv.set(:key, :message)", KEY + UPSERT.format(table="plain")),
    "set-free": (KEY + "SELECT kv.set(:key, :message, store => 'free')",
                 KEY + UPSERT.format(table="plain_free")),
    "new": (NEW + "SELECT kv.set(:key, :message)", NEW + UPSERT.format(table="plain")),
    "new-free": (NEW + "SELECT kv.set(:key, :message, store => 'free')",
                 NEW + UPSERT.format(table="plain_free")),
    "incr": ("SELECT kv.incr('count')", COUNT),
    "limit": ("SELECT allowed FROM kv.rate_limit('hot', 1000000, 1)", COUNT),
}

# name, title, work, clients, synchronous_commit
PLAIN = (
    ("kv-get", "get, 16 clients", "get", 16, "off"),
    ("kv-get-1", "get, 1 client", "get", 1, "off"),
    ("kv-mget", "64 keys at once, 16 clients", "mget", 16, "off"),
    ("kv-mget-1", "64 keys at once, 1 client", "mget", 1, "off"),
    ("kv-set", "set of a key that exists, 16 clients", "set", 16, "off"),
    ("kv-set-1", "set of a key that exists, 1 client", "set", 1, "off"),
    ("kv-set-free", "set of a key that exists, unlogged, 16 clients", "set-free", 16, "off"),
    ("kv-set-free-1", "set of a key that exists, unlogged, 1 client", "set-free", 1, "off"),
    ("kv-new", "set of a new key, 16 clients", "new", 16, "off"),
    ("kv-new-1", "set of a new key, 1 client", "new", 1, "off"),
    ("kv-new-free", "set of a new key, unlogged, 16 clients", "new-free", 16, "off"),
    ("kv-new-free-1", "set of a new key, unlogged, 1 client", "new-free", 1, "off"),
    ("kv-incr", "one hot counter, 16 clients", "incr", 16, "off"),
    ("kv-incr-on", "one hot counter, 16 clients, synchronous_commit = on", "incr", 16, "on"),
    ("kv-limit", "one hot rate limit, 16 clients", "limit", 16, "off"),
    ("kv-limit-on", "one hot rate limit, 16 clients, synchronous_commit = on", "limit", 16, "on"),
)
NAMES = [p[0] for p in PLAIN]
SPECIAL = ("kv-horizon", "kv-purge", "kv-expire", "kv-redis")
EXPIRE_SECONDS = 120    # of traffic on keys that live for 1 to 20 s


@dataclass
class Found:
    workloads: list = field(default_factory=list)
    horizon: list = field(default_factory=list)     # (what, rate free, rate held, xmin stood still)
    purge: dict = field(default_factory=dict)
    expire: list = field(default_factory=list)      # (second, bytes with indexes, rows)
    redis: list = field(default_factory=list)       # (what, clients, pipeline, per second)


class Bench:
    def __init__(self, server, seconds, rounds, say):
        self.server = server
        self.seconds = seconds
        self.rounds = rounds
        self.say = say

    def set_up(self):
        for statement in SETUP.strip().split(";\n"):
            self.server.ask(statement)
        for table in ("plain", "plain_free", "kv.s_default", "kv.s_free"):
            self.server.ask(f"VACUUM ANALYZE {table}")

    def script(self, name, text):
        path = os.path.join(self.server.scratch, f"{name}.sql")
        with open(path, "w", encoding="ascii") as f:
            f.write(text + "\n")
        return path

    def load(self, script, clients, seconds, sync="off"):
        """pgbench in the background; its message is the value."""
        before = os.environ.get("PGOPTIONS")
        os.environ["PGOPTIONS"] = f"-c synchronous_commit={sync}"
        try:
            return Pgbench(self.server, [script], clients, seconds, progress=seconds >= 10,
                           message=VALUE)
        finally:
            if before is None:
                del os.environ["PGOPTIONS"]
            else:
                os.environ["PGOPTIONS"] = before

    def plain(self, name, title, work, clients, sync):
        workload = Workload(name, title, [Case(who, work, clients)
                                          for who in ("pgqueue", "sql", "select1")])
        self.server.ask("CHECKPOINT")
        for n in range(1, self.rounds + 1):
            line = []
            for case in workload.cases:
                text = WORK[work][0 if case.contestant == "pgqueue" else 1]
                if case.contestant == "select1":    # with the same work for the client
                    text = "".join(line + "\n" for line in text.splitlines() if line.startswith("\\set"))
                    text += "SELECT 1"
                result = self.load(self.script(f"{case.contestant}-{name}", text), clients,
                                   self.seconds, sync).wait()
                workload.samples.setdefault(case.key, []).append(
                    Sample(result.tps, result.latency))
                line.append(f"{case.contestant} {result.tps:,.0f}")
            self.say(f"  {name:<13} {n}/{self.rounds}  " + "  ".join(line))
        return workload

    def horizon(self, seconds, free_seconds):
        """The same hot keys beside a transaction that has run a query and stays open, and without:
        the rate in the last fifth."""
        found = []
        for what, text in (("set", "SELECT kv.set('hot', :message)"), ("get", "SELECT kv.get('hot')"),
                           ("incr", "SELECT kv.incr('count')")):
            rates, still = [], True
            # Reads and counts go on beside writes, or there would be no dead versions to pass by.
            beside = None if what == "set" else self.script("kv-hot-set", "SELECT kv.set('hot', :message)")
            for held in (False, True):
                self.server.ask("VACUUM kv.s_default")
                time_ = seconds if held else free_seconds
                session = Session(self.server)
                holder = Holder(self.server) if held else None
                try:
                    first = holder.xmin(session)[0] if holder else 0
                    loads = [self.load(self.script(f"kv-hot-{what}", text), 16 if not beside else 12, time_)]
                    if beside:
                        loads.append(self.load(beside, 4, time_))
                    for one in loads:
                        one.wait()
                    if holder:
                        still = holder.xmin(session)[0] == first
                    window = max(1, free_seconds // 2 if not held else time_ // HELD_WINDOW)
                    lines = [r for t, r, _ in loads[0].progress() if t > time_ - window]
                    rates.append(sum(lines) / len(lines))
                finally:
                    if holder:
                        holder.close()
                    session.close()
            found.append((what, *rates, still, seconds))
            self.say(f"  kv-horizon    {what}: free {rates[0]:,.0f}/s, held {seconds} s {rates[1]:,.0f}/s"
                     f" ({rates[1] / rates[0]:.1%}), backend_xmin {'stood still' if still else 'MOVED'}")
        return found

    def purge(self):
        """A million keys: pages that a purge visits for each that holds something due, and what it
        costs others."""
        found = {}
        one = self.server.one
        for name, ttl in (("clustered", "CASE WHEN i < {n} THEN 0.001 ELSE 3600 END"),
                          ("random", "CASE WHEN random() < 0.5 THEN 0.001 ELSE 3600 END")):
            store = f"purge_{name}"
            self.server.ask(f"SELECT kv.create_store('{store}')")
            ttl = ttl.format(n=MANY // 2)
            for start in range(0, MANY, 100_000):
                self.server.ask(f"SELECT count(kv.set(i::text, '{VALUE}', {ttl}, store => '{store}'))"
                                f" FROM generate_series({start}, {start + 99_999}) i")
            due = int(one(f"SELECT count(DISTINCT (ctid::text::point)[0]) FROM kv.s_{store}"
                          " WHERE expires_at <= clock_timestamp()"))
            begin = time.monotonic()
            if name == "clustered":
                purged = int(one(f"SELECT kv.purge('{store}')"))
            else:
                purged = self.purge_beside(found, store)
            found[name] = (purged, due, int(one(
                f"SELECT purge_visits FROM kv.stats WHERE store = '{store}'")),
                time.monotonic() - begin)
            self.say(f"  kv-purge      {name}: {purged:,} keys, {due:,} pages had something due,"
                     f" {found[name][2]:,} visited")
            self.server.ask(f"SELECT kv.drop_store('{store}')")
        return found

    def purge_beside(self, found, store):
        """Purges while others get and set; notes the ratio of their rates with and without."""
        script = self.script("kv-mixed", KEY + f"SELECT kv.get(:key, '{store}')\n;"
                             f"SELECT kv.set(:key, :message, 3600, store => '{store}')\n;")
        pairs = []
        purged = 0
        for _ in range(max(3, self.rounds)):
            free = self.load(script, 16, self.seconds).wait().tps
            loaded = self.load(script, 16, self.seconds)
            until = time.monotonic() + self.seconds
            while time.monotonic() < until - 0.1:
                purged += int(self.server.one(f"SELECT kv.purge('{store}')"))
                time.sleep(0.05)
            pairs.append(loaded.wait().tps / free)
        found["beside"] = median(pairs)
        return purged

    def worker_purges(self, on):
        """By itself only where that is what is measured."""
        self.server.ask(f"ALTER SYSTEM SET pgqueue.purge_interval = '{'10s' if on else '0'}'")
        self.server.ask("SELECT pg_reload_conf()")

    def expire(self):
        """A million keys with random short ttls, set again and again by 4 clients: the table's size by the second while
        the background worker purges and autovacuum, as PostgreSQL ships it, gives the room back."""
        self.server.ask("SELECT kv.create_store('expire')")
        self.worker_purges(True)
        for start in range(0, MANY, 100_000):
            self.server.ask(f"SELECT count(kv.set(i::text, '{VALUE}', 1 + random() * 19, store => 'expire'))"
                            f" FROM generate_series({start}, {start + 99_999}) i")
        script = self.script("kv-expire", f"\\set key random(0, {MANY - 1})\n\\set ttl random(1, 20)\n"
                             "SELECT kv.set(:key, :message, :ttl, store => 'expire')")
        found = []
        load = self.load(script, 4, EXPIRE_SECONDS)
        begin = time.monotonic()
        while (second := time.monotonic() - begin) < EXPIRE_SECONDS - 1:
            size, rows = self.server.ask(
                "SELECT pg_total_relation_size('kv.s_expire'), (SELECT count(*) FROM kv.s_expire)")[0]
            found.append((round(second), int(size), int(rows)))
            time.sleep(5)
        load.wait()
        third = found[len(found) // 3]
        self.say(f"  kv-expire     {found[0][1] / 1e6:,.0f} MB at first, {third[1] / 1e6:,.0f} MB after {third[0]} s,"
                 f" {found[-1][1] / 1e6:,.0f} MB after {found[-1][0]} s; {found[-1][2]:,} rows at the end")
        self.worker_purges(False)
        self.server.ask("SELECT kv.drop_store('expire')")
        return found

    def redis(self):
        """Redis by its own benchmark program, on a unix socket, without persistence and with it."""
        server, program = shutil.which("redis-server"), shutil.which("redis-benchmark")
        if not server or not program:
            raise BenchError("Debian's redis is not installed")
        path = os.path.join(self.server.scratch, "redis.sock")
        process = subprocess.Popen(
            [server, "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no",
             "--dir", self.server.scratch], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found = []
        try:
            wait_for_socket(path)
            for clients in (16, 1):
                for pipeline in (1, 16):
                    said = subprocess.run(
                        [program, "-s", path, "-c", str(clients), "-P", str(pipeline), "-n", "400000",
                         "-r", str(KEYS), "-d", str(len(VALUE)), "-t", "set,get,incr", "--csv"],
                        capture_output=True, text=True, check=True).stdout
                    for what, rate in re.findall(r'^"(\w+)","([\d.]+)"', said, re.M):
                        found.append((what.lower(), clients, pipeline, float(rate)))
                        self.say(f"  kv-redis      {what.lower()}, {clients} clients, pipeline of"
                                 f" {pipeline}: {float(rate):,.0f}/s")
        finally:
            process.terminate()
            process.wait()
        return found


def wait_for_socket(path, seconds=10):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(path)
                return
        except OSError:
            time.sleep(0.02)
    raise BenchError("redis does not start")


def run(server, wanted, seconds, rounds, held, say):
    """wanted: name -> bool. Returns (Found, {name: why it failed})."""
    bench = Bench(server, seconds, rounds, say)
    found, failed = Found(), {}
    if not any(wanted(name) for name in (*NAMES, *SPECIAL)):
        return found, failed
    bench.set_up()
    bench.worker_purges(False)
    for name, *rest in PLAIN:
        if wanted(name):
            attempt(lambda n=name, r=rest: found.workloads.append(bench.plain(n, *r)), name, failed, server)
    for name, work in (("kv-horizon", lambda: setattr(found, "horizon", bench.horizon(held, min(held, 40)))),
                       ("kv-purge", lambda: setattr(found, "purge", bench.purge())),
                       ("kv-expire", lambda: setattr(found, "expire", bench.expire())),
                       ("kv-redis", lambda: setattr(found, "redis", bench.redis()))):
        if wanted(name):
            attempt(work, name, failed, server)
    return found, failed


def attempt(work, name, failed, server):
    try:
        work()
    except BenchError as e:
        failed[name] = str(e)
        server.back()
