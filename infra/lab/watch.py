"""Read heartbeats, and watch a guest beat by beat while it moves."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

LINE = re.compile(rb"T([0-9a-f]{8})R([0-9a-f]{8})P([0-9a-f]{8})E([0-9a-f]{8})\n")
_TAIL_BYTES = 4096


class Heartbeat(NamedTuple):
    """The last whole line a guest's copy on one host wrote (every tenth tick), and how long ago it last beat."""

    ticks: int
    errors: int  # pages that did not hold what had been written to them
    age_s: float
    rate_pages: int
    passes: int


def read_heartbeat(path: Path) -> Heartbeat | None:
    """Read the end of a serial file; None when there is no whole line yet."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            file.seek(max(0, status.st_size - _TAIL_BYTES))
            found = LINE.findall(file.read())
    except FileNotFoundError:
        return None
    if not found:
        return None
    ticks, rate, passes, errors = (int(word, 16) for word in found[-1])
    return Heartbeat(ticks, errors, max(0.0, time.time() - status.st_mtime), rate, passes)


@dataclass
class Spell:
    """A stretch of time in which one host's copy beat without a pause longer than Watch.pause_s."""

    host: str
    first_s: float  # seconds since the watch began
    last_s: float
    beats: int = 1


@dataclass
class _Seen:
    inode: int = 0
    size: int = 0
    beat_s: float | None = None
    spells: list[Spell] = field(default_factory=list)


class Watch:
    """Watch the serial files of one guest on all hosts; a context manager, times to about interval_s.

    A dot is written each tick (10 ms), so a gap is known to about 15 ms on an idle machine. A gap still open
    when the watch ends counts: a guest that never came back shows.
    """

    def __init__(self, files: Mapping[str, Path], *, interval_s: float = 0.005, pause_s: float = 0.25) -> None:
        self.pause_s = pause_s
        self._files = dict(files)
        self._interval_s = interval_s
        self._seen = {host: _Seen() for host in files}
        self._started = time.monotonic()
        self._last_beat_s = 0.0
        self._longest_gap_s = 0.0
        self._longest_blink_s = 0.0
        self._ended_s: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="vmferry-lab-watch", daemon=True)

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        for host, path in self._files.items():
            self._seen[host].inode, self._seen[host].size = _stat(path)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the watch; what it saw stays readable."""
        self._stop.set()
        self._thread.join()
        if self._ended_s is None:
            self._ended_s = self._now()

    def _now(self) -> float:
        return time.monotonic() - self._started

    def _loop(self) -> None:
        looked_s = 0.0
        while not self._stop.wait(self._interval_s):
            now = self._now()
            looked_s, self._longest_blink_s = now, max(self._longest_blink_s, now - looked_s)
            for host, path in self._files.items():
                inode, size = _stat(path)
                seen = self._seen[host]
                grown = size > (seen.size if inode == seen.inode else 0) or 0 < size < seen.size
                seen.inode, seen.size = inode, size
                if grown:
                    self._beat(host, seen, self._now())

    def _beat(self, host: str, seen: _Seen, now: float) -> None:
        self._longest_gap_s = max(self._longest_gap_s, now - self._last_beat_s)
        self._last_beat_s = now
        if seen.beat_s is None or now - seen.beat_s > self.pause_s:
            seen.spells.append(Spell(host, now, now))
        else:
            seen.spells[-1].last_s = now
            seen.spells[-1].beats += 1
        seen.beat_s = now

    @property
    def started_s(self) -> float:
        """Give when the watch began, by time.monotonic(); the times of spells count from then."""
        return self._started

    @property
    def longest_gap_s(self) -> float:
        """Give the longest time in which no host's copy beat."""
        end = self._now() if self._ended_s is None else self._ended_s
        return max(self._longest_gap_s, end - self._last_beat_s)

    @property
    def longest_blink_s(self) -> float:
        """Give the longest time between two looks: what the machine's own noise may add to a gap."""
        return self._longest_blink_s

    @property
    def errors(self) -> int:
        """Give the most memory errors any copy reports."""
        found = [read_heartbeat(path) for path in self._files.values()]
        return max((beat.errors for beat in found if beat is not None), default=0)

    @property
    def spells(self) -> list[Spell]:
        """List which host's copy beat and when, in the order they began."""
        return sorted((one for seen in self._seen.values() for one in seen.spells), key=lambda one: one.first_s)

    @property
    def overlap_s(self) -> float:
        """Give how long two copies beat at the same time; above a few ms that is a split brain."""
        spells = self.spells
        pairs = [(a, b) for i, a in enumerate(spells) for b in spells[i + 1 :] if a.host != b.host]
        return sum((max(0.0, min(a.last_s, b.last_s) - max(a.first_s, b.first_s)) for a, b in pairs), 0.0)

    def alive_on(self, host: str, *, within_s: float = 0.5) -> bool:
        """Tell whether the copy on a host has beaten lately (at the end of the watch, when it has ended)."""
        end = self._now() if self._ended_s is None else self._ended_s
        beat = self._seen[host].beat_s
        return beat is not None and end - beat <= within_s


def _stat(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_ino, status.st_size
