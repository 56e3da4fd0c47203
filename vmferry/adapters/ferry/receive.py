"""The end of a copy at the destination: writes what comes, and proves it by reading it back from the disk."""

import ctypes
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from vmferry.adapters.ferry import staging, tls, wire
from vmferry.adapters.ferry.direct import DirectReader, DirectWriter, aligned_room
from vmferry.adapters.ferry.extents import cuts

_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_WRITE_SYNC = 2  # SYNC_FILE_RANGE_WRITE
# Written pages are made durable, dropped and read back in batches of this size, or when they are so old.
_BATCH_BYTES = 32 * 1024 * 1024
_BATCH_AGE_S = 0.5
_FLUSH_BYTES = 8 * 1024 * 1024


class _Kernel:
    """The calls that Python does not offer."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def punch(self, fd: int, begin: int, length: int) -> bool:
        """Make a hole; False where the file system cannot."""
        call = getattr(self._libc, "fallocate64", None) or getattr(self._libc, "fallocate", None)
        if call is None:
            return False
        done = call(fd, _KEEP_SIZE | _PUNCH_HOLE, ctypes.c_longlong(begin), ctypes.c_longlong(length))
        return int(done) == 0

    def start_writing(self, fd: int, begin: int, length: int) -> None:
        """Let the disk begin with a range at once; only a hint."""
        call = getattr(self._libc, "sync_file_range", None)
        if call is not None:
            call(fd, ctypes.c_longlong(begin), ctypes.c_longlong(length), _WRITE_SYNC)


class Prover(threading.Thread):
    """Makes ranges durable, reads them back from the disk, and tells their digests to the source."""

    def __init__(self, fd: int, kind: str, answer: "Answer") -> None:
        super().__init__(daemon=True)
        self.failure = ""
        self._fd = fd
        self._kind = kind
        self._answer = answer
        self._changed = threading.Condition()
        self._waiting: list[tuple[bytes, int, int]] = []
        self._bytes = 0
        self._is_hurried = False

    def add(self, message: bytes, begin: int, length: int) -> None:
        """Take a range; `message` says which digest is asked for."""
        with self._changed:
            self._waiting.append((message, begin, length))
            self._bytes += length
            if self._bytes >= _BATCH_BYTES:
                self._changed.notify()

    def hurry(self) -> None:
        """Prove at once what waits."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify()

    def run(self) -> None:
        """Work until the process ends."""
        try:
            reader = DirectReader(self._fd, forgets=True)
            while True:
                batch = self._take()
                if not batch:
                    continue
                os.fdatasync(self._fd)
                for _, begin, length in batch:
                    os.posix_fadvise(self._fd, begin, length, os.POSIX_FADV_DONTNEED)
                for message, begin, length in batch:
                    self._prove(message, begin, length, reader)
        except wire.Gone:
            os._exit(1)
        except Exception as error:
            self._answer.fail(error, self._fd)
            os._exit(1)

    def _take(self) -> "list[tuple[bytes, int, int]]":
        with self._changed:
            if self._bytes < _BATCH_BYTES and not self._is_hurried:
                self._changed.wait(_BATCH_AGE_S)
            batch, self._waiting, self._bytes, self._is_hurried = self._waiting, [], 0, False
            return batch

    def _prove(self, message: bytes, begin: int, length: int, reader: DirectReader) -> None:
        kind = wire.STRONG if message == wire.CHECK else self._kind
        found = []
        for low, high in cuts(begin, begin + length, wire.CHUNK):
            found.append(wire.digests(kind, low, reader.read(low, high - low)))
        self._answer.send(wire.PROOF, begin, b"".join(found))


class Answer:
    """The way back to the source; used by two threads."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def beat(self) -> None:
        """Show that this end lives, however long the disk may take."""
        with suppress(wire.Gone):
            while True:
                time.sleep(wire.BEAT_S)
                self.send(wire.BEAT)
        os._exit(1)

    def send(self, kind: bytes, offset: int = 0, data: bytes = b"") -> None:
        """Send one message."""
        with self._lock:
            wire.write_all(self._fd, wire.HEADER.pack(kind, offset, len(data)), data)

    def fail(self, error: BaseException, fd: "int | None") -> None:
        """Tell why there is an end."""
        told: dict[str, Any] = {"text": str(error) or type(error).__name__, "free": -1}
        told["errno"] = getattr(error, "errno", None) or 0
        told["is_refused"] = isinstance(error, staging.Refused)
        if isinstance(error, OSError):
            told["text"] = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
        with suppress(OSError):
            if fd is not None:
                room = os.fstatvfs(fd)
                told["free"] = (room.f_bfree if os.geteuid() == 0 else room.f_bavail) * room.f_frsize
        with suppress(wire.Gone):
            self.send(wire.ERROR, 0, json.dumps(told).encode())


class Receiver:
    """One stream's receiver."""

    def __init__(self, words: "list[str]", source: int, sink: int) -> None:
        self._session, self._stream, self._generation, self._path = words
        self._lifeline = source
        self._fill: Callable[[memoryview], None] = partial(wire.read_into, source)
        self._is_wide = False
        self._answer = Answer(sink)
        self._kernel = _Kernel()
        self._buffer = aligned_room(wire.CHUNK)
        self._writer: DirectWriter | None = None
        self._target: staging.Target | None = None
        self._unsynced = [0, 0]

    def run(self) -> int:
        """Serve until the source closes the connection."""
        try:
            self._serve()
        except wire.Silent:
            return tls.STALLED if self._is_wide else 1
        except wire.Gone:
            return 1
        except Exception as error:
            self._answer.fail(error, None if self._target is None else self._target.fd)
            return 1
        return 0

    def _serve(self) -> None:
        _, _, length = wire.read_message(self._fill, bytearray(wire.HEADER.size))
        order = json.loads(wire.read_bytes(self._fill, length).decode())
        door, why = _open_door(order)
        target = self._open(order, {"port": door.port if door else 0, "closed": why})
        prover = Prover(target.fd, order["digest"], self._answer)
        prover.start()
        threading.Thread(target=self._answer.beat, daemon=True).start()
        inlet = door.wait(self._lifeline) if door else None
        if inlet is not None:
            self._fill, self._is_wide = inlet.read_into, True
            self._answer.send(wire.WIDE)
        header = bytearray(wire.HEADER.size)
        while True:
            kind, offset, length = wire.read_message(self._fill, header)
            if kind == wire.WRITE:
                self._write(offset, length)
                prover.add(kind, offset, length)
            elif kind == wire.ZERO:
                self._clear(offset, length)
                prover.add(kind, offset, length)
            elif kind == wire.CHECK:
                prover.add(kind, offset, length)
            elif kind == wire.SYNC:
                prover.hurry()
            elif kind == wire.FINISH:
                asked = json.loads(wire.read_bytes(self._fill, length).decode())
                staging.seal(target, self._path, self._session)
                staging.finish(target, asked)
                self._answer.send(wire.DONE, 0, b"{}")

    def _open(self, order: "dict[str, Any]", way: "dict[str, Any]") -> staging.Target:
        staging.expel(self._path, self._session, self._stream, int(self._generation))
        if order["is_device"]:
            target = staging.open_device(self._path, order["size"], order.get("inode") is None)
        else:
            target = staging.open_file(self._path, order)
        self._target, self._writer = target, DirectWriter(target.fd)
        staging.hold(target)
        told = {"inode": target.inode, "had": target.had, "had_size": target.had_size, "cores": cores()}
        self._answer.send(wire.HELLO, 0, json.dumps(dict(told, **way)).encode())
        return target

    def _write(self, offset: int, length: int) -> None:
        assert self._target is not None and self._writer is not None
        if length > wire.CHUNK or offset + length > self._target.size:
            raise staging.Refused(f"{length} bytes at {offset} are beyond the file")
        view = self._buffer[:length]
        self._fill(view)
        self._writer.write(offset, view)
        if self._unsynced[1] != offset:
            self._unsynced[0] = offset
        self._unsynced[1] = offset + length
        if self._unsynced[1] - self._unsynced[0] >= _FLUSH_BYTES:
            self._kernel.start_writing(self._target.fd, self._unsynced[0], self._unsynced[1] - self._unsynced[0])
            self._unsynced[0] = self._unsynced[1]

    def _put(self, offset: int, view: "memoryview") -> None:
        assert self._target is not None
        done = 0
        while done < len(view):
            done += os.pwrite(self._target.fd, view[done:], offset + done)

    def _clear(self, offset: int, length: int) -> None:
        """Make zeros: a hole where that is possible; on a device only where there are none, for it may be thin."""
        target = self._target
        assert target is not None
        if offset + length > target.had_size:
            raise staging.Refused(f"{length} bytes at {offset} are beyond the file")
        if not target.is_device and self._kernel.punch(target.fd, offset, length):
            return
        view = self._buffer
        for begin, end in wire.pieces(offset, offset + length):
            part = view[: end - begin]
            wire.read_range(target.fd, begin, part)
            if not wire.is_zero(part):
                self._put(begin, memoryview(wire.ZEROS)[: end - begin])


def _open_door(order: "dict[str, Any]") -> "tuple[tls.Door | None, str]":
    """Return a way in beside ssh where one is asked for; none where there can be none, and why."""
    try:
        return (tls.Door(order["tls"]) if order.get("tls") else None), ""
    except tls.Closed as error:
        return None, f"the destination opens no port: {error}"


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def main(_order: "dict[str, Any]", _modules: "Any") -> int:
    """Run the receiver: standard input and output are the connection."""
    return Receiver(sys.argv[-4:], 0, 1).run()
