"""Questions to a guest, which tell whether it is well."""

from __future__ import annotations

import re
from enum import StrEnum
from urllib.parse import urlsplit

from vmferry.model.base import Model

EXAMPLE = "agent, ping 10.0.0.5, tcp 10.0.0.5:443, http http://10.0.0.5/health"
_PLACE = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]+)):(?P<port>\d{1,5})")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?")


class ProbeKind(StrEnum):
    """What is asked of a guest."""

    AGENT = "agent"  # by libvirt, on the host where it is
    PING = "ping"  # the others by the management host, over the network
    TCP = "tcp"
    HTTP = "http"


class Probe(Model):
    """One question to a guest; `target` is empty for the agent."""

    kind: ProbeKind
    target: str = ""

    def words(self) -> str:
        """Return it as it is written."""
        return f"{self.kind} {self.target}".strip()


def parse_probe(text: str) -> Probe:
    """`agent`, `ping HOST`, `tcp HOST:PORT`, `http URL` → Probe; raises ValueError."""
    word, _, target = " ".join(text.split()).partition(" ")
    if word not in [kind.value for kind in ProbeKind]:
        raise ValueError(f"{text!r} is no probe; write for example {EXAMPLE}")
    kind = ProbeKind(word)
    is_good = {
        ProbeKind.AGENT: not target,
        ProbeKind.PING: bool(_NAME.fullmatch(target)),
        ProbeKind.TCP: (place := _PLACE.fullmatch(target)) is not None and 0 < int(place["port"]) < 65536,
        ProbeKind.HTTP: urlsplit(target).scheme in ("http", "https") and bool(urlsplit(target).hostname),
    }
    if not is_good[kind]:
        raise ValueError(f"{text!r}: {target!r} cannot be asked; write for example {EXAMPLE}")
    return Probe(kind=kind, target=target)


def tcp_place(target: str) -> tuple[str, int]:
    """`10.0.0.5:443`, `[fe80::1]:22` → host and port."""
    found = _PLACE.fullmatch(target)
    if found is None:
        raise ValueError(f"{target!r} is no HOST:PORT")
    return found["six"] or found["name"], int(found["port"])
