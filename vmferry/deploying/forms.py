"""Parameter forms that a person can fill in: titles, units, and choices that only this site knows."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

# Parameters of any flow that name hosts of the inventory, one or several.
_ONE_HOST = ("host", "dest", "source")
_HOSTS = ("hosts", "dests")
_RULES = ("lift",)
_UNITS = {"mib_s": "MiB/s", "percent": "%"} | {unit: unit for unit in ("minutes", "hours", "days", "ms", "s")}
_TITLES = {
    "dests": "Destinations",
    "dest": "Destination",
    "vm": "VM",
    "vms": "VMs",
    "xml": "Domain XML",
    "persistent_xml": "Persistent domain XML",
    "lift": "Rules to lift",
    "max_parallel": "Moves at once",
    "dry_run": "Dry run",
    "at_once": "Hosts at once",
}


def dress(schema: Mapping[str, Any], hosts: Sequence[str], liftable: Sequence[str]) -> dict[str, Any]:
    """Return a flow's parameter schema with titles, and with hosts and rules offered as choices.

    The server refuses what is not offered when the run is created, so wrong input never starts a run.
    """
    fields = {name: copy.deepcopy(field) for name, field in schema.get("properties", {}).items()}
    for name, field in fields.items():
        if field.get("title", name) == name:
            field["title"] = title_of(name)
        _ask_plainly(field)
        if name in _ONE_HOST:
            field |= {"type": "string", "enum": list(hosts)}
        elif name in _HOSTS:
            field |= _several(hosts)
        elif name in _RULES:
            field |= _several(liftable)
    groups = {name: _plain_group(group) for name, group in schema.get("definitions", {}).items()}
    return {**schema, "properties": fields, "definitions": groups, "additionalProperties": False}


def _plain_group(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a group of parameters, or of a choice, asked for as those outside of it."""
    plain = copy.deepcopy(dict(group))
    for field in plain.get("properties", {}).values():
        _ask_plainly(field)
    return plain


def _ask_plainly(field: dict[str, Any]) -> None:
    """Make what may be empty, and is so by default, a plain field: the UI asks for the type of any other first."""
    kinds = field.get("anyOf", [])
    plain = [kind for kind in kinds if kind.get("type") != "null"]
    if len(plain) == 1 and len(kinds) == 2 and field.get("default", 0) is None:
        del field["anyOf"], field["default"]
        field.update(plain[0])


def title_of(name: str) -> str:
    """`approval_minutes` → `Approval (minutes)`, `bandwidth_mib_s` → `Bandwidth (MiB/s)`."""
    if name in _TITLES:
        return _TITLES[name]
    for suffix, unit in _UNITS.items():
        if name.endswith(f"_{suffix}"):
            return f"{title_of(name.removesuffix(f'_{suffix}'))} ({unit})"
    words = name.replace("_", " ").replace("vms", "VMs")
    return words[:1].upper() + words[1:]


def _several(names: Sequence[str]) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string", "enum": list(names)}, "uniqueItems": True}
