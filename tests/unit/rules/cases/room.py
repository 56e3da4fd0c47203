"""Cases of the rules in vmferry/rules/room.py."""

from __future__ import annotations

from typing import Any

from tests.unit.builders import GIB_KIB, build_off_vm, build_vm
from tests.unit.rules.cases.making import DEST, SOURCE, Makers, make, off, on
from vmferry.model.facts import HugePages
from vmferry.model.host import Reservation, Reserves
from vmferry.model.vm import Vm
from vmferry.rules.case import Case


def pool(size_kib: int, total: int, free: int) -> HugePages:
    return HugePages(size_kib=size_kib, total=total, free=free)


def on_pages(*pools: HugePages, vm: Vm | None = None, **options: Any) -> Case:
    """A guest of 2 GiB on huge pages, unless another VM is given, to a host with these pools."""
    return make(vm or build_vm(hugepages=True), dest={"hugepages": pools}, **options)


# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "memory": (
        (
            lambda: make(dest={"memory_available_kib": 2 * GIB_KIB}),
            lambda: make(build_vm(max_memory_kib=64 * GIB_KIB)),
            lambda: make(dest_host={"reserves": Reserves(memory_mib=63 * 1024)}),
            lambda: make(reserved={DEST: Reservation(memory_kib=63 * GIB_KIB)}),
            # beside the pages: 64 MiB and 2 % of 16 GiB
            lambda: make(build_vm(hugepages=True, memory_kib=16 * GIB_KIB), dest={"memory_available_kib": 391 * 1024}),
        ),
        (
            on,
            # a guest on huge pages takes only QEMU's overhead of ordinary memory
            lambda: make(build_vm(hugepages=True, memory_kib=16 * GIB_KIB), dest={"memory_available_kib": 392 * 1024}),
            lambda: make(dest={"memory_available_kib": 3 * GIB_KIB}),
            lambda: make(reserved={SOURCE: Reservation(memory_kib=63 * GIB_KIB)}),
        ),
    ),
    "memory-total": (
        (
            lambda: off(memory_kib=65 * GIB_KIB),
            lambda: off(memory_kib=65 * GIB_KIB, hugepages=True),
            # it could not be started there: too few pages altogether, none of the size
            lambda: on_pages(pool(2048, 1023, 1023), vm=build_off_vm(hugepages=True)),
            lambda: on_pages(pool(1 << 20, 8, 8), vm=build_off_vm(hugepages=True, hugepage_kib=2048)),
        ),
        (
            off,
            lambda: off(hugepages=True),
            # taken today, but enough altogether
            lambda: on_pages(pool(2048, 1024, 0), vm=build_off_vm(hugepages=True, hugepage_kib=2048)),
        ),
    ),
    "hugepages": (
        (
            lambda: on_pages(),
            lambda: on_pages(pool(2048, 1024, 1023)),
            # free memory of another page size is no help
            lambda: on_pages(pool(1 << 20, 64, 64), vm=build_vm(hugepages=True, hugepage_kib=2048)),
            lambda: on_pages(pool(2048, 1024, 1024), reserved={DEST: Reservation(hugepages_kib=1)}),
            # pages are whole: 2 GiB and a bit are three of 1 GiB
            lambda: on_pages(
                pool(1 << 20, 2, 2), vm=build_vm(hugepages=True, hugepage_kib=1 << 20, memory_kib=2 * GIB_KIB + 4)
            ),
            # what the balloon has given back is mapped all the same
            lambda: on_pages(
                pool(2048, 1024, 1024), vm=build_vm(hugepages=True, memory_kib=GIB_KIB, max_memory_kib=3 * GIB_KIB)
            ),
        ),
        (
            on,
            lambda: on(hugepages=True),  # not read
            lambda: on_pages(pool(2048, 1024, 1024)),
            lambda: on_pages(pool(2048, 1, 1), vm=build_vm()),
            lambda: on_pages(
                pool(2048, 4096, 0), pool(1 << 20, 2, 2), vm=build_vm(hugepages=True, hugepage_kib=1 << 20)
            ),
            # no size asked for: any pool that is large enough
            lambda: on_pages(pool(2048, 4096, 1), pool(1 << 20, 2, 2)),
            lambda: on_pages(pool(2048, 1024, 1024), reserved={SOURCE: Reservation(hugepages_kib=GIB_KIB)}),
            lambda: on_pages(vm=build_off_vm(hugepages=True)),
        ),
    ),
    "hugepages-unread": (
        (lambda: on(hugepages=True),),
        (on, lambda: on_pages(), lambda: off(hugepages=True)),
    ),
    "vcpu-ratio": (
        (
            lambda: on(vcpus=129),
            lambda: make(build_vm(vcpus=4), dest={"vms": (build_vm("big", vcpus=126),)}),
            lambda: make(build_vm(vcpus=9), dest_host={"reserves": Reserves(memory_mib=0, vcpu_ratio=0.5)}),
            lambda: make(build_vm(vcpus=2), reserved={DEST: Reservation(vcpus=127)}),
        ),
        (
            lambda: on(vcpus=2, max_vcpus=240),  # what may be plugged in does not count
            on,
            lambda: make(dest={"vms": (build_vm("big", vcpus=126),)}),
            lambda: off(vcpus=200),
        ),
    ),
}
