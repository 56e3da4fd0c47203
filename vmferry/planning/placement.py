"""Plan a host's evacuation: every domain gets a destination or reasons why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from vmferry.errors import InvalidInput
from vmferry.model.convergence import PolicyName
from vmferry.model.evacuation import EvacuationPlan, EvacuationRequest, Move
from vmferry.model.host import FleetSnapshot
from vmferry.model.vm import Vm
from vmferry.planning.board import Board
from vmferry.planning.candidates import Candidate, only_to
from vmferry.planning.evacuation_core import core_problem, explanations, fewer_left, has_constraints, place_by_core
from vmferry.planning.fleet.problem import FleetProblem
from vmferry.planning.order import order_moves
from vmferry.planning.repair import BUDGET, Budget, make_room
from vmferry.planning.stranding import why_stranded
from vmferry.planning.ways_out import is_restart, judge_way
from vmferry.rules.case import Fleet
from vmferry.rules.judge import Judge
from vmferry.rules.policy import check_lifted


def plan_evacuation(snapshot: FleetSnapshot, request: EvacuationRequest) -> EvacuationPlan:
    """Return moves and stranded VMs for all domains of the host, running or not.

    Pure and deterministic: the same snapshot and request give the same plan. Raises InvalidInput with every
    unknown host or VM name at once, or when the host to be emptied was not read.
    """
    fleet = Fleet(snapshot)
    _check_request(fleet, request)
    return plan_judged(fleet, request, judge_all(Judge(fleet, request.lift), request))


def plan_judged(
    fleet: Fleet,
    request: EvacuationRequest,
    candidates: Sequence[Candidate],
    keep: Mapping[str, tuple[str, str]] = MappingProxyType({}),
    *,
    is_kept_only: bool = False,
) -> EvacuationPlan:
    """Return the plan for candidates that are judged already: all domains of the host, each for all destinations.

    The request is one that `plan_evacuation` would accept. `keep` holds places of an earlier plan, VM's UUID →
    destination and why: they are kept where they are still possible, and left for no other VM's sake where
    `is_kept_only` says so.
    """
    if has_constraints(fleet.snapshot):
        return _constrained(fleet, request, candidates, keep, is_kept_only)
    board = Board(fleet, _dests(fleet, request))
    reasons = _keep(board, candidates, keep, is_kept_only)
    kept = frozenset(reasons) if is_kept_only else frozenset()
    reasons |= place_together(fleet, board, [c for c in candidates if c.key not in reasons], request.host)
    bound = [only_to(c, board.dest_of[c.key]) if c.key in kept else c for c in candidates]
    core = _improve(fleet, request, board, bound, reasons, kept)
    moves = _moves(request, candidates, board.dest_of, reasons)
    stuck = sorted((c for c in candidates if c.key not in board.dest_of), key=lambda c: (c.vm.name, c.key))
    tried = _tried(fleet, request)
    why = explanations(core, board.dest_of, [c.key for c in stuck]) if core is not None else {}
    stranded = tuple(
        why_stranded(fleet, board, candidate, request.host, tried).model_copy(
            update={"explanation": why.get(candidate.key)}
        )
        for candidate in stuck
    )
    return EvacuationPlan(
        host=request.host, moves=moves, stranded=stranded, snapshot=fleet.snapshot, lifted=request.lift
    )


def _keep(
    board: Board, candidates: Sequence[Candidate], keep: Mapping[str, tuple[str, str]], is_kept_only: bool
) -> dict[str, str]:
    """Put VMs where an earlier plan had them, in its order; return why they are there.

    Those that are to stay there have no other place for the repairs that follow.
    """
    by_key, reasons = {c.key: c for c in candidates}, dict[str, str]()
    for key, (dest, reason) in keep.items():
        if (candidate := by_key.get(key)) is not None and board.fits(candidate, dest):
            board.place(only_to(candidate, dest) if is_kept_only else candidate, dest)
            reasons[key] = reason
    return reasons


def _constrained(
    fleet: Fleet,
    request: EvacuationRequest,
    candidates: Sequence[Candidate],
    keep: Mapping[str, tuple[str, str]],
    is_kept_only: bool,
) -> EvacuationPlan:
    """Where constraints bind, the solver places all VMs."""
    dests, tried = _dests(fleet, request), _tried(fleet, request)
    found = place_by_core(fleet, request.host, dests, candidates, tried, keep, is_kept_only=is_kept_only)
    return EvacuationPlan(
        host=request.host,
        moves=_moves(request, candidates, found.dest_of, found.reasons),
        stranded=found.stranded,
        snapshot=fleet.snapshot,
        lifted=request.lift,
    )


def _improve(
    fleet: Fleet,
    request: EvacuationRequest,
    board: Board,
    candidates: Sequence[Candidate],
    reasons: dict[str, str],
    kept: frozenset[str],
) -> FleetProblem | None:
    """Ask the solver where somebody is left who has a feasible host; return its problem, None where nobody is.

    None of `kept` is left behind for others.
    """
    left = [c for c in candidates if c.key not in board.dest_of and c.demands]
    if not left:
        return None
    problem = core_problem(fleet, request.host, _dests(fleet, request), candidates)
    found = fewer_left(problem, len(candidates) - len(board.dest_of))
    if found is not None and kept <= found.keys():
        _replace(board, candidates, found, reasons)
    return problem


def _replace(board: Board, candidates: Sequence[Candidate], found: dict[str, str], reasons: dict[str, str]) -> None:
    """Put every VM where the solver has it: it counts no room twice, so all fit."""
    before = dict(board.dest_of)
    for candidate in candidates:
        if candidate.key in before:
            board.lift(candidate)
    for candidate in candidates:
        if (dest := found.get(candidate.key)) is None:
            continue
        board.place(candidate, dest)
        if before.get(candidate.key) != dest:
            was = before.get(candidate.key)
            instead = f"placed here instead of on {was} to make room for others" if was else "no host had room at first"
            reasons[candidate.key] = f"{instead}; all VMs of the host were placed together"


def _moves(
    request: EvacuationRequest, candidates: Sequence[Candidate], dest_of: dict[str, str], reasons: dict[str, str]
) -> tuple[Move, ...]:
    by_key = {c.key: c for c in candidates}
    ordered = order_moves([(by_key[key], dest) for key, dest in dest_of.items()])
    return tuple(_move(c, request, dest, reasons[c.key], i) for i, (c, dest) in enumerate(ordered))


def destinations(snapshot: FleetSnapshot, request: EvacuationRequest) -> tuple[str, ...]:
    """Return the hosts that may receive VMs and were read, in the inventory's order.

    Raises InvalidInput with every problem of the request at once, before anything is touched.
    """
    fleet = Fleet(snapshot)
    _check_request(fleet, request)
    return _dests(fleet, request)


def _tried(fleet: Fleet, request: EvacuationRequest) -> tuple[str, ...]:
    names = fleet.snapshot.inventory.names()
    return tuple(n for n in names if n != request.host and (not request.dests or n in request.dests))


def _dests(fleet: Fleet, request: EvacuationRequest) -> tuple[str, ...]:
    """Return the destinations that were read, in the inventory's order."""
    return tuple(name for name in _tried(fleet, request) if name in fleet.sides)


def _check_request(fleet: Fleet, request: EvacuationRequest) -> None:
    names, side = fleet.snapshot.inventory.names(), fleet.sides.get(request.host)
    known = ", ".join(names)
    problems = [f"dests: no host {d} in the inventory ({known})" for d in request.dests if d not in names]
    if request.host in request.dests:
        problems.append(f"dests: {request.host} is the host to be emptied")
    if request.host not in names:
        problems.append(f"host: no host {request.host} in the inventory ({known})")
    elif side is None:
        why = next((u.reason for u in fleet.snapshot.unreachable if u.host == request.host), "it was not asked")
        problems.append(f"host: {request.host} was not read: {why}; an evacuation needs its list of VMs")
    else:
        for field, named in (("modes", request.modes), ("policies", request.policies)):
            vms = [vm for vm in named if side.facts.find_vm(vm) is None]
            problems += [f"{field}: no VM {vm} on {request.host}; see `virsh list --all` there" for vm in vms]
    problems += [f"lift: {problem}" for problem in check_lifted(request.lift)]
    if problems:
        raise InvalidInput(
            f"evacuation of {request.host}: " + "; ".join(problems),
            problems=tuple(problems),
            host=request.host,
        )


def judge_all(rules: Judge, request: EvacuationRequest) -> list[Candidate]:
    """Judge all destinations for all domains of the host, each for its way out."""
    dests = _dests(rules.fleet, request)
    vms = sorted(rules.fleet.side(request.host).facts.vms, key=lambda vm: (vm.name, str(vm.uuid)))
    return [judge_way(rules, vm, request, dests, _policy(request, vm)) for vm in vms]


def _policy(request: EvacuationRequest, vm: Vm) -> PolicyName | None:
    policies = request.policies
    return policies.get(vm.name) or policies.get(str(vm.uuid)) or request.policy


def place_together(
    fleet: Fleet, board: Board, candidates: Sequence[Candidate], source: str, tries: int = BUDGET
) -> dict[str, str]:
    """Place the hardest VM first, then repair for those left over; return why each VM is where it is.

    Repairs end after so many `tries`.
    """
    reasons: dict[str, str] = {}
    candidates = sorted(candidates, key=lambda candidate: candidate.hardness)
    for candidate in candidates:
        reason = _place_best(fleet, board, candidate, source)
        if reason is not None:
            reasons[candidate.key] = reason
    budget = Budget(tries)
    # A repair shifts free room about, so it may help one that was tried before: again until none gains.
    while any([_repair(board, c, budget, reasons) for c in candidates if c.key not in board.dest_of]):
        pass
    return reasons


def _repair(board: Board, candidate: Candidate, budget: Budget, reasons: dict[str, str]) -> bool:
    before = dict(board.dest_of)
    if make_room(board, candidate, budget) is None:
        return False
    reasons[candidate.key] = "no host had room at first; others were placed elsewhere to make it"
    for key, dest in before.items():
        if board.dest_of[key] != dest:
            reasons[key] = f"placed here instead of on {dest} to make room for {candidate.vm.name} there"
    return True


def _place_best(fleet: Fleet, board: Board, candidate: Candidate, source: str) -> str | None:
    """Place a VM where the largest share stays free, own site first; return why, None without room."""
    fitting = [dest for dest in candidate.demands if board.fits(candidate, dest)]
    if not fitting:
        return None
    site = fleet.side(source).host.site
    shares = {dest: board.free_share(candidate, dest) for dest in fitting}

    def rank(dest: str) -> tuple[bool, float, int]:
        return (fleet.side(dest).host.site != site, -shares[dest], len(board.rooms[dest].placed))

    best = min(fitting, key=rank)  # ties go to the inventory's order
    board.place(candidate, best)
    if len(candidate.demands) == 1:
        return "the only host that can take it"
    rest = f"keeps the most free of {len(fitting)} hosts with room ({100 * shares[best]:.0f} %)"
    return rest if fleet.side(best).host.site == site else f"another site: none on site {site} has room; {rest}"


def _move(candidate: Candidate, request: EvacuationRequest, dest: str, reason: str, order: int) -> Move:
    demand = candidate.demands[dest]
    return Move(
        vm=candidate.vm.name,
        uuid=candidate.key,
        source=request.host,
        dest=dest,
        mode=candidate.mode,
        mode_reason=candidate.mode_reason,
        policy=_policy(request, candidate.vm),
        dest_reason=reason,
        order=order,
        memory_kib=demand.all_memory_kib,
        hugepages_kib=demand.hugepages_kib,
        vcpus=demand.vcpus,
        copy_bytes=demand.copy_bytes,
        restart=is_restart(candidate.vm),
        warnings=candidate.reports[dest].warnings,
    )
