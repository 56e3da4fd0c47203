"""Make room for an item by moving one or two others: what a repair does before an exact solver is asked."""

from __future__ import annotations

from typing import Any

import numpy as np

from vmferry.solver.packing.board import Board, Bools, Ints
from vmferry.solver.packing.kernels import best_host, fits, put, take

_CHEAP = 4  # hosts that are looked at in the time of one try


def items_of(b: Board, host: int) -> Ints:
    """Return the items of a host as they are now."""
    found = np.empty(b.held[host], np.int64)
    item = b.head[host]
    for k in range(found.shape[0]):
        found[k] = item
        item = b.after[item]
    return found


def swap_in(b: Board, item: int, host: int, is_open: Bools, rank: Ints, rule: int, budget: Ints) -> bool:
    """Place the item on `host` by moving one other from there to where it fits; the board is as it was if not."""
    for other in items_of(b, host):
        if not b.movable[other]:
            continue
        budget[0] -= 1
        if budget[0] < 0:
            return False
        take(b, other)
        if fits(b, item, host):
            put(b, item, host)
            budget[0] -= b.capacity.shape[0] // _CHEAP
            there = best_host(b, other, is_open, rank, rule)
            if there >= 0:
                put(b, other, there)
                return True
            take(b, item)
        put(b, other, host)
    return False


def chain_in(b: Board, item: int, host: int, is_open: Bools, rank: Ints, rule: int, budget: Ints) -> bool:
    """The same with a second one that is pushed off where the first goes."""
    for other in items_of(b, host):
        if not b.movable[other]:
            continue
        take(b, other)
        if fits(b, item, host):
            put(b, item, host)
            for next_host in range(b.capacity.shape[0]):
                if next_host == host or not is_open[next_host] or not b.allowed[b.row[other], next_host]:
                    continue
                if swap_in(b, other, next_host, is_open, rank, rule, budget):
                    return True
                if budget[0] < 0:
                    break
            take(b, item)
        put(b, other, host)
        if budget[0] < 0:
            return False
    return False


def pair_in(b: Board, item: int, host: int, is_open: Bools, rank: Ints, rule: int, budget: Ints) -> bool:
    """Place the item on `host` by moving two others from there, each to where it fits."""
    there = items_of(b, host)
    for one in there:
        if not b.movable[one]:
            continue
        take(b, one)
        for two in there:
            if two == one or not b.movable[two] or b.where[two] != host:
                continue
            budget[0] -= 1
            if budget[0] < 0:
                put(b, one, host)
                return False
            take(b, two)
            if fits(b, item, host):
                put(b, item, host)
                budget[0] -= b.capacity.shape[0] // _CHEAP
                if _house(b, one, two, is_open, rank, rule):
                    return True
                take(b, item)
            put(b, two, host)
        put(b, one, host)
    return False


def _house(b: Board, one: int, two: int, is_open: Bools, rank: Ints, rule: int) -> bool:
    first = best_host(b, one, is_open, rank, rule)
    if first < 0:
        return False
    put(b, one, first)
    second = best_host(b, two, is_open, rank, rule)
    if second < 0:
        take(b, one)
        return False
    put(b, two, second)
    return True


def make_room(b: Board, order: Ints, is_open: Bools, rank: Ints, rule: int, depth: int, budget: Ints) -> int:
    """Find a host for each item that is nowhere, others pushed aside as needed; return how many are left.

    `budget[0]` is how many tries are left, about a microsecond each.
    """
    left = 0
    for k in range(order.shape[0]):
        item = order[k]
        if b.where[item] >= 0:
            continue
        host = best_host(b, item, is_open, rank, rule)
        if host >= 0:
            put(b, item, host)
            continue
        done = False
        for step in range(depth):
            for host in range(b.capacity.shape[0]):
                if budget[0] < 0 or done:
                    break
                if not is_open[host] or not b.allowed[b.row[item], host]:
                    continue
                if step == 0:
                    done = swap_in(b, item, host, is_open, rank, rule, budget)
                elif step == 1:
                    done = pair_in(b, item, host, is_open, rank, rule, budget)
                else:
                    done = chain_in(b, item, host, is_open, rank, rule, budget)
            if done:
                break
        if not done:
            left += 1
    return left


INNER: tuple[Any, ...] = (items_of, swap_in, chain_in, _house, pair_in)
