"""What goes over a host's cable, as somebody on the wire sees it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

_EVERY_PROTOCOL = 3  # ETH_P_ALL
_BUFFER_BYTES = 64 << 20
_FORCE_RECEIVE_BUFFER = 33  # SO_RCVBUFFORCE
_OVERLAP_BYTES = 4096


class Capture:
    """Look for byte patterns in the TCP streams of one network device; a context manager.

    `found` are the patterns that were seen, `streams` the TCP connections that carried data, as (address, port,
    address, port), `payload_bytes` how much of it. Only packets that the kernel could hand over in time are seen.
    """

    def __init__(self, device: str, patterns: Iterable[bytes]) -> None:
        self.found: set[bytes] = set()
        self.streams: dict[tuple[str, int, str, int], int] = {}
        self._patterns = tuple(patterns)
        self._tails: dict[tuple[str, int, str, int], bytes] = {}
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL))
        self._socket.setsockopt(socket.SOL_SOCKET, _FORCE_RECEIVE_BUFFER, _BUFFER_BYTES)
        self._socket.bind((device, 0))
        self._socket.settimeout(0.1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="vmferry-lab-capture", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    @property
    def payload_bytes(self) -> int:
        """Give the payload of all TCP connections, bytes."""
        return sum(self.streams.values())

    def _loop(self) -> None:
        # What has arrived by then is still looked at after the end.
        while True:
            try:
                self._look(self._socket.recv(1 << 17))
            except TimeoutError:
                if self._stop.is_set():
                    return

    def _look(self, frame: bytes) -> None:
        """Take one Ethernet frame; what is no TCP over IPv4, or is cut short, is passed over."""
        with contextlib.suppress(struct.error, IndexError):
            if frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_TCP:
                return
            at = 14 + 4 * (frame[14] & 15)
            ends = (socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34]))
            ports = struct.unpack_from("!HH", frame, at)
            payload = frame[at + 4 * (frame[at + 12] >> 4) : 14 + struct.unpack_from("!H", frame, 16)[0]]
            if payload:
                self._search((ends[0], ports[0], ends[1], ports[1]), payload)

    def _search(self, stream: tuple[str, int, str, int], payload: bytes) -> None:
        self.streams[stream] = self.streams.get(stream, 0) + len(payload)
        text = self._tails.get(stream, b"") + payload
        self.found |= {pattern for pattern in self._patterns if pattern in text}
        self._tails[stream] = text[-_OVERLAP_BYTES:]
