"""Lower bounds: what no plan can be better than."""

from __future__ import annotations

import numpy as np

from vmferry.solver.packing.board import Board, Ints


def least_hosts(board: Board, hosts: Ints) -> int:
    """Return how many of `hosts` all items that are on them need at least.

    The largest of: per resource, how many of the largest hosts hold the sum; hosts with items that may not move; the
    largest group whose items must all be on hosts of their own; the number of tones.
    """
    if not len(hosts):
        return 0
    inside = np.zeros(board.capacity.shape[0], np.bool_)
    inside[hosts] = True
    items = np.flatnonzero((board.where >= 0) & inside[np.maximum(board.where, 0)])
    if not len(items):
        return 0
    bounds = [sum_bound(board, items, hosts), group_bound(board, items), len(np.unique(board.tone[items]))]
    bounds.append(len(np.unique(board.where[items[~board.movable[items]]])))
    return max(bounds)


def sum_bound(board: Board, items: Ints, hosts: Ints) -> int:
    """Return how many of the largest hosts hold the sum of what the items take, of the scarcest resource."""
    most, least = 0, np.minimum(board.demand.min(axis=1), board.at_home)
    for r in range(board.capacity.shape[1]):
        total = int(least[items, r].sum())
        room = np.cumsum(np.sort(np.maximum(board.capacity[hosts, r], 0))[::-1])
        if total > 0:
            most = max(most, int(np.searchsorted(room, total)) + 1)
    return min(most, len(hosts))


def group_bound(board: Board, items: Ints) -> int:
    """Return the size in colours of the largest group that must not share hosts."""
    present = np.zeros(board.where.shape[0], np.bool_)
    present[items] = True
    largest = 0
    for group in range(board.level.shape[0]):
        span = slice(int(board.member_ptr[group]), int(board.member_ptr[group + 1]))
        colours = board.member_colour[span][present[board.member[span]]]
        largest = max(largest, len(np.unique(colours)))
    return largest


def short_sums(board: Board, items: Ints, hosts: Ints) -> dict[int, tuple[int, int]]:
    """Return resource → (asked, free) where items that may only be on `hosts` ask for more than these have (Hall).

    What others, that are there now and are not among the items, take is not free.
    """
    others = np.setdiff1d(np.flatnonzero(np.isin(board.where, hosts)), items)
    found = {}
    for r in range(board.capacity.shape[1]):
        taken = sum(_need(board, int(item), int(board.where[item]), r) for item in others)
        free = int(np.maximum(board.capacity[hosts, r], 0).sum()) - taken
        asked = int(board.demand[items][:, board.host_class[hosts], r].min(axis=1).sum())
        if asked > max(0, free):
            found[r] = (asked, max(0, free))
    return found


def _need(board: Board, item: int, host: int, resource: int) -> int:
    if board.home[item] == host:
        return int(board.at_home[item, resource])
    return int(board.demand[item, board.host_class[host], resource])
