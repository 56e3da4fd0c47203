"""Lower bounds of the makespan: no order is shorter."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vmferry.solver.timetable.problem import Problem


class Bound(NamedTuple):
    """A bound in ticks; `kind` is what gives it (link, slot, job, chain), `number` which one."""

    ticks: int
    kind: str
    number: int


def lower_bound(p: Problem) -> Bound:
    """Return the greatest of the bounds: work of a link, work of a slot, the longest job, the longest chain."""
    if not len(p.ticks):
        return Bound(0, "job", -1)
    found = [_jobs(p), _chains(p)]
    there = p.ticks > 0
    shortest = np.where(there, p.ticks, np.iinfo(np.int64).max).min(axis=1)
    least_work = np.where(there, p.ticks * p.rate, np.iinfo(np.int64).max).min(axis=1)
    shortest_waiting = np.where(p.pinned == 1, 0, shortest)  # those that run may be more than fit, and were not chosen
    least_work = np.where(p.pinned == 1, 0, least_work)
    found.append(_cumulative(p, "link", p.link_at, p.link, p.link_cap, least_work))
    found.append(_cumulative(p, "slot", p.slot_at, p.slot, p.slot_cap, shortest_waiting))
    found.append(_alone(p, shortest_waiting))
    return max(found, key=lambda bound: bound.ticks)


def _cumulative(p, kind, at, values, caps, work) -> Bound:  # type: ignore[no-untyped-def]
    """Work that must pass through one resource, by how much of it passes at once; nothing passes before it opens."""
    best = Bound(0, kind, -1)
    if not len(values):
        return best
    jobs = np.repeat(np.arange(len(at) - 1), np.diff(at))
    total = np.zeros(len(caps), dtype=np.int64)
    np.add.at(total, values, work[jobs])
    first = np.full(len(caps), np.iinfo(np.int64).max)
    np.minimum.at(first, values, p.opens[jobs])
    for number in np.flatnonzero(total):
        ticks = int(first[number]) + -(-int(total[number]) // max(1, int(caps[number])))
        if ticks > best.ticks:
            best = Bound(ticks, kind, int(number))
    return best


def _alone(p, shortest) -> Bound:  # type: ignore[no-untyped-def]
    """Jobs that take more than half of a link at every pace pass it one after the other."""
    best = Bound(0, "link", -1)
    if not len(p.link):
        return best
    least = np.where(p.ticks > 0, p.rate, np.iinfo(np.int64).max).min(axis=1)
    jobs = np.repeat(np.arange(len(p.ticks)), np.diff(p.link_at))
    is_alone = 2 * least[jobs] > p.link_cap[p.link]
    total = np.zeros(len(p.link_cap), dtype=np.int64)
    np.add.at(total, p.link[is_alone], shortest[jobs[is_alone]])
    number = int(total.argmax())
    return Bound(int(total[number]), "link", number)


def _jobs(p: Problem) -> Bound:
    ends = p.opens + np.where(p.ticks > 0, p.ticks, np.iinfo(np.int64).max // 4).min(axis=1)
    number = int(ends.argmax())
    return Bound(int(ends[number]), "job", number)


def _chains(p: Problem) -> Bound:
    """The longest chain of jobs that wait for one another; jobs in a circle never start and count nothing."""
    n = len(p.ticks)
    shortest = np.where(p.ticks > 0, p.ticks, np.iinfo(np.int64).max // 4).min(axis=1)
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
