"""Rules about what kind of guest the VM is."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.findings import Severity
from vmferry.rules.case import Case
from vmferry.rules.rule import Rule, Scope, always

_MOVED = ("kvm", "qemu")


def domain_type(case: Case) -> Iterator[str]:
    """The VM is run by QEMU, with KVM or without: no other hypervisor's guest is moved."""
    kind = case.vm.domain_type
    if kind and kind not in _MOVED:  # without any, `xml-unreadable` says so
        yield (
            f"vm {case.vm.name} is a {kind} domain; vmferry moves {' and '.join(_MOVED)} domains only; use the "
            f"tools of {kind}, or convert it first (`virt-v2v`)"
        )


RULES: tuple[Rule, ...] = (
    Rule("domain-type", domain_type, always(Severity.BLOCK), "reference 9.5: both hosts use KVM", scope=Scope.VM),
)
