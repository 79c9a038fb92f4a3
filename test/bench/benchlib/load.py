"""pgbench: rendering the scripts, running them, reading what it says."""

import glob
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass

from .server import BenchError, tool

SCRIPTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "scripts")

# 130 bytes of JSON. No colon stands right before a letter: pgbench would take that for a
# variable of its own.
MESSAGE = ('{"id": 184467, "kind": "order.created", "customer": "c-90125", "total": 129.95, '
           '"currency": "EUR", "items": 3, "note": "on porch"}')
assert len(MESSAGE) == 130, len(MESSAGE)

BATCH = 1000

# How long past its time a run may last before it counts as hung.
GRACE = 120


def array_literal(count):
    """The same message so many times as the text of an array, for a literal in a script:
    a prepared statement holds it ready-made, so that building it costs nobody anything."""
    quoted = MESSAGE.replace("\\", "\\\\").replace('"', '\\"')
    return "{" + ",".join(f'"{quoted}"' for _ in range(count)) + "}"


def render(server, script, queue):
    """The script's file with its placeholders filled in."""
    with open(os.path.join(SCRIPTS, script + ".sql"), encoding="ascii") as f:
        text = f.read()
    text = text.replace("{queue}", queue)
    if "{messages}" in text:
        text = text.replace("{messages}", array_literal(BATCH))
    if "{fifty}" in text:
        text = text.replace("{fifty}", array_literal(50))
    path = os.path.join(server.scratch, f"{script}-{queue}.sql")
    with open(path, "w", encoding="ascii") as f:
        f.write(text)
    return path


@dataclass
class Result:
    tps: float              # transactions a second, without the time to connect
    latency: float          # ms, mean
    transactions: int


class Pgbench:
    """One run of pgbench, in the background until wait() is called."""

    def __init__(self, server, scripts, clients, seconds, rate=None, progress=False, log=None,
                 message=MESSAGE):
        """scripts: paths; all of them, one after the other, are one transaction's work."""
        self.log = log
        self.seconds = seconds
        self.errors = tempfile.TemporaryFile("w+")
        command = [tool("pgbench"), "-n", "-M", "prepared", "-c", str(clients),
                   "-j", str(min(clients, 2)), "-T", str(seconds), "-D", f"message={message}",
                   "-h", server.dir, "-p", str(server.port), "-U", "postgres"]
        merged = scripts[0]
        if len(scripts) > 1:
            merged = os.path.join(server.scratch, "+".join(
                os.path.basename(s)[:-4] for s in scripts) + ".sql")
            with open(merged, "w", encoding="ascii") as out:
                for script in scripts:
                    with open(script, encoding="ascii") as f:
                        out.write(f.read())
        command += ["-f", merged]
        if rate:
            command += ["-R", f"{rate:.1f}"]
        if progress:
            command += ["-P", "1"]
        if log:
            command += ["-l", "--log-prefix", log[0], "--sampling-rate", str(log[1])]
        self.process = subprocess.Popen([*command, "postgres"], stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True)

    def wait(self):
        try:
            output, _ = self.process.communicate(timeout=self.seconds + GRACE)
        except subprocess.TimeoutExpired as e:
            self.stop()
            raise BenchError(f"pgbench hung: not done {GRACE} s after its time") from e
        self.errors.seek(0)
        self.said = self.errors.read()
        self.errors.close()
        trouble = [t for t in self.said.splitlines() if re.search("error:|aborted|ERROR:", t)]
        if self.process.returncode or trouble:
            raise BenchError("pgbench failed: " + "\n".join(trouble[:5] or [self.said[-500:]]))
        return Result(
            tps=float(re.search(r"^tps = ([\d.]+)", output, re.M).group(1)),
            latency=float(re.search(r"^latency average = ([\d.]+)", output, re.M).group(1)),
            transactions=int(re.search(r"actually processed: (\d+)", output).group(1)))

    def stop(self):
        """End it early, without a result."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.errors.close()

    def progress(self):
        """(second, transactions a second, mean latency in ms) of each progress line."""
        return [(float(a), float(b), float(c)) for a, b, c in re.findall(
            r"progress: ([\d.]+) s, ([\d.]+) tps, lat ([\d.]+|NaN)", self.said)]

    def latencies(self):
        """{epoch second: sorted latencies in ms} of the logged transactions; removes the logs."""
        seconds = {}
        for path in glob.glob(self.log[0] + ".*"):
            with open(path, encoding="ascii") as f:
                for line in f:
                    fields = line.split()
                    if fields[2].isdigit():
                        seconds.setdefault(int(fields[4]), []).append(int(fields[2]) / 1000)
            os.unlink(path)
        for values in seconds.values():
            values.sort()
        return seconds


def pgbench(server, script, queue, clients, seconds):
    """Run one script to its end."""
    return Pgbench(server, [render(server, script, queue)], clients, seconds).wait()


def percentile(ordered, share):
    """The value below which that share of an ordered list lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
