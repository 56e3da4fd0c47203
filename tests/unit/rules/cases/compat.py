"""Cases of the rules in vmferry/rules/compat.py."""

from __future__ import annotations

from typing import Any

from tests.unit.builders import build_pair, build_vm
from tests.unit.rules.cases.making import DEST, OVMF, OVMF_FACTS, RHEL8, SOURCE, Makers, make, off, on
from tests.unit.rules.cases.releases import between, runs
from vmferry.model.facts import Firmware
from vmferry.model.host import Machine
from vmferry.model.vm import Device, Vm
from vmferry.rules.case import Case

OFFERED = Firmware(kinds=("bios", "efi"), loaders=(OVMF,), has_secure_boot=True)
SECURE = (Device(kind="secure-boot", detail="loader secure='yes'", attributes={"by": "loader"}),)
OLDER = {"qemu_version": 6_002_000}


def boots(firmware: str | None, offered: Firmware | None, **options: Any) -> Case:
    """A VM with this firmware, and a destination that offers that."""
    fields = options.pop("vm", {})
    return make(build_vm(firmware=firmware, **fields), dest={"firmware": offered, **options.pop("dest", {})}, **options)


def eight_vcpus(vm: Vm) -> Case:
    """A destination whose machine type takes 8 vCPUs."""
    return make(vm, dest={"machines": (Machine(name="pc-q35-7.2", canonical="pc-q35-7.2", max_vcpus=8),)})


# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "architecture": (
        (lambda: on(arch="aarch64"), lambda: make(dest={"arch": "s390x"})),
        (on, lambda: on(arch="i686")),
    ),
    "machine-type": (
        (lambda: on(machine="pc-q35-8.0"), lambda: make(dest={"machines": ()})),
        (on, lambda: on(machine="q35"), lambda: on(machine=None)),
    ),
    "max-vcpus": (
        (lambda: eight_vcpus(build_vm(vcpus=9)), lambda: eight_vcpus(build_vm(vcpus=2, max_vcpus=9))),
        (on, lambda: on(vcpus=200), lambda: eight_vcpus(build_vm(vcpus=4, max_vcpus=8))),
    ),
    "firmware-missing": (
        (
            lambda: boots("efi", Firmware(kinds=("bios",))),
            lambda: boots("efi", Firmware()),
            lambda: boots("efi", Firmware(kinds=("bios", "efi")), vm={"devices": SECURE}),
            # Nobody has the file any more, the running QEMU has loaded it.
            lambda: boots("/usr/share/edk2/gone.fd", OFFERED),
        ),
        (
            on,
            lambda: boots("efi", OFFERED, vm={"devices": SECURE}),
            lambda: boots("efi", None, vm={"devices": SECURE}),
            lambda: boots(OVMF, OFFERED),
            lambda: boots(OVMF, Firmware(loaders=(OVMF,)), vm={"devices": SECURE}),
            lambda: boots(OVMF, Firmware(), pair=build_pair(SOURCE, DEST, dest_files=OVMF_FACTS)),
            # The source has it and the destination does not: said once, by host-file-missing.
            lambda: boots(OVMF, Firmware(), pair=build_pair(SOURCE, DEST, source_files=OVMF_FACTS)),
            lambda: boots(OVMF, Firmware(), pair=None),
            lambda: boots("efi", Firmware(), dest={"arch": "aarch64"}),
        ),
    ),
    "qemu-older": (
        (
            lambda: make(dest=OLDER),
            lambda: make(dest=OLDER, dest_host=RHEL8),
            lambda: between(runs("rhel", "8.2"), runs("rhel", "8.1", **OLDER)),  # no row holds this path
            lambda: between(runs("rhel", "8.1"), runs("rhel", "8.2", **OLDER)),  # forward: why is it older?
            lambda: make(source=runs("rhel", "8.1"), dest=runs("rhel", "7.6", **OLDER)),  # upstream asks no table
            lambda: make(off().vm, source=runs("rhel", "8.1"), dest=runs("rhel", "7.6", **OLDER), dest_host=RHEL8),
        ),
        (
            on,
            lambda: make(source={"qemu_version": 7_002_009}),
            lambda: between(runs("rhel", "8.1"), runs("rhel", "7.6", **OLDER)),
            lambda: between(runs("rhel", "8.1"), runs("rhel", "8.0", **OLDER)),
        ),
    ),
    "libvirt-older": (
        (lambda: make(dest={"libvirt_version": 8_000_000}),),
        (on, lambda: make(dest={"libvirt_version": 9_001_000})),
    ),
}
