"""What is placed: VMs, or VMs that stay together, with where each may go."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from vmferry.model.constraint import Constraint, ConstraintKind, FleetState
from vmferry.model.findings import Finding
from vmferry.model.vm import Vm
from vmferry.planning.candidates import Candidate, demand_of, judge
from vmferry.planning.constraints.check import members_of
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

    @property
    def keys(self) -> tuple[str, ...]:
        """The UUIDs of its VMs."""
        return tuple(str(vm.uuid) for vm in self.vms)

    def blockers(self, dest: str) -> tuple[Finding, ...]:
        """Return what rules forbid a move to `dest`, room apart."""
        reports = (c.reports[dest] for c in self.candidates if dest in c.reports)
        return tuple(f for report in reports for f in report.blockers if f.rule not in ROOM_RULES)


def make_items(
    rules: Judge,
    movers: Collection[str],
    dests: Sequence[str],
    constraints: Iterable[Constraint],
    state: FleetState,
) -> tuple[Item, ...]:
    """Return an item per VM, those that `gather` holds together as one; VMs among `movers` are judged for all `dests`.

    In the inventory's order of hosts, and by name within one.
    """
    together = bundles_of(constraints, state)
    items: list[Item] = []
    for name, side in rules.fleet.sides.items():
        bundles: dict[int, list[Vm]] = {}
        for vm in sorted(side.facts.vms, key=lambda vm: (vm.name, str(vm.uuid))):
            bundles.setdefault(together.get(str(vm.uuid), -len(bundles) - 1), []).append(vm)
        items += [_item(rules, tuple(vms), name, movers, dests) for vms in bundles.values()]
    return tuple(items)


def _item(rules: Judge, vms: tuple[Vm, ...], home: str, movers: Collection[str], dests: Sequence[str]) -> Item:
    if not all(str(vm.uuid) in movers for vm in vms):
        return Item(vms, home)
    others = [dest for dest in dests if dest != home]
    return Item(vms, home, tuple(_judge(rules, vm, home, others) for vm in vms))


def _judge(rules: Judge, vm: Vm, home: str, dests: Sequence[str]) -> Candidate:
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
    needs = {str(vm.uuid): memory_needed_kib(vm) for vm in side.facts.vms if vm.is_active}
    used = max(0, side.facts.memory_total_kib - side.facts.memory_available_kib)
    total = sum(needs.values())
    return {uuid: min(kib, kib * used // total if total else 0) for uuid, kib in needs.items()}


def home_pages(fleet: Fleet, host: str, vm: Vm) -> dict[int, int]:
    """Return page size → KiB that become free when the VM leaves; nothing where its pages' size is not known."""
    if not vm.is_active or not vm.hugepages or vm.hugepage_kib is None:
        return {}
    return {vm.hugepage_kib: hugepages_needed_kib(vm, fleet.side(host).facts)}
