"""A PostgreSQL server of a test's own: a socket in a directory, no port, gone with the test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_USER = "postgres"


class Postgres:
    """A running server; each database is new."""

    def __init__(self, socket_dir: Path) -> None:
        self._socket_dir = socket_dir
        self._databases = 0

    @classmethod
    @contextmanager
    def running(cls, directory: Path) -> Iterator[Postgres]:
        """Start a server on a new cluster; root hands it to the user postgres, who alone may run one."""
        socket_dir = Path("/tmp") / f"vmferry-pg-{os.getpid()}"  # paths of sockets are short: 107 bytes
        data = socket_dir / "data"
        socket_dir.mkdir(mode=0o755)
        try:
            if os.geteuid() == 0:
                shutil.chown(socket_dir, _USER)
            _run("initdb", "-D", str(data), "-A", "trust", "-U", "vmferry", "--no-sync")
            options = f"-c listen_addresses='' -c unix_socket_directories={socket_dir} -c fsync=off"
            _run("pg_ctl", "-D", str(data), "-w", "-l", str(socket_dir / "log"), "-o", options, "start")
            try:
                yield cls(socket_dir)
            finally:
                _run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
        finally:
            shutil.rmtree(socket_dir, ignore_errors=True)

    def new_database(self) -> str:
        """Return the URL of a new, empty database."""
        self._databases += 1
        name = f"test{self._databases}"
        _run("createdb", "-h", str(self._socket_dir), "-U", "vmferry", name)
        return f"postgresql://vmferry@/{name}?host={self._socket_dir}"


def _run(program: str, *arguments: str) -> None:
    """Run a program of PostgreSQL, wherever Debian has put this version."""
    (*_, binary) = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    command = [str(binary), *arguments]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid", _USER, "--regid", _USER, "--clear-groups", *command]
    subprocess.run(command, check=True, capture_output=True, cwd="/", timeout=60)
