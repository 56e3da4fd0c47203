"""Rules about memory, huge pages and CPUs on the destination, and the arithmetic that the planner shares."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.facts import HugePages
from vmferry.model.findings import Severity
from vmferry.model.host import HostFacts, Reservation
from vmferry.model.vm import Vm
from vmferry.rules import concerns
from vmferry.rules.case import Case, Side
from vmferry.rules.rule import Rule, offline_only, running

# What a QEMU process takes besides guest memory: code, heap, I/O buffers and video memory, and page tables,
# which grow with the guest. An allowance, not a measurement: to be replaced by one (resident set minus guest
# memory).
OVERHEAD_KIB = 64 * 1024
OVERHEAD_PERCENT = 2
_DEFAULT_PAGE_KIB = 2048  # the kernel's on x86_64, for advice where no pool tells


def guest_kib(vm: Vm) -> int:
    """Return the most memory that the guest may balloon or be plugged to; KiB."""
    return max(vm.memory_kib, vm.max_memory_kib)


def overhead_kib(vm: Vm) -> int:
    """Return what QEMU takes besides the guest's memory; KiB."""
    return OVERHEAD_KIB + guest_kib(vm) * OVERHEAD_PERCENT // 100


def memory_needed_kib(vm: Vm) -> int:
    """Return what the VM's QEMU may take of ordinary memory; KiB.

    The memory of a guest on huge pages comes from their pool, which the kernel took out of the free memory when it
    was set up: only the overhead draws on the rest.
    """
    return overhead_kib(vm) + (0 if vm.hugepages else guest_kib(vm))


def memory_free_kib(side: Side, reserved: Reservation) -> int:
    """Return what arrivals may take: available minus reserve and promises to open runs; KiB."""
    return side.facts.memory_available_kib - side.host.reserves.memory_mib * 1024 - reserved.memory_kib


def hugepage_pool(facts: HostFacts, vm: Vm) -> HugePages | None:
    """Return the pool that the guest's memory would come from; None without one, or where pools were not read.

    A guest that names no page size takes the host's default one, which is not read: the pool with most free memory
    stands for it.
    """
    pools = facts.hugepages or ()
    if vm.hugepage_kib is not None:
        return next((pool for pool in pools if pool.size_kib == vm.hugepage_kib), None)
    return max(pools, key=lambda pool: (pool.free_kib, pool.size_kib), default=None)


def hugepages_needed_kib(vm: Vm, facts: HostFacts) -> int:
    """Return what the VM takes of the huge pages of a host, in whole pages; 0 for a guest without them; KiB.

    QEMU maps all of the guest's memory at the start, so a balloon saves nothing; the maximum to plug in is counted
    as it is for ordinary memory.
    """
    if not vm.hugepages:
        return 0
    pool = hugepage_pool(facts, vm)
    size_kib = pool.size_kib if pool is not None else vm.hugepage_kib or 1
    return -(-guest_kib(vm) // size_kib) * size_kib


def hugepages_free_kib(pool: HugePages, reserved: Reservation) -> int:
    """Return what arrivals may take of a pool, in whole pages; KiB.

    Promises to open runs do not say which pool they mean: they count in each.
    """
    return max(0, (pool.free_kib - reserved.hugepages_kib) // pool.size_kib * pool.size_kib)


def vcpus_free(side: Side, reserved: Reservation) -> float:
    """Return how many more vCPUs the host may run; below 0 when it is over-committed already."""
    return side.facts.cpus * side.host.reserves.vcpu_ratio - side.active_vcpus - reserved.vcpus


def memory(case: Case) -> Iterator[str]:
    """The destination has room for the guest's memory and QEMU's overhead."""
    needed, free = memory_needed_kib(case.vm), memory_free_kib(case.dest, case.reserved)
    if needed > free:
        reserve = case.dest.host.reserves.memory_mib
        beside = " beside its huge pages" if case.vm.hugepages else ""
        yield (
            f"vm {case.vm.name}: {case.dest.name} has {free // 1024} MiB free, needs {-(-needed // 1024)} "
            f"MiB{beside} (available {case.dest.facts.memory_available_kib // 1024} MiB, of which {reserve} MiB stay "
            f"reserved for the host and {case.reserved.memory_kib // 1024} MiB are promised to open runs); choose "
            "another host or free memory"
        )


def memory_total(case: Case) -> Iterator[str]:
    """A VM that arrives shut off could be started there one day."""
    needed = guest_kib(case.vm) + overhead_kib(case.vm)
    usable = case.dest.facts.memory_total_kib - case.dest.host.reserves.memory_mib * 1024
    if needed > usable:
        yield (
            f"vm {case.vm.name} needs {-(-needed // 1024)} MiB to start, {case.dest.name} has "
            f"{usable // 1024} MiB altogether; it can be stored there but not started"
        )
    if not case.vm.hugepages or case.dest.facts.hugepages is None:
        return
    pool, pages = hugepage_pool(case.dest.facts, case.vm), hugepages_needed_kib(case.vm, case.dest.facts)
    have = pool.size_kib * pool.total if pool is not None else 0
    if pages > have:
        yield (
            f"vm {case.vm.name} needs {-(-pages // 1024)} MiB of huge pages to start, {case.dest.name} has "
            f"{have // 1024} MiB of {_pages_wanted(case.vm)}; before the start run "
            f"{_enlarge(case, pool, pages - have)}"
        )


def hugepages(case: Case) -> Iterator[str]:
    """The destination has free huge pages for a guest on them, of the size that the guest asks for."""
    if not case.vm.hugepages or case.dest.facts.hugepages is None:
        return
    pool = hugepage_pool(case.dest.facts, case.vm)
    needed = hugepages_needed_kib(case.vm, case.dest.facts)
    free = hugepages_free_kib(pool, case.reserved) if pool is not None else 0
    if needed > free:
        pages = "no pool" if pool is None else f"{pool.free} of {pool.total} pages of {pool.size_kib} KiB are free"
        yield (
            f"vm {case.vm.name}: {case.dest.name} has {free // 1024} MiB of free {_pages_wanted(case.vm)}, needs "
            f"{-(-needed // 1024)} MiB ({pages}, {-(-case.reserved.hugepages_kib // 1024)} MiB promised to open runs); "
            f"choose another host or run {_enlarge(case, pool, needed - free)}"
        )


def hugepages_unread(case: Case) -> Iterator[str]:
    """The destination's pools of huge pages were read, where a guest on them is to go."""
    if case.vm.hugepages and case.dest.facts.hugepages is None:
        needed = -(-hugepages_needed_kib(case.vm, case.dest.facts) // 1024)
        yield (
            f"vm {case.vm.name} uses huge pages, those of {case.dest.name} were not read; it needs {needed} MiB of "
            f"{_pages_wanted(case.vm)} free: look with `virsh -c {case.dest.host.uri} freepages --all`"
        )


def _pages_wanted(vm: Vm) -> str:
    return "huge pages" if vm.hugepage_kib is None else f"huge pages of {vm.hugepage_kib} KiB"


def _enlarge(case: Case, pool: HugePages | None, missing_kib: int) -> str:
    """Return the command that makes the pool large enough, which takes ordinary memory of the host."""
    size_kib = pool.size_kib if pool is not None else case.vm.hugepage_kib or _DEFAULT_PAGE_KIB
    pages = (pool.total if pool is not None else 0) + -(-missing_kib // size_kib)
    if size_kib == _DEFAULT_PAGE_KIB:
        return f"`sysctl vm.nr_hugepages={pages}` on {case.dest.name}"
    path = f"/sys/kernel/mm/hugepages/hugepages-{size_kib}kB/nr_hugepages"
    return f"`echo {pages} > {path}` on {case.dest.name}"


def vcpu_ratio(case: Case) -> Iterator[str]:
    """The destination stays below its ratio of vCPUs to CPUs; what could be plugged in later does not count."""
    if case.vm.vcpus > vcpus_free(case.dest, case.reserved):
        ratio, cpus = case.dest.host.reserves.vcpu_ratio, case.dest.facts.cpus
        yield (
            f"vm {case.vm.name} has {case.vm.vcpus} vCPUs; {case.dest.name} runs {case.dest.active_vcpus} on "
            f"{cpus} CPUs, {case.reserved.vcpus} are promised to open runs, and may run {ratio * cpus:g} (vcpu_ratio "
            f"{ratio:g}); choose another host or raise the ratio"
        )


RULES: tuple[Rule, ...] = (
    Rule(
        "memory",
        memory,
        running(Severity.BLOCK),
        "failure mode 46",
        is_final=True,
        after_loss=Severity.BLOCK,
    ),
    Rule("memory-total", memory_total, offline_only(Severity.WARN), "failure mode 46"),
    Rule(
        "hugepages",
        hugepages,
        running(Severity.BLOCK),
        "failure mode 46: hugepages; kernel hugetlbpage.rst: a pool is taken out of free memory",
        is_final=True,
        after_loss=Severity.BLOCK,
        concerns=concerns.huge_pages,
    ),
    Rule(
        "hugepages-unread",
        hugepages_unread,
        running(Severity.WARN),
        "failure mode 46: hugepages",
        after_loss=Severity.WARN,
        concerns=concerns.huge_pages,
    ),
    Rule(
        "vcpu-ratio",
        vcpu_ratio,
        running(Severity.BLOCK),
        "inventory reserves; features G: CPU ratio as constraint",
        is_final=True,
        after_loss=Severity.BLOCK,
    ),
)
