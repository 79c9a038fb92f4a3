"""What ../latency.cpp times: from a send to the waiting reader, the CPU of waiting, and the
first read after a restart."""

import os
import subprocess
from dataclasses import dataclass, field
from statistics import median

from .load import BATCH, MESSAGE, Pgbench, percentile, render
from .server import BenchError, tool

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CLIENTS = 16
LOAD = 0.8                  # of the saturated rate
CALIBRATE = 4               # seconds at full speed, to find that rate


def build(server):
    """Compile the program into the server's directory; answers its path."""
    def config(what):
        return subprocess.run([tool("pg_config"), what], capture_output=True, text=True,
                              check=True).stdout.strip()
    program = os.path.join(server.scratch, "latency")
    command = [os.environ.get("CXX", "g++"), "-std=c++20", "-O2", "-Wall", "-Wextra",
               "-I" + config("--includedir"), os.path.join(HERE, "latency.cpp"),
               "-o", program, "-L" + config("--libdir"), "-lpq", "-pthread"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    if done.returncode:
        raise BenchError(f"latency.cpp does not build:\n{done.stdout}")
    return program


def call(program, timeout, *args):
    try:
        done = subprocess.run([program, *map(str, args)], capture_output=True, text=True,
                              timeout=timeout, check=False)
    except subprocess.TimeoutExpired as e:
        raise BenchError(f"latency {args[0]} hung") from e
    if done.returncode:
        raise BenchError(done.stderr.strip())
    return [[float(x) for x in line.split()] for line in done.stdout.splitlines()]


@dataclass
class Probe:
    label: str
    after_commit: list      # ms, sorted: from the commit's return to the row
    whole: list             # ms, sorted: from issuing the send to the row

    def point(self, share):
        return percentile(self.after_commit, share)


@dataclass
class Latency:
    probes: list = field(default_factory=list)
    saturated: float = 0.0          # messages a second: send, read and ack
    readers: int = 0
    waited: float = 0.0             # seconds
    cpu_ticks: float = 0.0          # seconds, utime + stime
    cpu_exact: float = 0.0          # seconds, as the scheduler counts
    sleeps: int = 0


def run_latency(runner, program, samples, wait_seconds, readers=100):
    server, found, failed = runner.server, Latency(), {}
    who = runner.contestants["pgqueue"]

    def probe(label):
        who.create("probe")
        lines = call(program, 60 + samples * 0.1, "probe", server.dsn(), "probe", MESSAGE, samples)
        who.drop("probe")
        p = Probe(label, sorted(a / 1000 for a, _ in lines), sorted(b / 1000 for _, b in lines))
        found.probes.append(p)
        runner.say(f"  latency    {label}: {len(lines):,} samples, median {p.point(.5):.3f} ms, "
                   f"99 % {p.point(.99):.3f} ms, 99.9 % {p.point(.999):.3f} ms")

    def waiters():
        who.create("probe")
        line = call(program, wait_seconds + 60, "waiters", server.dsn(), "probe", readers,
                    wait_seconds)[0]
        who.drop("probe")
        found.readers = readers
        found.cpu_ticks, found.cpu_exact, sleeps, found.waited = line
        found.sleeps = int(sleeps)
        runner.say(f"  latency    {readers} readers waited {found.waited:.1f} s: "
                   f"{found.cpu_ticks:.2f} s of CPU in ticks, {found.cpu_exact:.4f} s exactly, "
                   f"{found.sleeps} sleeps")

    def loaded():
        who.create("bench")
        who.fill("bench", 20 * BATCH)
        scripts = [render(server, f"pgqueue-{s}", "bench") for s in ("send1", "readdel1")]
        full = Pgbench(server, scripts, CLIENTS, CALIBRATE).wait()
        found.saturated = full.tps
        # Longer than the probe can take: it is stopped when that is done.
        load = Pgbench(server, scripts, CLIENTS, 3600, rate=full.tps * LOAD)
        try:
            probe(f"{LOAD:.0%} load")
            if load.process.poll() is not None:
                raise BenchError("the background load broke off")
        finally:
            load.stop()
        who.drop("bench")

    for part in (lambda: probe("idle"), loaded, waiters):
        try:
            part()
        except BenchError as e:
            failed["pgqueue"] = str(e)
            server.back()
            runner.say(f"  pgqueue failed in latency: {e}")
    return found, failed


FIRST_READ = {
    "pgqueue": "SELECT * FROM queue.read('bench', 30, 1)",
    "wrapper": "SELECT * FROM wrapper.read('bench', 30, 1)",
    "skip": "UPDATE skip.bench SET status = 'running' WHERE id = (SELECT id FROM skip.bench"
            " WHERE status = 'ready' ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)"
            " RETURNING *",
}


@dataclass
class Restart:
    contestant: str
    situation: str
    waiting: int
    connect: float          # ms, medians
    first: float
    second: float


def run_restart(runner, program, names, count, times=3):
    """First read on a fresh connection after a restart with so many messages waiting: after an
    orderly stop, after a crash, and with the first tenth of the queue read and gone."""
    server, found, failed = runner.server, [], {}

    def measure(name, situation, mode, waiting):
        lines = []
        for _ in range(times):
            server.stop(mode)
            server.start()
            lines.append(call(program, 600, "first", server.dsn(), FIRST_READ[name])[0])
        one = Restart(name, situation, waiting, *(median(x) for x in zip(*lines)))
        found.append(one)
        runner.say(f"  restart    {name} {situation}: {waiting:,} waiting, first read "
                   f"{one.first:.1f} ms (connecting {one.connect:.1f} ms, "
                   f"second read {one.second:.2f} ms)")

    for name in names:
        if name not in runner.contestants:
            continue
        who = runner.contestants[name]
        try:
            who.create("bench")
            filled = who.fill("bench", count)
            who.settle("bench")
            measure(name, "restart", "fast", filled)
            measure(name, "crash", "immediate", filled)
            if name == "pgqueue":
                gone = filled // 10
                server.ask(
                    f"""DO $$ BEGIN
                        FOR i IN 1 .. {gone // BATCH} LOOP
                            PERFORM * FROM queue.pop('bench', {BATCH});
                            COMMIT;
                        END LOOP;
                    END $$""")
                measure(name, "restart, a tenth gone", "fast", filled - gone)
            who.drop("bench")
        except BenchError as e:
            failed[name] = str(e)
            if not server.running:
                server.start()
            server.back()
            runner.say(f"  {name} failed in restart: {e}")
    return found, failed
