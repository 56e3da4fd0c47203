"""Even out load: the moves that lower the highest share used most, each priced."""

from __future__ import annotations

from typing import Any

import numpy as np

from vmferry.solver.packing.board import Board, Bools, Ints
from vmferry.solver.packing.kernels import fits, need, put, take


def used_share(b: Board, host: int, resource: int) -> float:
    """Return the share of a host's resource that is taken; 0 where it has none."""
    most = b.capacity[host, resource]
    return b.load[host, resource] / most if most > 0 else 0.0


def unevenness(b: Board, host: int, weight: Ints) -> float:
    """Return the sum of squared shares of a host: the sum over hosts is least where all are alike."""
    total = 0.0
    for r in range(b.capacity.shape[1]):
        share = used_share(b, host, r)
        total += weight[r] * share * share
    return total


def after_move(b: Board, item: int, host: int, sign: int, weight: Ints) -> float:
    """Return a host's unevenness with the item added (1) or taken away (-1)."""
    total = 0.0
    for r in range(b.capacity.shape[1]):
        most = b.capacity[host, r]
        if most > 0:
            share = (b.load[host, r] + sign * need(b, item, host, r)) / most
            total += weight[r] * share * share
    return total


def best_moves(b: Board, is_open: Bools, weight: Ints, least_gain: float, most_moves: int) -> Ints:
    """Move items until no move gains `least_gain`, or so many are moved; return them in the order of moving.

    Each step takes the best move off the worst hosts: the greatest fall of the sum of squared shares. An item that was
    moved stays; a move that does not lower the worse one of its two hosts is none.
    """
    moved = np.empty(most_moves, np.int64)
    is_moved = np.zeros(b.where.shape[0], np.bool_)
    count = 0
    while count < most_moves:
        found, found_host, gain = -1, -1, least_gain
        for item in range(b.where.shape[0]):
            source = b.where[item]
            if source < 0 or is_moved[item] or not b.movable[item] or not is_open[source]:
                continue
            here = unevenness(b, source, weight) - after_move(b, item, source, -1, weight)
            if here <= gain:
                continue
            for host in range(b.capacity.shape[0]):
                if host == source or not is_open[host]:
                    continue
                rise = after_move(b, item, host, 1, weight) - unevenness(b, host, weight)
                if here - rise > gain and fits(b, item, host):
                    found, found_host, gain = item, host, here - rise
        if found < 0:
            break
        take(b, found)
        put(b, found, found_host)
        is_moved[found] = True
        moved[count] = found
        count += 1
    return moved[:count]


INNER: tuple[Any, ...] = (used_share, unevenness, after_move)
