"""Machine types: what a name stands for on its host, which chipset and which RHEL release it tells."""

from __future__ import annotations

import re

from vmferry.rules.case import Case

_FAMILIES = ("q35", "i440fx")
_ALIASES = {"pc": "i440fx", "q35": "q35"}
_RHEL = re.compile(r"-rhel([0-9]{1,3}(?:\.[0-9]{1,3})*)")


def canonical_machine(case: Case) -> str | None:
    """Return the VM's machine type as the source resolves it: aliases differ between hosts."""
    machine = case.vm.machine
    return case.source.canonical_machines.get(machine, machine) if machine else None


def family(machine: str) -> str:
    """Return q35 or i440fx for pc-q35-rhel8.1.0, pc and the like; for other boards their own name."""
    found = (name for name in _FAMILIES if machine.startswith(f"pc-{name}-"))
    return _ALIASES.get(machine) or next(found, machine)


def rhel_release(machine: str) -> tuple[int, ...] | None:
    """Return (7, 6, 0) for pc-i440fx-rhel7.6.0; None where the name tells no release of RHEL."""
    match = _RHEL.search(machine)
    return tuple(int(part) for part in match[1].split(".")) if match else None
