"""The inventory file → Inventory, or all of its problems at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vmferry.errors import InventoryError
from vmferry.inventory.across import check_across
from vmferry.inventory.constraints import CONSTRAINTS, read_constraints
from vmferry.inventory.entry import check_entry, check_name, fill_entry
from vmferry.inventory.expected import entry_problems
from vmferry.inventory.located import Json, Located, parse_located
from vmferry.inventory.optimization import OPTIMIZATION, read_optimization
from vmferry.inventory.plain import PLAIN_NETWORKS, fill_networks, read_networks
from vmferry.inventory.problems import Problem, did_you_mean
from vmferry.inventory.severities import read_severities
from vmferry.inventory.vms import read_vms
from vmferry.model.host import Host, Inventory

_TOP = ("hosts", "rules", "vms", "ssh_config", PLAIN_NETWORKS, CONSTRAINTS, OPTIMIZATION)
_WRITE_HOSTS = "write `hosts:` and below it one entry per host, see deployments/inventory.example.yaml"


def load_inventory(path: Path | str) -> Inventory:
    """Read and check an inventory file. Reads only.

    Raises InventoryError whose `problems` are all problems, as `file:line: host kvm2: field …: …`,
    in the order of the file.
    """
    file = Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        said = f"{path}: cannot be read: {error.strerror}; give the file by --inventory FILE"
        raise _refusal([said]) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise _refusal([f"{path}:{line}: is not UTF-8 text; save the file as UTF-8"]) from error
    located = parse_located(text)
    inventory, problems = _build(located, file)
    if inventory is None or problems:
        known = [p if p.line else p.model_copy(update={"line": located.line(p.path)}) for p in problems]
        known.sort(key=lambda p: p.line or 0)
        raise _refusal(list(dict.fromkeys(p.words(str(path)) for p in known)))
    return inventory


def _refusal(problems: list[str]) -> InventoryError:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return InventoryError(f"inventory: {count}: {problems[0]}", problems=tuple(problems))


def _build(located: Located, file: Path) -> tuple[Inventory | None, list[Problem]]:
    problems = list(located.problems)
    if not isinstance(located.data, dict):
        if not problems:
            what = "is empty" if located.data is None else "must be a mapping"
            problems.append(Problem(text=f"{what}; {_WRITE_HOSTS}"))
        return None, problems
    top = located.data
    for key in top:
        if key not in _TOP and not key.startswith("x-"):
            problems.append(Problem(path=(key,), text=f"unknown field; {did_you_mean(key, _TOP)}"))
    ssh_config, wrong = _ssh_config(top.get("ssh_config"), file)
    networks, odd = read_networks(top.get(PLAIN_NETWORKS), (PLAIN_NETWORKS,))
    hosts, more = _hosts(top.get("hosts"), located, networks)
    severities, bad = read_severities(top.get("rules"))
    vms, off = read_vms(top.get("vms"))
    optimization, ill = read_optimization(top.get(OPTIMIZATION), len(hosts))
    names = list(top["hosts"]) if isinstance(top.get("hosts"), dict) else []
    constraints, amiss = read_constraints(top.get(CONSTRAINTS), names, lambda path: f"{file}:{located.line(path)}")
    problems += [p for p in wrong + odd + more + bad + off + ill + amiss if p.path not in located.unreadable]
    if problems:
        return None, problems
    return Inventory(
        hosts=tuple(hosts),
        rules=severities,
        vms=vms,
        constraints=constraints,
        optimization=optimization,
        ssh_config=ssh_config,
        path=str(file.absolute()),
    ), []


def _ssh_config(value: Json, file: Path) -> tuple[str | None, list[Problem]]:
    """Expand `~`; a relative path starts at the inventory's directory."""
    if value is None:
        return None, []
    place = ("ssh_config",)
    if not isinstance(value, str):
        return None, [Problem(path=place, text=f"{value!r} must be the path of an ssh_config file")]
    config = file.absolute().parent / Path(value).expanduser()
    if not config.is_file():
        text = f"{config} is not a file; correct the path, or remove the line"
        return None, [Problem(path=place, text=text)]
    return str(config), []


def _hosts(value: Json, located: Located, plain_networks: list[str]) -> tuple[list[Host], list[Problem]]:
    place = ("hosts",)
    if isinstance(value, list):
        text = "is a list; write one entry per host with its name as the key: `hosts: {kvm1: {…}, kvm2: {…}}`"
        return [], [Problem(path=place, text=text)]
    if not isinstance(value, dict) or not value:
        return [], [Problem(path=place, text=f"no hosts; {_WRITE_HOSTS}")]
    hosts: list[Host] = []
    problems: list[Problem] = []
    entries: dict[str, dict[str, Any]] = {}
    for name, raw in value.items():
        here = (*place, name)
        wrong = check_name(name)
        problems += [Problem(path=here, text=wrong)] if wrong else []
        entry = {} if raw is None else raw
        if not isinstance(entry, dict):
            text = f"{entry!r} must be a mapping of fields, for example `ssh: {name}.example.org`"
            problems.append(Problem(path=here, text=text))
            continue
        entries[name] = fill_entry(name, entry)
        problems += fill_networks(entries[name], plain_networks, here)
        problems += [p for p in check_entry(entries[name], here) if _is_said(p, located)]
        problems += _validate(name, entries[name], hosts)
    return hosts, problems + check_across(entries, located)


def _is_said(problem: Problem, located: Located) -> bool:
    """Whether the file itself says the field: a default made of a wrong field is no second mistake."""
    return problem.path in located.lines or (*problem.path[:2], problem.path[2]) in located.lines


def _validate(name: str, filled: dict[str, Any], hosts: list[Host]) -> list[Problem]:
    """Append the Host; JSON mode is strict about types, but takes lists for tuples and text for enums."""
    here = ("hosts", name)
    if "name" in filled:
        return [Problem(path=(*here, "name"), text="the key of the entry is the name; remove this line")]
    try:
        hosts.append(Host.model_validate_json(json.dumps({"name": name} | filled), strict=True))
    except ValidationError as error:
        return entry_problems(error, here)
    return []
