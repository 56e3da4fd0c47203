"""Writing to and reading from the disk itself, past the kernel's memory of it."""

import errno
import mmap
import os
from contextlib import suppress

from vmferry.adapters.ferry import wire

# No disk has greater sectors than that, and no file system asks for a greater grid.
_GRID = 4096
# What is shorter is gathered by the kernel into greater writes than it would make one by one.
_LEAST_BYTES = 64 * 1024


def aligned_room(length: int) -> memoryview:
    """Return memory that a disk can read from and write to."""
    return memoryview(mmap.mmap(-1, length))


class DirectWriter:
    """Writes ranges of an open file or device: without pages to find, fill and write out later.

    The hosts' memory is left to their VMs. Where the file system knows no O_DIRECT all goes through the page cache.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._direct = _reopen(fd, os.O_WRONLY)

    def write(self, begin: int, view: memoryview) -> None:
        """Write memory of `aligned_room`, from its begin on; durable only after fdatasync."""
        done = 0
        if self._direct >= 0 and begin % _GRID == 0 and len(view) >= _LEAST_BYTES:
            done = self._write_direct(begin, view[: len(view) // _GRID * _GRID])
        while done < len(view):
            done += os.pwrite(self._fd, view[done:], begin + done)

    def _write_direct(self, begin: int, view: memoryview) -> int:
        """Return how much of it was written."""
        done = 0
        try:
            while done < len(view) and done % _GRID == 0:
                done += os.pwrite(self._direct, view[done:], begin + done)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            os.close(self._direct)
            self._direct = -1
        return done


def _reopen(fd: int, flags: int) -> int:
    """Open the same file once more for O_DIRECT; by its descriptor, for its name may meanwhile be somebody else's."""
    with suppress(OSError):
        return os.open(f"/proc/self/fd/{fd}", flags | os.O_DIRECT | os.O_CLOEXEC)
    return -1


class DirectReader:
    """Reads ranges of an open file or device; for one thread.

    A read through the page cache of what is not in it costs many times the processor time (pages are found, filled,
    copied and forgotten), and pushes out what the host's VMs need. What the page cache holds and the disk does not is
    written out before, by the kernel. Where the file system knows no O_DIRECT (tmpfs before Linux 6.6) pages are read;
    with `forgets` they are dropped before, so that it is the disk that is read.
    """

    def __init__(self, fd: int, *, forgets: bool = False) -> None:
        self._fd = fd
        self._forgets = forgets
        self._direct = _reopen(fd, os.O_RDONLY)
        self._room = aligned_room(wire.CHUNK + 2 * _GRID)

    @property
    def is_direct(self) -> bool:
        """Whether it reads past the page cache, as far as is known by now."""
        return self._direct >= 0

    def read(self, begin: int, length: int) -> memoryview:
        """Return at most CHUNK bytes; fewer only at the end of the file; valid until the next call."""
        if self._direct >= 0:
            with suppress(OSError):
                return self._read_direct(begin, length)
            self.close()
        if self._forgets:
            os.posix_fadvise(self._fd, begin, length, os.POSIX_FADV_DONTNEED)
        view = self._room[:length]
        return view[: wire.read_range(self._fd, begin, view)]

    def close(self) -> None:
        """Read through the page cache from now on."""
        if self._direct >= 0:
            os.close(self._direct)
            self._direct = -1

    def _read_direct(self, begin: int, length: int) -> memoryview:
        low = begin // _GRID * _GRID
        high = -(-(begin + length) // _GRID) * _GRID
        at = low
        while at < high:
            os.lseek(self._direct, at, os.SEEK_SET)
            count = os.readv(self._direct, [self._room[at - low : high - low]])
            at += count
            if not count or count % _GRID:  # the end of the file
                break
        return self._room[begin - low : max(begin, min(begin + length, at)) - low]
