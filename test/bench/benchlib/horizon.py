"""A REPEATABLE READ transaction that has run a query is held open while every contestant sends,
reads and acks as fast as it can, and the same without it: rate and 99th percentile by the
second, and what the queue grew to."""

import os
import time
from dataclasses import dataclass, field

from .load import Pgbench, percentile, render
from .server import BenchError, Session

CLIENTS = 16
BACKLOG = 20_000            # so that no reader finds the queue empty
SAMPLED = 0.2               # of the transactions are logged, for the percentiles
TICK = 0.1                  # seconds between PgQ's ticks


@dataclass
class Run:
    contestant: str
    held: bool
    seconds: int
    rate: list = field(default_factory=list)        # (second, messages a second)
    p99: list = field(default_factory=list)         # (second, ms)
    size: list = field(default_factory=list)        # (second, bytes)
    xmin: list = field(default_factory=list)        # (second, the holder's backend_xmin, its age)
    last_rate: float = 0.0
    last_p99: float = 0.0
    window: int = 0                                 # length of the last window, seconds


class Holder:
    """The transaction that nobody closed."""

    def __init__(self, server):
        self.session = Session(server)
        self.pid = self.session.one("SELECT pg_backend_pid()")
        self.session.ask("BEGIN ISOLATION LEVEL REPEATABLE READ")
        self.session.ask("SELECT count(*) FROM pg_class")

    def xmin(self, session):
        """Its backend_xmin and how many transactions ago that was."""
        row = session.ask(f"SELECT backend_xmin, age(backend_xmin) FROM pg_stat_activity"
                          f" WHERE pid = {self.pid}")[0]
        if row[0] == "\\N":
            raise BenchError("the holding transaction holds nothing")
        return int(row[0]), int(row[1])

    def close(self):
        self.session.close()


def run_one(server, who, seconds, held, window):
    """One contestant, with or without the holder."""
    run = Run(who.name, held, seconds, window=window)
    queue = "bench"
    pgq = who.name == "pgq"
    who.create(queue)
    session = Session(server)
    holder = None
    load = []
    try:
        if not pgq:
            who.fill(queue, BACKLOG)
            who.settle(queue)
        server.ask("CHECKPOINT")
        if held:
            holder = Holder(server)
        logs = os.path.join(server.scratch, f"{who.name}-{'held' if held else 'free'}")
        if pgq:
            # Its consumer is one reader for all, and takes what the ticks cut off.
            load.append(Pgbench(server, [render(server, "pgq-send1", queue)], CLIENTS - 1,
                                seconds, progress=True, log=(logs, SAMPLED)))
            load.append(Pgbench(server, [render(server, "pgq-batch50", queue)], 1, seconds))
        else:
            scripts = [render(server, f"{who.name}-{s}", queue) for s in ("send1", "readdel1")]
            load.append(Pgbench(server, scripts, CLIENTS, seconds, progress=True,
                                log=(logs, SAMPLED)))
        started, epoch = time.monotonic(), time.time()
        consumed = watch(run, who, queue, session, holder, load[0], started)
        for one in load:
            one.wait()
        run.rate = ([(t, rate) for t, rate, _ in load[0].progress()] if not pgq
                    else rates(consumed))
        summarize(run, load[0].latencies(), epoch)
    finally:
        for one in load:
            if one.process.poll() is None:
                one.stop()
        if holder:
            holder.close()
        session.close()
        who.drop(queue)
    return run


def watch(run, who, queue, session, holder, load, started):
    """Until the load ends: note sizes and the holder's xmin every second and keep PgQ's ticks and
    rotation going. Returns (second, events consumed) for PgQ."""
    consumed = []
    next_sample = next_upkeep = time.monotonic() - started
    while load.process.poll() is None:
        now = time.monotonic() - started
        if now > run.seconds + 120:
            raise BenchError(f"{who.name} hangs")
        if who.name == "pgq":
            session.ask(f"SELECT pgq.ticker('{queue}')")
            if now >= next_upkeep:
                next_upkeep = now + 5
                session.ask(f"SELECT pgq.maint_rotate_tables_step1('{queue}')")
                session.ask("SELECT pgq.maint_rotate_tables_step2()")
        if now >= next_sample:
            next_sample += 1
            run.size.append((now, who.size(queue, session)))
            if holder:
                run.xmin.append((now, *holder.xmin(session)))
            if who.name == "pgq":
                consumed.append((now, who.consumed(queue, session)))
        time.sleep(TICK)
    return consumed


def rates(consumed):
    return [(t, (n - n0) / (t - t0)) for (t0, n0), (t, n) in zip(consumed, consumed[1:])]


def summarize(run, latencies, epoch):
    """Percentiles by the second, and the figures of the last window."""
    last = []
    for second, values in sorted(latencies.items()):
        at = second + 1 - epoch
        if at > run.seconds:
            break
        run.p99.append((at, percentile(values, 0.99)))
        if at > run.seconds - run.window:
            last.extend(values)
    run.last_p99 = percentile(sorted(last), 0.99)
    # The last progress line may be missing.
    rates_last = [rate for t, rate in run.rate if t >= run.seconds - run.window]
    if not rates_last:
        raise BenchError(f"{run.contestant} gave no rates at the end of the run")
    run.last_rate = sum(rates_last) / len(rates_last)


def run_horizon(runner, names, seconds, free_seconds):
    """seconds, free_seconds: contestant -> length of the run with and without the holder."""
    runs, failed = [], {}
    for name in names:
        if name not in runner.contestants:
            continue
        window = max(1, min(seconds(name) // 5, free_seconds(name) // 2))
        try:
            for held in (False, True):
                run = run_one(runner.server, runner.contestants[name],
                              seconds(name) if held else free_seconds(name), held, window)
                runs.append(run)
                told = ""
                if held and run.xmin:
                    moved = len({x for _, x, _ in run.xmin})
                    told = (f"; backend_xmin {run.xmin[0][1]} " +
                            ("stood still" if moved == 1 else f"MOVED {moved - 1} times") +
                            f" for {run.xmin[-1][2]:,} transactions")
                runner.say(f"  horizon    {name} {'held' if held else 'free'}: last {window} s "
                           f"{run.last_rate:,.0f}/s, p99 {run.last_p99:.2f} ms, "
                           f"{run.size[-1][1] / 2**20:,.0f} MB{told}")
        except BenchError as e:
            failed[name] = str(e)
            runner.server.back()
            runner.say(f"  {name} failed in horizon: {e}")
    return runs, failed
