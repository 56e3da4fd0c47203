"""Rules about what kind of guest the VM is."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.findings import Severity
from vmferry.rules.case import Case
from vmferry.rules.rule import DEVICE, Rule, Scope, always

_MOVED = ("kvm", "qemu")


def domain_type(case: Case) -> Iterator[str]:
    """The VM is run by QEMU, with KVM or without: no other hypervisor's guest is moved."""
    kind = case.vm.domain_type
    if kind and kind not in _MOVED:  # without any, `xml-unreadable` says so
        yield (
            f"vm {case.vm.name} is a {kind} domain; vmferry moves {' and '.join(_MOVED)} domains only; use the "
            f"tools of {kind}, or convert it first (`virt-v2v`)"
        )


def sgx_memory(case: Case) -> Iterator[str]:
    """No memory is an SGX enclave's: the processor lets nobody read it, so it cannot be sent."""
    for device in case.vm.devices:
        if device.kind == "memory" and device.attributes.get("model") == "sgx-epc":
            yield (
                f"vm {case.vm.name} has SGX enclave memory ({device.detail}) of the processor of {case.source.name}; "
                "shut it down and move it offline to a host with SGX; its enclaves start anew there"
            )


RULES: tuple[Rule, ...] = (
    Rule(
        "domain-type",
        domain_type,
        always(Severity.BLOCK),
        "reference 9.5: both hosts use KVM",
        scope=Scope.VM,
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "sgx-memory",
        sgx_memory,
        DEVICE,
        "QEMU documentation: Software Guard eXtensions; enclave memory is readable by its enclave only",
        scope=Scope.VM,
        after_loss=Severity.WARN,
    ),
)
