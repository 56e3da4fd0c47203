"""What must not be equal, or must not differ, between two hosts of an inventory."""

from __future__ import annotations

from typing import Any

from vmferry.inventory.located import Located
from vmferry.inventory.problems import Problem

Entries = dict[str, dict[str, Any]]
Place = tuple[str, ...]

# In this order: a later field of the same two hosts is reported only when the file itself says it.
_MUST_DIFFER: tuple[tuple[str, Place], ...] = (
    ("libvirt URI", ("uri",)),
    ("ssh address and port", ("ssh", "address")),
    ("migration address", ("migration_address",)),
    ("peer URI", ("peer_uri",)),
)


def check_across(entries: Entries, located: Located) -> list[Problem]:
    """Compare all entries, filled, in the order of the file: twins and shared storage that disagrees."""
    capitals = _name_twins(entries)
    found = []
    for name, other in capitals.items():
        text = f"the name differs from {other} (line {located.line(('hosts', other))}) only in capitals; rename one"
        found.append(Problem(path=("hosts", name), text=text))
    reported = {(other, name) for name, other in capitals.items()}
    return found + _twins(entries, located, reported) + _lock_quarrels(entries, located)


def _name_twins(entries: Entries) -> dict[str, str]:
    """Return name → the earlier name that it equals but for capitals, which host names do not tell apart."""
    first: dict[str, str] = {}
    seen = {name: first.setdefault(name.lower(), name) for name in entries}
    return {name: other for name, other in seen.items() if other != name}


def _twins(entries: Entries, located: Located, reported: set[tuple[str, str]]) -> list[Problem]:
    """`reported` holds (earlier, later) hosts that are known to be twins, and grows."""
    found = []
    for what, field in _MUST_DIFFER:
        first: dict[object, str] = {}
        for name, entry in entries.items():
            value = _value(entry, field)
            if value is None:
                continue
            other = first.setdefault(value, name)
            place: Place = ("hosts", name, *field)
            said_twice = place in located.lines and ("hosts", other, *field) in located.lines
            if other == name or ((other, name) in reported and not said_twice):
                continue
            reported.add((other, name))
            line = located.line(("hosts", other, *field))
            shown = value if isinstance(value, str) else f"{value[0]} port {value[1]}"
            text = f"{shown} is also the {what} of host {other} (line {line}); two entries must be two hosts"
            found.append(Problem(path=place, text=text))
    return found


def _value(entry: dict[str, Any], field: Place) -> str | tuple[str, int] | None:
    if field == ("ssh", "address"):
        ssh = entry.get("ssh")
        address = ssh.get("address") if isinstance(ssh, dict) else None
        port = ssh.get("port", 22) if isinstance(ssh, dict) else None
        return (address.lower(), port) if isinstance(address, str) and isinstance(port, int) else None
    value = entry.get(field[0])
    return value.lower().rstrip("/") if isinstance(value, str) else None


def _lock_quarrels(entries: Entries, located: Located) -> list[Problem]:
    """The hosts of a group must say the same of its locks: they decide how a move switches over."""
    found = []
    first: dict[str, tuple[str, bool, int | None]] = {}
    for name, entry in entries.items():
        storage = entry.get("storage")
        for n, item in enumerate(storage if isinstance(storage, list) else ()):
            group = item.get("shared") if isinstance(item, dict) else None
            if not isinstance(group, str):
                continue
            place: Place = ("hosts", name, "storage", str(n))
            locks = item.get("locks", False)
            if not isinstance(locks, bool):
                continue
            other, said, line = first.setdefault(group, (name, locks, located.line(place)))
            if said != locks:
                here, there = str(locks).lower(), str(said).lower()
                text = (
                    f"group {group!r} has locks: {here} here and {there} on host {other} (line {line}); make them equal"
                )
                found.append(Problem(path=(*place, "locks"), text=text))
    return found
