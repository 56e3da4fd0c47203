"""Rules about what the destination's QEMU and libvirt can take over."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.findings import Severity
from vmferry.rules.case import Case
from vmferry.rules.rule import Rule, always, running

_SAME_BINARY = {"i686": "x86_64"}  # an i686 guest runs on x86_64 KVM


def version_text(version: int) -> str:
    """Return 7002001 as 7.2.1 (libvirt's encoding: major·10⁶ + minor·10³ + release)."""
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"


def architecture(case: Case) -> Iterator[str]:
    """KVM runs guests of the host's own architecture."""
    arch = case.vm.arch
    if case.vm.domain_type == "kvm" and case.dest.facts.arch not in (arch, _SAME_BINARY.get(arch)):
        yield (
            f"vm {case.vm.name} is {arch}, {case.dest.name} is {case.dest.facts.arch}; choose a host of its "
            "architecture"
        )


def canonical_machine(case: Case) -> str | None:
    """Return the VM's machine type as the source resolves it: aliases differ between hosts."""
    machine = case.vm.machine
    return case.source.canonical_machines.get(machine, machine) if machine else None


def machine_type(case: Case) -> Iterator[str]:
    """The destination's QEMU knows the VM's canonical machine type."""
    machine = canonical_machine(case)
    if machine is not None and machine not in case.dest.canonical_machines:
        alias = f" (alias {case.vm.machine})" if machine != case.vm.machine else ""
        yield (
            f"vm {case.vm.name} has machine type {machine}{alias}; QEMU "
            f"{version_text(case.dest.facts.qemu_version)} on {case.dest.name} does not offer it; update "
            f"{case.dest.name} or see `virsh -c {case.dest.host.uri} domcapabilities --machine`"
        )


def max_vcpus(case: Case) -> Iterator[str]:
    """The machine type takes as many vCPUs on the destination."""
    limit = case.dest.max_vcpus.get(canonical_machine(case) or "")
    if limit is not None and case.vm.vcpus > limit:
        yield (f"vm {case.vm.name} has {case.vm.vcpus} vCPUs; its machine type takes {limit} on {case.dest.name}")


def qemu_older(case: Case) -> Iterator[str]:
    """The destination's QEMU is not older: devices' state is only carried forward.

    Compared by major and minor version: stable releases (7.2.1 and 7.2.0) are alike.
    """
    source, dest = case.source.facts.qemu_version, case.dest.facts.qemu_version
    if dest // 1000 < source // 1000:
        yield _older("QEMU", source, dest, case)


def libvirt_older(case: Case) -> Iterator[str]:
    """The destination's libvirt is not older: it may not know what the newer one writes into the XML."""
    source, dest = case.source.facts.libvirt_version, case.dest.facts.libvirt_version
    if dest // 1000 < source // 1000:
        yield _older("libvirt", source, dest, case)


def _older(what: str, source: int, dest: int, case: Case) -> str:
    return (
        f"{what} {version_text(dest)} on {case.dest.name} is older than {version_text(source)} on "
        f"{case.source.name}; update {case.dest.name} first, or move vm {case.vm.name} to a host with at "
        f"least {version_text(source)}"
    )


def cpu_not_compared(case: Case) -> Iterator[str]:
    """A CPU that is the host's own fits only hosts with the same one; this was not compared."""
    if case.vm.cpu_mode in ("host-passthrough", "maximum"):
        yield (
            f"vm {case.vm.name} has CPU mode {case.vm.cpu_mode}: safe only when both hosts have the same CPU "
            f"model and microcode; compare `virsh capabilities` of {case.source.name} and {case.dest.name}"
        )


RULES: tuple[Rule, ...] = (
    Rule("architecture", architecture, always(Severity.BLOCK), "reference 9.5: supported hosts", is_final=True),
    Rule("machine-type", machine_type, always(Severity.BLOCK), "reference 9.6, Table 9.2; failure mode 29"),
    Rule("max-vcpus", max_vcpus, always(Severity.BLOCK), "libvirt capabilities: machine maxCpus"),
    Rule(
        "qemu-older",
        qemu_older,
        running(Severity.BLOCK, upstream=Severity.WARN, offline=Severity.WARN),
        "reference 9.6, Table 9.2; failure mode 29",
    ),
    Rule("libvirt-older", libvirt_older, always(Severity.WARN), "reference 9.6, Table 9.2; failure mode 29"),
    Rule("cpu-not-compared", cpu_not_compared, running(Severity.WARN), "failure mode 27; libvirt virCPUCompare"),
)
