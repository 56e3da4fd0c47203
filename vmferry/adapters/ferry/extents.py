"""Where a file holds data, and what of it has to be done to a copy."""

import bisect
import errno
import os
from collections.abc import Iterator

from vmferry.adapters.ferry.wire import CHUNK

SEND, COMPARE, CLEAR = "send", "compare", "clear"
# How far ahead the source is read: several streams take turns, which the kernel's own read-ahead does not see through.
_AHEAD = 16 * 1024 * 1024
_CLEAR_BYTES = 4 * CHUNK


class Task:
    """A range of the file: to send, to compare (then perhaps to send), or to clear."""

    __slots__ = ("begin", "end", "is_dirty", "is_hole", "is_repeated", "kind")

    def __init__(self, kind: str, begin: int, end: int, *, is_dirty: bool = False, is_hole: bool = False) -> None:
        self.kind = kind
        self.begin = begin
        self.end = end
        self.is_dirty = is_dirty  # something may stand there at the destination: zeros have to be written too
        self.is_hole = is_hole  # nothing of the original: does not count as done
        self.is_repeated = False  # sent before in this very copy: not found from an earlier one


def data_extents(fd: int, size: int) -> "Iterator[tuple[int, int]]":
    """Yield the ranges that may hold something else than zeros; all of it where the file system cannot tell."""
    offset = 0
    while offset < size:
        try:
            begin = os.lseek(fd, offset, os.SEEK_DATA)
            end = min(os.lseek(fd, begin, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            begin, end = offset, size
        if begin >= size:
            return
        yield begin, end
        offset = end


def overlap(had: "list[tuple[int, int]]", begin: int, end: int) -> "list[tuple[int, int]]":
    """Return what of a range lies in sorted ranges."""
    at = max(0, bisect.bisect_right(had, (begin, end)) - 1)
    found = []
    while at < len(had) and had[at][0] < end:
        if had[at][1] > begin:
            found.append((max(begin, had[at][0]), min(end, had[at][1])))
        at += 1
    return found


def cuts(begin: int, end: int, step: int) -> "Iterator[tuple[int, int]]":
    """Yield the parts of a range, cut at multiples of `step`."""
    while begin < end:
        cut = min((begin // step + 1) * step, end)
        yield begin, cut
        begin = cut


def plan(
    fd: int, size: int, had: "list[tuple[int, int]]", had_size: int, *, reads_ahead: bool = True
) -> "Iterator[Task]":
    """Yield what makes a copy of the file: `had` is where the destination holds data, up to `had_size`."""
    at = 0
    for begin, end in data_extents(fd, size):
        yield from _clear(had, at, begin)
        for low, high in cuts(begin, end, CHUNK):
            if reads_ahead and high % _AHEAD <= CHUNK:
                os.posix_fadvise(fd, high, _AHEAD, os.POSIX_FADV_WILLNEED)
            found = overlap(had, low, high)
            yield Task(COMPARE if found else SEND, low, high, is_dirty=bool(found))
        at = end
    yield from _clear(had, at, had_size)


def _clear(had: "list[tuple[int, int]]", begin: int, end: int) -> "Iterator[Task]":
    for low, high in overlap(had, begin, end):
        for first, last in cuts(low, high, _CLEAR_BYTES):
            yield Task(CLEAR, first, last, is_dirty=True, is_hole=True)
