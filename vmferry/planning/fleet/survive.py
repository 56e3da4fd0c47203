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


def not_survivable(problem: FleetProblem, where: Ints, *, are_empty_off: bool) -> tuple[str, ...]:
    """Return the hosts after whose loss some running VM would have no room, all others where the plan puts them.

    VMs that rules keep from every other host are lost with theirs whatever is kept free: they do not count. Hosts
    without VMs take none where they are to be switched off.
    """
    board = board_at(problem, where)
    is_active = np.array([any(vm.is_active for vm in item.vms) for item in problem.items], np.bool_)
    takers = problem.is_open & (board.held > 0) if are_empty_off else problem.is_open
    choices = (problem.ruled & takers).sum(axis=1)
    kernels = kernels_for(board.size)
    lost = []
    for host in range(len(problem.hosts)):
        counts = (choices > 1) | (takers.sum() <= 1)
        items = np.flatnonzero((board.where == host) & is_active & counts)
        if not len(items):
            continue
        is_open, state = takers.copy(), board.copy()
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
