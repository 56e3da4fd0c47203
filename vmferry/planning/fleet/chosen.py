"""Place first, then judge the moves that were chosen: judging all of them is what takes the time of a plan.

Most moves are allowed, and a placement whose every move passes all rules is one that judging everything allows too.
The VM whose move does not pass is judged for all hosts and all are placed anew, a Benders decomposition in its plainest
form (Hooker and Ottosson 2003). Where somebody finds no host nothing is concluded: then everything is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vmferry.model.constraint import Constraint, FleetState
from vmferry.model.plan import PlanRequest
from vmferry.planning.candidates import Candidate
from vmferry.planning.fleet.items import ROOM_RULES, Item, believed, judged, make_items
from vmferry.planning.fleet.problem import FleetProblem, Scope, build
from vmferry.planning.fleet.purposes import Solution, solve
from vmferry.rules.judge import Judge

_ROUNDS = 4


def judge_chosen(
    rules: Judge, scope: Scope, constraints: Sequence[Constraint], state: FleetState, request: PlanRequest
) -> tuple[FleetProblem, Solution] | None:
    """Return a placement of everybody who must leave, every move of it judged; None where none was found this way."""
    items = make_items(rules, scope.movers, scope.dests, constraints, state, believed)
    for _ in range(_ROUNDS):
        problem = build(rules, scope, constraints, state, items)
        solution = solve(problem, request)
        if solution.stuck:
            return None
        asked = _asked(rules, problem, solution, scope.dests)
        items = tuple(asked.get(number, item) for number, item in enumerate(items))
        moved = np.flatnonzero(solution.where != problem.board.home)
        if all(_may_go(items[int(n)], problem.hosts[int(solution.where[n])]) for n in moved):
            return replace(problem, items=items), solution
    return None


def _may_go(item: Item, dest: str) -> bool:
    return all(dest in candidate.demands for candidate in item.candidates)


def _asked(rules: Judge, problem: FleetProblem, solution: Solution, dests: Sequence[str]) -> dict[int, Item]:
    """Return the items that move as the rules have them."""
    found = {}
    for number in np.flatnonzero(solution.where != problem.board.home):
        item, dest = problem.items[int(number)], problem.hosts[int(solution.where[number])]
        others = [host for host in dests if host != item.home]
        asked = (_ask(rules, candidate, item.home, dest, others) for candidate in item.candidates)
        found[int(number)] = replace(item, candidates=tuple(asked))
    return found


def _ask(rules: Judge, candidate: Candidate, home: str, dest: str, others: Sequence[str]) -> Candidate:
    """Return the candidate with a report of the chosen move; judged for all hosts when that move is forbidden."""
    if dest in candidate.reports:
        return candidate
    report = rules.check(rules.case(candidate.vm, home, dest, candidate.mode))
    if all(finding.rule in ROOM_RULES for finding in report.blockers):
        return replace(candidate, reports=candidate.reports | {dest: report})
    return judged(rules, candidate.vm, home, others)
