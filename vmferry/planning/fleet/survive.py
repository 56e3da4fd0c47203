"""N+1: which hosts could be lost without VMs that find no room elsewhere."""

from __future__ import annotations

import numpy as np

from vmferry.planning.fleet.problem import FleetProblem
from vmferry.planning.fleet.states import board_at
from vmferry.solver.packing.backend import kernels_for
from vmferry.solver.packing.board import Ints
from vmferry.solver.packing.kernels import TIGHTEST
from vmferry.solver.packing.placing import hardest_first

_TRIES = 50_000  # of repairs, for each host


def not_survivable(problem: FleetProblem, where: Ints) -> tuple[str, ...]:
    """Return the hosts after whose loss some running VM would have no room, all others where the plan puts them.

    VMs that no other host may take at all are lost with their host whatever is kept free: they do not count.
    """
    board = board_at(problem, where)
    held = problem.board.demand.shape[0] and np.array([any(vm.is_active for vm in i.vms) for i in problem.items])
    elsewhere = (board.allowed[board.row] & problem.is_open).sum(axis=1)
    kernels = kernels_for(board.size)
    lost = []
    for host in range(len(problem.hosts)):
        items = np.flatnonzero((board.where == host) & held & (elsewhere > 1))
        if not len(items):
            continue
        is_open, state = problem.is_open.copy(), board.copy()
        is_open[host] = False
        for item in items:
            kernels.take(state, item)
        order = hardest_first(state, items, is_open)
        rank = np.zeros(len(problem.hosts), np.int64)
        if not kernels.place_all(state, order, is_open, rank, TIGHTEST):
            continue
        only = np.zeros(len(board.where), np.bool_)
        only[items] = True
        budget = np.array([_TRIES], np.int64)
        if kernels.make_room(state._replace(movable=only), order, is_open, rank, TIGHTEST, 2, budget):
            lost.append(problem.hosts[host])
    return tuple(lost)
