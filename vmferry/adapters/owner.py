"""Who works on a run: a process, named so that another one can tell whether it still lives."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path


def _start_ticks(pid: int) -> str | None:
    """Return the start time of a process from /proc, so that a reused pid is not taken for its old owner.

    None for a process that has ended and that its parent has not collected yet: it does nothing any more.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        is_over = fields[0] in "ZX" and int(fields[17]) <= 1  # of a killed one some threads may still end
        return None if is_over else fields[19]
    except (OSError, IndexError):
        return None


def this_owner() -> str:
    """Name this process: `user@hostname:pid:start ticks`."""
    return f"{_user()}@{socket.gethostname()}:{os.getpid()}:{_start_ticks(os.getpid())}"


def is_owner_alive(owner: str) -> bool:
    """Whether the process still exists; an owner on another machine counts as alive."""
    if not is_owner_here(owner):
        return True
    _, pid, ticks = owner.rsplit(":", 2)
    return _start_ticks(int(pid)) == ticks


def is_owner_here(owner: str) -> bool:
    """Whether the owner is, or was, a process of this machine; owners in older journals have no user."""
    return owner.rsplit(":", 2)[0].rpartition("@")[2] == socket.gethostname()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, in a container
        return str(os.getuid())
