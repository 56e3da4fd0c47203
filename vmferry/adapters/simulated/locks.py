"""Image locks on the simulated hosts: they end at the host where the file system carries none between hosts."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from vmferry.adapters.simulated.state import SimHost


def hold_locks(host: SimHost, directories: Sequence[str], name: str, until_s: float) -> None:
    """Hold the marker `name` in each directory that has it until that second of the simulated clock."""
    for directory in directories:
        file = host.file(posixpath.join(directory, name))
        if file is not None:
            file.held_by, file.held_until_s = host.name, until_s


def find_locks(host: SimHost, paths: Sequence[str], now_s: float) -> tuple[str, ...]:
    """Return those of the files that somebody holds, as far as this host can see."""
    return tuple(path for path in paths if _is_held(host, path, now_s))


def _is_held(host: SimHost, path: str, now_s: float) -> bool:
    space, _ = host.locate(path)
    file = host.file(path)
    return file is not None and file.held_until_s > now_s and (space.has_locks or file.held_by == host.name)
