"""What the two ends of a copy say to each other, and how they tell pieces of a file from each other."""

import hashlib
import os
import select
import struct
import zlib
from collections.abc import Callable

# Files are judged in pieces on this grid: a cluster of qcow2, and small enough for a cache.
PIECE = 64 * 1024
# The most that one message carries.
CHUNK = 1024 * 1024
ZEROS = bytes(PIECE)
# Both ends speak at least every BEAT_S; a peer that is silent for longer than SILENCE_S is gone.
BEAT_S = 5.0
SILENCE_S = 60.0

HEADER = struct.Struct(">cQI")  # kind, offset, length
# To the receiver. OPEN and FINISH carry JSON, WRITE carries data, the others nothing.
OPEN, WRITE, CHECK, ZERO, SYNC, FINISH = b"O", b"W", b"C", b"Z", b"S", b"F"
# From the receiver: HELLO, ERROR and DONE carry JSON, PROOF the digests of a range as the disk gave it back.
# WIDE says that the source came through the door that HELLO told of (see `tls`).
HELLO, PROOF, ERROR, DONE, WIDE = b"H", b"V", b"E", b"D", b"T"
BEAT = b"K"  # both ways

STRONG = "sha256"


class Gone(Exception):
    """The other end has closed the connection or is silent."""


class Silent(Gone):
    """Nothing came for SILENCE_S."""


def pieces(begin: int, end: int) -> "list[tuple[int, int]]":
    """Return the parts of a range, cut at the grid."""
    cuts = [begin, *range((begin // PIECE + 1) * PIECE, end, PIECE), end]
    return list(zip(cuts, cuts[1:])) if end > begin else []  # noqa: B905, RUF007 - neither is in Python 3.6


def digest(kind: str, data: "memoryview | bytes") -> bytes:
    """Return the digest of one piece: CRC-32 (4 bytes), or SHA-256 cut to 16 bytes."""
    if kind == STRONG:
        return hashlib.sha256(data).digest()[:16]
    return zlib.crc32(data).to_bytes(4, "big")


def digest_size(kind: str) -> int:
    """Return the length of one digest, bytes."""
    return 16 if kind == STRONG else 4


def digests(kind: str, begin: int, data: "memoryview | bytes") -> bytes:
    """Return the digests of all pieces of a range that begins at `begin`."""
    parts = pieces(begin, begin + len(data))
    return b"".join(digest(kind, data[a - begin : b - begin]) for a, b in parts)


def is_zero(data: memoryview) -> bool:
    """Whether there are only zeros in at most one piece; nearly free where the first or the last byte is none."""
    if not len(data):
        return True
    return not data[0] and not data[-1] and bytes(data) == ZEROS[: len(data)]


def zero_digests(kind: str, begin: int, end: int) -> bytes:
    """Return the digests of a range of zeros."""
    return b"".join(digest(kind, ZEROS[: b - a]) for a, b in pieces(begin, end))


def read_into(fd: int, view: memoryview) -> None:
    """Fill `view`; raises Gone at the end of the stream, Silent when nothing comes for SILENCE_S."""
    waiter = select.poll()
    waiter.register(fd, select.POLLIN)
    filled = 0
    while filled < len(view):
        if not waiter.poll(SILENCE_S * 1000):
            raise Silent(f"silent for {SILENCE_S:.0f} s")
        count = os.readv(fd, [view[filled:]])
        if not count:
            raise Gone("connection closed")
        filled += count


def read_message(fill: "Callable[[memoryview], None]", buffer: bytearray) -> "tuple[bytes, int, int]":
    """Read the next header; `fill` fills memory from the stream."""
    fill(memoryview(buffer)[: HEADER.size])
    kind, offset, length = HEADER.unpack_from(buffer)
    return kind, offset, length


def read_bytes(fill: "Callable[[memoryview], None]", length: int) -> bytes:
    """Read what a message carries."""
    data = bytearray(length)
    fill(memoryview(data))
    return bytes(data)


def write_all(fd: int, header: bytes, data: "memoryview | bytes" = b"") -> None:
    """Write a message; raises Gone when nobody reads any more."""
    try:
        done = os.writev(fd, [header, data]) if len(data) else os.write(fd, header)
        rest = memoryview(bytes(header[done:]))
        while len(rest):
            rest = rest[os.write(fd, rest) :]
        view = memoryview(data)[max(0, done - len(header)) :]
        while len(view):
            view = view[os.write(fd, view) :]
    except OSError as error:
        raise Gone(error.strerror or "connection closed")  # noqa: B904 - the errno says no more


def read_range(fd: int, begin: int, view: memoryview) -> int:
    """Read a range of a file into `view`; return how much there was (less only at the end of the file)."""
    filled = 0
    while filled < len(view):
        count = _read_at(fd, view[filled:], begin + filled)
        if not count:
            break
        filled += count
    return filled


def _read_at(fd: int, view: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):  # not in Python 3.6
        return os.preadv(fd, [view], offset)
    data = os.pread(fd, len(view), offset)
    view[: len(data)] = data
    return len(data)
