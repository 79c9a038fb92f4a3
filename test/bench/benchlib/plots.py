"""Which plots there are."""

import os

from . import svg
from .report import headline, notes, row_name


def throughput_panel(workload):
    rows = []
    for key in workload.samples:
        left, right = notes(workload, key)
        who, _, variant = key
        if variant:
            note = right
        elif who == "pgqueue":
            note = f"{left} of SELECT 1" if left else ""
        else:
            note = right
        label = row_name(key) if not any(k[2] for k in workload.samples) else (
            f"{who}, {variant or 'empty'}")
        rows.append((who, label, workload.median(key), note))
    return workload.title, rows


def write_plots(results, folder):
    """Answers the paths written."""
    written = []

    def to(name):
        written.append(os.path.join(folder, name))
        return written[-1]

    about = headline(results)
    measured = [w for w in results.workloads if w.samples]
    paired = [w for w in measured if any(k[2] for k in w.samples)]
    keys = [w for w in measured if w.name.startswith("kv-")]
    plain = [w for w in measured if w not in paired and w not in keys]
    if plain:
        svg.bars(to("throughput.svg"), "Messages per second", about,
                 [throughput_panel(w) for w in plain])
    if keys:
        svg.bars(to("keys.svg"), "Calls per second", about, [throughput_panel(w) for w in keys])
    if paired:
        svg.bars(to("loaded.svg"), "Messages per second on loaded and on empty queues", about,
                 [throughput_panel(w) for w in paired])
    if results.horizon:
        def series(pick):
            return [(r.contestant, not r.held, pick(r)) for r in results.horizon]
        svg.curves(to("horizon.svg"),
                   "Send, read and ack while a transaction holds the xmin horizon", about,
                   [("Messages per second", "/s", series(lambda r: r.rate)),
                    ("99th percentile of send + read + ack", " ms", series(lambda r: r.p99)),
                    ("Table, indexes and TOAST", "B", series(lambda r: r.size))],
                   "seconds; PgQ's latency is that of insert_event alone, its delivery waits for a tick")
    if results.held:
        def held_series(pick):
            return [(r.contestant, not r.held, pick(r)) for r in results.held]
        svg.curves(to("held.svg"), "2,000 messages a second beside a transaction that nobody closes", about,
                   [("Sends, reads and acks of single messages, at the end as fast as it goes", "/s", held_series(lambda r: r.rate)),
                    ("Tables, indexes and TOAST", "B", held_series(lambda r: r.size)),
                    ("99th percentile of another table's queries", " ms", held_series(lambda r: r.noticed))],
                   "seconds; PgQ's rate is that of insert_event alone")
    if results.latency and results.latency.probes:
        kinds = ("pgqueue", "skip", "wrapper")
        svg.distribution(
            to("latency.svg"), "From the sender's commit to the waiting reader", about,
            [(f"{p.label}: median {p.point(.5):.3f} ms, 99 % {p.point(.99):.3f} ms", kind,
              p.after_commit) for p, kind in zip(results.latency.probes, kinds)],
            [(0.2, "0.2 ms"), (2, "2 ms")])
    return written
