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
}


def dress(schema: Mapping[str, Any], hosts: Sequence[str], liftable: Sequence[str]) -> dict[str, Any]:
    """Return a flow's parameter schema with titles, and with hosts and rules offered as choices.

    The server refuses what is not offered when the run is created, so wrong input never starts a run.
    """
    fields = {name: copy.deepcopy(field) for name, field in schema.get("properties", {}).items()}
    for name, field in fields.items():
        if field.get("title", name) == name:
            field["title"] = title_of(name)
        if name in _ONE_HOST:
            _offer(field, {"type": "string", "enum": list(hosts)})
        elif name in _HOSTS:
            _offer(field, _several(hosts))
        elif name in _RULES:
            _offer(field, _several(liftable))
    return {**schema, "properties": fields, "additionalProperties": False}


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


def _offer(field: dict[str, Any], choice: dict[str, Any]) -> None:
    """Give a field its choice; one that may be empty keeps null as an alternative."""
    if "anyOf" in field:
        field["anyOf"] = [choice, *(kind for kind in field["anyOf"] if kind.get("type") == "null")]
    else:
        field.pop("items", None)
        field.update(choice)
