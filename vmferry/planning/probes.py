"""Probes of guests: read from text, compared before and after a move. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from vmferry.model.probes import Probe, ProbeKind

EXAMPLE = "agent, ping 10.0.0.5, tcp 10.0.0.5:443, http http://10.0.0.5/health"
_PLACE = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]+)):(?P<port>\d{1,5})")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?")


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


def went_silent(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Return the probes that were answered before and are not any more, each with what was said.

    Both map a probe's words to what was wrong, empty when it was answered. What was wrong before is not held against
    the move.
    """
    return tuple(f"{probe}: {after[probe]}" for probe, wrong in before.items() if not wrong and after.get(probe))
