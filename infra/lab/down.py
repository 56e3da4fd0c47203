"""Take a lab down, whatever state it is in: nothing it made is left."""

from __future__ import annotations

import shutil
from pathlib import Path

from infra.lab import net
from infra.lab.host import LabHost
from infra.lab.proc import LabError, kill_by_token
from infra.lab.state import LabDir, LabState, lab_dir, locked
from infra.lab.storage import unmount_all


def take_down(name: str) -> bool:
    """Remove a lab's processes, interfaces, mounts and files; tell whether there was anything.

    Works from the record and from what carries the lab's token, not from memory of what `up` did, so it
    also ends an `up` that was killed half way. Hosts die by their pid 1 and take everything in them along.
    """
    directory = lab_dir(name)
    if not directory.path.is_dir() and not directory.path.with_name(f"{name}.lock").exists():
        return False
    with locked(name):
        if not directory.path.is_dir():
            return False
        state = directory.read_state()
        if state is not None:
            _cut_power(directory, state)
            kill_by_token(state.token)
            net.remove_all(state.index, state.token, len(state.spec.hosts))
        unmount_all(directory.path)
        if state is not None and kill_by_token(state.token):
            # A child of a killed `up` was between two calls; what it made in the meantime goes as well.
            net.remove_all(state.index, state.token, len(state.spec.hosts))
            unmount_all(directory.path)
        _remove(directory.path)
    return True


def _cut_power(directory: LabDir, state: LabState) -> None:
    """Kill the hosts' pid 1 while their parents can still reap them; whatever this misses the token finds."""
    for number in range(1, len(state.spec.hosts) + 1):
        LabHost(directory, state, number).power_cut()


def _remove(path: Path) -> None:
    for _ in range(3):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
    raise LabError(f"cannot remove {path}; is something still mounted or being written there?")
