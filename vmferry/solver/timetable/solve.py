"""A whole solve: bounds, list schedules, iterated greedy. Deterministic: its budget is tries, not seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmferry.solver.timetable.backend import INTERPRETED, kernels_for
from vmferry.solver.timetable.bounds import Bound, lower_bound
from vmferry.solver.timetable.decode import Times, empty_times
from vmferry.solver.timetable.problem import NEVER, Ints, Problem, problems_of
from vmferry.solver.timetable.rooms import pressure
from vmferry.solver.timetable.safe import safe_order, with_queues

# Jobs decoded in one search unless the caller says else: a second or two of one core for a thousand jobs.
EFFORT = 360_000
_LOOKS = 4  # at each job per decoding; where many wait for one another there are more, and so fewer decodings
_FEW = 64
_WORTH = 0.001  # a gap below this is not worth a search


@dataclass(frozen=True)
class Solution:
    """Times of the jobs; `bound` is a lower bound of the makespan."""

    times: Times
    order: Ints  # the jobs, first to last
    missing: int  # jobs without a time
    makespan: int
    bound: Bound
    tries: int

    @property
    def is_best(self) -> bool:
        """Whether no schedule is shorter."""
        return not self.missing and self.makespan <= self.bound.ticks


def tries_for(jobs: int) -> int:
    """Return how many tries suit a size; a few jobs get so few that nothing has to be compiled for them."""
    return (INTERPRETED if jobs <= _FEW else EFFORT) // max(1, jobs)


def solve(p: Problem, *, tries: int | None = None, seed: int = 1) -> Solution:
    """Return times for all jobs that can have one. Raises ValueError with every problem of the arrays.

    Where waiting for one another's room would end in a deadlock, an order of single moves that does not is looked
    for first, and kept for the sites that are short of room.
    """
    if wrong := problems_of(p):
        raise ValueError("; ".join(wrong))
    n, bound = len(p.ticks), lower_bound(p)
    if not n:
        return Solution(empty_times(0), np.empty(0, dtype=np.int64), 0, 0, bound, 0)
    most = tries_for(n) if tries is None else tries
    first = _best_list(kernels_for(0), p, bound)
    if first.missing and (queued := _queued(p, first)) is not None:
        p = queued
        first = _best_list(kernels_for(0), p, bound)
    if first.makespan - bound.ticks <= _WORTH * bound.ticks and not first.missing:
        return first
    if not most or (first.missing and not _may_gain(p, first)):
        return first
    kernels = kernels_for(n * most)
    order, pace = first.order.copy(), first.times.used.copy()
    looks = _LOOKS * EFFORT if tries is None else NEVER
    used = kernels.improve(p, order, pace, bound.ticks, most, looks, seed)
    return _decoded(kernels, p, order, pace, used, bound)


def _best_list(kernels: Any, p: Problem, bound: Bound) -> Solution:
    """Return the best list schedule: by load and by length, at each pace."""
    found: list[Solution] = []
    for k in range(p.ticks.shape[1]):
        pace = np.where(p.ticks[:, k] > 0, k, 0).astype(np.int64)
        for order in _orders(p, pace):
            found.append(_decoded(kernels, p, order, pace, 0, bound))
            if found[-1].is_best:
                return found[-1]
    return min(found, key=lambda one: (one.missing, one.makespan, int(_ends(p, one.times).sum())))


def _orders(p: Problem, pace: Ints) -> list[Ints]:
    """Return lists: most loaded link or slot first, then longest; and longest first (Graham 1969).

    Where sites are short of room, also those first for whom most waits.
    """
    n = len(pace)
    ticks, rate = p.ticks[np.arange(n), pace], p.rate[np.arange(n), pace]
    most = np.zeros(n)
    for at, values, caps, work in (
        (p.link_at, p.link, p.link_cap, ticks * rate),
        (p.slot_at, p.slot, p.slot_cap, ticks),
    ):
        jobs = np.repeat(np.arange(n), np.diff(at))
        load = np.zeros(len(caps))
        np.add.at(load, values, work[jobs] / np.maximum(1, caps[values]))
        np.maximum.at(most, jobs, load[values])
    by_number: NDArray[np.int64] = np.arange(n)
    after = pressure(p, ticks)
    keys = [(by_number, -ticks, -most), (by_number, -most, -ticks)]
    if after.any():
        keys += [(by_number, -ticks, -(most + after)), (by_number, -most, -(ticks + after))]
    return [np.lexsort(key).astype(np.int64) for key in keys]


def _decoded(kernels: Any, p: Problem, order: Ints, pace: Ints, tries: int, bound: Bound) -> Solution:
    """Return the solution of an order; its own order is that of the starts."""
    times, rank = empty_times(len(order)), np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    missing, makespan, _ = kernels.decode(p, rank, pace, times)
    starts = np.where(times.starts < 0, NEVER, times.starts)
    by_start = np.lexsort((rank, starts)).astype(np.int64)
    return Solution(times, by_start, int(missing), int(makespan), bound, int(tries))


def _ends(p: Problem, times: Times) -> Ints:
    ends: Ints = times.starts + p.ticks[np.arange(len(times.starts)), times.used]
    return ends


def _may_gain(p: Problem, first: Solution) -> bool:
    """Whether another order could give more jobs a time: some are late, or wait for room."""
    return bool((first.times.why != -3).any())


def _queued(p: Problem, first: Solution) -> Problem | None:
    """Return the problem with queues before sites that are short of room; None where no order frees enough."""
    links, slots = len(p.link_cap), len(p.slot_cap)
    if not (first.times.why >= links + slots).any():
        return None
    order = safe_order(p)
    return None if order is None else with_queues(p, order)
