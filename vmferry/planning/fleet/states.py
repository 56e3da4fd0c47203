"""A board with items somewhere else than at home, and what stands against an item on each host."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vmferry.planning.fleet.problem import FleetProblem
from vmferry.solver.packing.backend import interpreted
from vmferry.solver.packing.board import Board, Ints


def board_at(problem: FleetProblem, where: Ints) -> Board:
    """Return the problem's board with every item where it is said to be."""
    board, kernels = problem.board.copy(), interpreted()
    changed = [int(i) for i in np.flatnonzero(where != board.where)]
    for item in changed:
        kernels.take(board, item)
    for item in changed:
        kernels.put(board, item, int(where[item]))
    return board


def against(problem: FleetProblem, board: Board, item: int, host: int) -> Iterator[tuple[str, str]]:
    """Yield (reason, words) of everything that keeps an item, which is nowhere on the board, from a host.

    Reasons are `rule NAME`, a constraint's words, and the name of a resource.
    """
    name = problem.hosts[host]
    for finding in problem.items[item].blockers(name):
        yield f"rule {finding.rule}", finding.message
    for constraint, closed in problem.arrays.closed:
        if closed[item, host]:
            yield constraint.words(), f"{name} is closed for {problem.items[item].name}"
    yield from _apart(problem, board, item, host)
    for r in range(board.capacity.shape[1]):
        wanted = int(board.demand[item, host, r])
        free = int(board.capacity[host, r] - board.load[host, r])
        if wanted > 0 and wanted > free:
            yield problem.resources.names[r], f"{name} {problem.resources.lacking(host, r, free, wanted)}"


def _apart(problem: FleetProblem, board: Board, item: int, host: int) -> Iterator[tuple[str, str]]:
    for number, group in enumerate(problem.arrays.apart):
        if item not in group.items:
            continue
        colours = group.colours or tuple(range(len(group.items)))
        own = colours[group.items.index(item)]
        domain = board.domain[group.level]
        there = [
            problem.items[i].name
            for i, colour in zip(group.items, colours, strict=True)
            if colour != own and board.where[i] >= 0 and domain[host] >= 0 and domain[board.where[i]] == domain[host]
        ]
        if there:
            yield problem.arrays.apart_by[number].words(), f"{', '.join(there)} would share {problem.hosts[host]}"
    tones = np.flatnonzero(board.tones[host])
    if len(tones) and any(tone != board.tone[item] for tone in tones):
        yield "lonely", f"{problem.hosts[host]} has VMs that it may not be beside"
