"""The workloads that are one pgbench script each, and those that compare a loaded queue with
an empty one. Rounds are interleaved: every contestant once, then all of them again."""

from dataclasses import dataclass, field
from statistics import median

from .contestants import BARE
from .load import BATCH, pgbench
from .server import BenchError


@dataclass(frozen=True)
class Case:
    contestant: str
    script: str             # of scripts/<contestant>-<script>.sql
    clients: int
    per_call: int = 1       # messages that one transaction handles
    takes: bool = False     # it needs a backlog, and what it took is counted
    variant: str = ""       # what is special about the queue

    @property
    def key(self):
        return (self.contestant, self.clients, self.variant)


@dataclass
class Sample:
    value: float            # messages (or bare statements) a second
    latency: float          # ms, mean of one transaction


@dataclass
class Workload:
    name: str
    title: str
    cases: list
    samples: dict = field(default_factory=dict)     # case key -> a Sample per round

    def values(self, key):
        return [s.value for s in self.samples.get(key, [])]

    def median(self, key):
        values = self.values(key)
        return median(values) if values else None

    def ratio(self, key, base):
        """The median over the rounds of one case's rate by another's in the same round."""
        pairs = [(a, b) for a, b in zip(self.values(key), self.values(base)) if b]
        return median(a / b for a, b in pairs) if pairs else None


class VariantBench:
    """Workloads of pgqueue alone, of which several variants are measured one after the other in each round."""

    def __init__(self, server, seconds, rounds, say):
        self.server = server
        self.seconds = seconds
        self.rounds = rounds
        self.say = say

    def cases(self, *rest):
        """{variant: arguments for run_case}; rest: what stands behind name, title and clients."""
        raise NotImplementedError

    def run_case(self, name, clients, number, *args):
        """A Sample. number: of the variant."""
        raise NotImplementedError

    def run(self, plain, wanted):
        """plain: (name, title, clients, ...) each; wanted: name -> bool. Returns (workloads, {name: why it failed})."""
        found, failed = [], {}
        for name, title, clients, *rest in plain:
            if not wanted(name):
                continue
            try:
                found.append(self.measure(name, title, clients, self.cases(*rest)))
            except BenchError as e:
                failed[name] = str(e)
                self.server.back()
        return found, failed

    def measure(self, name, title, clients, cases):
        workload = Workload(name, title, [Case("pgqueue", name, clients, variant=v) for v in cases])
        for n in range(1, self.rounds + 1):
            line = []
            for number, case in enumerate(workload.cases):
                sample = self.run_case(name, clients, number, *cases[case.variant])
                workload.samples.setdefault(case.key, []).append(sample)
                line.append(f"{case.variant} {sample.value:,.0f}")
            self.say(f"  {name:<13} {n}/{self.rounds}  " + "  ".join(line))
        return workload


def plain_workloads(quick):
    """Each: one script per contestant on a queue of its own."""
    def cases(script, names, clients, **more):
        return [Case(name, script, clients, **more) for name in names]

    queues = ("pgqueue", "skip", "wrapper")
    senders = (*queues, "pgq", "commit", "select1")
    takers = (*queues, "commit", "select1")
    batch = {"per_call": 50, "takes": True}
    found = [
        Workload("send1", "send one, 16 clients", cases("send1", senders, 16)),
        Workload("send1-1", "send one, 1 client", cases("send1", senders, 1)),
        Workload("readdel1", "read one and delete it, 16 clients",
                 cases("readdel1", takers, 16, takes=True)),
        Workload("pop1", "pop one with its payload, 16 clients",
                 cases("pop1", queues, 16, takes=True)),
        Workload("sendbatch", "send 1,000 in a batch, 1 client",
                 cases("sendbatch", ("pgqueue", "insert", "skip", "wrapper", "pgq"), 1,
                       per_call=BATCH)),
        Workload("batch50", "read 50 and delete 50, 4 clients", cases("batch50", queues, 4, **batch)),
        # A PgQ consumer is one reader: more clients would each get every event.
        Workload("batch50-1", "read 50 and delete 50, 1 client",
                 cases("batch50", (*queues, "pgq"), 1, **batch)),
    ]
    # The quick run leaves out what no target asks for.
    return [w for w in found if not (quick and w.name in ("send1-1", "pop1", "batch50-1"))]


class Runner:
    """Runs cases on the server and prints a line per round."""

    def __init__(self, server, contestants, seconds, rounds, say):
        self.server = server
        self.contestants = contestants      # name -> Contestant
        self.seconds = seconds
        self.rounds = rounds
        self.say = say
        self.rates = {}                     # (contestant, script, clients) -> messages a second

    def backlog(self, case, seconds=None):
        """How many messages the case may take in its time, with a margin."""
        guess = self.contestants[case.contestant].guess.get(case.script, 50000)
        rate = self.rates.get((case.contestant, case.script, case.clients), guess) * 1.5
        return int(rate * (seconds or self.seconds)) + 5000

    def measure(self, case, queue, before):
        """Run the case's script on a queue of that many rows: (Sample, messages handled).
        Calls that found nothing are no work: what counts is rows come or gone."""
        who = self.contestants[case.contestant]
        if case.contestant in BARE:
            result = pgbench(self.server, case.contestant, queue, case.clients, self.seconds)
            return Sample(result.tps, result.latency), 0
        # PgQ's rows stay until their table is rotated; its consumer's position moves.
        count = who.consumed if case.contestant == "pgq" and case.takes else who.rows
        if count != who.rows:
            before = count(queue)
        result = pgbench(self.server, f"{case.contestant}-{case.script}", queue, case.clients,
                         self.seconds)
        moved = abs(count(queue) - before)
        called = result.transactions * case.per_call
        if not case.takes and moved < called:
            raise BenchError(f"{case.contestant} kept {moved} of {called} messages sent")
        share = min(1.0, moved / called) if called else 0.0
        rate = result.tps * case.per_call * share
        self.rates[(case.contestant, case.script, case.clients)] = rate
        return Sample(rate, result.latency), moved

    def run_case(self, case, leased=0):
        """On a fresh queue with so many messages in flight; again with more if it ran dry."""
        who = self.contestants[case.contestant]
        want = self.backlog(case) if case.takes and case.contestant not in BARE else 0
        for _ in range(4):
            who.create("bench")
            try:
                if leased:
                    leased = who.fill("bench", leased)
                    who.lease("bench", leased)
                filled = who.fill("bench", want) if want else 0
                if leased or filled:
                    who.settle("bench")
                sample, moved = self.measure(case, "bench", leased + filled)
            finally:
                who.drop("bench")
            if not filled or moved < filled:
                return sample
            want = filled * 2
        raise BenchError(f"{case.contestant} drained {filled} messages before the time was up")

    def run(self, workload, case_runner=None):
        """All rounds of a workload. A contestant that fails sits out the rest of it."""
        self.server.ask("CHECKPOINT")
        failed = {}
        for n in range(1, self.rounds + 1):
            line = []
            for case in workload.cases:
                if case.contestant not in self.contestants or case.contestant in failed:
                    continue
                name = case.contestant + (f" {case.variant}" if case.variant else "")
                try:
                    sample = (case_runner or self.run_case)(case)
                    workload.samples.setdefault(case.key, []).append(sample)
                    line.append(f"{name} {sample.value:,.0f}")
                except BenchError as e:
                    failed[case.contestant] = str(e)
                    line.append(f"{name} FAILED")
                    self.server.back()
            self.say(f"  {workload.name:<10} {n}/{self.rounds}  " + "  ".join(line))
        for name, why in failed.items():
            self.say(f"  {name} failed in {workload.name}: {why}")
        return failed


def paired(name, title, script, names, variant, takes):
    """Every contestant's empty queue beside its loaded one, in the same round."""
    return Workload(name, title, [
        Case(who, script, 16, takes=takes, variant=v) for who in names for v in ("", variant)])


def run_inflight(runner, names, count=100_000):
    """Sends and reads with so many messages in flight, and with none."""
    found = [
        paired("inflight-send", "send one, 100,000 messages in flight", "send1", names,
               "in flight", False),
        paired("inflight-read", "read one and delete it, 100,000 in flight", "readdel1", names,
               "in flight", True)]
    failed = {}
    for workload in found:
        failed |= runner.run(workload, lambda case: runner.run_case(
            case, count if case.variant else 0))
    return found, failed


def run_deep(runner, names, count):
    """Sends and reads with so many messages waiting, and with none. The deep queues are laid
    out once and live beside each other; the empty ones are new each time."""
    label = f"{count / 1e6:g} million waiting"
    found = [paired("deep-send", f"send one, {label}", "send1", names, "deep", False),
             paired("deep-read", f"read one and delete it, {label}", "readdel1", names,
                    "deep", True)]
    rows, failed = {}, {}
    try:
        for name in names:
            if name not in runner.contestants:
                continue
            runner.say(f"  deep: {name} takes in {label.split()[0]} million messages")
            who = runner.contestants[name]
            who.create("deep")
            rows[name] = who.fill("deep", count)
            who.settle("deep")

        def one(case):
            if not case.variant:
                return runner.run_case(case)
            sample, moved = runner.measure(case, "deep", rows[case.contestant])
            rows[case.contestant] += -moved if case.takes else moved
            return sample

        for workload in found:
            failed |= runner.run(workload, one)
    finally:
        for name in rows:
            runner.contestants[name].drop("deep")
    return found, failed
