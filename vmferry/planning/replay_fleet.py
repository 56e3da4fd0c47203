"""Check a fleet plan without knowing how it was made: the solver and its arrays are not imported, sums are done again.

Arrivals and what leavers free are added up per host for the end of the plan; instants on the way are the schedule's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from vmferry.model.constraint import FleetState
from vmferry.model.evacuation import Move
from vmferry.model.host import HostFacts, Reservation
from vmferry.model.migration import MigrationMode
from vmferry.model.plan import FleetPlan, Purpose
from vmferry.model.vm import Vm
from vmferry.planning.constraints.check import members_of
from vmferry.planning.constraints.collect import collect_constraints
from vmferry.planning.constraints.hold import broken_by
from vmferry.planning.constraints.state import state_of
from vmferry.planning.replay import guest_takes
from vmferry.planning.replay_disks import over_committed, what_is_written
from vmferry.rules.case import Fleet
from vmferry.rules.check import check_move
from vmferry.rules.policy import Policy

# They ask for room as if nobody left; room is added up here. Spelled again on purpose.
_ROOM = ("memory", "hugepages", "vcpu-ratio")


def replay_fleet(plan: FleetPlan) -> tuple[str, ...]:
    """Return every promise that the plan breaks, as text; empty for a good plan. Raises InvalidInput as a plan does."""
    checks = (_check_once, _check_places, _check_facts, _check_rules, _check_room, _check_pages, _check_disk,
              _check_constraints, _check_freed, _check_score)  # fmt: skip
    return tuple(problem for check in checks for problem in check(plan))


def _vm_of(plan: FleetPlan, move: Move) -> Vm | None:
    facts = plan.snapshot.facts(move.source)
    return next((vm for vm in facts.vms if str(vm.uuid) == move.uuid), None) if facts else None


def _check_once(plan: FleetPlan) -> Iterator[str]:
    """Nobody moves twice; moves ∪ stranded = those that the request wants to leave."""
    counts = Counter([m.uuid for m in plan.moves] + [s.uuid for s in plan.stranded])
    names = {m.uuid: m.vm for m in plan.moves} | {s.uuid: s.vm for s in plan.stranded}
    yield from (f"vm {names[u]} appears {n} times in the plan" for u, n in counts.items() if n > 1)
    for move in plan.moves:
        vm = _vm_of(plan, move)
        if vm is None or vm.name != move.vm:
            yield f"vm {move.vm} ({move.uuid}) is not a domain of {move.source}"
    for vm_name, uuid in _wanted(plan):
        if uuid not in counts:
            yield f"vm {vm_name} is neither moved nor stranded"
    yield from (f"vm {s.vm} is stranded without a reason" for s in plan.stranded if not any(s.reasons.values()))
    if [move.order for move in plan.moves] != list(range(len(plan.moves))):
        yield "the order of starting has a hole"


def _wanted(plan: FleetPlan) -> Iterator[tuple[str, str]]:
    request, state = plan.request, state_of(Fleet(plan.snapshot))
    if request.purpose is Purpose.EVACUATE:
        for facts in plan.snapshot.hosts:
            if facts.name in request.hosts:
                yield from ((vm.name, str(vm.uuid)) for vm in facts.vms)
    elif request.purpose is Purpose.RELOCATE:
        for uuid in members_of(request.vms, state) if request.vms else tuple(state.vms):
            home = state.vms[uuid].home
            if home not in request.dests and home in (request.hosts or tuple(state.hosts)):
                yield state.vms[uuid].name, uuid
    elif request.purpose is Purpose.RETURN:
        for name, home in request.homes.items():
            yield from ((state.vms[u].name, u) for u in members_of((name,), state) if state.vms[u].home != home)


def _check_places(plan: FleetPlan) -> Iterator[str]:
    snapshot, names = plan.snapshot, plan.snapshot.inventory.names()
    gone, closed = {u.host for u in snapshot.unreachable}, {c.host for c in snapshot.cordons}
    emptied = plan.request.hosts if plan.request.purpose is Purpose.EVACUATE else ()
    for move in plan.moves:
        if move.dest == move.source:
            yield f"vm {move.vm} moves from {move.source} to itself"
        if move.dest not in names or snapshot.facts(move.dest) is None or move.dest in gone:
            yield f"vm {move.vm} moves to {move.dest}, which is unknown, was not read or is unreachable"
        if move.dest in closed:
            yield f"vm {move.vm} moves to {move.dest}, which is closed for arrivals"
        if move.dest in emptied:
            yield f"vm {move.vm} moves to {move.dest}, a host to be emptied"
        if move.uuid in snapshot.open_runs:
            yield f"vm {move.vm} already moves in run {snapshot.open_runs[move.uuid]}"


def _check_facts(plan: FleetPlan) -> Iterator[str]:
    for move in plan.moves:
        vm, facts = _vm_of(plan, move), plan.snapshot.facts(move.dest)
        if vm is None or facts is None:
            continue
        kib, size, pages = guest_takes(move, vm, facts)
        vcpus = 0 if move.mode is MigrationMode.OFFLINE else vm.vcpus
        if abs(move.memory_kib - kib - size * pages) > 1 or move.vcpus != vcpus:
            yield (f"vm {move.vm} takes {kib + size * pages} KiB and {vcpus} vCPUs on {move.dest}, the plan says "
                   f"{move.memory_kib} and {move.vcpus}")  # fmt: skip


def _check_rules(plan: FleetPlan) -> Iterator[str]:
    fleet, policy = Fleet(plan.snapshot), Policy.of(plan.snapshot.inventory.rules, plan.request.lift)
    for move in plan.moves:
        vm = _vm_of(plan, move)
        if vm is None or not {move.source, move.dest} <= set(fleet.sides):
            continue
        case = fleet.case(vm, move.source, move.dest, move.mode, policy=move.policy)
        for finding in check_move(case, policy).blockers:
            if finding.rule not in _ROOM:
                yield f"vm {move.vm} to {move.dest}: rule {finding.rule} blocks: {finding.message}"


def _arriving(plan: FleetPlan, host: str) -> list[tuple[Move, Vm]]:
    return [(m, vm) for m in plan.moves if m.dest == host and (vm := _vm_of(plan, m)) is not None]


def _leaving(plan: FleetPlan, host: str) -> list[tuple[Move, Vm]]:
    return [(m, vm) for m in plan.moves if m.source == host and (vm := _vm_of(plan, m)) is not None]


def _freed_kib(plan: FleetPlan, facts: HostFacts) -> int:
    """Return what leavers free: their share of what is in use, and no more than they may use."""
    used = max(0, facts.memory_total_kib - facts.memory_available_kib)
    needs = {str(vm.uuid): _resident(vm) for vm in facts.vms if vm.is_active}
    total = sum(needs.values())
    gone = [needs[m.uuid] for m, _ in _leaving(plan, facts.name) if m.uuid in needs]
    return sum(min(kib, kib * used // total if total else 0) for kib in gone)


def _resident(vm: Vm) -> int:
    guest = max(vm.memory_kib, vm.max_memory_kib)
    return (0 if vm.hugepages else guest) + 65536 + guest * 2 // 100


def _check_room(plan: FleetPlan) -> Iterator[str]:
    """Memory and vCPUs of all that arrive, beside what stays, fit where anybody arrives."""
    for host in plan.snapshot.inventory.hosts:
        facts, moves = plan.snapshot.facts(host.name), _arriving(plan, host.name)
        if facts is None or not moves:
            continue
        kept = plan.snapshot.reserved.get(host.name, Reservation())
        free = facts.memory_available_kib - host.reserves.memory_mib * 1024 - kept.memory_kib + _freed_kib(plan, facts)
        taken = sum(guest_takes(move, vm, facts)[0] for move, vm in moves)
        if taken > max(0, free):
            yield f"{host.name} is over-committed: {taken // 1024} MiB of memory arrive, {free // 1024} MiB are free"
        gone = {m.uuid for m, _ in _leaving(plan, host.name)}
        there = sum(vm.vcpus for vm in facts.vms if vm.is_active and str(vm.uuid) not in gone) + kept.vcpus
        arriving = sum(vm.vcpus for move, vm in moves if move.mode is not MigrationMode.OFFLINE)
        if arriving and there + arriving > facts.cpus * host.reserves.vcpu_ratio:
            yield f"{host.name} is over-committed: {there} + {arriving} vCPUs"


def _check_pages(plan: FleetPlan) -> Iterator[str]:
    for facts in plan.snapshot.hosts:
        if facts.hugepages is None:
            continue
        promised = plan.snapshot.reserved.get(facts.name, Reservation()).hugepages_kib
        taken: Counter[int] = Counter()
        for move, vm in _arriving(plan, facts.name):
            _, size, pages = guest_takes(move, vm, facts)
            taken[size] += size * pages
        for _, vm in _leaving(plan, facts.name):
            if vm.is_active and vm.hugepages and vm.hugepage_kib:
                guest = max(vm.memory_kib, vm.max_memory_kib)
                taken[vm.hugepage_kib] -= -(-guest // vm.hugepage_kib) * vm.hugepage_kib
        free = {pool.size_kib: max(0, (pool.free_kib - promised) // pool.size_kib * pool.size_kib)
                for pool in facts.hugepages}  # fmt: skip
        arrives = {guest_takes(m, vm, facts)[1] for m, vm in _arriving(plan, facts.name) if vm.hugepages}
        for size, kib in taken.items():
            if kib > free.get(size, 0) and size in arrives and size > 1:
                there = free.get(size, 0)
                yield f"{facts.name} is over-committed: {kib} KiB of {size} KiB pages arrive, {there} are free"


def _check_disk(plan: FleetPlan) -> Iterator[str]:
    fleet = Fleet(plan.snapshot)
    for facts in plan.snapshot.hosts:
        written = [file for move, vm in _arriving(plan, facts.name) for file in what_is_written(fleet, move, vm)]
        promised = plan.snapshot.reserved.get(facts.name, Reservation()).disk_bytes
        yield from over_committed(facts, written, promised)


def _states(plan: FleetPlan) -> tuple[FleetState, FleetState]:
    start = state_of(Fleet(plan.snapshot))
    return start, start.moved({move.uuid: (move.dest,) for move in plan.moves})


def _check_constraints(plan: FleetPlan) -> Iterator[str]:
    """Every hard constraint holds at the end, but for what was broken before and nobody who moves is part of."""
    start, _ = _states(plan)
    asked, _ = collect_constraints(plan.snapshot, plan.request.constraints, start)
    if asked != plan.constraints:
        yield "the plan's list of constraints is not that of its snapshot and request"
    yield from broken_by(plan.moves, asked, start)


def _check_freed(plan: FleetPlan) -> Iterator[str]:
    _, end = _states(plan)
    used = {host for places in end.where.values() for host in places}
    freed = {f.name for f in plan.snapshot.hosts if f.vms and f.name not in used and f.name in end.hosts}
    if freed != set(plan.freed):
        yield f"the plan frees {', '.join(sorted(freed)) or 'no host'}, it says {', '.join(plan.freed) or 'no host'}"


def _check_score(plan: FleetPlan) -> Iterator[str]:
    said = (plan.score.moves, plan.score.stranded, plan.score.memory_kib, plan.score.copy_bytes)
    done = (len(plan.moves), len(plan.stranded), sum(m.memory_kib for m in plan.moves),
            sum(m.copy_bytes for m in plan.moves))  # fmt: skip
    if said != done:
        yield f"moves, stranded, KiB and bytes are {done}, the score says {said}"
