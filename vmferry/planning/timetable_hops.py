"""Which VM goes by a third host, where moves wait for one another's room."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vmferry.model.timetable import TimetableRequest
from vmferry.planning.timetable_arrays import Arrays
from vmferry.solver.timetable.decode import LATE
from vmferry.solver.timetable.problem import Ints
from vmferry.solver.timetable.solve import Solution


def choose_hop(
    request: TimetableRequest, arrays: Arrays, solution: Solution, hops: Mapping[int, str]
) -> tuple[int, str] | None:
    """Return (job, third host) that lets a waiting move in; None where no hop helps.

    The smallest VM first, on the host that it fills best; equal ones by name. A move that is late is helped by none.
    """
    p, times = arrays.problem, solution.times
    stuck = [j for j in range(len(arrays.legs)) if times.starts[j] < 0]
    if any(times.why[j] == LATE for j in stuck):
        return None
    room = _room_at_the_end(arrays, solution)
    number = {host: i for i, host in enumerate(arrays.hosts)}
    found = []
    for j in stuck:
        leg = arrays.legs[j]
        if leg.job in hops or p.pinned[j]:
            continue
        after = room[p.source[j]] + p.give[j]
        if not any(p.dest[i] == p.source[j] and _fits(p.take[i], after) for i in stuck if i != j):
            continue
        for host in request.jobs[leg.job].hops:
            left = room[number[host]] - p.take[j]
            if host not in (leg.source, leg.dest) and _fits(p.take[j], room[number[host]]):
                found.append((int(p.take[j].sum()), int(left.sum()), request.jobs[leg.job].vm, leg.job, host))
    if not found:
        return None
    best = min(found)
    return best[3], best[4]


def _fits(take: Ints, room: Ints) -> bool:
    return bool(((take == 0) | (take <= room)).all())


def _room_at_the_end(arrays: Arrays, solution: Solution) -> Ints:
    """Return what is free when all moves that have a time have ended."""
    p, room = arrays.problem, arrays.problem.free.copy()
    timed = np.flatnonzero(solution.times.starts >= 0)
    np.add.at(room, p.source[timed], p.give[timed])
    np.subtract.at(room, p.dest[timed], p.take[timed])
    return room
