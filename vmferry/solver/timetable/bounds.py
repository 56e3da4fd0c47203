"""Lower bounds of the makespan: no order is shorter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmferry.solver.timetable.problem import NEVER, Ints, Problem
from vmferry.solver.timetable.rooms import Waits, site_bounds, waits_of

_FEW = 64  # jobs of one resource for which every pair of a head and a tail is tried


class Bound(NamedTuple):
    """A bound in ticks; `kind` is what gives it (link, slot, room, job, chain), `number` which one."""

    ticks: int
    kind: str
    number: int


def lower_bound(p: Problem) -> Bound:
    """Return the greatest bound: of a link's or slot's work, a site that is short of room, a job, the longest chain.

    Jobs for which there will never be room count nothing.
    """
    if not len(p.ticks):
        return Bound(0, "job", -1)
    there = p.ticks > 0
    shortest = np.where(there, p.ticks, NEVER).min(axis=1)
    waits = waits_of(p, shortest)
    waiting = (p.pinned == 0) & (waits.heads < NEVER)  # those that run may be more than fit, and were not chosen
    least_work = np.where(waiting, np.where(there, p.ticks * p.rate, NEVER).min(axis=1), 0)
    found = [_jobs(waits, shortest), _chains(p, shortest)]
    found += _through("link", p.link_at, p.link, p.link_cap, least_work, waits)
    found += _through("slot", p.slot_at, p.slot, p.slot_cap, np.where(waiting, shortest, 0), waits)
    found += _alone(p, np.where(waiting, shortest, 0), waits)
    found += [Bound(ticks, "room", site) for ticks, site in site_bounds(p, waits, shortest) if ticks < NEVER]
    return _in_steps(p, max(found, key=lambda bound: bound.ticks))


def _in_steps(p: Problem, bound: Bound) -> Bound:
    """Round up to what durations can add up to: without gaps each job starts when a window opens or another job ends.

    Such an order exists for every makespan: jobs that start later can start earlier.
    """
    steps = np.concatenate([p.ticks[p.ticks > 0], p.opens])
    step = max(1, int(np.gcd.reduce(steps)))
    return bound._replace(ticks=-(-bound.ticks // step) * step)


def _users(at: Ints, values: Ints) -> Iterator[tuple[int, Ints]]:
    """Yield each resource that is used with the jobs that use it."""
    order = np.argsort(values, kind="stable")
    jobs = np.repeat(np.arange(len(at) - 1), np.diff(at))[order]
    numbers, firsts = np.unique(values[order], return_index=True)
    for number, mine in zip(numbers, np.split(jobs, firsts[1:]), strict=False):
        yield int(number), mine


def _through(kind: str, at: Ints, values: Ints, caps: Ints, work: Ints, waits: Waits) -> Iterator[Bound]:
    """Work that must pass through each resource, by how much of it passes at once."""
    for number, jobs in _users(at, values) if len(values) else ():
        yield Bound(_pass(jobs[work[jobs] > 0], work, max(1, int(caps[number])), waits), kind, number)


def _alone(p: Problem, shortest: Ints, waits: Waits) -> Iterator[Bound]:
    """Jobs that take more than half of a link at every pace pass it one after the other."""
    least = np.where(p.ticks > 0, p.rate, NEVER).min(axis=1)
    for number, jobs in _users(p.link_at, p.link) if len(p.link) else ():
        alone = jobs[(2 * least[jobs] > p.link_cap[number]) & (shortest[jobs] > 0)]
        yield Bound(_pass(alone, shortest, 1, waits), "link", number)


def _pass(jobs: Ints, work: Ints, cap: int, waits: Waits) -> int:
    """Return the end of jobs that share something: none of some starts before the first of their heads, and after the
    last of them the least of their tails is still to be done (Carlier 1982).
    """
    if not len(jobs):
        return 0
    heads, tails, each = waits.heads[jobs], waits.tails[jobs], work[jobs]
    least_head, least_tail = int(heads.min()), int(tails.min())
    pairs = {(int(head), least_tail) for head in heads} | {(least_head, int(tail)) for tail in tails}
    if len(jobs) <= _FEW:
        pairs |= {(int(head), int(tail)) for head in np.unique(heads) for tail in np.unique(tails)}
    return max(_between(heads, tails, each, cap, head, tail) for head, tail in pairs)


def _between(heads: Ints, tails: Ints, work: Ints, cap: int, head: int, tail: int) -> int:
    some: NDArray[np.bool_] = (heads >= head) & (tails >= tail)
    return head - (-int(work[some].sum()) // cap) + tail if some.any() else 0


def _jobs(waits: Waits, shortest: Ints) -> Bound:
    ends = np.where(waits.heads < NEVER, waits.heads + shortest + waits.tails, 0)
    number = int(ends.argmax())
    return Bound(int(ends[number]), "job", number)


def _chains(p: Problem, shortest: Ints) -> Bound:
    """The longest chain of jobs that wait for one another; jobs in a circle never start and count nothing."""
    n = len(p.ticks)
    waits = np.bincount(p.after, minlength=n) if len(p.after) else np.zeros(n, dtype=np.int64)
    ends = p.opens + shortest
    ready = [int(j) for j in np.flatnonzero(waits == 0)]
    best = Bound(0, "chain", -1)
    while ready:
        j = ready.pop()
        if ends[j] > best.ticks and len(p.after):
            best = Bound(int(ends[j]), "chain", j)
        for a in p.after[p.after_at[j] : p.after_at[j + 1]]:
            ends[a] = max(ends[a], ends[j] + shortest[a])
            waits[a] -= 1
            if waits[a] == 0:
                ready.append(int(a))
    return best
