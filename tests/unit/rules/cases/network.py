"""Cases of the rules in vmferry/rules/network.py."""

from __future__ import annotations

from tests.unit.builders import (
    build_off_vm,
)
from tests.unit.rules.cases.making import Makers, make, on, with_nic
from vmferry.model.migration import DomainChanges

# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "bridge-missing": (
        (lambda: make(dest={"bridges": ("virbr0",)}), lambda: make(build_off_vm(), dest={"bridges": ()})),
        (on, lambda: make(dest={"bridges": ("br7",)}, changes=DomainChanges(bridges={"br0": "br7"}))),
    ),
    "network-missing": (
        (lambda: with_nic("network", "isolated"),),
        (
            lambda: with_nic("network", "default"),
            lambda: with_nic("network", "isolated", changes=DomainChanges(networks={"isolated": "default"})),
        ),
    ),
    "nic-direct": ((lambda: with_nic("direct", "eth0"),), (on,)),
    "nic-vdpa": ((lambda: with_nic("vdpa", "/dev/vhost-vdpa-0"),), (on,)),
    "nic-other": (
        (lambda: with_nic("user"), lambda: with_nic("ethernet")),
        (on, lambda: with_nic("direct", "eth0")),
    ),
}
