"""What looking costs: the figures of a queue, empty and full, and its health; readers with a
filter that finds nothing, beside plain readers."""

import os
from dataclasses import dataclass, field
from statistics import median

from .load import Pgbench
from .server import BenchError

NAMES = ("metrics", "filter")
FILTERED = 1_000_000    # messages waiting beside the filters
READERS = 8
FILTERS = 4


@dataclass
class Found:
    metrics: list = field(default_factory=list)     # (what, messages, ms)
    filter: list = field(default_factory=list)      # (what, read and deleted a second, filtered reads a second)


class Bench:
    def __init__(self, machine, queue, seconds, rounds, say):
        self.server = machine
        self.queue = queue
        self.seconds = seconds
        self.rounds = rounds
        self.say = say

    def script(self, name, text):
        path = os.path.join(self.server.scratch, f"{name}.sql")
        with open(path, "w", encoding="ascii") as f:
            f.write(text + "\n")
        return path

    def metrics(self, found, counts):
        """One client looks at one queue, in a session that has looked before."""
        self.queue.create("figures")
        looks = (("queue.metrics of one queue", "SELECT * FROM queue.metrics WHERE queue_name = 'figures';"),
                 ("queue.health()", "SELECT * FROM queue.health();"))
        there = 0
        for count in counts:
            self.queue.fill("figures", count - there)
            there = count
            for what, sql in looks:
                script = self.script("look", sql)
                latency = median(Pgbench(self.server, [script], 1, self.seconds).wait().latency
                                 for _ in range(self.rounds))
                found.metrics.append((what, count, latency))
                self.say(f"  metrics    {what}, {count:,} waiting: {latency:.3f} ms")
        ready, exact = self.server.ask("SELECT ready, exact FROM queue.metrics WHERE queue_name = 'figures'")[0]
        self.say(f"  metrics    {there:,} waiting, {int(ready):,} shown{'' if exact == 't' else ', from a sample'}")
        self.queue.drop("figures")

    def filter(self, found):
        """The same readers without filters, beside filters on another queue of the same size, which
        cost CPU alone, and beside filters on their own."""
        self.queue.create("aside")
        self.queue.fill("aside", FILTERED)
        take = self.script("take", "SELECT queue.delete('beside', msg_id) FROM queue.read('beside');")
        rates = {}
        for _ in range(self.rounds):
            for what, other in (("no filters", None), ("4 filters on another queue", "aside"),
                                ("4 filters on the same queue", "beside")):
                self.queue.create("beside")
                self.queue.fill("beside", FILTERED)
                self.server.ask("CHECKPOINT")
                filters = None
                if other:
                    look = self.script("filter", f"SELECT count(*) FROM queue.read('{other}', "
                                                 "filter => '{\"kind\" : \"none\"}');")
                    filters = Pgbench(self.server, [look], FILTERS, self.seconds + 1)
                taken = Pgbench(self.server, [take], READERS, self.seconds).wait().tps
                looked = filters.wait().tps if filters else 0
                rates.setdefault(what, []).append((taken, looked))
                self.queue.drop("beside")
        for what, pairs in rates.items():
            row = (what, *(median(x) for x in zip(*pairs)))
            found.filter.append(row)
            self.say(f"  filter     {row[0]}: {row[1]:,.0f}/s read and deleted, {row[2]:.1f} filtered reads a second")
        self.queue.drop("aside")


def run(machine, queue, wanted, seconds, rounds, deep, say):
    """The found figures, and what failed: workload -> why."""
    found, failed = Found(), {}
    bench = Bench(machine, queue, seconds, rounds, say)
    for name, work in (("metrics", lambda: bench.metrics(found, (0, 1000, deep))),
                       ("filter", lambda: bench.filter(found))):
        if not wanted(name):
            continue
        try:
            work()
        except BenchError as e:
            failed[name] = str(e)
            machine.back()
            say(f"  {name} failed: {e}")
    return found, failed
