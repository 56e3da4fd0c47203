"""Who works on a run: a process, named so that another one can tell whether it still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def _start_ticks(pid: int) -> str | None:
    """Return the start time of a process from /proc, so that a reused pid is not taken for its old owner."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def this_owner() -> str:
    """Name this process: `hostname:pid:start ticks`."""
    return f"{socket.gethostname()}:{os.getpid()}:{_start_ticks(os.getpid())}"


def is_owner_alive(owner: str) -> bool:
    """Whether the process still exists; an owner on another machine counts as alive."""
    hostname, pid, ticks = owner.rsplit(":", 2)
    if hostname != socket.gethostname():
        return True
    return _start_ticks(int(pid)) == ticks
