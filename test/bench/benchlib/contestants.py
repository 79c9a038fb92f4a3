"""Who takes part: for each, how a queue of it is made, filled, counted and dropped."""

import os

from .load import BATCH, MESSAGE, array_literal
from .server import BenchError

SQL = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "sql")


def sql_file(name):
    with open(os.path.join(SQL, name), encoding="ascii") as f:
        return f.read()


class Contestant:
    name = ""
    label = ""
    # A generous guess at messages a second, for the first backlog of each workload; what
    # is measured replaces it.
    guess = {}
    vacuumed = True         # its backlog is vacuumed and analyzed before it is measured

    def __init__(self, server):
        self.server = server

    def setup(self):
        """Once per server."""

    def table(self, queue):
        return f"{self.name}.{queue}"

    def create(self, queue):
        self.drop(queue)        # a failed run may have left one
        self.make(queue)

    def make(self, queue):
        raise NotImplementedError

    def drop(self, queue):
        raise NotImplementedError

    def fill(self, queue, count):
        """Add that many waiting messages (rounded up to whole batches)."""
        batches = -(-count // BATCH)
        # Generated on the server, in transactions of bounded size.
        for start in range(0, batches, 500):
            self.server.ask(self.fill_sql(queue, min(500, batches - start)))
        return batches * BATCH

    def fill_sql(self, queue, batches):
        raise NotImplementedError

    def lease(self, queue, count):
        """Take that many messages and keep them for an hour."""
        raise NotImplementedError

    def settle(self, queue):
        if self.vacuumed:
            self.server.ask(f"VACUUM ANALYZE {self.table(queue)}")

    def rows(self, queue):
        return int(self.server.one(f"SELECT count(*) FROM {self.table(queue)}"))

    def size(self, queue, session=None):
        """Bytes of the table, its indexes and TOAST."""
        return int((session or self.server).one(
            f"SELECT pg_total_relation_size('{self.table(queue)}')"))


class Pgqueue(Contestant):
    name = "pgqueue"
    label = "pgqueue"
    guess = {"readdel1": 65000, "pop1": 75000, "batch50": 450000}
    vacuumed = False

    def setup(self):
        self.server.ask("CREATE EXTENSION pgqueue")

    def table(self, queue):
        return f"queue.q_{queue}"

    def make(self, queue):
        self.server.ask(f"SELECT queue.create('{queue}')")

    def drop(self, queue):
        self.server.ask(f"SELECT queue.drop('{queue}')")

    def fill_sql(self, queue, batches):
        return (f"SELECT count(*) FROM (SELECT array_fill('{MESSAGE}'::jsonb, ARRAY[{BATCH}]) AS m"
                f" OFFSET 0) a, generate_series(1, {batches}) g,"
                f" LATERAL queue.send_batch('{queue}', CASE WHEN g > 0 THEN a.m END) s")

    def lease(self, queue, count):
        taken = 0
        while taken < count:
            got = int(self.server.one(
                f"SELECT count(*) FROM queue.read('{queue}', 3600, {min(BATCH, count - taken)})"))
            if not got:
                raise BenchError(f"only {taken} of {count} messages could be read")
            taken += got

    def size(self, queue, session=None):
        # The parent is empty; the segments are its children.
        return int((session or self.server).one(
            f"""SELECT sum(pg_total_relation_size(t))
                FROM (SELECT 'queue.q_{queue}'::regclass::oid
                      UNION ALL SELECT inhrelid FROM pg_inherits
                      WHERE inhparent = 'queue.q_{queue}'::regclass) s(t)"""))


class Skip(Contestant):
    name = "skip"
    label = "SKIP LOCKED table"
    guess = {"readdel1": 20000, "pop1": 20000, "batch50": 150000}

    def setup(self):
        self.server.ask("CREATE SCHEMA skip")

    def make(self, queue):
        self.server.ask(sql_file("skip.sql").replace("{queue}", queue))

    def drop(self, queue):
        self.server.ask(f"DROP TABLE IF EXISTS skip.{queue}")

    def fill_sql(self, queue, batches):
        return (f"INSERT INTO skip.{queue} (payload)"
                f" SELECT '{MESSAGE}'::jsonb FROM generate_series(1, {batches * BATCH})")

    def lease(self, queue, count):
        self.server.ask(
            f"""UPDATE skip.{queue} SET status = 'running', attempts = attempts + 1,
                       claimed_at = now()
                WHERE id = ANY (ARRAY (
                    SELECT id FROM skip.{queue} WHERE status = 'ready'
                    ORDER BY created_at LIMIT {count} FOR UPDATE SKIP LOCKED))""")


class Wrapper(Contestant):
    name = "wrapper"
    label = "function wrapper"
    guess = {"readdel1": 15000, "pop1": 15000, "batch50": 120000}

    def setup(self):
        self.server.ask(sql_file("wrapper.sql"))

    def table(self, queue):
        return f"wrapper.q_{queue}"

    def make(self, queue):
        self.server.ask(f"SELECT wrapper.create('{queue}')")

    def drop(self, queue):
        self.server.ask(f"SELECT wrapper.drop('{queue}')")

    def fill_sql(self, queue, batches):
        return (f"INSERT INTO wrapper.q_{queue} (vt, message) SELECT clock_timestamp(),"
                f" '{MESSAGE}'::jsonb FROM generate_series(1, {batches * BATCH})")

    def lease(self, queue, count):
        for start in range(0, count, BATCH):
            self.server.ask(f"SELECT count(*) FROM wrapper.read('{queue}', 3600,"
                            f" {min(BATCH, count - start)})")


class Insert(Wrapper):
    """The wrapper's table without the wrapper: what a batch costs at the least there."""
    name = "insert"
    label = "INSERT ... unnest"

    def setup(self):
        if not self.server.one("SELECT to_regnamespace('wrapper')") != "\\N":
            super().setup()


class Pgq(Contestant):
    name = "pgq"
    label = "PgQ"
    guess = {"batch50": 150000}
    vacuumed = False

    def setup(self):
        self.server.ask(sql_file("pgq.sql"))

    def make(self, queue):
        self.server.ask(f"SELECT pgq.create_queue('{queue}')")
        self.server.ask(f"SELECT pgq.register_consumer('{queue}', 'bench')")
        # A tick whenever the ticker is called and there is anything new.
        self.server.ask(f"SELECT pgq.set_queue_config('{queue}', 'ticker_max_count', '1')")
        self.server.ask(f"SELECT pgq.set_queue_config('{queue}', 'rotation_period', '10 s')")

    def drop(self, queue):
        self.server.ask(f"SELECT pgq.drop_queue(queue_name, true) FROM pgq.queue"
                        f" WHERE queue_name = '{queue}'")

    def fill(self, queue, count):
        batches = -(-count // 50)
        self.server.ask(f"CALL pgq_bench.fill('{queue}', {batches}, 50, '{MESSAGE}')")
        return batches * 50

    def settle(self, queue):
        self.server.ask("VACUUM ANALYZE pgq.tick")

    def table(self, queue):
        return self.server.one(
            f"SELECT queue_data_pfx FROM pgq.queue WHERE queue_name = '{queue}'")

    def consumed(self, queue, session=None):
        return int((session or self.server).one(f"SELECT pgq_bench.consumed('{queue}')"))

    def size(self, queue, session=None):
        return int((session or self.server).one(
            f"""SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits
                WHERE inhparent = (SELECT queue_data_pfx::regclass FROM pgq.queue
                                   WHERE queue_name = '{queue}')"""))


class Bare(Contestant):
    """A statement without a queue: a limit to measure against."""
    vacuumed = False

    def make(self, queue):
        pass

    def drop(self, queue):
        pass

    def rows(self, queue):
        return 0

    def settle(self, queue):
        pass


class Select1(Bare):
    """What a round trip costs."""
    name = "select1"
    label = "bare SELECT 1"


class Commit(Bare):
    """What a transaction that writes costs at least: a transaction id and a commit record."""
    name = "commit"
    label = "empty commit"


ALL = {c.name: c for c in (Pgqueue, Skip, Wrapper, Insert, Pgq, Select1, Commit)}
BARE = tuple(name for name, c in ALL.items() if issubclass(c, Bare))
LABELS = {name: c.label for name, c in ALL.items()} | {"sql": "plain SQL"}
