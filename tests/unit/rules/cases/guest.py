"""Cases of vmferry/rules/guest.py."""

from __future__ import annotations

from tests.unit.rules.cases.making import Makers, make, on

CASES: dict[str, tuple[Makers, Makers]] = {
    "domain-type": (
        (lambda: on(domain_type="xen"), lambda: on(domain_type="lxc")),
        (make, lambda: on(domain_type="qemu"), lambda: on(domain_type="", problems=("no type",))),
    ),
}
