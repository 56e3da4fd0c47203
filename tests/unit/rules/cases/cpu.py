"""Cases of the rules in vmferry/rules/cpu.py."""

from __future__ import annotations

from typing import Any

from tests.unit.builders import build_off_vm, build_pair, build_vm
from tests.unit.rules.cases.making import DEST, SOURCE, Makers, make, off, on
from vmferry.model.facts import CpuFit, CpuVerdict, HostCpu
from vmferry.model.vm import Device, Vm
from vmferry.rules.case import Case
from vmferry.rules.cpu import guest_cpu

HASWELL = '<cpu match="exact" mode="custom"><model fallback="forbid">Haswell</model></cpu>'
GUEST: dict[str, Any] = {"cpu_mode": "custom", "cpu_xml": HASWELL}
# As vmferry.adapters.libvirt_cpus tells error 91, captured on the same host: --error.
INCOMPATIBLE = CpuVerdict(fit=CpuFit.INCOMPATIBLE, detail="Host CPU does not provide required features: hle, rtm")
SUPERSET = CpuVerdict(fit=CpuFit.SUPERSET)
# Captured on Debian 12, libvirt 9.0.0: virsh -c qemu:///embed?root=… hypervisor-cpu-compare FILE --virttype qemu
UNKNOWN_MODEL = CpuVerdict(fit=CpuFit.FAILED, detail="internal error: Unknown CPU model NoSuchModel")
UNKNOWN_FEATURE = CpuVerdict(fit=CpuFit.FAILED, detail="internal error: Unknown CPU feature nosuchfeature")
UNSUPPORTED = CpuVerdict(
    fit=CpuFit.FAILED,
    detail="this function is not supported by the connection driver: virConnectCompareHypervisorCPU",
)

SKYLAKE = HostCpu(model="Skylake-Client-IBRS", vendor="Intel", tsc_hz=2_600_000_000)
EPYC = HostCpu(model="EPYC-Rome", vendor="AMD", tsc_hz=2_600_000_000, has_tsc_scaling=True)


def judged(verdict: CpuVerdict | None, vm: Vm | None = None, **facts: Any) -> Case:
    """A move whose destination has said this of the VM's CPU; None: it has said nothing."""
    vm = vm or build_vm(**GUEST)
    bare = make(vm, **facts)
    cpu = guest_cpu(vm, bare.source.facts)
    cpus = {cpu.key: verdict} if cpu is not None and verdict is not None else {}
    return make(vm, pair=build_pair(SOURCE, DEST, (vm,), cpus=cpus), **facts)


def passed_through(source: HostCpu | None, dest: HostCpu | None, **fields: Any) -> Case:
    """A VM with the host's own CPU, between hosts with these."""
    vm = build_vm(**{"cpu_mode": "host-passthrough", **fields})
    return make(vm, source={"cpu": source}, dest={"cpu": dest})


def tsc(hz: str, dest: HostCpu | None, kind: str = "timer") -> Case:
    """A VM that was promised this TSC frequency."""
    name = "frequency" if kind == "timer" else "tsc_frequency"
    device = Device(kind=kind, detail="TSC", attributes={"name": "tsc", name: hz})
    return make(build_vm(devices=(device,)), dest={"cpu": dest})


# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "cpu-incompatible": (
        (
            lambda: judged(INCOMPATIBLE),
            lambda: judged(INCOMPATIBLE, build_off_vm(**GUEST)),
            lambda: judged(UNKNOWN_MODEL),
            lambda: judged(UNKNOWN_FEATURE),
        ),
        (
            on,
            lambda: judged(SUPERSET),
            lambda: judged(CpuVerdict(fit=CpuFit.IDENTICAL)),
            lambda: judged(UNSUPPORTED),
            lambda: judged(None),
        ),
    ),
    "cpu-not-compared": (
        (
            lambda: judged(None),
            lambda: judged(UNSUPPORTED),
            lambda: judged(SUPERSET, build_vm(cpu_mode="host-model", cpu_xml='<cpu mode="host-model"/>')),
        ),
        (
            on,
            lambda: judged(SUPERSET),
            lambda: judged(INCOMPATIBLE),
            lambda: judged(UNKNOWN_MODEL),
            lambda: judged(None, build_off_vm(**GUEST)),
            lambda: make(build_vm(**GUEST), pair=None),
            lambda: on(cpu_mode="host-passthrough", cpu_xml='<cpu mode="host-passthrough"/>'),
        ),
    ),
    "cpu-host-differs": (
        (
            lambda: passed_through(SKYLAKE, EPYC),
            lambda: passed_through(SKYLAKE, EPYC, cpu_mode="maximum"),
            lambda: passed_through(SKYLAKE, SKYLAKE.model_copy(update={"vendor": "AMD"})),
        ),
        (
            lambda: passed_through(SKYLAKE, SKYLAKE),
            lambda: passed_through(SKYLAKE, None),
            lambda: passed_through(HostCpu(), EPYC),
            lambda: passed_through(SKYLAKE, EPYC, cpu_mode="custom"),
            lambda: passed_through(SKYLAKE, EPYC, domain_type="qemu"),
        ),
    ),
    "cpu-host-passthrough": (
        (
            lambda: passed_through(SKYLAKE, SKYLAKE),
            lambda: passed_through(None, None),
            lambda: on(cpu_mode="maximum"),
        ),
        (on, lambda: on(cpu_mode="host-model"), lambda: off(cpu_mode="host-passthrough")),
    ),
    "tsc-frequency": (
        (
            lambda: tsc("2593906000", SKYLAKE),
            lambda: tsc("2600650001", SKYLAKE),  # one Hz beyond 250 ppm
            lambda: tsc("2593906000", SKYLAKE, kind="feature"),
        ),
        (
            lambda: tsc("2600650000", SKYLAKE),  # 250 ppm
            lambda: tsc("2599350000", SKYLAKE),
            lambda: tsc("2593906000", EPYC),  # can scale
            lambda: tsc("2593906000", HostCpu(model="EPYC")),
            lambda: tsc("2593906000", None),
            lambda: tsc("fast", SKYLAKE),
            on,
        ),
    ),
}
