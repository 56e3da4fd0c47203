"""Cases of the rules in vmferry/rules/conflict.py."""

from __future__ import annotations

from typing import Any

from tests.unit.builders import build_disk, build_off_vm, build_pair, build_uuid, build_vm
from tests.unit.rules.cases.making import DEST, OFF_STATE, SOURCE, Makers, double, make, on
from tests.unit.rules.cases.real import file_disk, written, xml_vm
from vmferry.model.facts import FileFacts
from vmferry.rules.case import Case

SAVE = "/var/lib/libvirt/qemu/save/{}.save"


def saved(name: str, **case: Any) -> Case:
    """A managed save image of this name lies on the destination, whatever its libvirt says."""
    path = SAVE.format(name)
    there = {path: FileFacts(path=path, size_bytes=1 << 28, allocated_bytes=1 << 28)}
    return make(pair=build_pair(SOURCE, DEST, dest_files=there), **case)


def twins(there: str) -> Case:
    """The same small domain, running on the source and shut off on the destination with these disks."""
    return written(file_disk(), dest={"vms": (xml_vm(there, is_off=True),)})


# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "two-copies": (
        (double, lambda: make(third=(build_vm(),)), lambda: double(name="renamed")),
        (on, lambda: double(**OFF_STATE), lambda: make(third=(build_vm(**OFF_STATE),))),
    ),
    "defined-elsewhere": (
        (
            lambda: make(third=(build_vm(**OFF_STATE),)),
            lambda: make(third=(build_vm("renamed", uuid=build_uuid("wanderer1"), **OFF_STATE),)),
        ),
        (
            on,
            lambda: make(third=()),
            lambda: make(third=(build_vm(),)),
            lambda: make(third=(build_off_vm(),)),
            lambda: double(**OFF_STATE),
        ),
    ),
    "stale-definition": (
        (
            lambda: twins(file_disk()),
            lambda: twins(file_disk("/srv/local/other.qcow2")),
            lambda: double(has_managed_save=True, **OFF_STATE),
        ),
        (on, double, lambda: double(name="renamed", **OFF_STATE)),
    ),
    "stale-managed-save": (
        (lambda: double(has_managed_save=True, **OFF_STATE), lambda: saved("wanderer1")),
        (on, lambda: double(**OFF_STATE), lambda: saved("wanderer2"), lambda: make(pair=None)),
    ),
    "uuid-taken": ((lambda: double(name="renamed", **OFF_STATE),), (on, lambda: double(**OFF_STATE))),
    "name-taken": (
        (
            lambda: make(dest={"vms": (build_vm("wanderer1", uuid=build_uuid("foreign")),)}),
            lambda: written(file_disk(), dest={"vms": (build_vm("vm1", disks=(build_disk(),)),)}),
        ),
        (on, lambda: make(dest={"vms": (build_vm("foreign"),)})),
    ),
}
