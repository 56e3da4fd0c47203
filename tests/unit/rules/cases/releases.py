"""Cases of the rules in vmferry/rules/release_rules.py; each row of Table 9.2 has its own in test_releases.py."""

from __future__ import annotations

from typing import Any

from tests.unit.builders import build_vm
from tests.unit.rules.cases.making import RHEL8, Makers, make, off
from vmferry.model.facts import OsRelease, SystemFacts
from vmferry.model.host import Machine
from vmferry.model.vm import Vm
from vmferry.rules.case import Case

RHEL76_Q35 = "pc-q35-rhel7.6.0"
RHEL76_I440FX = "pc-i440fx-rhel7.6.0"


def runs(os_id: str, version_id: str, **facts: Any) -> dict[str, Any]:
    """What was read of a host with this release; every machine type that the cases name is offered."""
    names = (RHEL76_Q35, RHEL76_I440FX, "pc-q35-rhel8.0.0", "pc-q35-rhel8.1.0", "pc-i440fx-rhel7.5.0")
    os = OsRelease(id=os_id, version_id=version_id, name=f"{os_id} {version_id}".strip())
    return {
        "system": SystemFacts(os=os),
        "machines": tuple(Machine(name=name, canonical=name) for name in names),
        **facts,
    }


def between(source: dict[str, Any], dest: dict[str, Any], vm: Vm | None = None, **options: Any) -> Case:
    """A move under the rhel8 profile."""
    return make(vm or build_vm(machine=RHEL76_Q35), source=source, dest=dest, dest_host=RHEL8, **options)


def rhel(source: str, dest: str, machine: str = RHEL76_Q35) -> Case:
    """A move of a running VM between two releases of RHEL, under the rhel8 profile."""
    return between(runs("rhel", source), runs("rhel", dest), build_vm(machine=machine))


def rhel_off(source: str, dest: str) -> Case:
    """The same for a VM that is shut off."""
    case = off(machine="pc-i440fx-rhel7.5.0")
    return make(case.vm, source=runs("rhel", source), dest=runs("rhel", dest), dest_host=RHEL8)


# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "release-path": (
        (
            lambda: rhel("7.5", "8.1"),
            lambda: rhel("7.6", "8.0"),
            lambda: rhel("7.9", "8.2"),
            lambda: rhel("8.2", "8.1"),
            lambda: rhel("8.2", "7.9"),
            lambda: rhel("8.8", "9.2"),
            lambda: rhel("9.2", "9.4"),
        ),
        (
            lambda: rhel("8.1", "8.1"),
            lambda: rhel("8.2", "8.10"),
            lambda: rhel("8.0", "8.1"),
            lambda: rhel_off("8.2", "8.1"),
            lambda: make(source=runs("rhel", "8.2"), dest=runs("rhel", "8.1")),  # upstream
            lambda: between(runs("debian", "12"), runs("debian", "11")),
        ),
    ),
    "release-machine": (
        (
            lambda: rhel("8.1", "8.2", "pc-i440fx-rhel7.5.0"),
            lambda: rhel("8.1", "8.2", "pc-q35-rhel7.5.0"),
            lambda: rhel("7.6", "8.1", "pseries-rhel7.6.0"),
        ),
        (
            lambda: rhel("8.1", "8.2", "q35"),
            lambda: rhel("8.1", "8.2", "pc"),  # an alias tells no release
            lambda: rhel("8.1", "8.1", "pc-i440fx-rhel7.5.0"),
            lambda: rhel("8.2", "8.1", "pc-i440fx-rhel7.5.0"),  # no path at all
            lambda: between(runs("rhel", "8.1"), runs("rhel", "8.2"), build_vm(machine=None)),
            lambda: rhel_off("8.1", "8.2"),
        ),
    ),
    "release-unknown": (
        (
            lambda: rhel("8.0", "8.1"),
            lambda: rhel("8.1", "8.0"),
            lambda: between(runs("", ""), runs("rhel", "8.1")),
            lambda: between(runs("rhel", "8.1"), runs("", "")),
            lambda: between(runs("rhel", "8.1"), runs("rhel", "8.x")),
        ),
        (
            lambda: rhel("8.1", "8.2"),
            lambda: rhel("8.0", "8.0"),
            lambda: rhel("8.2", "8.1"),
            lambda: make(source=runs("", "")),  # upstream
            lambda: between(runs("arch", ""), runs("arch", "")),
        ),
    ),
    "release-not-covered": (
        (
            lambda: between(runs("rocky", "8.6"), runs("rocky", "8.8")),
            lambda: between(runs("rhel", "8.1"), runs("almalinux", "8.1")),
            lambda: between(runs("debian", "12"), runs("debian", "13")),
        ),
        (
            lambda: between(runs("rocky", "8.6"), runs("rocky", "8.6")),
            lambda: rhel("8.1", "8.2"),
            lambda: rhel("8.2", "8.1"),
            lambda: make(source=runs("centos", "8"), dest=runs("rocky", "8.6")),  # upstream
        ),
    ),
}
