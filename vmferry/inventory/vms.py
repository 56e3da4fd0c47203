"""The inventory's `vms`: what holds for single VMs in every operation."""

from __future__ import annotations

import json
from collections.abc import Callable

from pydantic import ValidationError

from vmferry.inventory.located import Json
from vmferry.inventory.problems import Problem, did_you_mean
from vmferry.model.blackouts import parse_blackout
from vmferry.model.operation import VmHandling, WayOut
from vmferry.model.probes import parse_probe

_PLACE = ("vms",)
_FIELDS = tuple(VmHandling.model_fields)


def read_vms(value: Json) -> tuple[dict[str, VmHandling], list[Problem]]:
    """Return VM (name or UUID) → what holds for it, or all problems at once."""
    if value is None:
        return {}, []
    if not isinstance(value, dict):
        text = f"{value!r} must be a mapping of VM and fields, for example `vms: {{web1: {{priority: 5}}}}`"
        return {}, [Problem(path=_PLACE, text=text)]
    found: dict[str, VmHandling] = {}
    problems: list[Problem] = []
    for name, raw in value.items():
        place = (*_PLACE, str(name))
        if not isinstance(raw, dict):
            text = f"{raw!r} must be a mapping of {', '.join(_FIELDS)}"
            problems.append(Problem(path=place, text=text))
            continue
        wrong = _problems(raw, place)
        problems += wrong
        if not wrong:
            found[str(name)] = VmHandling.model_validate_json(json.dumps(raw))
    return found, problems


def _problems(raw: dict[str, Json], place: tuple[str, ...]) -> list[Problem]:
    unknown = [key for key in raw if key not in _FIELDS]
    problems = [Problem(path=(*place, k), text=f"unknown field; {did_you_mean(k, _FIELDS)}") for k in unknown]
    known = {key: value for key, value in raw.items() if key in _FIELDS}
    try:
        handling = VmHandling.model_validate_json(json.dumps(known), strict=True)
    except ValidationError as error:
        return problems + [
            Problem(path=(*place, *(str(part) for part in e["loc"])), text=_words(e["loc"], raw))
            for e in error.errors(include_url=False)
        ]
    problems += _texts(handling.blackouts, parse_blackout, (*place, "blackouts"))
    return problems + _texts(handling.probes, parse_probe, (*place, "probes"))


def _words(where: tuple[int | str, ...], raw: dict[str, Json]) -> str:
    field = str(where[0]) if where else ""
    wanted = {"priority": "a whole number", "way_out": f"one of {', '.join(WayOut)}"}
    wanted |= {"max_downtime_ms": "a whole number of milliseconds, 1 or more"}
    return f"{raw.get(field)!r} is not right; write {wanted.get(field, 'a list of texts')}"


def _texts(texts: tuple[str, ...], parse: Callable[[str], object], place: tuple[str, ...]) -> list[Problem]:
    problems: list[Problem] = []
    for number, text in enumerate(texts):
        try:
            parse(text)
        except ValueError as error:
            problems.append(Problem(path=(*place, str(number)), text=str(error)))
    return problems
