"""What of a copy is still to be done, shared by its streams: handed out, proved, or given back."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from vmferry.adapters.ferry import wire
from vmferry.adapters.ferry.extents import CLEAR, COMPARE, SEND, Task

# So much of one stream may be on its way or unproved: what a broken connection costs at most, and bounded memory.
_WINDOW_BYTES = 256 * 1024 * 1024
# A destination that gives back other bytes than were written is not written to for ever.
_MAX_REPAIRS = 64


class Failure(Exception):
    """The copy cannot go on; `kind` tells vmferry what may be done about it."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Part:
    """A range that was given to a receiver, and the digests that must come back."""

    __slots__ = ("digests", "expected", "message", "task")

    def __init__(self, message: bytes, task: Task, digests: bytes, expected: int) -> None:
        self.message = message
        self.task = task
        self.digests = digests
        self.expected = expected  # length of one digest


class Board:
    """The work of one copy."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.resumed = 0
        self.sent = 0
        self.failure: Failure | None = None
        self.progress_at = time.monotonic()
        self._changed = threading.Condition()
        self._plan: Iterator[Task] = iter(())
        self._again: deque[Task] = deque()
        self._in_hand = 0  # tasks taken whose parts are not registered yet
        self._unproved = 0
        self._repairs = 0
        self._is_planned = True

    def begin(self, plan: "Iterator[Task]") -> None:
        """Set what is to be done."""
        with self._changed:
            self._plan, self._is_planned = plan, False

    def fail(self, failure: Failure) -> None:
        """Stop everything; the first failure is the one that is told."""
        with self._changed:
            self.failure = self.failure or failure
            self._changed.notify_all()

    @property
    def is_over(self) -> bool:
        """Whether everything is proved."""
        with self._changed:
            return self._is_over()

    def _is_over(self) -> bool:
        return self._is_planned and not self._again and not self._in_hand and not self._unproved

    def take(self, link: "Ledger") -> "Task | None":
        """Return what to do next; None when there is nothing for the moment. See `is_over`, `failure`."""
        with self._changed:
            if self.failure is not None or link.is_dead:
                return None
            task = None
            if self._again:
                task = self._again.popleft()
            elif link.unproved < _WINDOW_BYTES and not self._is_planned:
                task = next(self._plan, None)
                self._is_planned = task is None
            self._in_hand += task is not None
            return task

    def wait(self, seconds: float) -> None:
        """Wait for a change."""
        with self._changed:
            if self.failure is None and not self._is_over():
                self._changed.wait(seconds)

    def register(self, link: "Ledger", parts: "list[Part]", skipped: int) -> None:
        """Note what a task became; `skipped` bytes of it are zeros that need not be written."""
        with self._changed:
            self._in_hand -= 1
            self._count(skipped)
            for part in parts:
                link.parts[part.task.begin] = part
                link.unproved += part.task.end - part.task.begin
                self._unproved += 1
            if link.is_dead:
                self._give_back(link)
            self._changed.notify_all()

    def give_back(self, link: "Ledger") -> None:
        """A connection is gone: what it had is compared again, by another one."""
        with self._changed:
            link.is_dead = True
            self._give_back(link)
            self._changed.notify_all()

    def _give_back(self, link: "Ledger") -> None:
        for part in link.parts.values():
            task = part.task
            kind = CLEAR if task.kind == CLEAR else COMPARE
            again = Task(kind, task.begin, task.end, is_dirty=True, is_hole=task.is_hole)
            again.is_repeated = task.is_repeated or task.kind != COMPARE
            self._again.append(again)
        self._unproved -= len(link.parts)
        link.parts.clear()
        link.unproved = 0

    def prove(self, link: "Ledger", begin: int, found: bytes) -> None:
        """Compare what the destination's disk gave back."""
        with self._changed:
            part = link.parts.pop(begin, None)
            if part is None:
                return
            task = part.task
            self._unproved -= 1
            link.unproved -= task.end - task.begin
            self.progress_at = time.monotonic()
            ranges = wire.pieces(task.begin, task.end)
            wrong = [at for at, _ in enumerate(ranges) if not _same(part, found, at)]
            good = task.end - task.begin - sum(ranges[at][1] - ranges[at][0] for at in wrong)
            if not task.is_hole:
                self._count(good)
                if task.kind == COMPARE and not task.is_repeated:
                    self.resumed += good
            if wrong:
                self._repair(task, [ranges[at] for at in wrong])
            self._changed.notify_all()

    def _repair(self, task: Task, wrong: "list[tuple[int, int]]") -> None:
        if task.kind != COMPARE:
            self._repairs += 1
            if self._repairs > _MAX_REPAIRS:
                text = f"the destination's disk gives back other bytes than were written, last at {wrong[0][0]}"
                self.failure = self.failure or Failure("disk", text)
        for begin, end in _joined(wrong):
            kind = CLEAR if task.kind == CLEAR else SEND
            again = Task(kind, begin, end, is_dirty=True, is_hole=task.is_hole)
            self._again.append(again)

    def _count(self, amount: int) -> None:
        self.done = min(self.total, self.done + amount)


class Ledger:
    """What one connection has to answer for."""

    def __init__(self) -> None:
        self.parts: dict[int, Part] = {}
        self.unproved = 0
        self.is_dead = False


def _same(part: Part, found: bytes, at: int) -> bool:
    where = slice(at * part.expected, (at + 1) * part.expected)
    return found[where] == part.digests[where] != b""


def _joined(ranges: "list[tuple[int, int]]") -> "list[tuple[int, int]]":
    """Return ranges with neighbours joined."""
    joined: list[tuple[int, int]] = []
    for begin, end in ranges:
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def split(task: Task, view: memoryview, kind: str) -> "tuple[list[Part], int]":
    """Return the parts of a range to send: runs of data, and of zeros where they have to be written; and the rest."""
    runs: list[list[Any]] = []  # whether zeros, begin, end, digests
    for begin, end in wire.pieces(task.begin, task.end):
        data = view[begin - task.begin : end - task.begin]
        zero = wire.is_zero(data)
        found = b"" if zero else wire.digest(kind, data)
        if runs and runs[-1][0] == zero:
            runs[-1][2] = end
            runs[-1][3].append(found)
        else:
            runs.append([zero, begin, end, [found]])
    parts, skipped, size = [], 0, wire.digest_size(kind)
    for zero, begin, end, found in runs:
        if not zero:
            parts.append(Part(wire.WRITE, Task(SEND, begin, end, is_dirty=task.is_dirty), b"".join(found), size))
        elif task.is_dirty:
            parts.append(Part(wire.ZERO, Task(CLEAR, begin, end), wire.zero_digests(kind, begin, end), size))
        else:
            skipped += end - begin
    return parts, skipped
