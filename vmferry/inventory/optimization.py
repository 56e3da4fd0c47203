"""`optimization`: what consolidation and balance leave as it is; and the watts of each host."""

from __future__ import annotations

from typing import Any

from vmferry.inventory.located import Json
from vmferry.inventory.problems import Problem, did_you_mean
from vmferry.model.host import Optimization

OPTIMIZATION = "optimization"
_EXAMPLE = "for example `optimization: {min_online: 2, spare_hosts: 1, exclude_vms: [db-*]}`"
_LEAST = {"min_online": 1, "spare_hosts": 0}


def read_optimization(value: Json, hosts: int) -> tuple[Optimization, list[Problem]]:
    """Return what the file says of it, or all problems; `hosts` is how many hosts the inventory has."""
    place = (OPTIMIZATION,)
    if value is None:
        return Optimization(), []
    if not isinstance(value, dict):
        return Optimization(), [Problem(path=place, text=f"{value!r} must be a mapping, {_EXAMPLE}")]
    known = list(Optimization.model_fields)
    problems = [
        Problem(path=(*place, key), text=f"unknown field; {did_you_mean(key, known)}")
        for key in value
        if key not in known
    ]
    given: dict[str, Any] = {}
    for field, least in _LEAST.items():
        count = value.get(field, least)
        if isinstance(count, bool) or not isinstance(count, int) or count < least:
            text = f"{count!r} must be a whole number, {least} or more; {_EXAMPLE}"
            problems.append(Problem(path=(*place, field), text=text))
        elif count > hosts > 0:
            text = f"{count} is more than the {hosts} hosts of this file: nothing could ever be switched off"
            problems.append(Problem(path=(*place, field), text=text))
        elif field in value:
            given[field] = count
    names, wrong = _names(value.get("exclude_vms"), (*place, "exclude_vms"))
    return Optimization(**given, exclude_vms=names), problems + wrong


def _names(value: Json, place: tuple[str, ...]) -> tuple[tuple[str, ...], list[Problem]]:
    if value is None:
        return (), []
    if not isinstance(value, list):
        return (), [Problem(path=place, text=f"{value!r} must be a list of names of VMs; {_EXAMPLE}")]
    problems = [
        Problem(path=(*place, str(n)), text=f"{name!r} must be the name of a VM, or a pattern with * and ?")
        for n, name in enumerate(value)
        if not isinstance(name, str) or not name.strip()
    ]
    return tuple(name for name in value if isinstance(name, str)), problems


def check_energy(energy: object, place: tuple[str, ...]) -> list[Problem]:
    """Check what types cannot say of a host's watts."""
    if not isinstance(energy, dict):
        return []
    idle, most = energy.get("idle_watts"), energy.get("max_watts")
    numbers = [value for value in (idle, most) if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == 2 and numbers[1] < numbers[0]:
        text = f"{most:g} W under full load is less than idle_watts, {idle:g} W; exchange them"
        return [Problem(path=(*place, "energy", "max_watts"), text=text)]
    if most is not None and idle is None:
        text = "is told without idle_watts, which a host saves when it is off; write both, or neither"
        return [Problem(path=(*place, "energy", "max_watts"), text=text)]
    return []
