"""Rules about memory and CPUs on the destination, and the arithmetic that the planner shares."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.findings import Severity
from vmferry.model.host import Reservation
from vmferry.model.vm import Vm
from vmferry.rules.case import Case, Side
from vmferry.rules.rule import Rule, offline_only, running

# What a QEMU process takes besides guest memory: code, heap, I/O buffers and video memory, and page tables,
# which grow with the guest. An allowance, not a measurement: to be replaced by one (resident set minus guest
# memory).
OVERHEAD_KIB = 64 * 1024
OVERHEAD_PERCENT = 2


def memory_needed_kib(vm: Vm) -> int:
    """Return what the VM's QEMU may take: the most the guest may balloon to, plus overhead; KiB."""
    guest = max(vm.memory_kib, vm.max_memory_kib)
    return guest + OVERHEAD_KIB + guest * OVERHEAD_PERCENT // 100


def memory_free_kib(side: Side, reserved: Reservation) -> int:
    """Return what arrivals may take: available minus reserve and promises to open runs; KiB."""
    return side.facts.memory_available_kib - side.host.reserves.memory_mib * 1024 - reserved.memory_kib


def vcpus_free(side: Side, reserved: Reservation) -> float:
    """Return how many more vCPUs the host may run; below 0 when it is over-committed already."""
    return side.facts.cpus * side.host.reserves.vcpu_ratio - side.active_vcpus - reserved.vcpus


def memory(case: Case) -> Iterator[str]:
    """The destination has room for the guest's memory and QEMU's overhead."""
    needed, free = memory_needed_kib(case.vm), memory_free_kib(case.dest, case.reserved)
    if needed > free:
        reserve = case.dest.host.reserves.memory_mib
        yield (
            f"vm {case.vm.name}: {case.dest.name} has {free // 1024} MiB free, needs {-(-needed // 1024)} "
            f"MiB (available {case.dest.facts.memory_available_kib // 1024} MiB, of which {reserve} MiB stay "
            f"reserved for the host and {case.reserved.memory_kib // 1024} MiB are promised to open runs); choose "
            "another host or free memory"
        )


def memory_total(case: Case) -> Iterator[str]:
    """A VM that arrives shut off could be started there one day."""
    needed = memory_needed_kib(case.vm)
    usable = case.dest.facts.memory_total_kib - case.dest.host.reserves.memory_mib * 1024
    if needed > usable:
        yield (
            f"vm {case.vm.name} needs {-(-needed // 1024)} MiB to start, {case.dest.name} has "
            f"{usable // 1024} MiB altogether; it can be stored there but not started"
        )


def hugepages(case: Case) -> Iterator[str]:
    """A guest on huge pages needs them on the destination, where their pool was not read."""
    if case.vm.hugepages:
        yield (
            f"vm {case.vm.name} uses huge pages; {case.dest.name} needs {case.vm.memory_kib // 1024} MiB of "
            f"them free: run `virsh -c {case.dest.host.uri} freepages --all`"
        )


def vcpu_ratio(case: Case) -> Iterator[str]:
    """The destination stays below its ratio of vCPUs to CPUs."""
    if case.vm.vcpus > vcpus_free(case.dest, case.reserved):
        ratio, cpus = case.dest.host.reserves.vcpu_ratio, case.dest.facts.cpus
        yield (
            f"vm {case.vm.name} has {case.vm.vcpus} vCPUs; {case.dest.name} runs {case.dest.active_vcpus} on "
            f"{cpus} CPUs and may run {ratio * cpus:g} (vcpu_ratio {ratio:g}); choose another host or raise "
            "the ratio"
        )


RULES: tuple[Rule, ...] = (
    Rule("memory", memory, running(Severity.BLOCK), "failure mode 46", is_final=True),
    Rule("memory-total", memory_total, offline_only(Severity.WARN), "failure mode 46"),
    Rule("hugepages", hugepages, running(Severity.WARN), "failure mode 46: hugepages"),
    Rule(
        "vcpu-ratio",
        vcpu_ratio,
        running(Severity.BLOCK),
        "inventory reserves; features G: CPU ratio as constraint",
        is_final=True,
    ),
)
