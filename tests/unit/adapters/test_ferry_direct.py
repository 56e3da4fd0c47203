"""Reading and writing past the page cache: the same bytes where kernel, memory or length do not allow it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vmferry.adapters.ferry.direct import DirectReader, DirectWriter, aligned_room

MIB = 2**20


@contextmanager
def opened(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> Iterator[int]:
    fd = os.open(path, flags, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def room_with(data: bytes, *, shift: int = 0) -> memoryview:
    """Return memory that holds the data, `shift` bytes off what a disk takes."""
    view = aligned_room(len(data) + shift)[shift:]
    view[:] = data
    return view


@pytest.mark.parametrize("begin", [0, 4096, 512, 3])
@pytest.mark.parametrize("length", [MIB, MIB - 5, 70_000, 65_536, 4097, 1])
def test_what_is_written_anywhere_is_read_again(tmp_path: Path, begin: int, length: int) -> None:
    data = os.urandom(length)
    with opened(tmp_path / "file") as fd:
        os.pwrite(fd, b"a" * (MIB + 8192), 0)
        DirectWriter(fd).write(begin, room_with(data))
        found = DirectReader(fd).read(begin, length)
        assert found == data
    everything = (tmp_path / "file").read_bytes()
    assert everything == b"a" * begin + data + b"a" * (MIB + 8192 - begin - length)


@pytest.mark.parametrize("forgets", [False, True])
def test_a_read_ends_with_the_file(tmp_path: Path, forgets: bool) -> None:
    data = os.urandom(MIB + 77)
    (tmp_path / "file").write_bytes(data)
    with opened(tmp_path / "file") as fd:
        reader = DirectReader(fd, forgets=forgets)
        assert reader.read(MIB - 100, 4096) == data[MIB - 100 :]
        assert reader.read(MIB + 70, 4096) == data[MIB + 70 :]
        assert not reader.read(2 * MIB, 4096)
        reader.close()
        assert reader.read(5, 4096) == data[5:4101]  # through the page cache from now on
        assert reader.read(MIB, 4096) == data[MIB:]


def test_memory_that_a_disk_refuses_half_way_is_written_through_the_page_cache(tmp_path: Path) -> None:
    """EINVAL may come at any write: a file system knows only then what it cannot do."""
    first, second, third = (os.urandom(MIB) for _ in range(3))
    with opened(tmp_path / "file") as fd:
        writer = DirectWriter(fd)
        writer.write(0, room_with(first))
        writer.write(MIB, room_with(second, shift=1))
        writer.write(2 * MIB, room_with(third))
    assert (tmp_path / "file").read_bytes() == first + second + third


def test_a_file_system_without_direct_reads_is_read_through_the_page_cache() -> None:
    path = Path("/proc/filesystems")
    with opened(path, os.O_RDONLY) as fd:
        reader = DirectReader(fd, forgets=True)
        assert not reader.is_direct
        assert reader.read(7, 4096) == path.read_bytes()[7:4103]


def test_a_full_disk_is_an_error_not_another_way_to_write() -> None:
    with opened(Path("/dev/full"), os.O_RDWR) as fd, pytest.raises(OSError) as caught:
        DirectWriter(fd).write(0, room_with(b"x" * MIB))
    assert caught.value.errno == errno.ENOSPC
