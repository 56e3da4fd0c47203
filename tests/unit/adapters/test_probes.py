"""Probes of guests: what is written, and what is asked over a real loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from vmferry.adapters.probes import ask_guest
from vmferry.model.probes import Probe, ProbeKind, parse_probe
from vmferry.planning.probes import went_silent


@pytest.mark.parametrize(
    ("text", "kind", "target"),
    [
        ("agent", ProbeKind.AGENT, ""),
        ("ping 10.0.0.5", ProbeKind.PING, "10.0.0.5"),
        ("ping fe80::1", ProbeKind.PING, "fe80::1"),
        ("tcp web.example.org:443", ProbeKind.TCP, "web.example.org:443"),
        ("tcp [fe80::1]:22", ProbeKind.TCP, "[fe80::1]:22"),
        (" http  https://web/health ", ProbeKind.HTTP, "https://web/health"),
    ],
)
def test_probes_are_read(text: str, kind: ProbeKind, target: str) -> None:
    assert parse_probe(text) == Probe(kind=kind, target=target)


@pytest.mark.parametrize(
    "text",
    ["", "smell", "agent web", "ping", "ping -f", "ping a;b", "tcp web", "tcp web:0", "tcp web:99999", "http ftp://x"],
)
def test_what_is_no_probe_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"for example agent, ping"):
        parse_probe(text)


def test_only_what_was_answered_before_can_go_silent() -> None:
    before = {"agent": "", "ping a": "no answer", "tcp a:1": ""}
    assert went_silent(before, {"agent": "no answer", "ping a": "no answer", "tcp a:1": ""}) == ("agent: no answer",)


class Pages(BaseHTTPRequestHandler):
    """/200, /404 and /503 answer so."""

    def do_GET(self) -> None:
        self.send_response(int(self.path[1:]))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def asked(text: str) -> str:
    return ask_guest(parse_probe(text), timeout_s=2)


def test_a_service_that_is_there_answers(port: int) -> None:
    assert asked(f"tcp 127.0.0.1:{port}") == ""
    assert asked(f"http http://127.0.0.1:{port}/200") == ""
    assert asked(f"http http://127.0.0.1:{port}/404") == ""  # somebody is there who says no
    assert asked(f"http http://127.0.0.1:{port}/503") == "status 503"
    assert asked("ping 127.0.0.1") == ""


def test_one_that_is_not_is_told_and_nothing_is_raised() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()[1]
    assert "refused" in asked(f"tcp 127.0.0.1:{nobody}").lower()
    assert "refused" in asked(f"http http://127.0.0.1:{nobody}/").lower()
    assert asked("ping no-such-host.invalid")
    assert asked("tcp no-such-host.invalid:80")
