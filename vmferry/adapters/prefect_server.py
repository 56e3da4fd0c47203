"""The embedded Prefect server: a child process that never outlives us and does not hear our Ctrl-C.

Prefect starts one by itself, but that one stays behind when its client is killed, and a Ctrl-C in the terminal ends it
at once, while the moves that are being finished still report to it (docs/decisions/0011).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from vmferry.errors import InvalidInput

# What Prefect 3.8.8 gives its own temporary server (SubprocessASGIServer._run_uvicorn_command).
_ENVIRONMENT = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
# Our death is heard from the moment when setpriv has asked for it; who died before that has left an orphan, which ends
# itself: its parent is another than $1.
_UNLESS_ORPHAN = '[ "$PPID" = "$1" ] || exit 1; shift; exec "$@"'
_POLL_S = 0.1
_STOP_S = 10.0


class EmbeddedServer:
    """One server on a free port of the loopback address; its database lies in PREFECT_HOME."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def api_url(self) -> str:
        """What PREFECT_API_URL is to be."""
        return f"http://127.0.0.1:{self._port}/api"

    def start(self) -> None:
        """Start the process and return at once; `wait_ready` follows. Call it on the main thread: it dies with it."""
        self._port = _free_port()
        uvicorn = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
        place = ["--host", "127.0.0.1", "--port", str(self._port), "--log-level", "error", "--lifespan", "on"]
        # The kernel ends the server when we die in whatever way; without setpriv it would only live longer.
        setpriv = shutil.which("setpriv")
        still_ours = ["sh", "-c", _UNLESS_ORPHAN, "unless-orphan", str(os.getpid())]
        guard = [setpriv, "--pdeathsig", "TERM", "--", *still_ours] if setpriv else []
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*guard, *uvicorn, *place],
                env=os.environ | _ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the server answers; raises InvalidInput with the end of its log."""
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.api_url}/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(_POLL_S)
        why = "ended" if self._process.poll() is not None else f"did not answer within {timeout_s:.0f} s"
        self.stop()
        tail = self._log.read_text(errors="replace").strip().splitlines()[-1:]
        raise InvalidInput(
            f"the embedded Prefect server {why}: {' '.join(tail) or 'it said nothing'}; see {self._log}, or set "
            "PREFECT_API_URL to a server of your own"
        )

    def stop(self) -> None:
        """End the server and wait for it; no-op when it has ended."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
