"""Cases of the rules in vmferry/rules/room.py."""

from __future__ import annotations

from tests.unit.builders import (
    GIB_KIB,
    build_vm,
)
from tests.unit.rules.cases.making import DEST, SOURCE, Makers, make, off, on
from vmferry.model.host import Reservation, Reserves

# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "memory": (
        (
            lambda: make(dest={"memory_available_kib": 2 * GIB_KIB}),
            lambda: make(build_vm(max_memory_kib=64 * GIB_KIB)),
            lambda: make(dest_host={"reserves": Reserves(memory_mib=63 * 1024)}),
            lambda: make(reserved={DEST: Reservation(memory_kib=63 * GIB_KIB)}),
        ),
        (
            on,
            lambda: make(dest={"memory_available_kib": 3 * GIB_KIB}),
            lambda: make(reserved={SOURCE: Reservation(memory_kib=63 * GIB_KIB)}),
        ),
    ),
    "memory-total": ((lambda: off(memory_kib=65 * GIB_KIB),), (off,)),
    "hugepages": ((lambda: on(hugepages=True),), (on,)),
    "vcpu-ratio": (
        (
            lambda: on(vcpus=129),
            lambda: make(build_vm(vcpus=4), dest={"vms": (build_vm("big", vcpus=126),)}),
            lambda: make(build_vm(vcpus=9), dest_host={"reserves": Reserves(memory_mib=0, vcpu_ratio=0.5)}),
        ),
        (on, lambda: make(dest={"vms": (build_vm("big", vcpus=126),)}), lambda: off(vcpus=200)),
    ),
}
