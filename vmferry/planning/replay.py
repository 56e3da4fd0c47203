"""Check a plan without knowing how it was made: the planner is not imported, the sums are done again.

As BtrPlace's checkers: one function per promise, each returns problems as text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from vmferry.model.evacuation import EvacuationPlan, Move
from vmferry.model.host import Host, HostFacts, Reservation
from vmferry.model.migration import MigrationMode
from vmferry.model.vm import Vm
from vmferry.planning.constraints.collect import collect_constraints
from vmferry.planning.constraints.hold import broken_by
from vmferry.planning.constraints.state import state_of
from vmferry.planning.replay_disks import Written, over_committed, what_is_written
from vmferry.rules.case import Fleet
from vmferry.rules.check import check_move
from vmferry.rules.policy import Policy

_QEMU_KIB, _QEMU_SHARE = 65536, 0.02  # as reasoned in vmferry.rules.room; spelled again on purpose


def replay(plan: EvacuationPlan) -> tuple[str, ...]:
    """Return every promise that the plan breaks, as text; empty for a good plan.

    All moves may overlap: memory is taken on the destination at the start and freed on the source only at the
    end, so what a plan puts on a host must fit at once.
    """
    checks = (_check_all_once, _check_order, _check_places, _check_facts, _check_rules, _check_memory,
              _check_hugepages, _check_vcpus, _check_disk, _check_constraints)  # fmt: skip
    return tuple(problem for check in checks for problem in check(plan))


def _source(plan: EvacuationPlan) -> HostFacts | None:
    return plan.snapshot.facts(plan.host)


def _vms(plan: EvacuationPlan) -> dict[str, Vm]:
    source = _source(plan)
    return {str(vm.uuid): vm for vm in source.vms} if source else {}


def _check_all_once(plan: EvacuationPlan) -> Iterator[str]:
    """moves ∪ stranded = all domains of the host, each once."""
    source = _source(plan)
    if source is None:
        yield f"host {plan.host} was not read: the plan cannot know its VMs"
        return
    there = {(str(vm.uuid), vm.name) for vm in source.vms}
    planned = [(m.uuid, m.vm) for m in plan.moves] + [(s.uuid, s.vm) for s in plan.stranded]
    counts = Counter(planned)
    for uuid, name in sorted(there):
        if counts[(uuid, name)] != 1:
            yield f"vm {name} ({uuid}) appears {counts[(uuid, name)]} times in the plan instead of once"
    for uuid, name in planned:
        if (uuid, name) not in there:
            yield f"vm {name} ({uuid}) is not a domain of {plan.host}"
    for stranded in plan.stranded:
        if not any(stranded.reasons.values()):
            yield f"vm {stranded.vm} is stranded without a reason"


def _check_order(plan: EvacuationPlan) -> Iterator[str]:
    orders = [move.order for move in plan.moves]
    if orders != list(range(len(orders))):
        yield f"the order of starting is {orders}, not 0 to {len(orders) - 1} in the order of the list"


def _check_places(plan: EvacuationPlan) -> Iterator[str]:
    """No move goes to the source, an unknown, unread or cordoned host; none is of a VM in a run."""
    snapshot = plan.snapshot
    names = snapshot.inventory.names()
    cordoned = {c.host for c in snapshot.cordons}
    unreachable = {u.host for u in snapshot.unreachable}
    for move in plan.moves:
        if move.source != plan.host:
            yield f"vm {move.vm} moves from {move.source}, the plan is for {plan.host}"
        if move.dest == plan.host:
            yield f"vm {move.vm} moves to {move.dest}, the host to be emptied"
        if move.dest not in names:
            yield f"vm {move.vm} moves to {move.dest}, which the inventory does not know"
        elif snapshot.facts(move.dest) is None or move.dest in unreachable:
            yield f"vm {move.vm} moves to {move.dest}, which was not read or is unreachable"
        if move.dest in cordoned:
            yield f"vm {move.vm} moves to {move.dest}, which is closed for arrivals"
        if move.uuid in snapshot.open_runs:
            yield f"vm {move.vm} already moves in run {snapshot.open_runs[move.uuid]}"


def _guest_kib(vm: Vm) -> int:
    return vm.max_memory_kib if vm.max_memory_kib > vm.memory_kib else vm.memory_kib


def _is_dead_weight(move: Move) -> bool:
    """Whether the VM is shut off there: an offline move, unless the VM is started at its end."""
    return move.mode is MigrationMode.OFFLINE and not move.restart


def _needs_kib(move: Move, vm: Vm) -> int:
    """Return the ordinary memory that the move takes: all of it, or what QEMU takes beside huge pages."""
    if _is_dead_weight(move):
        return 0
    guest = _guest_kib(vm)
    return (0 if vm.hugepages else guest) + _QEMU_KIB + int(guest * _QEMU_SHARE)


def _needs_pages(move: Move, vm: Vm, facts: HostFacts) -> tuple[int, int]:
    """Return (page size in KiB, pages); size 1 stands for pools that were not read and a guest that names no size."""
    if _is_dead_weight(move) or not vm.hugepages:
        return 1, 0
    sizes = {pool.size_kib: pool.free * pool.size_kib for pool in facts.hugepages or ()}
    size = vm.hugepage_kib or max(sizes, key=lambda s: (sizes[s], s), default=1)
    return size, (_guest_kib(vm) + size - 1) // size


def guest_takes(move: Move, vm: Vm, facts: HostFacts) -> tuple[int, int, int]:
    """Return what a move takes on its destination: KiB of ordinary memory, the size of huge pages, how many."""
    return _needs_kib(move, vm), *_needs_pages(move, vm, facts)


def _check_facts(plan: EvacuationPlan) -> Iterator[str]:
    """What a move says it takes is what its VM takes."""
    vms = _vms(plan)
    for move in plan.moves:
        vm, facts = vms.get(move.uuid), plan.snapshot.facts(move.dest)
        if vm is None or facts is None:
            continue
        size, pages = _needs_pages(move, vm, facts)
        if move.hugepages_kib != size * pages:
            yield (f"vm {move.vm} takes {size * pages} KiB of huge pages on {move.dest}, the plan says "
                   f"{move.hugepages_kib}")  # fmt: skip
        needed = _needs_kib(move, vm) + size * pages
        if abs(move.memory_kib - needed) > 1:
            yield f"vm {move.vm} takes {needed} KiB on {move.dest}, the plan says {move.memory_kib}"
        vcpus = 0 if _is_dead_weight(move) else vm.vcpus
        if move.vcpus != vcpus:
            yield f"vm {move.vm} takes {vcpus} vCPUs on {move.dest}, the plan says {move.vcpus}"


def _check_rules(plan: EvacuationPlan) -> Iterator[str]:
    """No rule blocks a move."""
    fleet, vms = Fleet(plan.snapshot), _vms(plan)
    policy = Policy.of(plan.snapshot.inventory.rules, plan.lifted)
    for move in plan.moves:
        vm = vms.get(move.uuid)
        if vm is None or move.source not in fleet.sides or move.dest not in fleet.sides:
            continue
        case = fleet.case(vm, move.source, move.dest, move.mode, policy=move.policy)
        for finding in check_move(case, policy).blockers:
            yield f"vm {move.vm} to {move.dest}: rule {finding.rule} blocks: {finding.message}"


def _arrivals(plan: EvacuationPlan) -> Iterator[tuple[Host, HostFacts, list[tuple[Move, Vm]]]]:
    """Yield each host that was read with the moves to it."""
    vms = _vms(plan)
    for host in plan.snapshot.inventory.hosts:
        facts = plan.snapshot.facts(host.name)
        if facts is not None:
            yield host, facts, [(m, vms[m.uuid]) for m in plan.moves if m.dest == host.name and m.uuid in vms]


def _check_memory(plan: EvacuationPlan) -> Iterator[str]:
    for host, facts, moves in _arrivals(plan):
        kept = host.reserves.memory_mib * 1024 + plan.snapshot.reserved.get(host.name, Reservation()).memory_kib
        free, taken = facts.memory_available_kib - kept, sum(_needs_kib(m, vm) for m, vm in moves)
        if taken > max(0, free):
            yield (f"{host.name} is over-committed: {taken // 1024} MiB of memory arrive, {free // 1024} MiB are free")


def _check_hugepages(plan: EvacuationPlan) -> Iterator[str]:
    """All guests on huge pages fit into the pools at once, where these were read."""
    for host, facts, moves in _arrivals(plan):
        if facts.hugepages is None:
            continue
        promised = plan.snapshot.reserved.get(host.name, Reservation()).hugepages_kib
        free = {pool.size_kib: pool.free for pool in facts.hugepages}
        taken: Counter[int] = Counter()
        for move, vm in moves:
            size, pages = _needs_pages(move, vm, facts)
            taken[size] += pages
        for size, pages in taken.items():
            if pages and pages * size + promised > free.get(size, 0) * size:
                yield (f"{host.name} is over-committed: {pages} pages of {size} KiB arrive, {free.get(size, 0)} are "
                       f"free, {promised} KiB are promised")  # fmt: skip


def _check_vcpus(plan: EvacuationPlan) -> Iterator[str]:
    for host, facts, moves in _arrivals(plan):
        there = sum(vm.vcpus for vm in facts.vms if vm.is_active)
        there += plan.snapshot.reserved.get(host.name, Reservation()).vcpus
        arriving = sum(vm.vcpus for m, vm in moves if not _is_dead_weight(m))
        allowed = facts.cpus * host.reserves.vcpu_ratio
        if arriving and there + arriving > allowed:
            yield f"{host.name} is over-committed: {there} + {arriving} vCPUs, {allowed:g} are allowed"


def _check_disk(plan: EvacuationPlan) -> Iterator[str]:
    """Copies and mirrored disks fit, all together, into every file system and volume group."""
    fleet = Fleet(plan.snapshot)
    for host, facts, moves in _arrivals(plan):
        written: list[Written] = []
        for move, vm in moves:
            files = what_is_written(fleet, move, vm)
            size = sum(file.size_bytes for file in files)
            if size != move.copy_bytes:
                yield f"vm {move.vm} copies {size} bytes to {host.name}, the plan says {move.copy_bytes}"
            written += files
        promised = plan.snapshot.reserved.get(host.name, Reservation()).disk_bytes
        yield from over_committed(facts, written, promised)


def _check_constraints(plan: EvacuationPlan) -> Iterator[str]:
    """No move breaks a hard constraint of the inventory or of a domain."""
    state = state_of(Fleet(plan.snapshot))
    yield from broken_by(plan.moves, collect_constraints(plan.snapshot, (), state)[0], state)
