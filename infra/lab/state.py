"""Where a lab keeps its things on the machine, its lock, and the record that `down` works from."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from infra.lab.proc import LabError
from infra.lab.spec import LabSpec

DEFAULT_BASE = Path("/var/tmp/vmferry-lab")
# The hosts cover these with file systems of their own before or while they look for the lab's files.
UNUSABLE = ("/srv", "/run", "/sys", "/proc", "/dev", "/etc", "/var/lib/libvirt", "/var/log/libvirt")


class LabState(BaseModel):
    """The record of a lab, written before anything is made; names of interfaces and paths follow from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: LabSpec
    token: str
    index: int
    kvm: bool | None = None  # None: not yet tried


@dataclass(frozen=True)
class LabDir:
    """The directory of one lab."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def state_file(self) -> Path:
        return self.path / "state.json"

    @property
    def mounts(self) -> Path:
        return self.path / "mnt"

    @property
    def ssh(self) -> Path:
        return self.path / "ssh-client"

    @property
    def image(self) -> Path:
        return self.path / "guest.img"

    def host(self, name: str) -> Path:
        """Give the directory that holds one host's own files."""
        return self.path / "hosts" / name

    def read_state(self) -> LabState | None:
        """Read the record; None when there is none."""
        try:
            return LabState.model_validate_json(self.state_file.read_text())
        except FileNotFoundError:
            return None

    def write_state(self, state: LabState) -> None:
        """Replace the record in one step."""
        self.path.mkdir(parents=True, exist_ok=True)
        new = self.state_file.with_suffix(".new")
        new.write_text(state.model_dump_json(indent=1))
        new.replace(self.state_file)


def base_dir() -> Path:
    """Give the directory of all labs: VMFERRY_LAB_DIR, else /var/tmp/vmferry-lab."""
    base = Path(os.environ.get("VMFERRY_LAB_DIR") or DEFAULT_BASE).resolve()
    if any(base.is_relative_to(place) for place in UNUSABLE):
        raise LabError(f"VMFERRY_LAB_DIR cannot be {base}: the hosts cover it; take a directory under /var/tmp")
    if not re.fullmatch(r"[\w./-]+", str(base)):
        raise LabError(f"VMFERRY_LAB_DIR cannot be {base!s}: only letters, digits and . _ - / may be in it")
    return base


def lab_dir(name: str) -> LabDir:
    """Give the directory of the lab of that name, which need not exist."""
    return LabDir(base_dir() / name)


def list_labs() -> list[str]:
    """List the names of the labs that have left anything on this machine."""
    try:
        entries = list(base_dir().iterdir())
    except FileNotFoundError:
        return []
    return sorted({entry.stem if entry.suffix == ".lock" else entry.name for entry in entries})


@contextmanager
def locked(name: str, *, timeout_s: float = 120) -> Iterator[None]:
    """Hold a lab's lock; two commands on one lab wait for each other, and a killed one lets go."""
    base = base_dir()
    path = base / f"{name}.lock"
    deadline = time.monotonic() + timeout_s
    while (handle := _try_lock(path)) is None:
        if time.monotonic() > deadline:
            raise LabError(f"lab {name} is locked by another command ({path})")
        time.sleep(0.05)
    try:
        yield
    finally:
        if not (base / name).exists():
            path.unlink(missing_ok=True)
        os.close(handle)
        if base == DEFAULT_BASE:
            with suppress(OSError):  # other labs are in it
                base.rmdir()


def _try_lock(path: Path) -> int | None:
    """Take a lock file; None when it is taken, or was removed meanwhile by the one who had it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:  # the last lab went, and the directory of all labs with it
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_ino == path.stat().st_ino:
            return handle
    except OSError:
        pass
    os.close(handle)
    return None


@contextmanager
def index_lock(*, timeout_s: float = 30) -> Iterator[None]:
    """Hold the one lock for choosing network numbers.

    An abstract socket: it belongs to the network namespace, as the interfaces do, leaves no file, and
    goes with the process.
    """
    deadline = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as held:
        while True:
            try:
                held.bind("\0vmferry-lab-index")
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LabError("another lab has been choosing its network for 30 s") from error
                time.sleep(0.02)
        yield


def new_token() -> str:
    """Make the secret word that marks a lab's processes and interfaces as its own."""
    return secrets.token_hex(16)
