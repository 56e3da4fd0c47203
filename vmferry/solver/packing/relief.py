"""Which items must leave where they are: of hosts that hold more than they can, and of groups that are not apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from vmferry.solver.packing.board import Board, Ints
from vmferry.solver.packing.kernels import is_apart, need, put, take


def shed(b: Board) -> Ints:
    """Take items off hosts that are over-committed, or where they may not be; return those taken, few and small.

    Of a host that is short the smallest item that ends the shortage goes, or the largest where none does alone.
    """
    taken = np.empty(b.where.shape[0], np.int64)
    count = 0
    for item in range(b.where.shape[0]):
        host = b.where[item]
        if host < 0 or not b.movable[item]:
            continue
        take(b, item)
        if b.allowed[b.row[item], host] and is_apart(b, item, host):
            put(b, item, host)
        else:
            taken[count] = item
            count += 1
    for host in range(b.capacity.shape[0]):
        while True:
            item = to_shed(b, host)
            if item < 0:
                break
            take(b, item)
            taken[count] = item
            count += 1
    return taken[:count]


def to_shed(b: Board, host: int) -> int:
    """Return the item of a host to take off next; -1 where nothing is short, or nothing that is there may move."""
    short_of = -1
    for r in range(b.capacity.shape[1]):
        if b.load[host, r] > b.capacity[host, r]:
            short_of = r
            break
    if short_of < 0:
        return -1
    short = b.load[host, short_of] - b.capacity[host, short_of]
    found, found_size = -1, 0
    item = b.head[host]
    while item >= 0:
        size = need(b, item, host, short_of)
        if b.movable[item] and size > 0:
            is_enough, was_enough = size >= short, found_size >= short
            better = size < found_size if is_enough and was_enough else size > found_size
            if found < 0 or (is_enough and not was_enough) or (is_enough == was_enough and better):
                found, found_size = item, size
        item = b.after[item]
    return found  # type: ignore[no-any-return]


INNER: tuple[Any, ...] = (to_shed,)
