"""Where each VM of a host could go, each destination judged by the rules as if the VM were alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from vmferry.model.convergence import PolicyName
from vmferry.model.findings import PreflightReport
from vmferry.model.migration import MigrationMode
from vmferry.model.vm import Vm
from vmferry.planning.mode import choose_mode
from vmferry.rules.case import Case
from vmferry.rules.judge import Judge
from vmferry.rules.room import hugepage_pool, hugepages_needed_kib, memory_needed_kib
from vmferry.rules.sharing import copies


@dataclass(frozen=True)
class Demand:
    """What a VM takes on one destination from the start of its move; `disk` is (file system, bytes).

    `memory_kib` is ordinary memory, `hugepages_kib` comes from the pool of pages of `page_kib`; that is None where the
    destination's pools were not read, so nobody can say whether there is room (rule `hugepages-unread`).
    """

    memory_kib: int
    vcpus: int
    copy_bytes: int
    disk: tuple[tuple[str, int], ...]
    hugepages_kib: int = 0
    page_kib: int | None = None

    @property
    def all_memory_kib(self) -> int:
        """Ordinary memory and huge pages together."""
        return self.memory_kib + self.hugepages_kib


def demand_of(case: Case) -> Demand:
    """Return what the VM takes; no memory and no vCPUs offline, no disk with memory."""
    if case.is_offline:
        return _demand_of_files(case)
    pool = hugepage_pool(case.dest.facts, case.vm) if case.vm.hugepages else None
    return Demand(
        memory_kib=memory_needed_kib(case.vm),
        vcpus=case.vm.vcpus,
        copy_bytes=0,
        disk=(),
        hugepages_kib=hugepages_needed_kib(case.vm, case.dest.facts),
        page_kib=pool.size_kib if pool is not None else None,
    )


def _demand_of_files(case: Case) -> Demand:
    files = [copy for copy in copies(case) if not copy.is_there]
    disk: dict[str, int] = {}
    for copy in files:
        if copy.filesystem is not None:
            disk[copy.filesystem] = disk.get(copy.filesystem, 0) + (copy.allocated_bytes or 0)
    return Demand(0, 0, sum(copy.allocated_bytes or 0 for copy in files), tuple(sorted(disk.items())))


@dataclass(frozen=True)
class Candidate:
    """One VM with its mode, a report per destination judged and its demand per feasible destination."""

    vm: Vm
    mode: MigrationMode
    mode_reason: str
    reports: dict[str, PreflightReport]
    demands: dict[str, Demand]  # feasible destinations only, in the inventory's order

    @property
    def key(self) -> str:
        """The VM's UUID."""
        return str(self.vm.uuid)

    @cached_property
    def hardness(self) -> tuple[int, int, int, int, str, str]:
        """Sort key, hardest first: fewest feasible hosts, then most memory, vCPUs and bytes; then by name."""
        most = max(self.demands.values(), key=lambda d: d.copy_bytes, default=Demand(0, 0, 0, ()))
        return (len(self.demands), -most.all_memory_kib, -most.vcpus, -most.copy_bytes, self.vm.name, self.key)


def judge(
    rules: Judge,
    vm: Vm,
    source: str,
    dests: Sequence[str],
    asked: MigrationMode | None,
    policy: PolicyName | None = None,
) -> Candidate:
    """Judge all destinations for one VM."""
    mode, reason = choose_mode(vm, asked)
    reports: dict[str, PreflightReport] = {}
    demands: dict[str, Demand] = {}
    for dest in dests:
        case = rules.case(vm, source, dest, mode, policy)
        reports[dest] = rules.check(case)
        if not reports[dest].blockers:
            demands[dest] = demand_of(case)
    return Candidate(vm, mode, reason, reports, demands)
