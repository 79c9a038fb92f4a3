"""The tables that people read, and the CSV files that programs do."""

import csv
import os
import sys
from dataclasses import dataclass, field

from . import cron as jobs
from . import handler as handlers
from . import kv as keys
from . import monitor as looks
from .contestants import BARE, LABELS
from .load import MESSAGE, percentile
from .targets import MISSED, REACHED, percent, targets, times


@dataclass
class Results:
    machine: dict = field(default_factory=dict)
    settings: list = field(default_factory=list)
    options: str = ""
    deep_label: str = "10 million waiting"
    workloads: list = field(default_factory=list)
    horizon: list = field(default_factory=list)
    held: list = field(default_factory=list)
    latency: object = None
    restart: list = field(default_factory=list)
    kv: keys.Found = field(default_factory=keys.Found)
    cron: jobs.Found = field(default_factory=jobs.Found)
    monitor: looks.Found = field(default_factory=looks.Found)
    handler: handlers.Found = field(default_factory=handlers.Found)
    failed: list = field(default_factory=list)      # (workload, contestant, why)


def headline(results):
    m = results.machine
    return (f"{m['cpu']}, {m['cores']} cores, {m['memory']}, {m['kernel']}, "
            f"PostgreSQL {m['server']}")


def colour(code, text):
    return f"\033[{code}m{text}\033[0m"


class Paper:
    """Collects the summary's lines; colours go to a terminal only."""

    def __init__(self):
        self.lines = []

    def add(self, text="", code=None):
        self.lines.append((text, code))

    def plain(self):
        return "\n".join(text for text, _ in self.lines) + "\n"

    def show(self):
        tty = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        for text, code in self.lines:
            print(colour(code, text) if tty and code else text)


def row_name(key):
    who, _, variant = key
    return LABELS[who] + (f", {variant}" if variant else "")


def notes(workload, key):
    """What a row's rate is in terms of the others: (of SELECT 1, of pgqueue or of the empty queue)."""
    who, clients, variant = key
    one = workload.ratio(key, ("select1", clients, ""))
    left = percent(one) if one is not None and who != "select1" else ""
    if variant:
        base = workload.ratio(key, (who, clients, ""))
        return left, f"{percent(base)} of the empty queue" if base is not None else ""
    paired = any(k[2] for k in workload.samples)
    if who in ("pgqueue", *BARE) or paired:
        return left, ""
    over = workload.ratio(("pgqueue", clients, ""), key)
    return left, f"pgqueue {times(over)}" if over is not None else ""


def throughput(paper, workloads):
    for w in workloads:
        if not w.samples:
            continue
        paper.add()
        paper.add(f"{w.title:<44}{'median/s':>12}{'lowest':>12}{'highest':>12}"
                  f"{'of SELECT 1':>13}", "1")
        for key in w.samples:
            values = w.values(key)
            left, right = notes(w, key)
            paper.add(f"  {row_name(key):<42}{w.median(key):>12,.0f}{min(values):>12,.0f}"
                      f"{max(values):>12,.0f}{left:>13}  {right}".rstrip(),
                      "32" if key[0] == "pgqueue" else None)


def horizon(paper, runs):
    if not runs:
        return
    paper.add()
    paper.add(f"{'horizon: send + read + ack, 16 clients, at the end':<52}{'free/s':>10}{'held/s':>10}"
              f"{'':>8}{'p99 free':>11}{'p99 held':>11}{'size held':>11}", "1")
    for name in dict.fromkeys(r.contestant for r in runs):
        by = {r.held: r for r in runs if r.contestant == name}
        if len(by) < 2:
            continue
        free, held = by[False], by[True]
        share = percent(held.last_rate / free.last_rate) if free.last_rate else ""
        paper.add(f"  {f'{LABELS[name]}, {held.seconds} s, last {held.window} s':<50}"
                  f"{free.last_rate:>10,.0f}{held.last_rate:>10,.0f}{share:>8}"
                  f"{free.last_p99:>8.2f} ms{held.last_p99:>8.2f} ms"
                  f"{held.size[-1][1] / 2**20:>8,.0f} MB",
                  "32" if name == "pgqueue" else None)
        if held.xmin:
            still = "stood still" if len({x for _, x, _ in held.xmin}) == 1 else "MOVED"
            paper.add(f"    the holder's backend_xmin {held.xmin[0][1]} {still} in "
                      f"{len(held.xmin)} looks while {held.xmin[-1][2]:,} transactions went by")
    if any(r.contestant == "pgq" for r in runs):
        paper.add("    PgQ: events that its one consumer finished; latency is that of insert_event,"
                  " delivery waits for a tick")


def held_open(paper, runs):
    if not runs:
        return
    paper.add()
    paper.add(f"{'held: 2,000 messages a second, then as fast as it goes':<56}{'then/s':>10}{'':>7}{'most':>11}"
              f"{'beside: 50 %':>15}{'99 %':>11}{'autovacuum':>12}", "1")
    free = next((r for r in runs if not r.held), None)
    for run in runs:
        name = f"{LABELS[run.contestant]}, {run.seconds} s, " + ("held" if run.held else "not held")
        share = percent(run.saturated / free.saturated) if free and run.held and run.contestant == free.contestant else ""
        paper.add(f"  {name:<54}{run.saturated:>10,.0f}{share:>7}{max(s for _, s in run.size) / 2**20:>8,.0f} MB"
                  f"{run.paced_p50:>12.2f} ms{run.paced_p99:>8.2f} ms{sum(run.vacuums.values()):>12}",
                  "32" if run.contestant == "pgqueue" else None)
        if run.vacuums:
            paper.add("    autovacuum and analyze came to " +
                      ", ".join(f"{kind}: {count}" for kind, count in sorted(run.vacuums.items())) +
                      (f"; reloptions: {'; '.join(run.options)}" if run.options else ""))


def handled(paper, found):
    if found.rates:
        paper.add()
        paper.add(f"{'handlers that do nothing, messages a second':<52}{'rate':>12}")
        for language, concurrency, batch, value in found.rates:
            paper.add(f"    {language + f', concurrency {concurrency}, batch {batch}':<48}{value:>12,.0f}")
    if found.latency:
        paper.add()
        paper.add(f"a send's commit to the handler's call, ms: median {percentile(found.latency, .5):.3f},"
                  f" 99 % {percentile(found.latency, .99):.3f}")


def latency(paper, found):
    if not found:
        return
    paper.add()
    paper.add(f"{'latency, ms: send to the waiting reader':<44}{'median':>9}{'90 %':>9}{'99 %':>9}"
              f"{'99.9 %':>9}{'most':>9}", "1")
    for p in found.probes:
        for what, values in (("from the commit's return", p.after_commit),
                             ("from issuing the send", p.whole)):
            cells = "".join(f"{values[min(len(values) - 1, int(len(values) * q))]:>9.3f}"
                            for q in (.5, .9, .99, .999, 1))
            paper.add(f"  {f'{p.label}, {what}':<42}{cells}", "32")
    if any(p.after_commit[0] < 0 for p in found.probes):
        paper.add("    below zero: the reader had the row before the sender heard that it had committed")
    if found.saturated:
        paper.add(f"    full load is {found.saturated:,.0f} messages/s sent, read and acked on another"
                  f" queue of the server, 16 clients")
    if found.readers:
        paper.add(f"    {found.readers} readers that waited {found.waited:.1f} s: CPU {found.cpu_ticks:.2f} s"
                  f" by utime + stime, {found.cpu_exact:.4f} s by the scheduler, {found.sleeps} sleeps")


def restart(paper, found):
    if not found:
        return
    paper.add()
    paper.add(f"{'first read on a fresh connection, ms':<52}{'waiting':>12}{'connect':>10}"
              f"{'first':>10}{'second':>10}", "1")
    for r in found:
        paper.add(f"  {f'{LABELS[r.contestant]}, {r.situation}':<50}{r.waiting:>12,}{r.connect:>10.1f}"
                  f"{r.first:>10.1f}{r.second:>10.2f}",
                  "32" if r.contestant == "pgqueue" else None)


def looking(paper, found):
    if found.metrics:
        paper.add()
        paper.add(f"{'looking at figures, 1 client':<52}{'waiting':>12}{'ms':>12}", "1")
        for what, waiting, ms in found.metrics:
            paper.add(f"  {what:<50}{waiting:>12,}{ms:>12.3f}", "32")
    if found.filter:
        paper.add()
        paper.add(f"{'read one and delete it, 8 clients, a million waiting':<52}{'per second':>12}{'filtered/s':>12}", "1")
        for what, rate, looks in found.filter:
            paper.add(f"  {what:<50}{rate:>12,.0f}{looks:>12.1f}", "32")


def hot_keys(paper, found):
    if found.horizon:
        paper.add()
        paper.add(f"{'horizon: one hot key beside sets of it, 16 clients':<52}{'free/s':>10}{'held/s':>10}", "1")
        for what, free, held, still, seconds in found.horizon:
            paper.add(f"  {f'{what}, held {seconds} s, backend_xmin ' + ('stood still' if still else 'MOVED'):<50}"
                      f"{free:>10,.0f}{held:>10,.0f}{percent(held / free):>8}", "32")
    for kind in ("clustered", "random"):
        if kind in found.purge:
            purged, due, visited, seconds = found.purge[kind]
            paper.add()
            paper.add(f"purge of a million keys, {kind} ttls: {purged:,} removed in {seconds:.1f} s,"
                      f" {due:,} pages had something due, {visited:,} visited")
    if found.expire:
        paper.add()
        paper.add(f"{'a million keys that live 1 to 20 s, set by 4 clients':<52}{'second':>8}{'MB':>10}{'rows':>12}", "1")
        for second, size, rows in found.expire[::4] + found.expire[-1:]:
            paper.add(f"  {'':<50}{second:>8}{size / 1e6:>10,.0f}{rows:>12,}")


def redis(paper, results):
    """Redis as it is, and the ratio of kv to it."""
    if not results.kv.redis:
        return
    w = {one.name: one for one in results.workloads}
    paper.add()
    paper.add(f"{'Redis by redis-benchmark, unix socket, nothing saved':<52}{'per second':>12}{'kv':>12}{'kv of it':>10}", "1")
    for what, clients, pipeline, rate in results.kv.redis:
        name = f"kv-{what}" + ("-1" if clients == 1 else "")
        ours = w[name].median(("pgqueue", clients, "")) if name in w else None
        paper.add(f"  {f'{what}, {clients} client(s), pipeline of {pipeline}':<50}{rate:>12,.0f}"
                  + (f"{ours:>12,.0f}{percent(ours / rate):>10}" if ours else ""))


def scheduled(paper, found):
    """Jobs: how late their runs start, and what a worker costs that has nothing to do."""
    if found.late:
        paper.add()
        paper.add(f"{'jobs: how late runs start, ms':<40}{'runs':>8}{'wanted':>8}{'twice':>8}{'median':>10}{'99 %':>10}"
                  f"{'last':>10}", "1")
        for one in found.late:
            paper.add(f"  {f'{one.what}, {one.who}':<38}{one.runs:>8,}{one.wanted:>8,}{one.twice:>8,}"
                      f"{one.median * 1000:>10,.1f}{one.p99 * 1000:>10,.1f}{one.last * 1000:>10,.1f}")
    if found.idle:
        paper.add()
        paper.add(f"{'jobs, none due: in a minute':<40}{'CPU, ms':>10}{'wake-ups':>10}", "1")
        for one in found.idle:
            paper.add(f"  {one.who:<38}{one.cpu_ms:>10,.1f}{one.wakes:>10,.0f}")


def summary(results):
    paper = Paper()
    paper.add(f"pgqueue benchmark: {headline(results)}", "1")
    paper.add(results.options)
    paper.add("settings: " + ", ".join(f"{n}={v}" for n, v in results.settings))
    paper.add(f"message: {MESSAGE}")
    throughput(paper, results.workloads)
    horizon(paper, results.horizon)
    held_open(paper, results.held)
    latency(paper, results.latency)
    restart(paper, results.restart)
    looking(paper, results.monitor)
    hot_keys(paper, results.kv)
    redis(paper, results)
    handled(paper, results.handler)
    scheduled(paper, results.cron)
    paper.add()
    paper.add(f"{'target':<58}{'needed':<40}{'figure':>14}", "1")
    for t in targets(results):
        paper.add(f"  {t.what:<56}{t.need:<40}{t.figure:>14}  {t.state}",
                  {REACHED: "32", MISSED: "31"}.get(t.state, "2"))
    for workload, who, why in results.failed:
        paper.add(f"failed: {LABELS[who]} in {workload}: {why}", "31")
    return paper


def write_csv(path, header, rows):
    with open(path, "w", encoding="utf-8", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(header)
        out.writerows(rows)


def write_files(results, folder):
    def to(name):
        return os.path.join(folder, name)

    write_csv(to("machine.csv"), ("name", "value"),
              [*results.machine.items(), ("options", results.options), *results.settings])
    keys = [(w, k) for w in results.workloads for k in w.samples]
    write_csv(to("rounds.csv"),
              ("workload", "contestant", "clients", "variant", "round", "per_second", "mean_ms"),
              [(w.name, *k, n, f"{s.value:.1f}", f"{s.latency:.4f}")
               for w, k in keys for n, s in enumerate(w.samples[k], 1)])
    write_csv(to("medians.csv"),
              ("workload", "contestant", "clients", "variant", "per_second", "lowest", "highest",
               "of_select1", "of_pgqueue", "of_empty_queue"),
              [(w.name, *k, f"{w.median(k):.1f}", f"{min(w.values(k)):.1f}",
                f"{max(w.values(k)):.1f}", *(
                    "" if r is None else f"{r:.4f}" for r in (
                        w.ratio(k, ("select1", k[1], "")), w.ratio(k, ("pgqueue", k[1], k[2])),
                        w.ratio(k, (k[0], k[1], "")) if k[2] else None)))
               for w, k in keys])
    write_csv(to("targets.csv"), ("target", "needed", "figure", "state"),
              [(t.what, t.need, t.figure, t.state) for t in targets(results)])
    if results.horizon:
        write_csv(to("horizon.csv"), ("contestant", "held", "measure", "second", "value"),
                  [(r.contestant, int(r.held), measure, f"{t:.1f}", f"{v:.3f}")
                   for r in results.horizon
                   for measure, curve in (
                       ("rate_per_s", r.rate), ("p99_ms", r.p99), ("bytes", r.size),
                       ("backend_xmin", [(t, x) for t, x, _ in r.xmin]),
                       ("xmin_age", [(t, age) for t, _, age in r.xmin]))
                   for t, v in curve])
    if results.held:
        write_csv(to("held.csv"), ("contestant", "held", "measure", "second", "value"),
                  [(r.contestant, int(r.held), measure, f"{t:.1f}", f"{v:.3f}")
                   for r in results.held
                   for measure, curve in (("rate_per_s", r.rate), ("bytes", r.size), ("beside_p99_ms", r.noticed))
                   for t, v in curve])
    if results.latency and results.latency.probes:
        shares = [*(n / 100 for n in range(1, 100)), .995, .999, .9999]
        write_csv(to("latency.csv"), ("load", "share", "after_commit_ms", "whole_ms"),
                  [(p.label, f"{q:g}", *(f"{v[min(len(v) - 1, int(len(v) * q))]:.4f}"
                                         for v in (p.after_commit, p.whole)))
                   for p in results.latency.probes for q in shares])
    if results.restart:
        write_csv(to("restart.csv"),
                  ("contestant", "situation", "waiting", "connect_ms", "first_ms", "second_ms"),
                  [(r.contestant, r.situation, r.waiting, f"{r.connect:.3f}", f"{r.first:.3f}",
                    f"{r.second:.3f}") for r in results.restart])
    if results.kv.horizon or results.kv.purge or results.kv.expire or results.kv.redis:
        write_csv(to("keys.csv"), ("measure", "what", "figures"),
                  [*(("horizon", what, " ".join(map(str, run))) for what, *run in results.kv.horizon),
                   *(("purge", what, str(run)) for what, run in results.kv.purge.items()),
                   *(("expire", f"second {second}", f"{size} {rows}") for second, size, rows in results.kv.expire),
                   *(("redis", what, " ".join(map(str, run))) for what, *run in results.kv.redis)])
    if results.monitor.metrics or results.monitor.filter:
        write_csv(to("monitor.csv"), ("workload", "what", "waiting", "ms", "per_second", "filtered_per_second"),
                  [*(("metrics", what, waiting, f"{ms:.4f}", "", "") for what, waiting, ms in results.monitor.metrics),
                   *(("filter", what, "", "", f"{rate:.1f}", f"{looks:.2f}")
                     for what, rate, looks in results.monitor.filter)])
    if results.handler.rates or results.handler.latency:
        write_csv(to("handler.csv"), ("language", "concurrency", "batch", "per_second", "median_ms", "p99_ms"),
                  [*((*kind, f"{value:.1f}", "", "") for *kind, value in results.handler.rates),
                   *([("plpgsql", 1, 1, "", f"{percentile(results.handler.latency, .5):.4f}",
                       f"{percentile(results.handler.latency, .99):.4f}")] if results.handler.latency else [])])
    if results.cron.late or results.cron.idle:
        write_csv(to("jobs.csv"), ("workload", "contestant", "wanted", "runs", "twice", "median_ms", "p99_ms", "last_ms",
                                   "idle_cpu_ms_a_minute", "idle_wakes_a_minute"),
                  [*((o.what, o.who, o.wanted, o.runs, o.twice, f"{o.median * 1000:.3f}", f"{o.p99 * 1000:.3f}",
                      f"{o.last * 1000:.3f}", "", "") for o in results.cron.late),
                   *(("cron-idle", o.who, "", "", "", "", "", "", f"{o.cpu_ms:.3f}", f"{o.wakes:.1f}")
                     for o in results.cron.idle)])
    with open(to("summary.txt"), "w", encoding="utf-8") as f:
        f.write(summary(results).plain())
