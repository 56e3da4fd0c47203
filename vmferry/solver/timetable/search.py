"""Iterated greedy on the order of jobs and their paces: a few jobs are taken out and put in elsewhere."""

from __future__ import annotations

import numpy as np

from vmferry.solver.timetable.decode import Times, decode, empty_times
from vmferry.solver.timetable.problem import Ints, Number, Problem

_MASK = 0x7FFFFFFFFFFFFFFF


def improve(p: Problem, order: Ints, pace: Ints, bound: int, tries: int, looks: int, seed: int) -> int:
    """Better `order` (jobs, first to last) and `pace` in place; return how many tries were used.

    A try takes out one to four jobs, late ones and those that they waited for more often, and puts each in elsewhere.
    It is judged by how much all jobs together end after the bound: each late link counts, where the makespan shows
    only the latest. It is kept unless it is worse; one in eight of those that are worse by less than a threshold, a
    twentieth at first and nothing at the end, is kept too. Ends at the bound, after `tries`, or when jobs were looked
    at `looks` times: a decoding in which many wait for one another takes longer.
    """
    n, paces = len(order), p.ticks.shape[1]
    state = np.array([seed * 2654435761 + 88172645463325252], dtype=np.int64)
    out, seen = empty_times(n), empty_times(n)
    rank, ends, other = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    current, mine, trial, theirs = order.copy(), pace.copy(), order.copy(), pace.copy()
    best = weigh(p, current, mine, rank, out)
    late(p, out, ends)
    seen.via[:], seen.by[:] = out.via, out.by
    cost = (best[0], tardiness(ends, bound), best[2])
    for number in range(tries):
        if (best[0] == 0 and best[1] <= bound) or out.looks[0] >= looks:
            return number
        trial[:], theirs[:] = current, mine
        for _ in range(1 + draw(state) % 4):
            at = pick(trial, ends, state)
            if draw(state) % 2 == 0:
                at = blame(p, trial, at, seen, state)
            shift(trial, at, draw(state) % n if draw(state) % 3 == 0 else draw(state) % (at + 1))
        if paces > 1 and draw(state) % 3 == 0:
            j, k = draw(state) % n, draw(state) % paces
            if p.ticks[j, k] > 0:
                theirs[j] = k
        found = weigh(p, trial, theirs, rank, out)
        late(p, out, other)
        price = (found[0], tardiness(other, bound), found[2])
        allowed = cost[1] + cost[1] * (tries - number) // (20 * tries)
        if price <= cost or (price[0] == cost[0] and price[1] <= allowed and draw(state) % 8 == 0):
            current[:], mine[:], ends[:] = trial, theirs, other
            seen.via[:], seen.by[:] = out.via, out.by
            cost = price
        if found < best:
            best = found
            order[:], pace[:] = trial, theirs
    return tries


def weigh(p: Problem, order: Ints, pace: Ints, rank: Ints, out: Times) -> tuple[Number, Number, Number]:
    """Return what an order costs, smaller is better: jobs without a time, makespan, sum of ends."""
    for i in range(len(order)):
        rank[order[i]] = i
    return decode(p, rank, pace, out)


def draw(state: Ints) -> Number:
    """Return the next number of a xorshift generator (Marsaglia 2003), 31 bits: the same on every machine."""
    x = state[0]
    x ^= (x & 0x3FFFFFFFFFFFF) << 13
    x ^= x >> 7
    x ^= (x & 0x3FFFFFFFFFFF) << 17
    state[0] = x
    return x & 0x7FFFFFFF


def late(p: Problem, out: Times, ends: Ints) -> None:
    """Fill in when each job ends; one without a time ends last."""
    for j in range(len(ends)):
        ends[j] = out.starts[j] + p.ticks[j, out.used[j]] if out.starts[j] >= 0 else 2**60


def tardiness(ends: Ints, bound: Number) -> Number:
    """Return by how much all jobs together end after the bound."""
    total = np.int64(0)
    for j in range(len(ends)):
        if ends[j] > bound:
            total += min(ends[j] - bound, 2**40)
    return total


def pick(order: Ints, ends: Ints, state: Ints) -> Number:
    """Return the position of a job: the latest of four, two times out of three."""
    n = len(order)
    at = draw(state) % n
    if draw(state) % 3 > 0:
        for _ in range(3 + n // 16):
            other = draw(state) % n
            if ends[order[other]] > ends[order[at]]:
                at = other
    return at


def blame(p: Problem, order: Ints, at: Number, seen: Times, state: Ints) -> Number:
    """Return the position of a job that the one at a position had to wait for, by some steps of waiting.

    Whoever waited for room may have got it sooner from any of those who leave the site.
    """
    job, others = order[at], len(p.link_cap) + len(p.slot_cap)
    while draw(state) % 4 > 0:
        cause: Number = seen.by[job]
        if seen.via[job] >= others:
            count = np.int64(0)
            for j in range(len(order)):
                if p.source[j] == seen.via[job] - others:
                    count += 1
                    if draw(state) % count == 0:
                        cause = j
        if cause < 0:
            break
        job = cause
    for i in range(len(order)):
        if order[i] == job:
            return i
    return at


def shift(order: Ints, at: Number, to: Number) -> None:
    """Move the job at one position to another one."""
    j = order[at]
    step = 1 if to > at else -1
    while at != to:
        order[at] = order[at + step]
        at += step
    order[at] = j


INNER = (weigh, draw, late, tardiness, pick, blame, shift)
