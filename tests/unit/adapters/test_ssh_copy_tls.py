"""The way of a copy beside ssh: who gets in, when the door shuts, and what happens where there is none."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.unit.adapters.copying import Hosts, make_image, open_hosts, wait_until_nothing_runs
from vmferry.adapters.ferry import tls, wire
from vmferry.adapters.ssh_pairs import Pair, new_pair
from vmferry.adapters.ssh_tools import SshTools

MIB = 2**20
SOURCE, DEST, STRANGER = new_pair("source"), new_pair("dest"), new_pair("dest")


def told(mine: Pair, peer: Pair, stall_s: float = 20.0) -> dict[str, object]:
    mine_too = mine.key + mine.certificate
    return {"mine": mine_too, "peer": peer.certificate, "address": "127.0.0.1", "stall_s": stall_s}


def wish(mine: Pair = SOURCE, peer: Pair = DEST, *, least_bytes: int = 0) -> tls.Wish:
    one = tls.Wish({"address": "127.0.0.1", "least_bytes": least_bytes, "source": told(mine, peer), "dest": {}}, MIB)
    one.ask()
    return one


class Waiting:
    """A receiver at its door, in a thread of its own."""

    def __init__(self, stall_s: float) -> None:
        self.lifeline, self.source_end = os.pipe()
        self.inlet: tls.Inlet | None = None
        self.door = tls.Door(told(DEST, SOURCE, stall_s))
        self.thread = threading.Thread(target=self._wait, daemon=True)
        self.thread.start()

    def _wait(self) -> None:
        self.inlet = self.door.wait(self.lifeline)

    def end(self) -> None:
        self.thread.join(20)
        assert not self.thread.is_alive()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self.door.port), 5)


@contextmanager
def waiting(stall_s: float = 20.0) -> Iterator[Waiting]:
    """Open a door; afterwards it is shut."""
    one = Waiting(stall_s)
    try:
        yield one
        one.end()
    finally:
        os.close(one.source_end)
        one.thread.join(20)
        os.close(one.lifeline)


def test_what_the_source_writes_comes_out_and_the_door_is_shut() -> None:
    with waiting() as there:
        outlet = wish().enter(there.door.port)
        assert outlet is not None
        data = os.urandom(3 * MIB)
        writer = threading.Thread(target=outlet.write_all, args=(b"head", memoryview(data)))
        writer.start()
        there.thread.join(20)
        assert there.inlet is not None
        room = memoryview(bytearray(len(data) + 4))
        there.inlet.read_into(room)
        assert room == b"head" + data
        writer.join()
        outlet.break_off()
        with pytest.raises(wire.Gone):
            there.inlet.read_into(room)
        with pytest.raises(wire.Gone):
            outlet.write_all(b"more", data)


def test_a_key_is_not_used_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_KEY_BYTES", MIB)
    with waiting() as there:
        outlet = wish().enter(there.door.port)
        assert outlet is not None
        outlet.write_all(b"head", bytes(1000))
        with pytest.raises(wire.Gone, match="used up"):
            outlet.write_all(b"head", bytes(MIB))


def test_the_stream_ends_with_its_ssh_connection() -> None:
    with waiting() as there:
        outlet = wish().enter(there.door.port)
        there.thread.join(20)
        assert outlet is not None and there.inlet is not None
        os.close(there.source_end)
        there.source_end = os.open(os.devnull, os.O_RDONLY)
        with pytest.raises(wire.Gone, match="ssh has ended"):
            there.inlet.read_into(memoryview(bytearray(1)))


@pytest.mark.parametrize("certificate", [None, STRANGER])
def test_a_stranger_is_not_let_in_and_the_source_still_is(certificate: Pair | None) -> None:
    with waiting() as there:
        with socket.create_connection(("127.0.0.1", there.door.port), 5) as plain:
            plain.settimeout(10)
            with suppress(OSError):
                if certificate is None:
                    plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    plain.recv(100)
                else:
                    context = tls._context(told(certificate, DEST), is_server=False)
                    assert isinstance(context, ssl.SSLContext)
                    context.wrap_socket(plain).recv(1)
        assert there.inlet is None
        assert wish().enter(there.door.port) is not None
    assert there.inlet is not None


def test_the_source_enters_no_stranger_s_door() -> None:
    with waiting() as there:
        mistaken = wish(SOURCE, STRANGER)
        assert mistaken.enter(there.door.port) is None
        assert "certificate" in mistaken.outcome
        assert mistaken.ask() is None  # nor is it asked for again
        os.write(there.source_end, b"x")
    assert there.inlet is None


def test_the_door_is_shut_when_the_source_speaks_over_ssh() -> None:
    with waiting() as there:
        os.write(there.source_end, b"x")
    assert there.inlet is None


def test_a_port_where_nobody_answers_is_told_and_left() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        one = wish()
        assert one.enter(port) is None
    assert one.outcome == f"through ssh, not TLS: port {port} of 127.0.0.1: [Errno 111] Connection refused"
    assert one.ask() is None


def test_a_way_that_falls_silent_while_ssh_lives_is_left() -> None:
    one = wish()
    with waiting(0.1) as there:
        outlet = one.enter(there.door.port)
        there.thread.join(20)
        assert outlet is not None and there.inlet is not None
        with pytest.raises(wire.Silent):
            there.inlet.read_into(memoryview(bytearray(1)))
    one.note(1)  # a receiver that was killed
    assert one.ask() is not None
    one.note(tls.STALLED)
    assert one.ask() is None


def test_small_copies_do_not_ask() -> None:
    assert wish(least_bytes=MIB).ask() is not None
    assert wish(least_bytes=MIB + 1).ask() is None


# whole copies


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with open_hosts(tmp_path_factory.mktemp("tls")) as made:
        yield made


@pytest.mark.parametrize(
    ("wanted", "address", "how"),
    [
        ("always", "127.0.0.1", "through TLS to port 49"),
        ("always", "192.0.2.1", "through ssh, not TLS: the destination opens no port: 192.0.2.1"),
        ("always", "no.such.name.invalid", "through ssh, not TLS: no.such.name.invalid"),
        ("never", "127.0.0.1", "through ssh"),
    ],
)
def test_a_copy_tells_how_it_went(hosts: Hosts, tmp_path: Path, wanted: str, address: str, how: str) -> None:
    image, copy = tmp_path / "image", tmp_path / ".vmferry-run-1" / "image"
    content = make_image(image, size=16 * MIB + 77, data=2 * MIB)
    settings = hosts.settings.model_copy(update={"copy_tls": wanted})
    tools = SshTools(hosts.entry("one"), settings, ssh_config=str(hosts.config))
    try:
        dest = hosts.entry("two").model_copy(update={"migration_address": address})
        done = tools.copy_file(str(image), dest, str(copy))
    finally:
        tools.close()
    assert done.reason.startswith(f"both hosts have Python; {how}")
    assert copy.read_bytes() == content
    wait_until_nothing_runs(str(tmp_path))
