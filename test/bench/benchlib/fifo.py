"""Reads from a fifo queue beside reads from an unordered one, with the same messages."""

import os

from .load import Pgbench
from .server import BenchError
from .workloads import Sample, VariantBench

ONE = "WITH m AS MATERIALIZED (SELECT msg_id FROM queue.read('f'))\nSELECT queue.delete('f', msg_id) FROM m;\n"
FIFTY = ("WITH m AS MATERIALIZED (SELECT array_agg(msg_id) AS ids FROM queue.read('f', qty => 50))\n"
         "SELECT count(*) FROM m, queue.delete_batch('f', coalesce(ids, '{}'));\n")
# variant -> (is it fifo, the group of message i)
GROUPS = {
    "unordered": (False, "'g' || i % 1000"),
    "1,000 groups": (True, "'g' || i % 1000"),
    "10,000 groups, half of it in one": (True, "'g' || CASE WHEN i % 2 = 0 THEN 0 ELSE i % 10000 END"),
}
# name, title, clients, script, messages a second that are stored for it at least
PLAIN = (
    ("fifo", "read one and delete it by groups, 16 clients", 16, ONE, 120_000),
    ("fifo-batch", "read 50 and delete 50 by groups, 4 clients", 4, FIFTY, 1_500_000),
)
NAMES = [p[0] for p in PLAIN]


class Bench(VariantBench):
    def cases(self, script, rate):
        return {variant: (script, rate, variant) for variant in GROUPS}

    def run_case(self, name, clients, number, script, rate, variant):
        """Messages a second, from a queue that has more of them than will be read."""
        ask = self.server.ask
        fifo, group = GROUPS[variant]
        ask(f"SELECT queue.create('f', fifo => {str(fifo).lower()}, vt => 600)")
        try:
            ask("SELECT count(*) FROM (SELECT queue.send_batch('f',"
                " array_agg(jsonb_build_object('id', i, 'kind', 'order.created', 'total', 129.95, 'note', 'on porch')),"
                f" group_keys => array_agg({group})) FROM generate_series(1, {int(rate * self.seconds)}) i"
                " GROUP BY i / 1000 ORDER BY i / 1000) sent")
            ask("VACUUM queue.\"q_f#1\"")
            ask("CHECKPOINT")
            path = os.path.join(self.server.scratch, f"{name}-{number}.sql")
            with open(path, "w", encoding="ascii") as f:
                f.write(script)
            before = int(ask("SELECT count(*) FROM queue.q_f")[0][0])
            result = Pgbench(self.server, [path], clients, self.seconds).wait()
            left = int(ask("SELECT count(*) FROM queue.q_f")[0][0])
            if left == 0:
                raise BenchError(f"{name}: the backlog of {before} ran dry")
            return Sample((before - left) / self.seconds, result.latency)
        finally:
            ask("SELECT queue.drop('f')")


def run(server, wanted, seconds, rounds, say):
    """wanted: name -> bool. Returns (workloads, {name: why it failed})."""
    return Bench(server, seconds, rounds, say).run(PLAIN, wanted)
