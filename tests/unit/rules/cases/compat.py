"""Cases of the rules in vmferry/rules/compat.py."""

from __future__ import annotations

from tests.unit.builders import (
    build_vm,
)
from tests.unit.rules.cases.making import Makers, make, on
from vmferry.model.host import Machine

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
        (
            lambda: make(
                build_vm(vcpus=9),
                dest={"machines": (Machine(name="pc-q35-7.2", canonical="pc-q35-7.2", max_vcpus=8),)},
            ),
        ),
        (on, lambda: on(vcpus=200)),
    ),
    "qemu-older": (
        (lambda: make(dest={"qemu_version": 6_002_000}),),
        (on, lambda: make(source={"qemu_version": 7_002_009})),
    ),
    "libvirt-older": (
        (lambda: make(dest={"libvirt_version": 8_000_000}),),
        (on, lambda: make(dest={"libvirt_version": 9_001_000})),
    ),
    "cpu-not-compared": ((lambda: on(cpu_mode="host-passthrough"),), (on, lambda: on(cpu_mode="host-model"))),
}
