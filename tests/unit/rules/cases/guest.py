"""Cases of vmferry/rules/guest.py."""

from __future__ import annotations

from tests.unit.rules.cases.making import Makers, make, on, with_device

CASES: dict[str, tuple[Makers, Makers]] = {
    "domain-type": (
        (lambda: on(domain_type="xen"), lambda: on(domain_type="lxc")),
        (make, lambda: on(domain_type="qemu"), lambda: on(domain_type="", problems=("no type",))),
    ),
    "sgx-memory": (
        (lambda: with_device("memory", "sgx-epc 64 KiB", model="sgx-epc"),),
        (make, lambda: with_device("memory", "dimm 1 GiB", model="dimm")),
    ),
}
