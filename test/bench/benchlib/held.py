"""A day in half an hour: 2,000 messages a second, half of them alone and half in batches of fifty, with leases,
acks and a tenth archived, while a REPEATABLE READ transaction that has run a query is held open; at the end as
fast as it goes. Beside it an application reads and writes a table of its own. What is measured: how fast it still
goes at the end, what the queue takes on disk, what autovacuum did, and whether the application noticed."""

import os
import time
from dataclasses import dataclass, field

from .horizon import Holder, watch
from .load import Pgbench, percentile, render
from .server import BenchError, Session

PACE = 2000                 # messages a second
BATCH = 50
BYSTANDER = 50              # transactions a second
CLIENTS = 16
SECONDS = 180               # of a run, unless said otherwise
SATURATED = 1 / 6           # of it: the end, without a pace


@dataclass
class Run:
    contestant: str
    held: bool
    seconds: int
    window: int                                     # seconds at the end without a pace
    rate: list = field(default_factory=list)        # (second, messages sent a second, by the single senders)
    size: list = field(default_factory=list)        # (second, bytes)
    noticed: list = field(default_factory=list)     # (second, the bystander's 99th percentile, ms)
    xmin: list = field(default_factory=list)        # (second, the holder's backend_xmin, its age)
    saturated: float = 0.0                          # sends, reads and acks a second at the end
    paced_p50: float = 0.0                          # the bystander's, while there was a pace
    paced_p99: float = 0.0
    vacuums: dict = field(default_factory=dict)     # of the queue's tables, their TOAST, the catalogs
    options: list = field(default_factory=list)     # reloptions of the queue's tables, each once


def setup(server):
    server.ask("CREATE TABLE IF NOT EXISTS bystander (id bigint PRIMARY KEY, name text)")
    server.ask("CREATE TABLE IF NOT EXISTS bystander_log (id bigint)")
    server.ask("INSERT INTO bystander SELECT i, md5(i::text) FROM generate_series(1, 100000) i ON CONFLICT DO NOTHING")
    server.ask("VACUUM ANALYZE bystander")


def vacuums(session):
    """How often autovacuum came: {whose tables: count}."""
    return {kind: int(count) for kind, count in session.ask(
        """SELECT CASE WHEN schemaname = 'pg_catalog' THEN 'catalogs' WHEN schemaname = 'pg_toast' THEN 'TOAST'
                       WHEN relname LIKE 'bystander%' THEN 'bystander' ELSE 'queue' END AS kind,
                  sum(autovacuum_count + autoanalyze_count)
           FROM pg_stat_all_tables WHERE schemaname <> 'information_schema' GROUP BY kind""")}


def run_one(server, who, seconds, held):
    window = max(1, int(seconds * SATURATED))
    run = Run(who.name, held, seconds, window)
    queue = "held"
    who.create(queue)
    session = Session(server)
    holder = None
    load = []
    try:
        server.ask("CHECKPOINT")
        before = vacuums(session)
        if held:
            holder = Holder(server)
        name = "held" if held else "free"
        prefix = os.path.join(server.scratch, f"held-{who.name}-{name}")
        one, fifty = (render(server, f"{who.name}-{kind}", queue) for kind in ("held1", "held50"))
        beside = Pgbench(server, [render(server, "bystander", queue)], 1, seconds, rate=BYSTANDER,
                         log=(prefix + "-beside", 1))
        load.append(beside)
        if who.name == "pgq":
            load.append(Pgbench(server, [render(server, "pgq-batch50", queue)], 1, seconds))
        throughout = list(load)
        started, epoch = time.monotonic(), time.time()
        for length, paced in ((seconds - window, True), (window, False)):
            phase = [Pgbench(server, [one], CLIENTS, length, progress=True, rate=PACE / 2 if paced else None)]
            if paced:
                phase.append(Pgbench(server, [fifty], 2, length, rate=PACE / 2 / BATCH))
            load += phase
            begun = time.monotonic() - started
            watch(run, who, queue, session, holder, phase[0], started)
            for part in phase:
                part.wait()
            rates = [(begun + t, tps) for t, tps, _ in phase[0].progress()]
            if not paced:
                run.saturated = sum(tps for _, tps in rates) / max(1, len(rates))
            run.rate += rates
        for part in throughout:
            part.wait()
        calm = []
        for second, values in sorted(beside.latencies().items()):
            at = second + 1 - epoch
            run.noticed.append((at, percentile(values, 0.99)))
            if at < seconds - window:
                calm += values
        calm.sort()
        run.paced_p50, run.paced_p99 = percentile(calm, 0.5), percentile(calm, 0.99)
        time.sleep(1)           # until the statistics are in
        after = vacuums(session)
        run.vacuums = {kind: after.get(kind, 0) - before.get(kind, 0) for kind in after if kind != "bystander"}
        run.options = reloptions(who, session)
    finally:
        for part in load:
            if part.process.poll() is None:
                part.stop()
        if holder:
            holder.close()
        session.close()
        who.drop(queue)
    return run


def reloptions(who, session):
    """What is in force on the queue's tables and their TOAST tables."""
    if who.name != "pgqueue":
        return []
    return [row[0] for row in session.ask(
        """SELECT DISTINCT regexp_replace(c.relname, '#[0-9]+$', '#N') || ' ' || coalesce(array_to_string(c.reloptions, ' '), 'none')
                  || ', TOAST ' || coalesce(array_to_string(t.reloptions, ' '), 'none')
           FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
           WHERE c.relkind = 'r' AND c.relname ~ '_held(#|$)' AND c.relnamespace = to_regnamespace('queue')""")]


def run_held(runner, names, seconds, free_seconds, rival_seconds):
    """With the transaction held for all contestants; without for the first, for as long as free_seconds. The others'
    runs may be shorter."""
    runs, failed = [], {}
    setup(runner.server)
    for i, name in enumerate(n for n in names if n in runner.contestants):
        try:
            for held in ((False, True) if i == 0 else (True,)):
                length = free_seconds if not held else seconds if i == 0 else rival_seconds
                run = run_one(runner.server, runner.contestants[name], length, held)
                runs.append(run)
                most = max(size for _, size in run.size)
                runner.say(f"  held       {name} {'held' if held else 'free'} {run.seconds} s: then {run.saturated:,.0f}/s, "
                           f"at most {most / 2**20:,.0f} MB, beside it {run.paced_p50:.2f} ms, 99 % {run.paced_p99:.2f} ms, "
                           f"autovacuum {run.vacuums}, reloptions {run.options}"
                           + (f", {run.xmin[-1][2]:,} transactions held back" if run.xmin else ""))
        except BenchError as e:
            failed[name] = str(e)
            runner.server.back()
            runner.say(f"  {name} failed in held: {e}")
    return runs, failed
