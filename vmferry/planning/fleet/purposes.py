"""What each purpose asks of the solver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vmferry.model.plan import PlanRequest, Purpose
from vmferry.planning.fleet.problem import FleetProblem
from vmferry.planning.fleet.resources import MEMORY, MILLI, VCPUS
from vmferry.solver.packing.backend import kernels_for
from vmferry.solver.packing.board import Board, Ints
from vmferry.solver.packing.bounds import least_hosts
from vmferry.solver.packing.emptying import Emptying, empty_hosts
from vmferry.solver.packing.placing import Placing, place_items


@dataclass(frozen=True)
class Solution:
    """Where every item is; those in `stuck` should have moved and stay. `bound` is of hosts in use."""

    where: Ints
    stuck: tuple[int, ...]
    bound: int
    is_proved: bool = False


def solve(problem: FleetProblem, request: PlanRequest) -> Solution:
    """Return the solution for the request's purpose; deterministic."""
    return _SOLVERS[request.purpose](problem, request)


def _place(problem: FleetProblem, request: PlanRequest) -> Solution:
    """Evacuate, relocate, return: items that must leave find the best of the hosts that are open to them."""
    most = request.limits.max_extra_moves
    items = np.array(sorted(problem.leaving), np.int64)
    placed = place_items(
        problem.board,
        Placing(
            items=items,
            is_open=problem.is_open,
            rank=_ranks(problem),
            budget=request.budget,
            most_extra=len(problem.items) if most is None else most,
            seed=request.seed,
        ),
    )
    where, left = placed.board.where.copy(), list(placed.left)
    if request.limits.max_moves is not None:
        left += _beyond(problem, where, request.limits.max_moves)
    where[left] = problem.board.home[left]
    bound = least_hosts(problem.board, np.flatnonzero(problem.board.held > 0))
    return Solution(where, tuple(sorted(left)), bound, placed.is_proved)


def _beyond(problem: FleetProblem, where: Ints, most: int) -> list[int]:
    """Return who stays because the plan may not have more moves: the smallest ones; all where others made room."""
    moved = np.flatnonzero((where != problem.board.home) & (where >= 0))
    if len(moved) <= most:
        return []
    if set(map(int, moved)) - problem.leaving:
        return [int(i) for i in moved]
    size = problem.resources.at_home[moved, MEMORY]
    return [int(i) for i in moved[np.lexsort((moved, -size))][most:]]


def _ranks(problem: FleetProblem) -> Ints:
    """Hosts of the sites that VMs leave go before others."""
    sides = problem.fleet.sides
    sites = {sides[problem.items[n].home].host.site for n in problem.leaving}
    return np.array([sides[host].host.site not in sites for host in problem.hosts], np.int64)


def _consolidate(problem: FleetProblem, request: PlanRequest) -> Solution:
    board = expected_board(problem, request)
    keep = problem.arrays.keep.copy()
    if request.hosts:
        keep |= np.array([host not in request.hosts for host in problem.hosts])
    must = problem.arrays.must_empty & ~keep
    found = empty_hosts(
        _closed(board, problem),
        Emptying(
            cost=np.array([request.costs.get(host, 1.0) for host in problem.hosts]),
            keep=keep,
            must=must,
            weight=1.0 + problem.resources.at_home[:, MEMORY] / max(1, int(problem.resources.at_home[:, MEMORY].sum())),
            most_moves=request.limits.max_moves,
        ),
    )
    left = tuple(int(i) for i in np.flatnonzero(must[np.maximum(found.where, 0)] & (found.where >= 0)))
    return Solution(found.where, left, found.bound)


def _closed(board: Board, problem: FleetProblem) -> Board:
    """Close hosts that may not receive for everybody who is not there."""
    allowed = board.allowed & problem.is_open[None, :]
    allowed[np.arange(len(board.home)), board.home] = board.allowed[np.arange(len(board.home)), board.home]
    return board._replace(allowed=allowed)


def _balance(problem: FleetProblem, request: PlanRequest) -> Solution:
    board = _closed(expected_board(problem, request), problem).copy()
    inside = np.array([not request.hosts or host in request.hosts for host in problem.hosts], np.bool_)
    weight = np.zeros(board.capacity.shape[1], np.int64)
    weight[[-2, -1] if request.expected else [MEMORY, VCPUS]] = 1
    most = request.limits.max_moves
    kernels = kernels_for(board.size * 5)
    least = max(request.limits.min_gain, _LEAST_GAIN)
    kernels.best_moves(board, inside, weight, least, len(board.home) if most is None else most)
    bound = least_hosts(problem.board, np.flatnonzero(problem.board.held > 0))
    return Solution(board.where.copy(), (), bound)


# Of the sum of squared shares: a move between a host at 60 % and one at 50 % of a share of 3 % gains twice that.
_LEAST_GAIN = 0.002


def expected_board(problem: FleetProblem, request: PlanRequest) -> Board:
    """Return the board with what VMs are expected to use as two more resources, where the request tells it."""
    if not request.expected:
        return problem.board
    b = problem.board
    used = np.zeros((len(problem.items), 2), np.int64)
    for number, item in enumerate(problem.items):
        for key, vm in zip(item.keys, item.vms, strict=True):
            milli, mib = request.expected.get(key, (vm.vcpus * MILLI, vm.memory_kib // 1024))
            used[number] += (milli, mib) if vm.is_active else (0, 0)
    facts = [problem.fleet.side(host).facts for host in problem.hosts]
    most = np.array([(f.cpus * MILLI, f.memory_total_kib // 1024) for f in facts], np.int64)
    load = np.zeros((len(problem.hosts), 2), np.int64)
    np.add.at(load, b.where, used)
    wide = np.repeat(used[:, None, :], b.demand.shape[1], axis=1)
    return b._replace(
        demand=np.concatenate([b.demand, wide], axis=2),
        at_home=np.concatenate([b.at_home, used], axis=1),
        capacity=np.concatenate([b.capacity, most], axis=1),
        load=np.concatenate([b.load, load], axis=1),
    )


_SOLVERS: dict[Purpose, Callable[[FleetProblem, PlanRequest], Solution]] = {
    Purpose.EVACUATE: _place,
    Purpose.RELOCATE: _place,
    Purpose.RETURN: _place,
    Purpose.CONSOLIDATE: _consolidate,
    Purpose.BALANCE: _balance,
}
