"""Innermost loops: does an item fit on a host, put it there, take it away, find it a place.

Plain Python over arrays, in the part of the language that numba compiles: `backend` gives either, with equal results.
Whole numbers, and floats added in the same order, so that both are equal to the bit.
"""

from __future__ import annotations

from typing import Any

from vmferry.solver.packing.board import Board, Bools, Ints

# How a host is chosen among those with room.
TIGHTEST, ALIGNED, EMPTIEST = 0, 1, 2


def need(b: Board, item: int, host: int, resource: int) -> int:
    """Return what the item takes of a resource on a host."""
    if b.home[item] == host:
        return b.at_home[item, resource]  # type: ignore[no-any-return]
    return b.demand[item, b.host_class[host], resource]  # type: ignore[no-any-return]


def has_room(b: Board, item: int, host: int) -> bool:
    """Whether the item fits beside what is there; a resource that is not asked for is never short."""
    for r in range(b.capacity.shape[1]):
        wanted = need(b, item, host, r)
        if wanted > 0 and b.load[host, r] + wanted > b.capacity[host, r]:
            return False
    return True


def is_apart(b: Board, item: int, host: int) -> bool:
    """Whether nobody there, or in the same domain, must be kept apart from the item."""
    if b.tones.shape[1] > 1:
        for t in range(b.tones.shape[1]):
            if t != b.tone[item] and b.tones[host, t] > 0:
                return False
    for k in range(b.group_ptr[item], b.group_ptr[item + 1]):
        group, colour = b.group_of[k], b.colour_of[k]
        level = b.level[group]
        here = b.domain[level, host]
        if here < 0:
            continue
        for m in range(b.member_ptr[group], b.member_ptr[group + 1]):
            other = b.member[m]
            if other == item or b.member_colour[m] == colour or b.where[other] < 0:
                continue
            if b.domain[level, b.where[other]] == here:
                return False
    return True


def fits(b: Board, item: int, host: int) -> bool:
    """Whether the item may be put on the host now."""
    return b.allowed[b.row[item], host] and has_room(b, item, host) and is_apart(b, item, host)


def put(b: Board, item: int, host: int) -> None:
    """Put an item that is nowhere on a host."""
    b.where[item] = host
    for r in range(b.capacity.shape[1]):
        b.load[host, r] += need(b, item, host, r)
    b.tones[host, b.tone[item]] += 1
    first = b.head[host]
    b.after[item] = first
    b.before[item] = -1
    if first >= 0:
        b.before[first] = item
    b.head[host] = item
    b.held[host] += 1


def take(b: Board, item: int) -> int:
    """Take an item off its host; return which that was."""
    host = b.where[item]
    b.where[item] = -1
    for r in range(b.capacity.shape[1]):
        b.load[host, r] -= need(b, item, host, r)
    b.tones[host, b.tone[item]] -= 1
    before, after = b.before[item], b.after[item]
    if before >= 0:
        b.after[before] = after
    else:
        b.head[host] = after
    if after >= 0:
        b.before[after] = before
    b.held[host] -= 1
    return host  # type: ignore[no-any-return]


def best_host(b: Board, item: int, is_open: Bools, rank: Ints, rule: int) -> int:
    """Return the best open host with room; -1 without one. A lower rank goes first, ties go to the first host.

    TIGHTEST: least of the scarcest resource stays free. ALIGNED: what stays free has the shape of what the item asks
    (dot product, Panigrahy 2011). EMPTIEST: the largest share stays free. One loop over plain arrays: here is where the
    time goes.
    """
    capacity, load, classes = b.capacity, b.load, b.host_class
    allowed, demand, at_home, home = b.allowed[b.row[item]], b.demand[item], b.at_home[item], b.home[item]
    found, found_rank, found_score = -1, 0, 0.0
    for host in range(capacity.shape[0]):
        if not is_open[host] or not allowed[host] or (found >= 0 and rank[host] > found_rank):
            continue
        wanted = at_home if home == host else demand[classes[host]]
        least, dot, has_space = 1.0, 0.0, True
        for r in range(capacity.shape[1]):
            most, free = capacity[host, r], capacity[host, r] - load[host, r]
            if wanted[r] > 0 and wanted[r] > free:
                has_space = False
                break
            if most > 0:
                share = (free - wanted[r]) / most
                dot += share * (wanted[r] / most)
                if wanted[r] > 0 and share < least:
                    least = share
        if not has_space:
            continue
        value = -least if rule == TIGHTEST else -dot if rule == ALIGNED else least
        is_better = found < 0 or rank[host] < found_rank or value > found_score
        if is_better and is_apart(b, item, host):
            found, found_rank, found_score = host, rank[host], value
    return found


def place_all(b: Board, order: Ints, is_open: Bools, rank: Ints, rule: int) -> int:
    """Place the items that are nowhere, in this order; return how many found no host."""
    left = 0
    for k in range(order.shape[0]):
        item = order[k]
        if b.where[item] >= 0:
            continue
        host = best_host(b, item, is_open, rank, rule)
        if host >= 0:
            put(b, item, host)
        else:
            left += 1
    return left


INNER: tuple[Any, ...] = (need, has_room, is_apart, fits, put, take, best_host)
