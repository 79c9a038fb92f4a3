"""Handlers: messages a second with a function that does nothing, and from a send's commit to its effect."""

import time
from dataclasses import dataclass, field
from statistics import median

from .load import BATCH, MESSAGE, percentile
from .server import BenchError

NAMES = ("handler", "handler-latency")
LANGUAGES = {"sql": "'SELECT'", "plpgsql": "'BEGIN END'"}
KINDS = [(language, concurrency, batch)
         for language in LANGUAGES for concurrency in (1, 2) for batch in (1, 100)]


@dataclass
class Found:
    rates: list = field(default_factory=list)       # (language, concurrency, batch, messages a second)
    latency: list = field(default_factory=list)     # ms, sorted


def create(server):
    for language, body in LANGUAGES.items():
        server.ask(f"CREATE OR REPLACE FUNCTION bench_{language}(m queue.message) RETURNS void"
                   f" LANGUAGE {language} AS {body}")
    server.ask("CREATE UNLOGGED TABLE IF NOT EXISTS bench_effects (msg_id bigint, at timestamptz)")
    server.ask("CREATE OR REPLACE FUNCTION bench_effect(m queue.message) RETURNS void LANGUAGE plpgsql AS"
               " $$ BEGIN INSERT INTO bench_effects VALUES (m.msg_id, clock_timestamp()); END $$")


def rate(server, language, concurrency, batch, seconds):
    """While a backlog lasts, as the handler's own counter says; after the processes have come up."""
    server.ask("SELECT queue.create('bench')")
    try:
        for _ in range(max(1, 150_000 * (seconds + 1) // (10 * BATCH))):
            server.ask(f"SELECT count(*) FROM queue.send_batch('bench', array_fill('{MESSAGE}'::jsonb, ARRAY[{10 * BATCH}]))")
        server.ask(f"SELECT queue.attach('bench', 'bench_{language}', {concurrency}, batch => {batch})")

        def look():
            row = server.ask("SELECT processed, extract(epoch FROM clock_timestamp()) FROM queue.handlers"
                             " WHERE queue_name = 'bench'")[0]
            return int(row[0]), float(row[1])

        until = time.monotonic() + 10
        first = look()
        while first[0] == 0:
            if time.monotonic() > until:
                raise BenchError("the handler does not start")
            time.sleep(0.05)
            first = look()
        until = time.monotonic() + seconds
        last = first
        while time.monotonic() < until and int(server.one("SELECT count(*) FROM queue.peek('bench')")) > 0:
            time.sleep(0.02)
            last = look()
        if last == first:
            raise BenchError("the handler was done before it was looked at")
        return (last[0] - first[0]) / (last[1] - first[1])
    finally:
        server.ask("SELECT queue.drop('bench')")


def latency(server, samples):
    """One message at a time, to a process that waits: from the return of the send's commit to the call."""
    server.ask("SELECT queue.create('bench')")
    try:
        server.ask("TRUNCATE bench_effects")
        server.ask("SELECT queue.attach('bench', 'bench_effect')")
        server.ask("CREATE TEMP TABLE IF NOT EXISTS bench_sent (msg_id bigint, at timestamptz)")
        server.ask(f"""DO $$
            DECLARE id bigint;
            BEGIN
                FOR i IN 1 .. {samples} LOOP
                    id := queue.send('bench', '{MESSAGE}');
                    COMMIT;
                    INSERT INTO bench_sent VALUES (id, clock_timestamp());
                    COMMIT;
                    PERFORM pg_sleep(0.002);
                END LOOP;
            END $$""")
        time.sleep(1)
        rows = server.ask("SELECT extract(epoch FROM e.at - s.at) * 1000 FROM bench_sent s JOIN bench_effects e"
                          " USING (msg_id)")
        if len(rows) != samples:
            raise BenchError(f"{len(rows)} effects of {samples} messages")
        return sorted(max(0.0, float(row[0])) for row in rows)
    finally:
        server.ask("SELECT queue.drop('bench')")


def run(server, wanted, seconds, rounds, samples, say):
    """wanted: name -> bool. Returns (Found, {name: why it failed})."""
    found, failed = Found(), {}
    if not any(wanted(name) for name in NAMES):
        return found, failed
    create(server)
    if wanted("handler"):
        try:
            for kind in KINDS:
                measured = median(rate(server, *kind, seconds) for _ in range(rounds))
                found.rates.append((*kind, measured))
                say("  handler    %s, concurrency %d, batch %d: " % kind + f"{measured:,.0f}/s")
        except BenchError as e:
            failed["handler"] = str(e)
    if wanted("handler-latency"):
        try:
            found.latency = latency(server, min(samples, 3000))
            say(f"  handler-latency {len(found.latency):,} samples: median {percentile(found.latency, .5):.3f} ms,"
                f" 99 % {percentile(found.latency, .99):.3f} ms")
        except BenchError as e:
            failed["handler-latency"] = str(e)
    return found, failed
