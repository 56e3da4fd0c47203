"""What consolidation and balance do tonight: usage and worth around the placement of a whole fleet. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from vmferry.errors import InvalidInput
from vmferry.model.constraint import Constraint, ConstraintKind
from vmferry.model.evacuation import Move
from vmferry.model.host import FleetSnapshot, Host
from vmferry.model.journal import RunRecord
from vmferry.model.optimization import BalanceRequest, ConsolidationRequest, Decision
from vmferry.model.plan import Bounds, FleetPlan, PlanLimits, PlanRequest, Purpose, Score
from vmferry.model.usage import Demand, FleetUsage
from vmferry.model.worth import MovePrice, WorthPolicy
from vmferry.planning.demand import Sizing
from vmferry.planning.imbalance import find_imbalance
from vmferry.planning.worth import (
    cost_per_useful_hour,
    judge_emptying,
    price_host,
    price_move,
    resting_hosts,
    resting_vms,
)

Planner = Callable[[FleetSnapshot, PlanRequest], FleetPlan]
Foresee = Callable[[FleetPlan], FleetPlan]  # adds forecasts to moves
_MILLI = 1000


def consolidate(
    snapshot: FleetSnapshot,
    usage: FleetUsage,
    request: ConsolidationRequest,
    runs: Sequence[RunRecord],
    planner: Planner,
    foresee: Foresee = lambda plan: plan,
) -> Decision:
    """Return which hosts are emptied, the dearest first, as long as each is worth its moves.

    `runs` are recent runs of the journal, for the cool-down. Raises InvalidInput for unknown hosts. A host that is not
    worth it is kept, and all is planned again without it, so that no move is made for nothing.
    """
    _check_hosts(snapshot, request.hosts)
    left_alone = _vms_left_alone(snapshot, runs, request.worth)
    closed = _hosts_left_alone(snapshot, "consolidation")
    resting = resting_hosts(runs, snapshot.taken_at, request.worth)
    left_alone |= closed | {host: why for host, why in resting.items() if host not in closed}
    hosts = [h for h in request.hosts or snapshot.inventory.names() if snapshot.facts(h) and h not in left_alone]
    prices = {host.name: price_host(host) for host in snapshot.inventory.hosts}
    while True:
        asked = _consolidation(snapshot, usage, request, left_alone, closed, hosts)
        plan = foresee(planner(snapshot, asked)) if hosts else _nothing(snapshot, asked)
        worth = judge_emptying(_moves_by_host(plan, request.worth, hosts), prices, request.worth)
        refused = {saving.host for saving in worth.savings if not saving.is_worth}
        if not worth.is_worth or not refused:
            break
        hosts = [host for host in hosts if host not in refused]
    if not worth.is_worth:
        plan = _nothing(snapshot, plan.request)
    assumed = tuple(s.host for s in worth.savings if prices[s.host].is_assumed)
    return Decision(purpose=Purpose.CONSOLIDATE, plan=plan, worth=worth, left_alone=left_alone, assumed=assumed)


def balance(
    snapshot: FleetSnapshot,
    usage: FleetUsage,
    request: BalanceRequest,
    runs: Sequence[RunRecord],
    planner: Planner,
    foresee: Foresee = lambda plan: plan,
) -> Decision:
    """Return the moves that relieve hosts which were too busy for long enough; none where nothing lasted."""
    _check_hosts(snapshot, request.hosts)
    closed = _hosts_left_alone(snapshot, "balance")
    rest = WorthPolicy(vm_cooldown_h=request.vm_cooldown_h)
    left_alone = _vms_left_alone(snapshot, runs, rest) | closed
    part = [h for h in request.hosts or snapshot.inventory.names() if snapshot.facts(h) and h not in closed]
    facts = {host: read for host in part if (read := snapshot.facts(host)) is not None}
    found = find_imbalance(
        {host: usage.hosts.get(host, ()) for host in part},
        {host: one.cpus for host, one in facts.items()},
        {host: one.memory_total_kib // 1024 for host, one in facts.items()},
        request,
        snapshot.taken_at,
    )
    hot = {one.host for one in found.hot}
    calm = tuple(str(vm.uuid) for host, one in facts.items() if host not in hot for vm in one.vms)
    asked = PlanRequest(
        purpose=Purpose.BALANCE,
        hosts=tuple(part),
        expected=expected_use(snapshot, usage, 100.0),
        constraints=(*_stay(left_alone, snapshot), *_root(calm, "on a host that is not too busy")),
        limits=PlanLimits(max_moves=request.max_moves, min_gain=request.min_gain),
        lift=request.lift,
    )
    plan = foresee(planner(snapshot, asked)) if hot else _nothing(snapshot, asked)
    return Decision(purpose=Purpose.BALANCE, plan=plan, balance=found, left_alone=left_alone)


def expected_use(snapshot: FleetSnapshot, usage: FleetUsage, cpu_percent: float) -> dict[str, tuple[int, int]]:
    """Return vm uuid → (thousandths of a CPU, MiB) that it counts with, so that a host holds `cpu_percent` of its CPUs.

    The planner fills CPUs to the brim; what stays free, for peaks that meet and beyond `cpu_percent`, is added to
    each VM in proportion. VMs that were not observed count with their vCPUs.
    """
    running = {str(vm.uuid): vm for facts in snapshot.hosts for vm in facts.vms if vm.is_active}
    demands = {uuid: usage.demands.get(uuid) or _unknown(vm.vcpus) for uuid, vm in running.items()}
    cpus = [facts.cpus for facts in snapshot.hosts if facts.cpus]
    if not cpus:
        return {}
    sizing = Sizing.of(tuple(demands.values()), min(cpus))
    # The smallest host gives the largest share of its CPUs away.
    fill = cpu_percent / 100 * max(0.1, 1 - sizing.headroom() / min(cpus))
    return {
        uuid: (math.ceil(round(sizing.size(demand) / fill * _MILLI, 1)), running[uuid].memory_kib // 1024)
        for uuid, demand in demands.items()
    }


def _unknown(vcpus: int) -> Demand:
    return Demand(cpus=vcpus, mean_cpus=vcpus, samples=0, basis="not observed: all of its vCPUs")


def _consolidation(
    snapshot: FleetSnapshot,
    usage: FleetUsage,
    request: ConsolidationRequest,
    left_alone: dict[str, str],
    closed: dict[str, str],
    hosts: Sequence[str],
) -> PlanRequest:
    costs = {
        host.name: cost_per_useful_hour(price_host(host), facts.cpus)
        for host in snapshot.inventory.hosts
        if (facts := snapshot.facts(host.name)) is not None
    }
    quarantine = tuple(host for host in closed if snapshot.facts(host) is not None)
    apart = Constraint(kind=ConstraintKind.QUARANTINE, name="takes-no-part", hosts=quarantine, origin="inventory")
    return PlanRequest(
        purpose=Purpose.CONSOLIDATE,
        hosts=tuple(hosts),
        costs=costs,
        expected=expected_use(snapshot, usage, request.cpu_percent),
        constraints=(*_stay(left_alone, snapshot), *((apart,) if quarantine else ())),
        limits=PlanLimits(max_moves=request.worth.max_moves, reserve=request.reserve),
        lift=request.lift,
    )


def _moves_by_host(plan: FleetPlan, policy: WorthPolicy, hosts: Sequence[str]) -> dict[str, list[MovePrice]]:
    """Return host → the prices of its moves, the dearest hosts first; moves that only make room go to the last one."""
    freed = [host for host in plan.freed if host in hosts]
    costs = plan.request.costs
    groups: dict[str, list[MovePrice]] = {host: [] for host in sorted(freed, key=lambda h: (-costs.get(h, 1.0), h))}
    for move in plan.moves:
        owner = move.source if move.source in groups else next(reversed(groups), None)
        if owner is not None:
            groups[owner].append(price_move(move, policy))
    return groups


def _nothing(snapshot: FleetSnapshot, request: PlanRequest) -> FleetPlan:
    """Return the plan that moves nobody."""
    used = sum(1 for facts in snapshot.hosts if facts.vms)
    shares = [1 - facts.memory_available_kib / max(1, facts.memory_total_kib) for facts in snapshot.hosts]
    score = Score(
        stranded=0,
        broken_soft=0,
        moves=0,
        extra_moves=0,
        memory_kib=0,
        copy_bytes=0,
        hosts_used=used,
        peak_share=max(shares, default=0.0),
    )
    bounds = Bounds(hosts_used=0, moves=0)
    return FleetPlan(request=request, moves=(), stranded=(), freed=(), score=score, bounds=bounds, snapshot=snapshot)


def _check_hosts(snapshot: FleetSnapshot, hosts: Sequence[str]) -> None:
    unknown = [host for host in hosts if snapshot.inventory.find(host) is None]
    if unknown:
        problems = tuple(f"host {host} is not in the inventory" for host in unknown)
        raise InvalidInput("; ".join(problems), problems=problems)


def _hosts_left_alone(snapshot: FleetSnapshot, what: str) -> dict[str, str]:
    """Return host → why it takes no part: the inventory says so, it is closed, or it was not read."""
    cordons = {cordon.host: cordon.reason for cordon in snapshot.cordons}
    gone = {lost.host: lost.reason for lost in snapshot.unreachable}
    found: dict[str, str] = {}
    for host in snapshot.inventory.hosts:
        if not _takes_part(host, what):
            found[host.name] = f"the inventory says takes_part: {{{what}: false}}"
        elif host.name in cordons:
            found[host.name] = f"cordoned: {cordons[host.name]}"
        elif host.name in gone:
            found[host.name] = f"not read: {gone[host.name]}"
    return found


def _takes_part(host: Host, what: str) -> bool:
    return host.takes_part.consolidation if what == "consolidation" else host.takes_part.balance


def _vms_left_alone(snapshot: FleetSnapshot, runs: Sequence[RunRecord], policy: WorthPolicy) -> dict[str, str]:
    """Return vm uuid → why it is not moved: excluded in the inventory, or moved not long ago."""
    patterns = snapshot.inventory.optimization.exclude_vms
    resting = resting_vms(runs, snapshot.taken_at, policy)
    found: dict[str, str] = {}
    for facts in snapshot.hosts:
        for vm in facts.vms:
            key = str(vm.uuid)
            if pattern := next((p for p in patterns if fnmatchcase(vm.name, p)), None):
                found[key] = f"{vm.name} is excluded in the inventory ({pattern})"
            elif key in resting:
                found[key] = f"{vm.name} {resting[key]}"
    return found


def _stay(left_alone: dict[str, str], snapshot: FleetSnapshot) -> tuple[Constraint, ...]:
    names = set(snapshot.inventory.names())
    return _root(tuple(key for key in left_alone if key not in names), "left alone")


def _root(vms: tuple[str, ...], why: str) -> tuple[Constraint, ...]:
    return (Constraint(kind=ConstraintKind.ROOT, name=why, vms=vms, origin="this run"),) if vms else ()


def moves_of(decision: Decision) -> tuple[Move, ...]:
    """Return the moves in the order of starting."""
    return tuple(sorted(decision.plan.moves, key=lambda move: move.order))
