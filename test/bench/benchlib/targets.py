"""What pgqueue is to reach, and whether it did."""

from dataclasses import dataclass

REACHED, MISSED, UNKNOWN = "reached", "missed", "not measured"


@dataclass
class Target:
    what: str
    need: str
    figure: str
    state: str


def judge(what, need, value, ok, show):
    """value None: it was not measured."""
    if value is None:
        return Target(what, need, "", UNKNOWN)
    return Target(what, need, show(value), REACHED if ok(value) else MISSED)


def percent(x):
    return f"{x:.0%}" if abs(x - 1) > 0.1 else f"{x:.1%}"


def times(x):
    return f"{x:.1f} x" if x < 20 else f"{x:,.0f} x"


def at_least(what, need, value, bound, show):
    return judge(what, need, value, lambda v: v >= bound, show)


def below(what, need, value, bound, show):
    return judge(what, need, value, lambda v: v < bound, show)


def targets(results):
    w = {one.name: one for one in results.workloads}

    def ratio(name, base, clients, variant="", base_variant="", who="pgqueue"):
        if name not in w:
            return None
        return w[name].ratio((who, clients, variant), (base, clients, base_variant))

    def ms(x):
        return f"{x:.3f} ms"

    found = [
        at_least("send one, 16 clients", "65 % of SELECT 1",
                 ratio("send1", "select1", 16), 0.65, percent),
        at_least("read one + delete it, 16 clients", "45 % of SELECT 1",
                 ratio("readdel1", "select1", 16), 0.45, percent),
        at_least("read one + delete it, 16 clients", "8 x the wrapper",
                 ratio("readdel1", "wrapper", 16), 8, times),
        at_least("send 1,000 in a batch", "2 x INSERT ... unnest (3 x is better)",
                 ratio("sendbatch", "insert", 1), 2, times),
        at_least("read 50 + delete 50, 4 clients", "8 x the wrapper",
                 ratio("batch50", "wrapper", 4), 8, times),
    ]
    for kind, variant, what in (("inflight", "in flight", "100,000 in flight"),
                                ("deep", "deep", results.deep_label)):
        found += [
            at_least(f"sends, {what}", "80 % of an empty queue's",
                     ratio(f"{kind}-send", "pgqueue", 16, variant), 0.8, percent),
            at_least(f"reads, {what}", "80 % of an empty queue's",
                     ratio(f"{kind}-read", "pgqueue", 16, variant), 0.8, percent),
        ]
    runs = {run.held: run for run in results.horizon if run.contestant == "pgqueue"}
    rate = p99 = still = None
    length = ""
    if len(runs) == 2:
        rate = runs[True].last_rate / runs[False].last_rate if runs[False].last_rate else 0.0
        p99 = runs[True].last_p99 / runs[False].last_p99
        still = len({x for _, x, _ in runs[True].xmin})
        length = f", {runs[True].seconds} s"
    found += [
        judge(f"horizon held{length}: backend_xmin", "stands still", still,
              lambda v: v == 1, lambda v: "stood still" if v == 1 else f"moved {v - 1} times"),
        at_least(f"horizon held{length}: rate at the end", "95 % of the run without",
                 rate, 0.95, percent),
        # The same run twice differs by a few per cent.
        judge(f"horizon held{length}: 99th percentile at the end", "no worse (5 % for noise)",
              p99, lambda v: v <= 1.05, lambda v: f"{v:.2f} x"),
    ]
    probes = {p.label.split()[-1]: p for p in results.latency.probes} if results.latency else {}
    idle, load = probes.get("idle"), probes.get("load")
    found += [
        judge("latency samples, idle and at 80 % load", "10,000 each",
              min(len(idle.whole), len(load.whole)) if idle and load else None,
              lambda v: v >= 10_000, lambda v: f"{v:,}"),
        below("commit to waiting reader, idle: median", "under 0.2 ms",
              idle and idle.point(0.5), 0.2, ms),
        below("commit to waiting reader, idle: 99th percentile", "under 2 ms",
              idle and idle.point(0.99), 2, ms),
        below("commit to waiting reader, 80 % load: median", "under 0.2 ms",
              load and load.point(0.5), 0.2, ms),
    ]
    waited = results.latency if results.latency and results.latency.readers else None
    cpu = max(waited.cpu_ticks, waited.cpu_exact) if waited else None
    short = "" if not waited or waited.waited >= 59 else f" (waited {waited.waited:.0f} s only)"
    found.append(below("CPU of 100 readers that wait 60 s" + short, "under 0.1 s together",
                       cpu, 0.1, lambda v: f"{v:.4f} s"))
    first = [r for r in results.restart if r.contestant == "pgqueue" and r.situation == "restart"]
    label = f"{first[0].waiting / 1e6:g}" if first else "10"
    found.append(below(f"first read after a restart, {label} million waiting", "under 50 ms",
                       first[0].first if first else None, 50, lambda v: f"{v:.1f} ms"))
    return found + key_targets(ratio, results.kv) + job_targets(results.cron)


def job_targets(cron):
    """Each due time is run once, and at least as soon as pg_cron would."""
    def late(what, who):
        return next((one for one in cron.late if (one.what, one.who) == (what, who)), None)

    found = []
    for what, title in (("cron-second", "1,000 jobs due in one second"),
                        ("cron-beat", "200 jobs every second for a minute")):
        one = late(what, "pgqueue")
        found.append(judge(title, "each run once", one and one.runs - one.twice,
                           lambda v, o=one: v == o.wanted and not o.twice, lambda v: f"{v:,} once"))
    rivals = {one.who for one in cron.late} - {"pgqueue"}
    for what, title in (("cron-minute-1", "a job at the full minute: start late"),
                        ("cron-minute", "1,000 jobs at the full minute: start late")):
        one = late(what, "pgqueue")
        best = min((late(what, who).median for who in rivals if late(what, who)), default=None)
        found.append(judge(title, "no later than pg_cron, median", one and best and one.median / best,
                           lambda v: v <= 1, lambda v: f"{v:.2f} x"))
    idle = {one.who: one.cpu_ms for one in cron.idle}
    best = min((ms for who, ms in idle.items() if who != "pgqueue"), default=None)
    found.append(judge("CPU of a worker with nothing due", "less than pg_cron",
                       best and idle.get("pgqueue", 0) / best, lambda v: v < 1, percent))
    return found


def key_targets(ratio, kv):
    """For keys, counters and limits."""
    found = []
    for clients, suffix in ((16, ""), (1, "-1")):
        who = "16 clients" if clients == 16 else "1 client"
        found += [
            at_least(f"get, {who}", "1.1 x the prepared SELECT",
                     ratio(f"kv-get{suffix}", "sql", clients), 1.1, hundredths),
            at_least(f"get, {who}", "90 % of SELECT 1",
                     ratio(f"kv-get{suffix}", "select1", clients), 0.9, percent),
            at_least(f"mget of 64 keys, {who}", "3 x WHERE key = ANY",
                     ratio(f"kv-mget{suffix}", "sql", clients), 3, times)]
        for kind, what in (("", "logged"), ("-free", "unlogged")):
            found += [
                at_least(f"set of a new key, {what}, {who}", "the upsert's speed",
                         ratio(f"kv-new{kind}{suffix}", "sql", clients), 1, hundredths),
                at_least(f"set of a key that exists, {what}, {who}", "1.2 x the upsert",
                         ratio(f"kv-set{kind}{suffix}", "sql", clients), 1.2, hundredths)]
    found += [
        at_least("hot rate limit, synchronous_commit = on", "15 x the upsert",
                 ratio("kv-limit-on", "sql", 16), 15, times),
        at_least("hot counter, synchronous_commit = on", "4 x the upsert",
                 ratio("kv-incr-on", "sql", 16), 4, times),
        at_least("hot counter, synchronous_commit = off", "2 x the upsert",
                 ratio("kv-incr", "sql", 16), 2, times),
        at_least("hot counter, nothing flushed", "75 % of SELECT 1",
                 ratio("kv-incr", "select1", 16), 0.75, percent),
        at_least("hot rate limit, nothing flushed", "75 % of SELECT 1",
                 ratio("kv-limit", "select1", 16), 0.75, percent)]
    held = {what: run for what, *run in kv.horizon}
    for what in ("set", "get", "incr"):
        free, loaded, still, seconds = held.get(what, (0, 0, False, 0))
        length = f", {seconds} s" if seconds else ""
        found.append(at_least(f"horizon held{length}: {what} of a hot key", "95 % of the run without",
                              loaded / free if free and still else None, 0.95, percent))
    # Bounded: once as large as all keys that can live at one time, it grows no more.
    sizes = [size for _, size, _ in kv.expire]
    found.append(judge("a million keys that live 1 to 20 s, with traffic", "the last third no larger than the second",
                       max(sizes[2 * len(sizes) // 3:]) / max(sizes[:2 * len(sizes) // 3]) if sizes else None,
                       lambda v: v <= 1.1, hundredths))
    visits = kv.purge.get("clustered")
    found += [
        judge("a million keys, clustered ttls: pages the purge visits", "1.1 x those with something due",
              visits[2] / visits[1] if visits else None, lambda v: v <= 1.1, hundredths),
        at_least("a million keys, random ttls: get + set beside the purge", "90 % of the speed without",
                 kv.purge.get("beside"), 0.9, percent)]
    return found


def hundredths(x):
    return f"{x:.2f} x"
