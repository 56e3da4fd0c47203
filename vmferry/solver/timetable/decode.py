"""From an order of jobs to their times: each starts as soon as all that it needs is free, earlier ones first.

A waiting job watches the one thing that it was first refused for, and is looked at again when some of that is freed.
So an event costs what it changes, not all that waits. Nothing is freed within one instant: who is refused stays so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vmferry.solver.timetable.heap import meld, pop, push
from vmferry.solver.timetable.problem import Ints, Number, Problem

# Why a job has no time, where it is not the number of the link, slot or site that it waits for.
RUNS, LATE, BEHIND = -1, -2, -3


class Times(NamedTuple):
    """What a decoding fills in, per job."""

    starts: Ints  # -1: it has no time
    used: Ints  # its pace
    why: Ints  # RUNS, LATE, BEHIND, or the resource that it waits for at the end: link, links + slot, … + site
    via: Ints  # the resource that it waited for last before it started; -1: for none
    by: Ints  # the job that let it start then, by its end or its start; -1: none
    looks: Ints  # [1] how often any job was looked at, in all decodings: what they cost


class State(NamedTuple):
    """What changes while time goes by. `sizes`: how many events, ready jobs and jobs aside there are."""

    link_left: Ints
    slot_left: Ints
    room: Ints
    pending: Ints  # jobs that each still waits for
    root: Ints  # per resource: skew heap of those who watch it
    left: Ints
    right: Ints
    via: Ints  # resource through which a job became ready; -1: none
    by: Ints  # job through which it did; -1: none
    freed: Ints  # of each resource: the last job that has freed some of it
    least: Ints  # of each link: the smallest rate that anything asks of it
    aside: Ints  # refused in this instant
    when: Ints
    what: Ints  # a job that ends, or n + a job whose window opens
    ready: Ints  # ranks
    spare: Ints  # keys of the ready: none
    sizes: Ints


def empty_times(n: int) -> Times:
    """Return room for the times of `n` jobs."""
    one = np.full(n, -1, dtype=np.int64)
    return Times(one, one.copy(), one.copy(), one.copy(), one.copy(), np.zeros(1, dtype=np.int64))


def decode(p: Problem, rank: Ints, pace: Ints, out: Times) -> tuple[Number, Number, Number]:
    """Fill `out`; return (jobs without a time, makespan, sum of ends). `rank` orders the jobs that could start now."""
    n = len(rank)
    number = np.empty(n, dtype=np.int64)  # job of a rank
    for j in range(n):
        number[rank[j]] = j
        out.starts[j], out.used[j], out.why[j], out.via[j], out.by[j] = -1, pace[j], BEHIND, -1, -1
    s = begin(p, pace)
    now, last, scheduled, total = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for j in range(n):
        if p.pinned[j] == 1:
            start(p, j, now, s, rank, out)
    for j in range(n):
        if p.pinned[j] == 0 and s.pending[j] == 0:
            enter(j, s, rank, np.int64(-1), np.int64(-1))
    while True:
        while s.sizes[1] > 0:
            j = number[s.ready[0]]
            s.sizes[1] = pop(s.spare, s.ready, s.sizes[1])
            attempt(p, j, now, s, rank, out)
            wake(p, s.via[j], s, rank)
        put_back(s, rank, out)
        if s.sizes[0] == 0:
            return n - scheduled, last, total
        now = s.when[0]
        while s.sizes[0] > 0 and s.when[0] == now:
            j = s.what[0]
            s.sizes[0] = pop(s.when, s.what, s.sizes[0])
            if j >= n:
                enter(j - n, s, rank, np.int64(-1), np.int64(-1))
                continue
            scheduled, last, total = scheduled + 1, now, total + now
            end(p, j, s, rank, out)


def begin(p: Problem, pace: Ints) -> State:
    """Return the state before anything runs."""
    n, links = len(pace), len(p.link_cap)
    pending, least = np.zeros(n, dtype=np.int64), np.full(links, 2**60, dtype=np.int64)
    for i in range(len(p.after)):
        pending[p.after[i]] += 1
    for j in range(n):
        if p.behind[j] >= 0:
            pending[p.behind[j]] += 1
        for i in range(p.link_at[j], p.link_at[j + 1]):
            for k in range(p.rate.shape[1]):
                if p.ticks[j, k] > 0:
                    least[p.link[i]] = min(least[p.link[i]], p.rate[j, k])
    root = np.full(links + len(p.slot_cap) + len(p.free), -1, dtype=np.int64)
    left, right, via = np.full(n, -1, dtype=np.int64), np.full(n, -1, dtype=np.int64), np.full(n, -1, dtype=np.int64)
    by, freed = np.full(n, -1, dtype=np.int64), np.full(len(root), -1, dtype=np.int64)
    when, what = np.empty(2 * n + 1, dtype=np.int64), np.empty(2 * n + 1, dtype=np.int64)
    aside, ready, spare = np.empty(n, dtype=np.int64), np.empty(n + 1, dtype=np.int64), np.zeros(n + 1, dtype=np.int64)
    slots, room, sizes = p.slot_cap.copy(), p.free.copy(), np.zeros(3, dtype=np.int64)
    return State(
        p.link_cap.copy(),
        slots,
        room,
        pending,
        root,
        left,
        right,
        via,
        by,
        freed,
        least,
        aside,
        when,
        what,
        ready,
        spare,
        sizes,
    )


def enter(j: Number, s: State, rank: Ints, via: Number, by: Number) -> None:
    """Let a job be looked at."""
    s.via[j], s.by[j] = via, by
    s.sizes[1] = push(s.spare, s.ready, s.sizes[1], np.int64(0), rank[j])


def wake(p: Problem, resource: Number, s: State, rank: Ints) -> None:
    """Let the first who watches a resource be looked at, while some of it is left; the others follow it."""
    links, slots = len(p.link_cap), len(p.slot_cap)
    if resource < 0 or s.root[resource] < 0:
        return
    if resource < links:
        if s.link_left[resource] < s.least[resource]:
            return
    elif resource < links + slots and s.slot_left[resource - links] <= 0:
        return
    j = s.root[resource]
    s.root[resource] = meld(s.left[j], s.right[j], s.left, s.right, rank)
    enter(j, s, rank, resource, s.freed[resource])


def put_back(s: State, rank: Ints, out: Times) -> None:
    """Let all who were refused in this instant watch what refused them."""
    for i in range(s.sizes[2]):
        j = s.aside[i]
        s.left[j], s.right[j] = -1, -1
        s.root[out.why[j]] = meld(s.root[out.why[j]], j, s.left, s.right, rank)
    s.sizes[2] = 0


def attempt(p: Problem, j: Number, now: Number, s: State, rank: Ints, out: Times) -> None:
    """Start a job now, or let it wait for what keeps it from that."""
    out.looks[0] += 1
    if now < p.opens[j]:
        s.sizes[0] = push(s.when, s.what, s.sizes[0], p.opens[j], len(rank) + j)
        return
    out.why[j] = refused(p, j, now, s, out)
    if out.why[j] == RUNS:
        start(p, j, now, s, rank, out)
    elif out.why[j] >= 0:
        s.aside[s.sizes[2]] = j
        s.sizes[2] += 1


def refused(p: Problem, j: Number, now: Number, s: State, out: Times) -> Number:
    """Return what keeps a job from starting now: a resource, LATE, or RUNS when nothing does; may change its pace."""
    links, slots = len(p.link_cap), len(p.slot_cap)
    if now + p.ticks[j, out.used[j]] > p.closes[j]:
        found = -1
        for k in range(p.ticks.shape[1]):
            if found < 0 and p.ticks[j, k] > 0 and now + p.ticks[j, k] <= p.closes[j]:
                found = k
        if found < 0:
            return LATE
        out.used[j] = found
    for r in range(s.room.shape[1]):
        if p.take[j, r] > 0 and s.room[p.dest[j], r] < p.take[j, r]:
            return links + slots + p.dest[j]
    for i in range(p.link_at[j], p.link_at[j + 1]):
        if s.link_left[p.link[i]] < p.rate[j, out.used[j]]:
            return p.link[i]
    for i in range(p.slot_at[j], p.slot_at[j + 1]):
        if s.slot_left[p.slot[i]] < 1:
            return links + p.slot[i]
    return RUNS


def start(p: Problem, j: Number, now: Number, s: State, rank: Ints, out: Times) -> None:
    """Start a job: it takes what it uses, and the one behind it may be looked at."""
    out.starts[j], out.why[j], out.via[j], out.by[j] = now, RUNS, s.via[j], s.by[j]
    for i in range(p.link_at[j], p.link_at[j + 1]):
        s.link_left[p.link[i]] -= p.rate[j, out.used[j]]
    for i in range(p.slot_at[j], p.slot_at[j + 1]):
        s.slot_left[p.slot[i]] -= 1
    for r in range(s.room.shape[1]):
        s.room[p.dest[j], r] -= p.take[j, r]
    s.sizes[0] = push(s.when, s.what, s.sizes[0], now + p.ticks[j, out.used[j]], j)
    if p.behind[j] >= 0:
        release(p, p.behind[j], j, s, rank)


def release(p: Problem, j: Number, by: Number, s: State, rank: Ints) -> None:
    """One that a job waited for has come to pass, by another job."""
    s.pending[j] -= 1
    if s.pending[j] == 0 and p.pinned[j] == 0:
        enter(j, s, rank, np.int64(-1), by)


def end(p: Problem, j: Number, s: State, rank: Ints, out: Times) -> None:
    """Free what a job used, and let those who waited for it be looked at."""
    links, slots = len(p.link_cap), len(p.slot_cap)
    for i in range(p.link_at[j], p.link_at[j + 1]):
        s.link_left[p.link[i]] += p.rate[j, out.used[j]]
        s.freed[p.link[i]] = j
        wake(p, p.link[i], s, rank)
    for i in range(p.slot_at[j], p.slot_at[j + 1]):
        s.slot_left[p.slot[i]] += 1
        s.freed[links + p.slot[i]] = j
        wake(p, links + p.slot[i], s, rank)
    for r in range(s.room.shape[1]):
        s.room[p.source[j], r] += p.give[j, r]
    s.freed[links + slots + p.source[j]] = j
    wake(p, links + slots + p.source[j], s, rank)
    for i in range(p.after_at[j], p.after_at[j + 1]):
        release(p, p.after[i], j, s, rank)


INNER = (push, pop, meld, begin, enter, wake, put_back, attempt, refused, start, release, end)
