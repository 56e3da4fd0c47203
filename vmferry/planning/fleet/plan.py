"""Plan a fleet: evacuate, consolidate, balance, return, relocate. Pure and deterministic, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vmferry.model.constraint import Constraint, FleetState, Violation
from vmferry.model.host import FleetSnapshot
from vmferry.model.plan import Bounds, FleetPlan, PlanRequest, Purpose, Reserve, Score
from vmferry.planning.constraints.check import check_constraints
from vmferry.planning.constraints.collect import collect_constraints
from vmferry.planning.constraints.state import state_of
from vmferry.planning.fleet.asked import check_request, return_constraints, scope_of
from vmferry.planning.fleet.chosen import judge_chosen
from vmferry.planning.fleet.outcome import make_moves, make_stranded
from vmferry.planning.fleet.problem import FleetProblem, build, with_board
from vmferry.planning.fleet.purposes import Solution, solve
from vmferry.planning.fleet.resources import MEMORY
from vmferry.planning.fleet.states import board_at
from vmferry.planning.fleet.survive import not_survivable
from vmferry.rules.case import Fleet
from vmferry.rules.judge import Judge

_SOFT_TRIED = 20  # soft constraints that are tried one by one; of more, all are dropped together
_SLACKS = (0, 4, 8, 12, 16, 20, 25, 30, 40)  # percent of each host's memory that is kept free for N+1, in turn


@dataclass(frozen=True)
class _Asked:
    """What does not change while a plan is looked for."""

    rules: Judge
    request: PlanRequest
    state: FleetState


@dataclass(frozen=True)
class _Found:
    problem: FleetProblem
    solution: Solution
    lost: tuple[str, ...] = ()
    held_by: str = ""  # the limit of the plan that leaves somebody behind who has room


def plan(snapshot: FleetSnapshot, request: PlanRequest) -> FleetPlan:
    """Return the plan; the same snapshot and request give the same bytes.

    Raises InvalidInput with every problem at once: unknown names, constraints that contradict each other, no hosts.
    """
    fleet = Fleet(snapshot)
    state = state_of(fleet)
    check_request(fleet, request, state)
    constraints, notes = collect_constraints(snapshot, request.constraints, state)
    asked = _Asked(Judge(fleet, request.lift), request, state)
    found = _with_reserve(asked, _soft_last(asked, (*constraints, *return_constraints(request, state))))
    return _as_plan(asked, found, constraints, notes)


def _soft_last(asked: _Asked, constraints: Sequence[Constraint]) -> _Found:
    """Keep all soft constraints if that leaves nobody behind; else as many as leave no more behind than none would."""
    hard = [c for c in constraints if c.is_hard]
    soft = [c for c in constraints if not c.is_hard]
    best = _attempt(asked, constraints)
    if not soft or not best.solution.stuck:
        return best
    bare = _attempt(asked, hard)
    least = len(bare.solution.stuck)
    if least >= len(best.solution.stuck):
        return best
    kept, best = list(hard), bare
    for constraint in soft[:_SOFT_TRIED]:
        tried = _attempt(asked, [*kept, constraint])
        if len(tried.solution.stuck) <= least:
            kept.append(constraint)
            best = tried
    return best


def _attempt(asked: _Asked, constraints: Sequence[Constraint]) -> _Found:
    """Place those that must leave; if some find no host, judge and move others too."""
    request, fleet = asked.request, asked.rules.fleet
    is_wide = request.limits.reserve is not Reserve.NONE
    scope = scope_of(fleet, request, asked.state, is_wide=is_wide)
    if scope.leaving and not is_wide and (quick := judge_chosen(asked.rules, scope, constraints, asked.state, request)):
        return _Found(*quick)
    problem = build(asked.rules, scope, constraints, asked.state)
    found = _Found(problem, solve(problem, request))
    may_more = request.limits.max_extra_moves != 0 and not is_wide
    if not may_more or not any(_may_fit(problem, item) for item in found.solution.stuck):
        return found
    wide = build(asked.rules, scope_of(fleet, request, asked.state, is_wide=True), constraints, asked.state)
    other = solve(wide, request)
    return _Found(wide, other) if len(other.stuck) < len(found.solution.stuck) else found


def _may_fit(problem: FleetProblem, item: int) -> bool:
    """Whether rules and constraints leave a host: only then it helps that others move."""
    return bool((problem.board.allowed[problem.board.row[item]] & problem.is_open).any())


def _with_reserve(asked: _Asked, found: _Found) -> _Found:
    """Keep more and more memory free until the loss of any one host is survived; if it never is, move nothing."""
    if asked.request.limits.reserve is Reserve.NONE:
        return found
    are_off = asked.request.purpose is Purpose.CONSOLIDATE
    lost = not_survivable(found.problem, found.solution.where, are_empty_off=are_off)
    first = replace(found, lost=lost)
    best = first
    for slack in _SLACKS[1:] if first.lost else ():
        solution = solve(_with_slack(found.problem, slack), asked.request)
        lost = not_survivable(found.problem, solution.where, are_empty_off=are_off)
        if (len(lost), len(solution.stuck)) < (len(best.lost), len(best.solution.stuck)):
            if asked.request.limits.reserve is Reserve.SOFT and len(solution.stuck) > len(first.solution.stuck):
                continue
            best = replace(found, solution=solution, lost=lost)
        if not best.lost:
            is_held = len(solution.stuck) > len(first.solution.stuck)
            return replace(best, held_by=_reserve_words(first.lost) if is_held else "")
    if best.lost and asked.request.limits.reserve is Reserve.HARD:
        where = found.problem.board.home.copy()
        stuck = tuple(sorted(found.problem.leaving))
        held_by = _reserve_words(first.lost)
        return replace(best, solution=Solution(where, stuck, found.solution.bound), held_by=held_by)
    return best


def _reserve_words(lost: Sequence[str]) -> str:
    return f"reserve hard: after all moves the loss of {', '.join(lost)} would leave VMs without room"


def _with_slack(problem: FleetProblem, percent: int) -> FleetProblem:
    """Return the problem with less memory on each host; nobody who is there has to leave for it."""
    capacity = problem.board.capacity.copy()
    memory = capacity[:, MEMORY]
    capacity[:, MEMORY] = memory - np.maximum(memory, 0) * percent // 100
    return with_board(problem, problem.board._replace(capacity=capacity))


def end_state(found_state: FleetState, moves: Sequence[tuple[str, str]]) -> FleetState:
    """Return the state after (vm, dest) of all moves."""
    return found_state.moved({vm: (dest,) for vm, dest in moves})


def _as_plan(asked: _Asked, found: _Found, constraints: tuple[Constraint, ...], notes: tuple[str, ...]) -> FleetPlan:
    problem, solution, request = found.problem, found.solution, asked.request
    moves = make_moves(problem, solution, request.purpose)
    stranded = make_stranded(problem, solution, problem.fleet.snapshot.inventory.names(), _held_by(asked, found))
    end = end_state(asked.state, [(move.uuid, move.dest) for move in moves])
    broken = check_constraints(constraints, end)
    after = board_at(problem, solution.where)
    return FleetPlan(
        request=request,
        moves=moves,
        stranded=stranded,
        freed=tuple(problem.hosts[h] for h in np.flatnonzero((problem.board.held > 0) & (after.held == 0))),
        score=_score(found, broken, moves),
        bounds=Bounds(hosts_used=solution.bound, moves=len(problem.leaving)),
        notes=(*notes, *_notes(asked, found, broken, len(moves))),
        constraints=constraints,
        snapshot=problem.fleet.snapshot,
    )


def _held_by(asked: _Asked, found: _Found) -> str:
    """Return the limit of the plan that keeps VMs where they are that a host has room for; empty without one."""
    limits = asked.request.limits
    return found.held_by or (f"max_moves {limits.max_moves}" if limits.max_moves is not None else "")


def _score(found: _Found, broken: Sequence[Violation], moves: Sequence[object]) -> Score:
    problem, solution = found.problem, found.solution
    after = board_at(problem, solution.where)
    moved = [int(i) for i in np.flatnonzero(solution.where != problem.board.home)]
    demands = [
        candidate.demands[problem.hosts[int(solution.where[i])]]
        for i in moved
        for candidate in problem.items[i].candidates
    ]
    room = np.maximum(after.capacity[:, MEMORY], 1)
    return Score(
        stranded=sum(len(problem.items[i].vms) for i in solution.stuck),
        broken_soft=sum(not violation.constraint.is_hard for violation in broken),
        moves=len(moves),
        extra_moves=sum(i not in problem.leaving for i in moved) if problem.leaving else 0,
        memory_kib=sum(demand.all_memory_kib for demand in demands),
        copy_bytes=sum(demand.copy_bytes for demand in demands),
        hosts_used=int(np.count_nonzero(after.held)),
        peak_share=round(float((after.load[:, MEMORY] / room).max(initial=0.0)), 6),
        not_survivable=found.lost,
    )


def _notes(asked: _Asked, found: _Found, broken: Sequence[Violation], moves: int) -> list[str]:
    notes = [violation.words() for violation in broken]
    if found.held_by:
        notes.append(found.held_by)
    elif found.lost:
        notes.append(f"N+1: the loss of {', '.join(found.lost)} would leave VMs without room")
    if not moves and asked.request.purpose in (Purpose.CONSOLIDATE, Purpose.BALANCE):
        notes.append("nothing worth doing")
    return notes
