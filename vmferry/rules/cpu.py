"""The guest CPU as a question to hosts, and rules about whether the destination can run it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from vmferry.model.facts import CpuFit, CpuVerdict, GuestCpu, HostCpu
from vmferry.model.findings import Severity
from vmferry.model.host import HostFacts
from vmferry.model.vm import Vm
from vmferry.rules import concerns
from vmferry.rules.case import Case, Side, once_per_case
from vmferry.rules.machines import canonical_machine
from vmferry.rules.rule import Rule, running

# What the guest sees is the host's own CPU: a comparison says "superset" whatever the two hosts have (libvirt 9.0,
# `virsh hypervisor-cpu-compare`), as it does for a host-model that is not expanded.
_HOST_CPU = ("host-passthrough", "maximum")
# "internal error: Unknown CPU model NoSuchModel", "… Unknown CPU feature nosuchfeature" (libvirt 9.0, cpu_x86.c).
# A libvirtd with another language is not understood: then `cpu-not-compared` warns.
_UNKNOWN_THERE = re.compile(r"\bunknown CPU (model|feature|vendor)\b", re.IGNORECASE)
# libvirt's TSC_TOLERANCE (qemuProcessStartValidateTSC), which is KVM's default tsc_tolerance_ppm.
TSC_TOLERANCE_PPM = 250


def guest_cpu(vm: Vm, source: HostFacts) -> GuestCpu | None:
    """Return what a destination is to be asked about the VM's CPU; None where the XML has no `<cpu>`.

    The machine type is the canonical one of the source: aliases differ between hosts.
    """
    if vm.cpu_xml is None:
        return None
    canonical = (machine.canonical for machine in source.machines if machine.name == vm.machine)
    return GuestCpu(
        xml=vm.cpu_xml, arch=vm.arch, machine=next(canonical, vm.machine) or None, domain_type=vm.domain_type
    )


@lru_cache(maxsize=4096)
def _key(xml: str, arch: str, machine: str | None, domain_type: str) -> str:
    """Return `GuestCpu.key`; a fleet has few CPUs and asks for each a thousand times."""
    return GuestCpu(xml=xml, arch=arch, machine=machine, domain_type=domain_type).key


@once_per_case
def _verdict(case: Case) -> CpuVerdict | None:
    """Return what the destination says of the VM's CPU; None where it was not asked, or there is nothing to ask."""
    vm = case.vm
    if case.pair is None or vm.cpu_xml is None:
        return None
    return case.pair.cpus.get(_key(vm.cpu_xml, vm.arch, canonical_machine(case), vm.domain_type))


def _is_incompatible(verdict: CpuVerdict) -> bool:
    """Whether the host cannot run the CPU: it lacks features, or does not even know a name in it."""
    if verdict.fit is CpuFit.FAILED:
        return _UNKNOWN_THERE.search(verdict.detail) is not None
    return verdict.fit is CpuFit.INCOMPATIBLE


def cpu_incompatible(case: Case) -> Iterator[str]:
    """The destination can run the guest's CPU: the live, expanded one of a running VM."""
    verdict = _verdict(case)
    if verdict is None or not _is_incompatible(verdict):
        return
    said = verdict.detail or "features are missing"
    remedy = (
        "it could not be started there: change the model before or after the move"
        if case.is_offline
        else "choose another host, or shut the VM down and move it offline (host-model is chosen anew there)"
    )
    yield (
        f"vm {case.vm.name}: {case.dest.name} cannot run its CPU ({said}); {remedy}; a model for both hosts: `virsh -c "
        f"{case.source.host.uri} hypervisor-cpu-baseline FILE --migratable`, FILE being `virsh domcapabilities` of "
        f"both, then `virsh edit {case.vm.name}`"
    )


def cpu_not_compared(case: Case) -> Iterator[str]:
    """The destination's libvirt has compared the running guest's CPU with its own."""
    if case.pair is None or case.vm.cpu_xml is None or case.vm.cpu_mode in _HOST_CPU:
        return
    verdict = _verdict(case)
    if verdict is None:
        why = "it was not asked"
    elif verdict.fit is CpuFit.FAILED and not _is_incompatible(verdict):
        why = verdict.detail or "the comparison failed"
    elif case.vm.cpu_mode == "host-model":
        why = "the live XML says host-model, which fits every host, instead of the CPU that the guest has"
    else:
        return
    yield (
        f"vm {case.vm.name}: whether {case.dest.name} can run its CPU is unknown ({why}); compare by hand: `virsh -c "
        f"{case.source.host.uri} dumpxml --migratable {case.vm.name} > FILE`, `virsh -c {case.dest.host.uri} "
        "hypervisor-cpu-compare FILE --error`"
    )


def _own_cpu(side: Side) -> HostCpu | None:
    """Return the host's CPU where it is known by model."""
    cpu = side.facts.cpu
    return cpu if cpu is not None and cpu.model else None


def _is_other_cpu(case: Case) -> bool:
    """Whether the two hosts' own CPUs are known and differ."""
    source, dest = _own_cpu(case.source), _own_cpu(case.dest)
    if source is None or dest is None:
        return False
    return source.model != dest.model or bool(source.vendor and dest.vendor and source.vendor != dest.vendor)


def _cpu_text(cpu: HostCpu | None) -> str:
    return f"{cpu.model} {cpu.vendor}".strip() if cpu is not None else "an unknown CPU"


def _host_cpu_text(case: Case) -> str:
    have = ", ".join(f"{side.name} has {_cpu_text(_own_cpu(side))}" for side in (case.source, case.dest))
    return f"vm {case.vm.name} has CPU mode {case.vm.cpu_mode}; {have}"


def cpu_host_differs(case: Case) -> Iterator[str]:
    """A CPU that is the host's own finds the same CPU model on the destination."""
    # An emulated CPU (domain type qemu) is QEMU's, not the host's.
    if case.vm.cpu_mode in _HOST_CPU and case.vm.domain_type != "qemu" and _is_other_cpu(case):
        yield (
            f"{_host_cpu_text(case)}; the guest would go on with features that are gone; choose a host with the same "
            f"CPU, or give the VM a named model (`virsh edit {case.vm.name}`) and restart it, or move it offline"
        )


def cpu_host_passthrough(case: Case) -> Iterator[str]:
    """A CPU that is the host's own fits only hosts with the same microcode and settings too, which nobody compares."""
    if case.vm.cpu_mode in _HOST_CPU:
        yield (
            f"{_host_cpu_text(case)}; safe only when model, microcode and firmware settings are the same: compare "
            f"`virsh -c {case.source.host.uri} capabilities` and `virsh -c {case.dest.host.uri} capabilities`"
        )


def _fixed_tsc_hz(vm: Vm) -> tuple[int, ...]:
    """Return the TSC frequencies that the XML promises the guest, Hz; each once."""
    texts = (
        device.attributes.get("tsc_frequency" if device.kind == "feature" else "frequency", "")
        for device in vm.devices
        if device.kind in ("feature", "timer")
    )
    return tuple(sorted({int(text) for text in texts if re.fullmatch("[0-9]{1,18}", text)}))


def tsc_frequency(case: Case) -> Iterator[str]:
    """A fixed TSC frequency is the destination's, within 250 ppm, or its CPU can scale it."""
    cpu = case.dest.facts.cpu
    if cpu is None or cpu.tsc_hz is None or cpu.has_tsc_scaling:
        return
    tolerance = cpu.tsc_hz * TSC_TOLERANCE_PPM // 1_000_000
    for wanted in _fixed_tsc_hz(case.vm):
        if abs(wanted - cpu.tsc_hz) > tolerance:
            yield (
                f"vm {case.vm.name} was promised a TSC of {wanted} Hz; {case.dest.name} has {cpu.tsc_hz} Hz (± "
                f"{tolerance} Hz) and cannot scale it; choose another host, or take the frequency out of <timer "
                f"name='tsc'> (`virsh edit {case.vm.name}`) and restart the VM"
            )


_COMPARE = "failure mode 27; libvirt virConnectCompareHypervisorCPU"
RULES: tuple[Rule, ...] = (
    Rule(
        "cpu-incompatible",
        cpu_incompatible,
        running(Severity.BLOCK, offline=Severity.WARN),
        _COMPARE,
        after_loss=Severity.BLOCK,
        concerns=concerns.chosen_cpu,
    ),
    Rule(
        "cpu-not-compared",
        cpu_not_compared,
        running(Severity.WARN),
        _COMPARE,
        after_loss=Severity.WARN,
        concerns=concerns.chosen_cpu,
    ),
    Rule(
        "cpu-host-differs",
        cpu_host_differs,
        running(Severity.BLOCK),
        "failure mode 27; libvirt domain XML: host-passthrough",
        concerns=concerns.host_cpu,
    ),
    Rule(
        "cpu-host-passthrough",
        cpu_host_passthrough,
        running(Severity.WARN),
        "failure mode 27; libvirt domain XML: host-passthrough, maximum",
        concerns=concerns.host_cpu,
    ),
    Rule(
        "tsc-frequency",
        tsc_frequency,
        running(Severity.BLOCK, offline=Severity.WARN),
        "failure mode 28; libvirt qemuProcessStartValidateTSC",
        after_loss=Severity.BLOCK,
        concerns=lambda vm: bool(_fixed_tsc_hz(vm)),
    ),
)
