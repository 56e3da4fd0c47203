"""What is placed: VMs, or VMs that stay together, with where each may go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from vmferry.model.constraint import Constraint, ConstraintKind, FleetState
from vmferry.model.findings import Finding
from vmferry.model.vm import Vm
from vmferry.planning.candidates import Candidate, demand_of, judge
from vmferry.planning.constraints.check import members_of
from vmferry.planning.mode import choose_mode
from vmferry.rules.case import Fleet
from vmferry.rules.judge import Judge
from vmferry.rules.room import hugepages_needed_kib, memory_needed_kib

# Rules that ask for room as if nobody left the destination: the sums of the plan ask the same of all moves together.
ROOM_RULES = frozenset({"memory", "hugepages", "vcpu-ratio"})


@dataclass(frozen=True)
class Item:
    """VMs that are placed as one, all on one host now; usually one. `candidates` empty: they stay."""

    vms: tuple[Vm, ...]
    home: str
    candidates: tuple[Candidate, ...] = ()

    @property
    def name(self) -> str:
        """The names of its VMs."""
        return "+".join(vm.name for vm in self.vms)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The UUIDs of its VMs."""
        return tuple(str(vm.uuid) for vm in self.vms)

    def blockers(self, dest: str) -> tuple[Finding, ...]:
        """Return what rules forbid a move to `dest`, room apart."""
        reports = (c.reports[dest] for c in self.candidates if dest in c.reports)
        return tuple(f for report in reports for f in report.blockers if f.rule not in ROOM_RULES)


Judged = Callable[[Judge, Vm, str, Sequence[str]], Candidate]  # of a VM, its home and destinations


def judged(rules: Judge, vm: Vm, home: str, dests: Sequence[str]) -> Candidate:
    """Judge all destinations; where only room is lacking the demand is kept: somebody may leave."""
    found = judge(rules, vm, home, dests, None, None)
    short = [d for d in dests if d not in found.demands and _lacks_only_room(found, d)]
    if not short:
        return found
    demands = {
        dest: found.demands.get(dest) or demand_of(rules.case(vm, home, dest, found.mode))
        for dest in dests
        if dest in found.demands or dest in short
    }
    return Candidate(vm, found.mode, found.mode_reason, found.reports, demands)


def believed(rules: Judge, vm: Vm, home: str, dests: Sequence[str]) -> Candidate:
    """Believe that a VM may go wherever neither it alone nor the two hosts alone forbid it; there are no reports."""
    mode, reason = choose_mode(vm, None)
    cases = ((dest, rules.case(vm, home, dest, mode)) for dest in dests)
    return Candidate(vm, mode, reason, {}, {dest: demand_of(case) for dest, case in cases if not rules.is_barred(case)})


def make_items(
    rules: Judge,
    movers: Collection[str],
    dests: Sequence[str],
    constraints: Iterable[Constraint],
    state: FleetState,
    asked: Judged = judged,
) -> tuple[Item, ...]:
    """Return an item per VM, those that `gather` holds together as one; `asked` judges VMs of `movers` for all `dests`.

    In the inventory's order of hosts, and by name within one.
    """
    together = bundles_of(constraints, state)
    items: list[Item] = []
    for name, side in rules.fleet.sides.items():
        others = [dest for dest in dests if dest != name]
        bundles: dict[int, list[Vm]] = {}
        for key, vm in side.keyed:
            bundles.setdefault(together.get(key, -len(bundles) - 1), []).append(vm)
        for item in (Item(tuple(vms), name) for vms in bundles.values()):
            if all(key in movers for key in item.keys):
                item = replace(item, candidates=tuple(asked(rules, vm, name, others) for vm in item.vms))
            items.append(item)
    return tuple(items)


def _lacks_only_room(candidate: Candidate, dest: str) -> bool:
    return all(finding.rule in ROOM_RULES for finding in candidate.reports[dest].blockers)


def bundles_of(constraints: Iterable[Constraint], state: FleetState) -> dict[str, int]:
    """Return VM → number of its bundle: those that `gather` names, on one host now; overlapping ones join."""
    bundle: dict[str, int] = {}
    gathers = [c for c in constraints if c.kind is ConstraintKind.GATHER]
    for number, constraint in enumerate(gathers):
        members = members_of(constraint.vms, state)
        if len({state.where[uuid] for uuid in members}) != 1:
            continue
        joined = {bundle[uuid] for uuid in members if uuid in bundle}
        for uuid, old in bundle.items():
            if old in joined:
                bundle[uuid] = number
        bundle.update(dict.fromkeys(members, number))
    return bundle


def home_memory(fleet: Fleet, host: str) -> dict[str, int]:
    """Return VM → KiB that become free when it leaves a host: its share of what is in use there, at most its own.

    A guest that has not touched its memory does not free it; what guests have touched is not read one by one.
    """
    side = fleet.side(host)
    needs = {key: memory_needed_kib(vm) for key, vm in side.keyed if vm.is_active}
    used = max(0, side.facts.memory_total_kib - side.facts.memory_available_kib)
    total = sum(needs.values())
    return {uuid: min(kib, kib * used // total if total else 0) for uuid, kib in needs.items()}


def home_pages(fleet: Fleet, host: str, vm: Vm) -> dict[int, int]:
    """Return page size → KiB that become free when the VM leaves; nothing where its pages' size is not known."""
    if not vm.is_active or not vm.hugepages or vm.hugepage_kib is None:
        return {}
    return {vm.hugepage_kib: hugepages_needed_kib(vm, fleet.side(host).facts)}
