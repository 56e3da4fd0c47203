"""The wide way of a stream: TLS from source to destination beside its ssh connection, which carries the rest.

ssh moves every byte through two pipes and two programs more, which costs more than the cipher. Only what is written
travels by TLS; orders before it, answers, and the life of the stream stay with ssh. Each end knows the other's
certificate, made for this one copy and handed over ssh, and takes no other.
"""

import os
import re
import select
import socket
import time
from contextlib import suppress
from typing import Any

from vmferry.adapters.ferry import wire

# The first are what libvirt takes first for QEMU: ours are sought from the other end.
_PORTS = (49152, 49215)
_CONF = "/etc/libvirt/qemu.conf"
_CONNECT_S = 1.5
_GREET_S = 2.0
_OPEN_S = 10.0
# AES-GCM is not to be used longer with one key (RFC 8446, 5.5); Python cannot ask for another, a new stream has one.
_KEY_BYTES = 256 * 2**30
STALLED = 75  # how a receiver ends then


class Closed(Exception):
    """There is no such way."""


def _context(told: "dict[str, Any]", is_server: bool) -> "Any":
    """Return what both ends agree on; `told` has our key and certificate, and the other's certificate."""
    try:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # the certificate itself is what is looked at
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if is_server:
            context.num_tickets = 0  # nobody comes again
        context.load_verify_locations(cadata=told["peer"])
        fd = os.memfd_create("key")  # never on a disk
        try:
            wire.write_all(fd, told["mine"].encode())
            context.load_cert_chain(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
    except (ImportError, AttributeError, ValueError) as error:  # older than Python 3.8 or OpenSSL 1.1.1
        raise Closed(f"no TLS 1.3 in Python here: {error}")  # noqa: B904 - no more is known
    except OSError as error:
        raise Closed(f"TLS: {error}")  # noqa: B904
    return context


def _greet(context: "Any", plain: socket.socket, told: "dict[str, Any]", is_server: bool) -> "Any":
    """Return the connection as TLS with the one peer that we want; raises OSError."""
    import ssl

    try:
        plain.settimeout(_GREET_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = context.wrap_socket(plain, server_side=is_server)
    except BaseException:
        plain.close()
        raise
    if stream.getpeercert(binary_form=True) != ssl.PEM_cert_to_DER_cert(told["peer"]):
        stream.close()
        raise OSError("another certificate")
    return stream


# the destination's end


class Door:
    """A port that stands open until the source has come through it, or goes by ssh."""

    def __init__(self, told: "dict[str, Any]") -> None:
        """Open it on the address that the source knows; raises Closed."""
        self._told = told
        self._context = _context(told, is_server=True)
        self._listener = _listen(told["address"])
        self.port = int(self._listener.getsockname()[1])

    def wait(self, lifeline: int) -> "Inlet | None":
        """Return the source's stream; None when it says something on the lifeline, closes it, or does not come."""
        waiter = select.poll()
        waiter.register(self._listener, select.POLLIN)
        waiter.register(lifeline, select.POLLIN)
        until_s = time.monotonic() + _OPEN_S
        try:
            while time.monotonic() < until_s:
                ready = [fd for fd, _ in waiter.poll(_OPEN_S * 1000)]
                if lifeline in ready or not ready:
                    return None
                with suppress(OSError):  # somebody else
                    plain = self._listener.accept()[0]
                    stream = _greet(self._context, plain, self._told, is_server=True)
                    return Inlet(stream, lifeline, self._told["stall_s"])
            return None
        finally:
            self._listener.close()


def _listen(address: str) -> socket.socket:
    low, high = _ports()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    why = "no port"
    for port in range(high, low - 1, -1):
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(4)
            listener.setblocking(False)  # who knocks may be gone again
            return listener
        except OSError as error:
            listener.close()
            why = f"{address} port {port}: {error.strerror}"
    raise Closed(why)


def _ports() -> "tuple[int, int]":
    """Return libvirt's ports for migration: those that are open between hosts."""
    found = dict(zip(("min", "max"), _PORTS))  # noqa: B905 - not in Python 3.6
    with suppress(OSError, ValueError), open(_CONF, encoding="utf-8") as file:  # noqa: PTH123
        named = re.findall(r"^\s*migration_port_(min|max)\s*=\s*(\d+)", file.read(), re.MULTILINE)
        found.update({name: int(port) for name, port in reversed(named)})
    return found["min"], found["max"]


class Inlet:
    """What comes through a door."""

    def __init__(self, stream: "Any", lifeline: int, stall_s: float) -> None:
        self._stream = stream
        self._stall_s = stall_s
        self._stream.setblocking(False)
        self._lifeline = lifeline
        self._waiter = select.poll()
        for fd in (stream.fileno(), lifeline):
            self._waiter.register(fd, select.POLLIN)

    def read_into(self, view: memoryview) -> None:
        """Fill `view`; raises Gone at the end of the stream or of the lifeline, Silent when nothing comes."""
        import ssl

        filled = 0
        while filled < len(view):
            try:
                count = self._stream.recv_into(view[filled:])
            except ssl.SSLWantReadError:
                self._wait()
                continue
            except OSError as error:
                raise wire.Gone(str(error)) from None
            if not count:
                raise wire.Gone("connection closed")
            filled += count

    def _wait(self) -> None:
        ready = [fd for fd, _ in self._waiter.poll(self._stall_s * 1000)]
        if not ready:
            raise wire.Silent(f"silent for {self._stall_s:.0f} s")
        if self._lifeline in ready:
            raise wire.Gone("ssh has ended")


# the source's end


class Outlet:
    """What goes through a door."""

    def __init__(self, stream: "Any") -> None:
        self._stream = stream
        self._stream.settimeout(None)
        self._left = _KEY_BYTES

    def write_all(self, header: bytes, data: "memoryview | bytes" = b"") -> None:
        """Write a message; raises Gone when nobody reads any more."""
        self._left -= len(data)
        if self._left < 0:
            raise wire.Gone("the key is used up")
        try:
            self._stream.sendall(header)
            if len(data):
                self._stream.sendall(data)
        except (OSError, ValueError) as error:
            raise wire.Gone(str(error)) from None

    def break_off(self) -> None:
        """End it at once, even while another thread writes to it."""
        with suppress(OSError):
            socket.socket.shutdown(self._stream, socket.SHUT_RDWR)


class Wish:
    """Whether the streams of a copy go by TLS, and why not."""

    def __init__(self, told: "dict[str, Any] | None", size: int) -> None:
        """`told`: address of the destination, `source` and `dest` as for `_context`; None where it is not wanted."""
        self._told = told if told is not None and size >= int(told["least_bytes"]) else None
        self._why = ""
        self._address = ""
        self._port = 0

    def ask(self) -> "dict[str, Any] | None":
        """Return what the receiver needs to open a door; None when there is no use in it."""
        if self._told is None or self._why:
            return None
        try:
            if not self._address:
                found = socket.getaddrinfo(self._told["address"], None, type=socket.SOCK_STREAM)
                self._address = str(found[0][4][0])
        except OSError as error:
            self.refuse(f"{self._told['address']}: {error.strerror}")
            return None
        return dict(self._told["dest"], address=self._address)

    def enter(self, port: int) -> "Outlet | None":
        """Go through the door; None when it cannot be reached."""
        assert self._told is not None
        try:
            context = _context(self._told["source"], is_server=False)
            plain = socket.create_connection((self._address, port), _CONNECT_S)
            stream = _greet(context, plain, self._told["source"], is_server=False)
        except (Closed, OSError) as error:
            self.refuse(f"port {port} of {self._address}: {error}")
            return None
        self._port = port
        return Outlet(stream)

    def refuse(self, why: str) -> None:
        """Let all streams of this copy go by ssh from now on; `why` is told in its report."""
        self._why = self._why or why

    def note(self, exit_code: int) -> None:
        """A connection ended: a way that fell silent while ssh lived is not tried again."""
        if exit_code == STALLED:
            self.refuse(f"port {self._port}: nothing arrived any more")

    @property
    def outcome(self) -> str:
        """How the streams went, as the copy's report tells it."""
        if self._told is None:
            return "through ssh"
        return f"through ssh, not TLS: {self._why}" if self._why else f"through TLS to port {self._port}"
