"""One host's evacuation handed to the solver: where constraints bind, where the greedy leaves somebody, and to explain.

Only the host's own VMs move: an evacuation flow moves nobody else. `planning.fleet` plans with others moving too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from vmferry.model.constraint import Constraint, FleetState
from vmferry.model.evacuation import Stranded
from vmferry.model.explanation import Explanation
from vmferry.model.host import FleetSnapshot
from vmferry.model.plan import Purpose
from vmferry.planning.candidates import Candidate, only_to
from vmferry.planning.constraints.collect import collect_constraints
from vmferry.planning.constraints.state import state_of
from vmferry.planning.fleet.explain import explain
from vmferry.planning.fleet.items import Item, bundles_of
from vmferry.planning.fleet.outcome import make_stranded, why_there
from vmferry.planning.fleet.problem import FleetProblem, assemble
from vmferry.planning.fleet.purposes import Solution
from vmferry.planning.fleet.resources import read_resources
from vmferry.planning.fleet.states import board_at
from vmferry.rules.case import Fleet
from vmferry.solver.packing.board import Board
from vmferry.solver.packing.placing import Placing, place_items

_BUDGET = 500_000


@dataclass(frozen=True)
class CorePlan:
    """Where each VM goes and why, and those that found no place."""

    dest_of: dict[str, str]
    reasons: dict[str, str]
    stranded: tuple[Stranded, ...]


def has_constraints(snapshot: FleetSnapshot) -> bool:
    """Whether anybody said anything about who may be where."""
    return bool(snapshot.inventory.constraints) or any(
        vm.placement_wishes for facts in snapshot.hosts for vm in facts.vms
    )


def place_by_core(
    fleet: Fleet,
    source: str,
    dests: Sequence[str],
    candidates: Sequence[Candidate],
    tried: Sequence[str],
    keep: Mapping[str, tuple[str, str]] = MappingProxyType({}),
    *,
    is_kept_only: bool = False,
) -> CorePlan:
    """Place the candidates under all constraints; soft ones give way where somebody would be left behind.

    `keep` holds places of an earlier plan, VM's UUID → destination and why: they are kept as long as nobody is left
    behind for them, or whoever is left behind where `is_kept_only` says so.
    """
    kept = {c.key for c in candidates if keep.get(c.key, ("", ""))[0] in c.demands}
    bound = [only_to(c, keep[c.key][0]) if c.key in kept else c for c in candidates]
    found = _place(fleet, source, dests, bound, tried)
    if found.stranded and kept and not is_kept_only:
        free = _place(fleet, source, dests, candidates, tried)
        found = free if len(free.stranded) < len(found.stranded) else found
    same = {key: keep[key][1] for key in kept if found.dest_of.get(key) == keep[key][0]}
    return replace(found, reasons=found.reasons | same)


def _place(
    fleet: Fleet, source: str, dests: Sequence[str], candidates: Sequence[Candidate], tried: Sequence[str]
) -> CorePlan:
    state = state_of(fleet)
    constraints, _ = collect_constraints(fleet.snapshot, (), state)
    problem = core_problem(fleet, source, dests, candidates, constraints, state)
    found, left = _solve(problem)
    if left and not all(c.is_hard for c in constraints):
        firm = [c for c in constraints if c.is_hard]
        other = core_problem(fleet, source, dests, candidates, firm, state)
        second, fewer = _solve(other)
        if len(fewer) < len(left):
            problem, found, left = other, second, fewer
    where = found.where.copy()
    where[list(left)] = problem.board.home[list(left)]
    stranded = make_stranded(problem, Solution(where, tuple(left), 0), tried)
    moved = {n: int(where[n]) for n in sorted(problem.leaving) if n not in left}
    board = board_at(problem, where)
    return CorePlan(
        dest_of={key: problem.hosts[h] for n, h in moved.items() for key in problem.items[n].keys},
        reasons={key: why_there(problem, board, n, Purpose.EVACUATE) for n in moved for key in problem.items[n].keys},
        stranded=stranded,
    )


def _solve(problem: FleetProblem) -> tuple[Board, tuple[int, ...]]:
    """Return a placement and the items without a place.

    One more host never leaves more behind: where the exact solver proves its answer there is no better one, and a host
    more only adds answers. Where it does not, the placements that leave one host alone are looked at too.
    """
    items = np.array(sorted(problem.leaving), np.int64)
    home_sites = {problem.fleet.side(problem.items[n].home).host.site for n in problem.leaving}
    rank = np.array([problem.fleet.side(h).host.site not in home_sites for h in problem.hosts], np.int64)
    asked = Placing(items, problem.is_open, rank, budget=_BUDGET)
    best, hosts = place_items(problem.board, asked), np.flatnonzero(problem.is_open)
    for host in () if best.is_proved else hosts:
        others = problem.is_open.copy()
        others[host] = False
        rest = replace(asked, is_open=others, budget=_BUDGET // len(hosts), is_exact=False)
        found = place_items(problem.board, rest)
        best = found if len(found.left) < len(best.left) else best
    return best.board, best.left


def core_problem(
    fleet: Fleet,
    source: str,
    dests: Sequence[str],
    candidates: Sequence[Candidate],
    constraints: Iterable[Constraint] = (),
    state: FleetState | None = None,
) -> FleetProblem:
    """Return the evacuation as a problem of the solver; every VM of other hosts stays."""
    known = state or state_of(fleet)
    asked = tuple(constraints)
    together = bundles_of(asked, known)
    bundles: dict[object, list[Candidate]] = {}
    for candidate in candidates:
        bundles.setdefault(together.get(candidate.key, candidate.key), []).append(candidate)
    items = [Item(tuple(c.vm for c in cs), source, tuple(cs)) for cs in bundles.values()]
    leaving = frozenset(range(len(items)))
    for name, side in fleet.sides.items():
        if name != source:
            items += [Item((vm,), name) for _, vm in side.keyed]
    resources = read_resources(fleet, tuple(fleet.sides), items)
    is_open = np.array([host in dests for host in fleet.sides], np.bool_)
    return assemble(fleet, tuple(items), resources, asked, known, is_open, leaving)


def fewer_left(problem: FleetProblem, left: int) -> dict[str, str] | None:
    """Return VM → host of a placement that leaves fewer than so many behind; None without one."""
    found, missing = _solve(problem)
    if sum(len(problem.items[n].vms) for n in missing) >= left:
        return None
    return {
        key: problem.hosts[int(found.where[n])]
        for n in sorted(problem.leaving)
        if n not in missing
        for key in problem.items[n].keys
    }


def explanations(problem: FleetProblem, dest_of: dict[str, str], stuck: Iterable[str]) -> dict[str, Explanation]:
    """Explain the VMs that have no place while the others go where they are said to."""
    number = {key: n for n in problem.leaving for key in problem.items[n].keys}
    where = problem.board.home.copy()
    for key, dest in dest_of.items():
        where[number[key]] = problem.place[dest]
    board = board_at(problem, where)
    return {key: explain(problem, board, number[key]) for key in stuck}
