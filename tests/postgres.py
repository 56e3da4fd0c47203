"""A PostgreSQL cluster of our own, from Debian's packages: no Docker, nothing of the machine's own cluster."""

from __future__ import annotations

import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER = "vmferry"
PASSWORD = "of-this-test"


@dataclass(frozen=True)
class Postgres:
    """A running cluster."""

    port: int

    def url(self, driver: str, database: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+{driver}://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def ask(self, database: str, statement: str) -> str:
        """Run a statement, and return its answer as text."""
        command = ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", database, "-Atc", statement]
        done = subprocess.run(command, env={"PGPASSWORD": PASSWORD}, capture_output=True, text=True, check=True)
        return done.stdout.strip()


@contextmanager
def running(*databases: str) -> Iterator[Postgres]:
    """Make a cluster with these databases, and remove it afterwards. PostgreSQL refuses to run as root."""
    place = Path(tempfile.mkdtemp(prefix="vmferry-pg-", dir="/var/tmp"))
    user = pwd.getpwnam("postgres")
    shutil.chown(place, user.pw_uid, user.pw_gid)
    as_postgres = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--pdeathsig=KILL"]
    password, data = place / "password", place / "data"
    password.write_text(PASSWORD)
    shutil.chown(password, user.pw_uid)
    bin_dir = max(Path("/usr/lib/postgresql").glob("*/bin"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    init = [bin_dir / "initdb", "-D", data, "-U", USER, "--pwfile", password, "--auth=scram-sha-256", "--no-sync"]
    subprocess.run([*as_postgres, "--", *map(str, init)], cwd=place, check=True, capture_output=True)
    # The data is thrown away: nothing needs to be on the disk.
    serve = [bin_dir / "postgres", "-D", data, "-k", place, "-p", port, "-c", "fsync=off", "-h", "127.0.0.1"]
    with (place / "log").open("w") as log:
        process = subprocess.Popen([*as_postgres, "--", *map(str, serve)], cwd=place, stdout=log, stderr=log)
        try:
            cluster = Postgres(port)
            _wait(cluster, process, place / "log")
            for database in databases:
                cluster.ask("postgres", f"CREATE DATABASE {database}")
            yield cluster
        finally:
            process.terminate()  # a shutdown that waits for clients would wait for the Prefect server
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.send_signal(2)
                process.wait(20)
            shutil.rmtree(place, ignore_errors=True)


def _wait(cluster: Postgres, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            cluster.ask("postgres", "SELECT 1")
            return
        except subprocess.CalledProcessError:
            time.sleep(0.2)
    raise AssertionError(f"PostgreSQL does not answer: {log.read_text()[-2000:]}")
