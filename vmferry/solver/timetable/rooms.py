"""What waiting for room adds to lower bounds: no job starts before enough others have left its site.

All of it is relaxed: leaving takes at least the least work that frees enough, and the common link carries that at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmferry.solver.timetable.problem import NEVER, Ints, Problem

_ROUNDS = 6  # how many sites a chain of waiting is followed along

Fill = tuple[float, Ints]  # of a resource that several jobs use: capacity, work of each of them


@dataclass(frozen=True)
class Waits:
    """Per job: not before `heads`, and `tails` after its end something else has still to be done. Ticks."""

    heads: Ints
    tails: Ints


@dataclass(frozen=True)
class _Site:
    """A site that cannot hold all that want to go there at once, in one kind of room."""

    number: int
    arrivals: Ints
    takes: Ints
    departures: Ints
    gives: Ints
    free: int


def waits_of(p: Problem, shortest: Ints) -> Waits:
    """Return heads and tails of all jobs, as far as windows and room give them."""
    heads = np.where(p.pinned == 1, 0, p.opens).astype(np.int64)
    waits = Waits(heads, np.zeros(len(heads), dtype=np.int64))
    sites = list(_short_sites(p))
    for _ in range(_ROUNDS):
        if not any([_tighten(p, site, waits, shortest) for site in sites]):
            break
    return waits


def site_bounds(p: Problem, waits: Waits, shortest: Ints) -> Iterator[tuple[int, int]]:
    """Yield (ticks, site): the k-th to arrive waits for room, and those behind it pass their common link after it."""
    for site in _short_sites(p):
        takes, count = np.cumsum(np.sort(site.takes)), len(site.arrivals)
        tail, least = int(waits.tails[site.arrivals].min()), np.cumsum(np.sort(shortest[site.arrivals]))
        fills = [(cap, np.cumsum(np.sort(work))) for cap, work in _fills(p, site.arrivals, shortest)]
        for k in range(count):
            if takes[k] <= site.free:
                continue
            freed = _freed_at(p, site, int(takes[k]) - site.free, waits, shortest)
            behind = count - k - 1
            passing = max([int(least[0]), *(-(-int(work[behind]) // int(cap)) for cap, work in fills)])
            yield min(NEVER, freed + passing + tail), site.number


def _short_sites(p: Problem) -> Iterator[_Site]:
    wanted, free = np.zeros_like(p.free), p.free.copy()
    np.add.at(wanted, p.dest, p.take)
    runs = p.pinned == 1
    np.subtract.at(free, p.dest[runs], p.take[runs])  # those have their room already
    for number, kind in zip(*np.nonzero(wanted > p.free), strict=True):
        there = np.flatnonzero((p.dest == number) & ~runs & (p.take[:, kind] > 0))
        gone = np.flatnonzero((p.source == number) & (p.give[:, kind] > 0))
        if len(there):
            room = int(free[number, kind])
            yield _Site(int(number), there, p.take[there, kind], gone, p.give[gone, kind], room)


def _tighten(p: Problem, site: _Site, waits: Waits, shortest: Ints) -> bool:
    """Raise heads of arrivals that need others to leave, and tails of those without whom not all can arrive."""
    before = int(waits.heads[site.arrivals].sum()), int(waits.tails[site.departures].sum())
    for job, take in zip(site.arrivals, site.takes, strict=True):
        if take > site.free:
            freed = _freed_at(p, site, int(take) - site.free, waits, shortest)
            waits.heads[job] = max(int(waits.heads[job]), freed)
    after = int((shortest[site.arrivals] + waits.tails[site.arrivals]).min())
    needed = int(site.takes.sum()) - site.free
    for job in site.departures[int(site.gives.sum()) - site.gives < needed]:
        waits.tails[job] = max(int(waits.tails[job]), after)
    return before != (int(waits.heads[site.arrivals].sum()), int(waits.tails[site.departures].sum()))


def _freed_at(p: Problem, site: _Site, needed: int, waits: Waits, shortest: Ints) -> int:
    """Return when so much can have been freed at the earliest; never, where all that leave free less."""
    jobs, gives = site.departures, site.gives
    if int(gives.sum()) < needed:
        return int(NEVER)
    ends = waits.heads[jobs] + shortest[jobs]
    order = np.argsort(ends, kind="stable")
    found = int(ends[order][np.searchsorted(np.cumsum(gives[order]), needed)])
    first = int(waits.heads[jobs].min())
    for cap, work in _fills(p, jobs, shortest):
        found = max(found, first + -(-_least_work(work, gives, needed) // int(cap)))
    return found


def _least_work(work: Ints, gives: Ints, needed: int) -> int:
    """Return the least work of jobs that free so much together: of as many as it takes, and in parts (Dantzig 1957)."""
    count = int(np.searchsorted(np.cumsum(np.sort(gives)[::-1]), needed)) + 1
    whole = int(np.sort(work)[:count].sum())
    order = np.argsort(work / gives, kind="stable")
    freed = np.cumsum(gives[order])
    last = int(np.searchsorted(freed, needed))
    before = int(freed[last - 1]) if last else 0
    parts = int(work[order][:last].sum()) + int(work[order][last]) * (needed - before) // int(gives[order][last])
    return max(whole, parts)


def _fills(p: Problem, jobs: Ints, shortest: Ints) -> Iterator[Fill]:
    """Yield the capacity of each link and slot that all the jobs use, with each one's work; running ones count none."""
    there = p.ticks[jobs] > 0
    least = np.where(there, p.ticks[jobs] * p.rate[jobs], NEVER).min(axis=1)
    waiting: NDArray[np.bool_] = p.pinned[jobs] == 0
    for at, values, caps, work in (
        (p.link_at, p.link, p.link_cap, least),
        (p.slot_at, p.slot, p.slot_cap, shortest[jobs]),
    ):
        rows = [set(values[at[j] : at[j + 1]].tolist()) for j in jobs]
        for number in sorted(set.intersection(*rows)) if rows else ():
            yield max(1, int(caps[number])), np.where(waiting, work, 0).astype(np.int64)


def pressure(p: Problem, ticks: Ints) -> Ints:
    """Return how much is still to be done after each job by those that wait for the room it leaves, as a guess.

    All who arrive at a site that is short of room wait for each who leaves it: the longest of them, and what follows
    it, or all of them one after the other.
    """
    found, sites = np.zeros(len(ticks), dtype=np.int64), list(_short_sites(p))
    for _ in range(_ROUNDS):
        before = found.copy()
        for site in sites:
            longest = int((ticks[site.arrivals] + found[site.arrivals]).max())
            passing = [int(work.sum()) // cap for cap, work in _fills(p, site.arrivals, ticks)]
            found[site.departures] = np.maximum(found[site.departures], max([longest, *map(int, passing)]))
        if (found == before).all():
            break
    return found
