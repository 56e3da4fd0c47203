"""One connection from the source to a receiver: through ssh, or through the machine that runs vmferry."""

import fcntl
import json
import os
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from vmferry.adapters.ferry import wire
from vmferry.adapters.ferry.board import Board, Failure, Ledger, Part
from vmferry.adapters.ferry.tls import Outlet, Wish

_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ, which Python knows since 3.10
_STDERR_BYTES = 4096
_END_S = 5.0
_WIDE_S = 3.0


class Link(Ledger):
    """A receiver at the other end; `hello` is what it said of itself."""

    def __init__(self, board: Board, to_fd: int, from_fd: int, process: "subprocess.Popen[bytes] | None") -> None:
        super().__init__()
        self.hello: dict[str, Any] = {}
        self.is_finished = False
        self.is_wide = False  # what is written goes by TLS
        self._board = board
        self._to = to_fd
        self._put: Callable[..., None] = partial(wire.write_all, to_fd)
        self._fill = partial(wire.read_into, from_fd)
        self._outlet: Outlet | None = None
        self._process = process
        self._lock = threading.Lock()
        self._answered = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._complaint = b""
        self._listener: threading.Thread | None = None
        with suppress(OSError):
            fcntl.fcntl(to_fd, _SET_PIPE_SIZE, wire.CHUNK)
        if process is not None:
            self._listener = threading.Thread(target=self._listen, daemon=True)
            self._listener.start()

    def open(self, payload: bytes, order: "dict[str, Any]", seconds: float) -> bool:
        """Send the program and the order; whether the receiver said hello."""
        data = json.dumps(order).encode()
        try:
            wire.write_all(self._to, payload)
            wire.write_all(self._to, wire.HEADER.pack(wire.OPEN, 0, len(data)), data)
        except wire.Gone:
            pass  # why is on its standard error
        self._reader.start()
        self._await(lambda: bool(self.hello), seconds)
        return bool(self.hello) and not self.is_dead

    def widen(self, wish: Wish) -> None:
        """Let what is written go by TLS, where the receiver has opened a door and it can be reached."""
        port = int(self.hello.get("port", 0))
        if self.hello.get("closed"):
            wish.refuse(str(self.hello["closed"]))
        outlet = wish.enter(port) if port else None
        if outlet is None:
            return
        self._outlet = outlet
        self._await(lambda: self.is_wide, _WIDE_S)
        if self.is_wide:
            self._put = outlet.write_all
        else:
            outlet.break_off()
            wish.refuse(f"port {port}: the receiver did not hear it")

    def send(self, part: Part, data: "memoryview | bytes" = b"") -> None:
        """Send what belongs to a part."""
        length = part.task.end - part.task.begin
        self._write(wire.HEADER.pack(part.message, part.task.begin, length), data)

    def tell(self, kind: bytes) -> None:
        """Send a message without content."""
        self._write(wire.HEADER.pack(kind, 0, 0))

    def finish(self, asked: "dict[str, Any]", seconds: float) -> bool:
        """Let the receiver seal the file; whether it said that it did."""
        data = json.dumps(asked).encode()
        with suppress(wire.Gone):
            self._write(wire.HEADER.pack(wire.FINISH, 0, len(data)), data)
            self._await(lambda: self.is_finished, seconds)
        return self.is_finished

    def close(self) -> None:
        """End the connection, and the receiver with it."""
        self._board.give_back(self)
        self._break_off()
        if self._process is None:
            with suppress(OSError):
                os.close(self._to)
            return
        with suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """End the connection at once."""
        self._break_off()
        if self._process is not None:
            self._process.kill()

    def why(self) -> "tuple[int, str]":
        """Return exit code and last words of ssh, once it has ended."""
        if self._process is None:
            return -1, "connection closed"
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        if self._listener is not None:
            self._listener.join(1.0)
        code = self._process.poll()
        words = " ".join(self._complaint.decode("utf-8", "replace").split())
        return (-1 if code is None else code), words or f"ssh ended with {code}"

    def _write(self, header: bytes, data: "memoryview | bytes" = b"") -> None:
        with self._lock:
            self._put(header, data)

    def _break_off(self) -> None:
        if self._outlet is not None:
            self._outlet.break_off()

    def _await(self, is_true: "Any", seconds: float) -> None:
        with self._answered:
            self._answered.wait_for(lambda: is_true() or self.is_dead or self._board.failure is not None, seconds)

    def _listen(self) -> None:
        """Keep the last words of ssh."""
        assert self._process is not None and self._process.stderr is not None
        fd = self._process.stderr.fileno()
        with suppress(OSError):
            while True:
                data = os.read(fd, _STDERR_BYTES)
                if not data:
                    return
                self._complaint = (self._complaint + data)[-_STDERR_BYTES:]

    def _read(self) -> None:
        """Take the receiver's answers until the connection ends."""
        header = bytearray(wire.HEADER.size)
        try:
            while True:
                kind, offset, length = wire.read_message(self._fill, header)
                self._take(kind, offset, wire.read_bytes(self._fill, length))
        except wire.Silent:
            self.kill()
        except (wire.Gone, OSError, ValueError):
            pass  # ssh ends by itself, and then its exit code says why
        finally:
            self._board.give_back(self)
            self._break_off()
            with self._answered:
                self._answered.notify_all()

    def _take(self, kind: bytes, offset: int, data: bytes) -> None:
        if kind == wire.PROOF:
            self._board.prove(self, offset, data)
        elif kind == wire.ERROR:
            self._board.fail(_failure(json.loads(data.decode())))
        elif kind in (wire.HELLO, wire.WIDE, wire.DONE):
            with self._answered:
                if kind == wire.HELLO:
                    self.hello = json.loads(data.decode())
                elif kind == wire.WIDE:
                    self.is_wide = True
                else:
                    self.is_finished = True
                self._answered.notify_all()


def _failure(told: "dict[str, Any]") -> Failure:
    """Return what a receiver's complaint means."""
    if told["errno"] in (28, 122):  # ENOSPC, EDQUOT
        return Failure("full", f"the destination is full: {told['text']}; {told['free']} bytes are free")
    return Failure("refused" if told["is_refused"] else "destination", str(told["text"]))


def through_ssh(board: Board, argv: "list[str]") -> Link:
    """Start ssh."""
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    assert process.stdin is not None and process.stdout is not None
    return Link(board, process.stdin.fileno(), process.stdout.fileno(), process)
