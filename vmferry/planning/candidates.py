"""Where each VM of a host could go, each destination judged by the rules as if the VM were alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from vmferry.model.convergence import PolicyName
from vmferry.model.findings import PreflightReport
from vmferry.model.migration import MigrationMode
from vmferry.model.vm import Vm
from vmferry.planning.mode import choose_mode
from vmferry.rules.case import Case
from vmferry.rules.copies import copied_arrivals
from vmferry.rules.disk_room import Arrival, per_store
from vmferry.rules.judge import Judge
from vmferry.rules.mirroring import mirrored_arrivals
from vmferry.rules.room import hugepage_pool, hugepages_needed_kib, memory_needed_kib


@dataclass(frozen=True)
class Demand:
    """What a VM takes on one destination from the start of its move; `disk` is (store, bytes).

    `memory_kib` is ordinary memory, `hugepages_kib` comes from the pool of pages of `page_kib`; that is None where the
    destination's pools were not read, so nobody can say whether there is room (rule `hugepages-unread`). `layers` are
    not part of `disk`: the first VM that brings one takes its bytes, those that build on it too take none.
    """

    memory_kib: int
    vcpus: int
    copy_bytes: int
    disk: tuple[tuple[str, int], ...]
    hugepages_kib: int = 0
    page_kib: int | None = None
    layers: tuple[Arrival, ...] = ()

    @property
    def all_memory_kib(self) -> int:
        """Ordinary memory and huge pages together."""
        return self.memory_kib + self.hugepages_kib


def demand_of(case: Case) -> Demand:
    """Return what the VM takes: offline its files alone, else memory, vCPUs and the disks that are mirrored."""
    arrivals = copied_arrivals(case) if case.is_offline else mirrored_arrivals(case)
    if not arrivals and not case.is_offline and not case.vm.hugepages:
        return Demand(memory_needed_kib(case.vm), case.vm.vcpus, 0, ())  # of most moves: their disks are shared
    pool = hugepage_pool(case.dest.facts, case.vm) if case.vm.hugepages and not case.is_offline else None
    return Demand(
        memory_kib=0 if case.is_offline else memory_needed_kib(case.vm),
        vcpus=0 if case.is_offline else case.vm.vcpus,
        copy_bytes=sum(arrival.size_bytes for arrival in arrivals),
        disk=tuple(sorted(per_store(a for a in arrivals if not a.is_layer).items())),
        hugepages_kib=0 if case.is_offline else hugepages_needed_kib(case.vm, case.dest.facts),
        page_kib=pool.size_kib if pool is not None else None,
        layers=tuple(a for a in arrivals if a.is_layer and a.store is not None),
    )


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


def only_to(candidate: Candidate, dest: str) -> Candidate:
    """Return the candidate with one destination, as if no other were feasible."""
    return replace(candidate, demands={dest: candidate.demands[dest]})


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
