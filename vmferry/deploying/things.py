"""Objects of a Prefect server as plain data, and the difference between two sets of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from vmferry.model.base import Model

_LONGEST = 90  # characters of a value in a diff


class Kind(StrEnum):
    """Kinds, in the order in which they are made: later ones name earlier ones."""

    BLOCK_TYPE = "block type"
    POOL = "work pool"
    QUEUE = "work queue"
    VARIABLE = "variable"
    DEPLOYMENT = "deployment"
    AUTOMATION = "automation"


class Thing(Model):
    """One object; `content` is JSON of what vmferry decides about it, and nothing else."""

    kind: Kind
    name: str
    content: dict[str, Any]


class ChangeKind(StrEnum):
    """What is to be done."""

    CREATE = "create"
    UPDATE = "update"
    SAME = "same"
    EXTRA = "extra"  # there, of vmferry's, and no longer wanted


class Change(Model):
    """What is to be done with one thing, and the lines that say so; `thing` is the wanted one."""

    kind: ChangeKind
    thing: Thing
    lines: tuple[str, ...] = ()

    def words(self) -> tuple[str, ...]:
        """Return the change as lines of a diff."""
        sign = {"create": "+", "update": "~", "same": " ", "extra": "-"}[self.kind]
        return (f"{sign} {self.thing.kind} {self.thing.name}", *(f"    {line}" for line in self.lines))


def compare(wanted: Sequence[Thing], present: Sequence[Thing]) -> tuple[Change, ...]:
    """Return one change per thing, wanted ones first and in the order of their making."""
    there = {(thing.kind, thing.name): thing for thing in present}
    order = list(Kind)
    changes = [_change(thing, there.pop((thing.kind, thing.name), None)) for thing in wanted]
    changes.sort(key=lambda change: order.index(change.thing.kind))
    return (*changes, *(Change(kind=ChangeKind.EXTRA, thing=thing) for thing in there.values()))


def _change(thing: Thing, there: Thing | None) -> Change:
    if there is None:
        return Change(kind=ChangeKind.CREATE, thing=thing, lines=tuple(_summary(thing.content)))
    lines = tuple(_differences(there.content, thing.content, ""))
    return Change(kind=ChangeKind.UPDATE if lines else ChangeKind.SAME, thing=thing, lines=lines)


def _summary(content: Mapping[str, Any]) -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, str | int | float | bool) and value != "":
            yield f"{key}: {_short(value)}"
    for slug in content.get("schedules", {}):
        yield f"schedule {slug}"


def _differences(before: Any, after: Any, path: str) -> Iterator[str]:
    """Yield a line per place where two JSON values differ, by dotted path."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            place = f"{path}.{key}" if path else str(key)
            if key not in after:
                yield f"{place}: {_short(before[key])} → removed"
            elif key not in before:
                yield f"{place}: new: {_short(after[key])}"
            else:
                yield from _differences(before[key], after[key], place)
    elif before != after:
        yield f"{path}: {_short(before)} → {_short(after)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
