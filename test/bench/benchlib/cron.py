"""Jobs beside Debian's pg_cron: how late they start, and what waiting costs."""

import re
import time
from dataclasses import dataclass, field

from .server import BenchError, Server

MANY = 1000             # jobs due at one time
BEAT = 200              # jobs due every second
IDLE = 60               # seconds
NAMES = ("cron-second", "cron-beat", "cron-minute", "cron-idle")
ONE_DUE = "SELECT 1"

# What pg_cron can do: runs on connections of their own (as it comes), or in background workers.
RIVALS = {
    "pg_cron": {"cron.host": "{dir}"},
    "pg_cron, workers": {"cron.use_background_workers": "on"},
}
PROCESSES = {"pgqueue": r"pgqueue (launcher|worker)", "pg_cron": r"pg_cron launcher"}


@dataclass
class Late:
    """Runs of one kind: how many there should be and were, and how late they started, in seconds."""
    who: str
    what: str
    wanted: int
    runs: int
    twice: int
    median: float
    p99: float
    last: float


@dataclass
class Idle:
    who: str
    cpu_ms: float       # a minute
    wakes: float        # a minute


@dataclass
class Found:
    late: list = field(default_factory=list)
    idle: list = field(default_factory=list)


class Contestant:
    """A server of its own with the extension in the database postgres."""

    def __init__(self, who):
        self.who = who
        # Both may run 32 jobs at one time. As PostgreSQL ships it: pgqueue begins no run before that is on disk.
        extra = {"max_worker_processes": "48", "synchronous_commit": "on"}
        rival = who in RIVALS
        self.server = Server("pg_cron" if rival else "pgqueue", extra)
        for name, value in RIVALS.get(who, {}).items():
            self.server.set(name, value.format(dir=self.server.dir))
        self.server.start()
        self.server.ask(f"CREATE EXTENSION {'pg_cron' if rival else 'pgqueue'}")
        # When a run was due: pg_cron's runs are due at the full minute.
        self.due = "date_trunc('minute', start_time)" if rival else "due_time"

    def clear(self):
        self.server.ask("DELETE FROM cron.job")
        time.sleep(1)
        self.server.ask("DELETE FROM cron.job_run_details")

    def schedule(self, count, when):
        self.server.ask(f"SELECT count(cron.schedule('job' || i, '{when}', '{ONE_DUE}'))"
                        f" FROM generate_series(1, {count}) i")

    def late(self, what, wanted, patience):
        """Waits until all have run, and says how late they were."""
        until = time.monotonic() + patience
        done = 0
        while done < wanted and time.monotonic() < until:
            time.sleep(0.5)
            done = int(self.server.one("SELECT count(*) FROM cron.job_run_details WHERE status = 'succeeded'"))
        self.server.ask("UPDATE cron.job SET active = false")
        row = self.server.ask(
            f"""SELECT count(*), count(*) - count(DISTINCT (jobid, {self.due})),
                       percentile_cont(0.5) WITHIN GROUP (ORDER BY late),
                       percentile_cont(0.99) WITHIN GROUP (ORDER BY late), max(late)
                FROM (SELECT *, extract(epoch FROM start_time - {self.due})::float8 AS late
                      FROM cron.job_run_details WHERE status = 'succeeded'
                      ORDER BY runid LIMIT {wanted}) runs""")[0]
        if int(row[0]) == 0:
            raise BenchError(f"no run of {self.who} succeeded")
        self.clear()
        return Late(self.who, what, wanted, int(row[0]), int(row[1]), *map(float, row[2:5]))

    def processes(self):
        pattern = re.compile(PROCESSES[self.who.split(",")[0]])
        rows = self.server.ask("SELECT pid, backend_type FROM pg_stat_activity")
        return [int(pid) for pid, kind in rows if pattern.search(kind)]

    def idle(self):
        """CPU and wake-ups in a minute in which nothing is due. A wake-up is a voluntary context switch."""
        self.schedule(10, "0 0 1 1 *")
        pids = self.processes()
        if not pids:
            raise BenchError(f"no process of {self.who} to be seen")
        time.sleep(2)
        before = [usage(pid) for pid in pids]
        time.sleep(IDLE)
        after = [usage(pid) for pid in pids]
        self.clear()
        spent = [sum(a[i] - b[i] for a, b in zip(after, before)) * 60 / IDLE for i in (0, 1)]
        return Idle(self.who, spent[0] * 1000, spent[1])

    def close(self):
        self.server.remove()


def usage(pid):
    """CPU seconds, to the nanosecond, and voluntary context switches."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as f:
        cpu = int(f.read().split()[0]) / 1e9
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        switches = int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", f.read(), re.M)[1])
    return cpu, switches


def seconds_of(server, ahead):
    """The second of the minute that comes in so many seconds, by the server's clock."""
    return int(server.one(f"SELECT extract(second FROM now() + interval '{ahead} s')::integer % 60"))


def sleep_to_mid_minute(server):
    """So that what is scheduled now is ready before the minute is full."""
    second = float(server.one("SELECT extract(second FROM clock_timestamp())"))
    if second > 45:
        time.sleep(61 - second)


def measure(contestant, wanted, found, say):
    server, who = contestant.server, contestant.who

    def note(late):
        found.late.append(late)
        say(f"  {late.what:<13} {who}: {late.runs} of {late.wanted} runs, {late.twice} twice,"
            f" late by {late.median * 1000:,.1f} ms (median), {late.p99 * 1000:,.1f} (99 %)")

    if wanted("cron-second") and who == "pgqueue":
        contestant.schedule(MANY, f"{seconds_of(server, 5)} * * * * *")
        note(contestant.late("cron-second", MANY, 60))
    if wanted("cron-beat") and who == "pgqueue":
        contestant.schedule(BEAT, "1 second")
        note(contestant.late("cron-beat", BEAT * 60, 90))
    if wanted("cron-minute"):
        for what, jobs, runs in (("cron-minute-1", 1, 3), ("cron-minute", MANY, MANY)):
            sleep_to_mid_minute(server)
            contestant.schedule(jobs, "* * * * *")
            note(contestant.late(what, runs, 235))
    if wanted("cron-idle"):
        idle = contestant.idle()
        found.idle.append(idle)
        say(f"  cron-idle     {who}: {idle.cpu_ms:.1f} ms CPU and {idle.wakes:.0f} wake-ups a minute")


def run(wanted, say):
    """wanted: name -> bool. Returns (Found, {name: why it failed})."""
    found, failed = Found(), {}
    if not any(wanted(name) for name in NAMES):
        return found, failed
    for who in ("pgqueue", *RIVALS):
        contestant = None
        try:
            contestant = Contestant(who)
            measure(contestant, wanted, found, say)
        except BenchError as e:
            if who == "pgqueue":
                failed["cron"] = str(e)
            else:
                say(f"without {who}: {str(e).splitlines()[0]}")
        finally:
            if contestant:
                contestant.close()
    return found, failed
