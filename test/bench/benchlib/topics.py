"""Publishing to many queues beside sends to each, with few and many bindings, and sends with a
deduplication key beside sends without."""

import os

from .load import Pgbench
from .workloads import Sample, VariantBench

COPIES = 10
MANY = 10_000
NEW = "\\set key random(1, 1000000000000000)\n"
KNOWN = "\\set key random(1, 1000)\n"
SEND = "SELECT queue.send('t1', :message{more})"

# name, title, clients, {variant: (what is bound besides, script)}
PLAIN = (
    ("publish10", "publish to 10 queues, 16 clients", 16, {
        "10 sends in one statement": (0, "SELECT " + ", ".join(
            f"queue.send('t{i}', :message)" for i in range(1, COPIES + 1))),
        "publish": (0, "SELECT queue.publish('few.x', :message)"),
    }),
    ("publish10-1", "publish to 10 queues, 1 client", 1, {
        "10 sends in one statement": (0, "SELECT " + ", ".join(
            f"queue.send('t{i}', :message)" for i in range(1, COPIES + 1))),
        "publish": (0, "SELECT queue.publish('few.x', :message)"),
    }),
    ("bindings", "publish of which ten bindings match, 1 client", 1, {
        "10 bindings": (0, "SELECT queue.publish('few.x', :message)"),
        "10,000 bindings": (MANY - COPIES, "SELECT queue.publish('few.x', :message)"),
    }),
    ("dedup", "send with a deduplication key, 16 clients", 16, {
        "without a key": (0, SEND.format(more="")),
        "a new key": (0, NEW + SEND.format(more=", dedup_key => :key::text")),
        "a key that is known": (0, KNOWN + SEND.format(more=", dedup_key => :key::text")),
    }),
    ("dedup-1", "send with a deduplication key, 1 client", 1, {
        "without a key": (0, SEND.format(more="")),
        "a new key": (0, NEW + SEND.format(more=", dedup_key => :key::text")),
        "a key that is known": (0, KNOWN + SEND.format(more=", dedup_key => :key::text")),
    }),
)
NAMES = [p[0] for p in PLAIN]


class Bench(VariantBench):
    def cases(self, variants):
        return variants

    def run_case(self, name, clients, number, others, text):
        """Transactions a second, on fresh queues, each bound once; a publish to ten queues is one, as are ten sends."""
        ask = self.server.ask
        ask(f"SELECT count(queue.create('t' || i)), count(queue.bind('few.*', 't' || i))"
            f" FROM generate_series(1, {COPIES}) i")
        try:
            if others:
                ask(f"SELECT count(queue.bind('many.' || i || '.#', 't' || 1 + i % {COPIES}))"
                    f" FROM generate_series(1, {others}) i")
            ask("SELECT count(queue.send('t1', '0', dedup_key => i::text)) FROM generate_series(1, 1000) i")
            ask("CHECKPOINT")
            path = os.path.join(self.server.scratch, f"{name}-{number}.sql")
            with open(path, "w", encoding="ascii") as f:
                f.write(text + "\n")
            result = Pgbench(self.server, [path], clients, self.seconds).wait()
            return Sample(result.tps, result.latency)
        finally:
            ask(f"SELECT count(queue.drop('t' || i)) FROM generate_series(1, {COPIES}) i")


def run(server, wanted, seconds, rounds, say):
    """wanted: name -> bool. Returns (workloads, {name: why it failed})."""
    return Bench(server, seconds, rounds, say).run(PLAIN, wanted)
