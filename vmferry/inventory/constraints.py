"""`constraints`: which VMs may be together, and where, in BtrPlace's words.

    constraints:
      web-apart: {spread: [web1, web2, "web-*"], level: rack}
      db-home: {fence: [db1], hosts: [kvm1, kvm2], soft: true}

The key is the constraint's name; the first word is its kind, with the VMs (or, for kinds of hosts, the hosts) that it
is about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from vmferry.inventory.located import Json
from vmferry.inventory.problems import Problem, did_you_mean
from vmferry.model.constraint import Constraint, ConstraintKind
from vmferry.model.constraint_shape import shape_problems

CONSTRAINTS = "constraints"
OF_HOSTS = frozenset(
    {
        ConstraintKind.QUARANTINE,
        ConstraintKind.OFFLINE,
        ConstraintKind.ONLINE,
        ConstraintKind.MAX_ONLINE,
        ConstraintKind.PRESERVE,
        ConstraintKind.OVERBOOK,
    }
)
_FIELDS = ("hosts", "groups", "level", "soft", "continuous", "limit", "memory_mib", "vcpus", "ratio")
_EXAMPLE = "write for example `web-apart: {spread: [web1, web2], level: rack}`"


def read_constraints(
    value: Json, hosts: Sequence[str], line: Callable[[tuple[str, ...]], str]
) -> tuple[tuple[Constraint, ...], list[Problem]]:
    """Return the constraints in the order of the file, or all problems; `line` tells where a place is."""
    if value is None:
        return (), []
    place = (CONSTRAINTS,)
    if not isinstance(value, dict):
        return (), [Problem(path=place, text=f"must be a mapping of name and constraint; {_EXAMPLE}")]
    made: list[Constraint] = []
    problems: list[Problem] = []
    for name, entry in value.items():
        found, wrong = read_constraint(name, entry, line((*place, name)), (*place, name))
        problems += wrong
        if found is not None:
            made.append(found)
            problems += [Problem(path=(*place, name), text=text) for text in shape_problems(found, hosts)]
    return tuple(made), problems


def read_constraint(
    name: str, entry: Json, origin: str, place: tuple[str, ...]
) -> tuple[Constraint | None, list[Problem]]:
    """Return one constraint, or what is wrong with it; names of hosts are not checked."""
    if not isinstance(entry, dict):
        return None, [Problem(path=place, text=f"{entry!r} must be a mapping; {_EXAMPLE}")]
    kinds = [key for key in entry if key in set(ConstraintKind)]
    unknown = [key for key in entry if key not in kinds and key not in _FIELDS]
    known = [*(kind.value for kind in ConstraintKind), *_FIELDS]
    problems = [Problem(path=(*place, key), text=f"unknown field; {did_you_mean(key, known)}") for key in unknown]
    if len(kinds) != 1:
        what = "no kind" if not kinds else f"several kinds ({', '.join(kinds)})"
        problems.append(Problem(path=place, text=f"names {what}; one of {', '.join(ConstraintKind)}"))
    for key in ("soft", "continuous"):
        if key in entry and not isinstance(entry[key], bool):
            problems.append(Problem(path=(*place, key), text=f"{entry[key]!r} must be true or false"))
    if problems:
        return None, problems
    try:
        return Constraint.model_validate(_filled(name, ConstraintKind(kinds[0]), entry, origin)), []
    except ValidationError as error:
        return None, [
            Problem(path=(*place, *map(str, detail["loc"])), text=f"{detail['input']!r}: {detail['msg']}; {_EXAMPLE}")
            for detail in error.errors(include_url=False)
        ]


def _filled(name: str, kind: ConstraintKind, entry: dict[str, Any], origin: str) -> dict[str, Any]:
    """Return the constraint's fields; the list after the kind is of hosts, of groups of VMs, or of VMs."""
    rest = {key: value for key, value in entry.items() if key in _FIELDS and key not in ("soft", "continuous")}
    about = entry[kind]
    about = [about] if isinstance(about, str) else about
    field = "hosts" if kind in OF_HOSTS else "groups" if kind is ConstraintKind.SPLIT else "vms"
    return {
        **rest,
        field: about if about is not None else [],
        "kind": kind,
        "name": name,
        "is_hard": not entry.get("soft", False),
        "is_continuous": entry.get("continuous", True),
        "origin": origin,
    }
