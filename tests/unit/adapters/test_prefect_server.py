"""The embedded Prefect server ends with us, whenever we die."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_DIES_AT_ONCE = """
import os, sys
from pathlib import Path
from vmferry.adapters.prefect_server import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
server.start()
os.write(1, str(server._process.pid).encode())
os.kill(os.getpid(), 9)
"""


def test_a_client_that_dies_before_the_kernel_knows_of_the_bond_leaves_no_server(tmp_path: Path) -> None:
    """A slow setpriv: the client is gone when it asks the kernel for a signal at the client's death."""
    slow = tmp_path / "setpriv"
    slow.write_text(f'#!/bin/sh\nsleep 0.5\nexec {shutil.which("setpriv")} "$@"\n')
    slow.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PREFECT_HOME": str(tmp_path)}
    command = [sys.executable, "-c", _DIES_AT_ONCE, str(tmp_path / "log")]
    died = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False)
    server = int(died.stdout)
    assert died.returncode == -signal.SIGKILL
    try:
        deadline = time.monotonic() + 10
        while is_running(server) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not is_running(server)
    finally:
        if is_running(server):
            os.kill(server, signal.SIGKILL)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
