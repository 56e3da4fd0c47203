"""Take a lab down, whatever state it is in: nothing it made is left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from infra.lab import net
from infra.lab.host import read_identity
from infra.lab.proc import LabError, kill, kill_by_token, wait_gone
from infra.lab.state import LabDir, lab_dir, locked
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
        marks = _read_marks(directory)
        for _ in range(2 if marks else 1):
            # Twice: a child of a killed `up` may have been between two calls and have made something more.
            if marks is not None:
                _end(directory, *marks)
            unmount_all(directory.path)
        _remove(directory.path)
    return True


def _read_marks(directory: LabDir) -> tuple[str, int] | None:
    """Read the token and the network number; also from the record of an older or newer release."""
    try:
        record = json.loads(directory.state_file.read_text())
        return str(record["token"]), int(record["index"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise LabError(f"{directory.state_file} is not a lab's record; remove {directory.path} by hand") from error


def _end(directory: LabDir, token: str, index: int) -> None:
    for files in directory.host("x").parent.glob("*"):
        # Pid 1 first, while its parent can still reap it; whatever this misses the token finds.
        if (identity := read_identity(files)) is not None:
            kill(*identity)
            wait_gone(*identity)
    kill_by_token(token)
    net.remove_all(index, token)


def _remove(path: Path) -> None:
    for _ in range(3):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
    raise LabError(f"cannot remove {path}; is something still mounted or being written there?")
