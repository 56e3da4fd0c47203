"""Cases of the rules in vmferry/rules/hosts.py."""

from __future__ import annotations

from tests.unit.builders import (
    build_cordon,
    build_uuid,
    build_vm,
)
from tests.unit.rules.cases.making import DEST, SOURCE, Makers, make, on

# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "already-moving": (
        (lambda: make(open_runs={str(build_uuid("wanderer1")): "run-7"}),),
        (lambda: make(open_runs={str(build_uuid("other")): "run-7"}),),
    ),
    "same-machine": ((lambda: make(dest={"uuid": build_uuid(f"host-{SOURCE}")}),), (on,)),
    "hypervisor": (
        (
            lambda: on(domain_type="xen"),
            lambda: on(domain_type="qemu"),
            lambda: make(dest={"domain_types": ("qemu",)}),
            lambda: make(source={"domain_types": ("qemu",)}),
        ),
        (
            on,
            lambda: make(
                build_vm(domain_type="qemu"),
                source_host={"hypervisors": ("kvm", "qemu")},
                dest_host={"hypervisors": ("qemu",)},
            ),
        ),
    ),
    "user-session": (
        (
            lambda: make(dest={"uri": "qemu:///session"}),
            lambda: make(source_host={"uri": "qemu:///session"}),
            lambda: make(dest_host={"peer_uri": "qemu+ssh://dest/session?keyfile=x"}),
        ),
        (on,),
    ),
    "cordoned": (
        (lambda: make(cordons=(build_cordon(DEST),)),),
        (lambda: make(cordons=(build_cordon(SOURCE),)),),
    ),
}
