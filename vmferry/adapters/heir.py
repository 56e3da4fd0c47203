"""The heir: a process that waits for our death, and settles what we leave behind at once.

A VM that arrives while nobody lives to let it run stands still until somebody recovers it. Prefect kills a cancelled
run 30 s after it has asked, a worker that is stopped kills its runs without asking (3.8.8, PrefectHQ/prefect#22528).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

# Needs no more than the interpreter while it waits, about 10 MB; the end of the process is seen at once.
# Where Prefect's server is lost too (exit code 3), recovery brings its own.
_WAIT = """import os, select, subprocess, sys
try:
    select.select([os.pidfd_open(int(sys.argv[1]))], [], [])
except ProcessLookupError:
    pass
if subprocess.call(sys.argv[2:]) == 3:
    os.environ.pop("PREFECT_API_URL", None)
    os.execv(sys.argv[2], sys.argv[2:])
"""
# Which run this process is, and the channel to its runner: none of the heir's business.
_OURS = "PREFECT__"


class Heir:
    """A context: in its block we have an heir, and on leaving it none any more."""

    def __init__(self, inventory: str | None, log: Path) -> None:
        self._inventory = inventory
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        where = ["--inventory", str(Path(self._inventory).absolute())] if self._inventory else []
        recover = [sys.executable, "-m", "vmferry.cli", *where, "recover"]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _WAIT, str(os.getpid()), *recover],
                env={name: value for name, value in os.environ.items() if not name.startswith(_OURS)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # signals for our process group are not for it
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
