"""A throwaway server of our own: it listens on a unix socket in a fresh directory only,
and goes, directory and all, when the benchmark ends."""

import atexit
import functools
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time

GIB = 1024 ** 3

# Long checkpoints and roomy WAL keep one contestant's writes from being flushed at
# another's expense; autovacuum stays as PostgreSQL ships it, because rivals need it.
SETTINGS = {
    "synchronous_commit": "off",
    "shared_buffers": "1GB",
    "checkpoint_timeout": "1h",
    "max_connections": "200",
    "listen_addresses": "''",
}


class BenchError(Exception):
    """Something that the user should read without a traceback."""


@functools.cache
def tool(name):
    """The full path of one of the server's programs, as pg_config knows it."""
    config = os.environ.get("PG_CONFIG", "pg_config")
    try:
        bindir = subprocess.run([config, "--bindir"], capture_output=True, text=True,
                                check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as e:
        raise BenchError(f"{config} does not run: {e} (set PG_CONFIG)") from e
    return os.path.join(bindir, name)


class Session:
    """A psql that stays connected: one statement after another over its pipes."""

    MARK = "@@end-of-answer@@"

    def __init__(self, server):
        self.psql = subprocess.Popen(
            [tool("psql"), "-XqAt", "-F", "\t", "-P", "null=\\N", "-d", server.dsn()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, bufsize=1)

    def ask(self, sql):
        """Rows of the last statement, as lists of strings; an error raises BenchError."""
        try:
            self.psql.stdin.write(f"{sql.rstrip().rstrip(';')};\n\\warn {self.MARK} :ERROR\n")
            self.psql.stdin.flush()
        except OSError as e:
            raise BenchError(f"the session is gone: {e}") from e
        lines = []
        for line in self.psql.stdout:
            if line.startswith(self.MARK):
                if line.split()[1] == "true":
                    raise BenchError("\n".join(lines) + f"\nin: {sql[:300]}")
                return [text.split("\t") for text in lines if not text.startswith("NOTICE:")]
            lines.append(line.rstrip("\n"))
        raise BenchError("the session is gone: " + "\n".join(lines))

    def one(self, sql):
        rows = self.ask(sql)
        return rows[0][0] if rows else None

    def close(self):
        try:
            self.psql.stdin.close()
            self.psql.wait(timeout=30)
        except OSError:         # the server went first
            self.psql.kill()
            self.psql.wait()
        self.psql.stdout.close()


class Server:
    def __init__(self, preload, extra=None):
        self.settings = SETTINGS | (extra or {})
        if preload:
            self.settings["shared_preload_libraries"] = preload
        self.dir = tempfile.mkdtemp(prefix="pgqueue-bench-")
        self.data = os.path.join(self.dir, "data")
        self.scratch = os.path.join(self.dir, "scratch")
        self.log = os.path.join(self.dir, "log")
        self.port = 5999
        self.running = False
        self._admin = None
        os.mkdir(self.scratch)
        atexit.register(self.remove)
        # Room for the WAL of the longest workload, but never more than the disk can bear.
        wal = min(48 * GIB, shutil.disk_usage(self.dir).free // 3)
        self.settings["max_wal_size"] = f"{wal // GIB or 1}GB"
        self.settings["min_wal_size"] = f"{min(4, wal // GIB or 1)}GB"
        # PostgreSQL refuses to run as root.
        self.prefix = []
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.dir, owner.pw_uid, owner.pw_gid)
            os.chmod(self.dir, 0o755)
            self.prefix = ["runuser", "-u", "postgres", "--"]
        self._run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust",
                  "--encoding=UTF8", "--locale=C")
        for name, value in self.settings.items():
            self.set(name, value)
        self.set("unix_socket_directories", self.dir)
        self.set("port", str(self.port))

    def set(self, name, value):
        """Before the server starts."""
        quoted = value if value.startswith("'") else f"'{value}'"
        with open(os.path.join(self.data, "postgresql.auto.conf"), "a", encoding="ascii") as f:
            f.write(f"{name} = {quoted}\n")

    def _run(self, program, *args):
        done = subprocess.run([*self.prefix, tool(program), *args], cwd="/",
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise BenchError(f"{program} failed:\n{done.stdout}{self.log_tail()}")

    def log_tail(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return "".join(f.readlines()[-20:])
        except OSError:
            return ""

    def start(self):
        self._run("pg_ctl", "-D", self.data, "-l", self.log, "-w", "-t", "600", "start")
        self.running = True

    def back(self):
        """After a failure: wait until the server, which may have crashed, takes connections
        again. Answers whether it does."""
        deadline = time.monotonic() + 120
        while True:
            ready = subprocess.run([tool("pg_isready"), "-q", "-h", self.dir, "-p",
                                    str(self.port)], check=False).returncode == 0
            if ready or time.monotonic() > deadline:
                return ready
            time.sleep(0.1)

    def stop(self, mode="fast"):
        if self._admin:
            self._admin.close()
            self._admin = None
        if self.running:
            self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "-t", "600", "stop")
            self.running = False

    def remove(self):
        """Safe to call twice; also runs at exit."""
        if not os.path.isdir(self.dir):
            return
        try:
            self.stop("immediate")
        except (BenchError, OSError, subprocess.TimeoutExpired) as e:
            print(f"the benchmark's server in {self.dir} did not stop: {e}", file=sys.stderr)
        shutil.rmtree(self.dir, ignore_errors=True)

    def dsn(self):
        return f"host={self.dir} port={self.port} user=postgres dbname=postgres"

    @property
    def admin(self):
        if self._admin is None or self._admin.psql.poll() is not None:
            self._admin = Session(self)
        return self._admin

    def ask(self, sql):
        return self.admin.ask(sql)

    def one(self, sql):
        return self.admin.one(sql)

    def shown_settings(self):
        """What was set, as the server sees it, and every setting of the extension."""
        names = ", ".join(f"'{n}'" for n in self.settings)
        return self.ask(
            f"""SELECT name, current_setting(name) FROM pg_settings
                WHERE name IN ({names}, 'autovacuum', 'fsync', 'full_page_writes', 'wal_level')
                   OR name LIKE 'pgqueue.%' ORDER BY name LIKE 'pgqueue.%', name""")


def machine(server):
    """Lines that say what was measured on."""
    model = "unknown"
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    cores = len(os.sched_getaffinity(0))
    return {
        "cpu": model,
        "cores": str(cores),
        "memory": f"{memory:.0f} GB",
        "kernel": f"{os.uname().sysname} {os.uname().release}",
        "server": server.one("SHOW server_version"),
    }
