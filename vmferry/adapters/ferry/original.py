"""The file that is copied, and at which speed it may be."""

import os
import stat
import threading
import time
from collections.abc import Iterator
from typing import Any

from vmferry.adapters.ferry import staging
from vmferry.adapters.ferry.board import Failure
from vmferry.adapters.ferry.direct import DirectReader
from vmferry.adapters.ferry.extents import Task, plan


class Bucket:
    """Bandwidth of all streams together."""

    def __init__(self, bytes_s: float) -> None:
        self._bytes_s = bytes_s
        self._free_at = 0.0
        self._lock = threading.Lock()

    def spend(self, amount: int) -> None:
        """Wait until so many bytes may be sent."""
        if not self._bytes_s:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - 0.1) + amount / self._bytes_s
            delay = self._free_at - now
        if delay > 0:
            time.sleep(delay)


class Original:
    """The file that is copied; it must not change meanwhile."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise Failure("source", f"{error.strerror}: {path}") from None
        found = os.fstat(self.fd)
        self.is_device = stat.S_ISBLK(found.st_mode)
        if not self.is_device and not stat.S_ISREG(found.st_mode):
            raise Failure("source", f"{path} is neither a file nor a block device")
        self.size = os.lseek(self.fd, 0, os.SEEK_END)
        self.allocated = self.size if self.is_device else min(self.size, found.st_blocks * 512)
        self.mode = 0o600 if self.is_device else stat.S_IMODE(found.st_mode) & 0o777
        self.owner = staging.owner_of(found)
        self._mark = self._read_mark()

    def _read_mark(self) -> "tuple[int, ...]":
        found, named = os.fstat(self.fd), os.stat(self.path)  # noqa: PTH116
        if self.is_device:
            return found.st_rdev, named.st_rdev, os.lseek(self.fd, 0, os.SEEK_END)
        return found.st_ino, named.st_ino, found.st_size, found.st_mtime_ns, named.st_mtime_ns

    def need_same(self) -> None:
        """Raise Failure when somebody wrote to the file or replaced it."""
        try:
            is_same = self._read_mark() == self._mark
        except OSError:
            is_same = False
        if not is_same:
            raise Failure("changed", f"{self.path} changed while it was copied: it is in use")

    def plan(self, had: "list[tuple[int, int]]", had_size: int) -> "Iterator[Task]":
        """Return what makes a copy; `had` as in `extents.plan`."""
        probe = DirectReader(self.fd)
        reads_ahead = not probe.is_direct
        probe.close()
        return plan(self.fd, self.size, had, had_size, reads_ahead=reads_ahead)

    def read(self, reader: DirectReader, begin: int, end: int) -> memoryview:
        """Return a range; raises Failure when it cannot be read, or is no longer there."""
        try:
            view = reader.read(begin, end - begin)
        except OSError as error:
            text = f"cannot read {self.path} at byte {begin}: {error.strerror}"
            raise Failure("source", text) from None
        if len(view) < end - begin:
            raise Failure("changed", f"{self.path} became shorter while it was copied: it is in use")
        return view

    def parents(self) -> "list[list[Any]]":
        """Return owner and mode of the directories above, the nearest first."""
        found = []
        path = os.path.dirname(os.path.realpath(self.path))  # noqa: PTH120
        while len(path) > 1:
            there = os.stat(path)  # noqa: PTH116
            found.append([*staging.owner_of(there), stat.S_IMODE(there.st_mode)])
            path = os.path.dirname(path)  # noqa: PTH120
        return found


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))
