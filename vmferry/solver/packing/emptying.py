"""Empty hosts: pack what they hold onto those that stay, with few moves.

Each item of an emptied host must move, so the hosts that hold least are emptied first among those that cost most;
items of hosts that stay move only to make room, and go back where that is possible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vmferry.solver.packing.backend import kernels_for
from vmferry.solver.packing.board import Board, Bools, Ints
from vmferry.solver.packing.bounds import least_hosts
from vmferry.solver.packing.kernels import EMPTIEST, TIGHTEST

Floats = npt.NDArray[np.float64]
_REPAIR_TRIES = 20_000  # for each item without a place; some 50 ns each
_REPAIRED = 40  # items whose repair one round pays for
_HOPELESS = 0.003  # of the items: if more find no place, no repair is tried
_PASSES = 20  # how often all items are looked at, for the choice of kernels
_CLOSE = 4  # sets of hosts that are tried as a whole, each with one host more that stays
_ROUNDS = 12  # more of them, in growing steps
_GOOD = 0.01  # above the bound: if more hosts stay, emptying host by host is tried too


@dataclass(frozen=True)
class Emptying:
    """What is asked: `cost` of running each host (more is emptied first), hosts that stay, a cap of moves.

    `weight` is what moving an item costs; None: one each. `must` are hosts that are to be emptied whatever it costs.
    """

    cost: Any
    keep: Any = None
    must: Any = None
    weight: Any = None
    most_moves: int | None = None
    is_joint: bool = True  # also try to pack all at once; False: host by host only


@dataclass(frozen=True)
class Emptied:
    """Where every item is afterwards, which hosts were emptied in order, and the lower bound of hosts in use."""

    where: Ints
    hosts: tuple[int, ...]
    moves: int
    bound: int


def empty_hosts(board: Board, asked: Emptying) -> Emptied:
    """Return the best emptying found: most cost saved, then the fewest moves; the board itself is not changed.

    Deterministic. Hosts without items at the start are neither filled nor counted. No hosts in the result: nothing
    can be emptied.
    """
    used = np.flatnonzero(board.held > 0)
    bound = least_hosts(board, used)
    tried: list[tuple[Board, list[int]]] = []
    if asked.is_joint and asked.most_moves is None:
        tried = _joint(board, asked, bound)
    if not tried or len(used) - len(tried[0][1]) > bound * (1 + _GOOD):
        tried.append(_one_by_one(board, asked, bound))
    made = [_result(board, state, emptied, bound) for state, emptied in tried]
    cost = np.asarray(asked.cost, np.float64)
    return min(made, key=lambda one: (-float(cost[list(one.hosts)].sum()), one.moves))


def _result(board: Board, state: Board, emptied: list[int], bound: int) -> Emptied:
    _go_home(state)
    moves = int(np.count_nonzero(state.where != board.home))
    return Emptied(where=state.where.copy(), hosts=tuple(emptied), moves=moves, bound=bound)


def emptying_order(board: Board, asked: Emptying) -> list[int]:
    """Return the hosts that may be emptied: those that must first, then by cost, then by the price of their moves."""
    weight = _weight(board, asked)
    load = np.zeros(board.capacity.shape[0], np.float64)
    there = board.where >= 0
    np.add.at(load, board.where[there], weight[there])
    cost, keep = np.asarray(asked.cost, np.float64), _flags(asked.keep, board)
    must = _flags(asked.must, board)
    stuck = np.zeros(board.capacity.shape[0], np.bool_)
    stuck[board.where[there & ~board.movable]] = True
    hosts = [int(h) for h in np.flatnonzero((board.held > 0) & ~keep & ~stuck)]
    return sorted(hosts, key=lambda h: (not must[h], -cost[h], load[h], h))


def _weight(board: Board, asked: Emptying) -> Floats:
    return np.ones(board.home.shape[0]) if asked.weight is None else np.asarray(asked.weight, np.float64)


def _flags(values: Any, board: Board) -> Bools:
    return np.zeros(board.capacity.shape[0], np.bool_) if values is None else np.asarray(values, np.bool_)


def _one_by_one(board: Board, asked: Emptying, bound: int) -> tuple[Board, list[int]]:
    """Empty the first host of the order that can be, then the next; what fails is put back."""
    state, kernels = board.copy(), kernels_for(board.size * _PASSES)
    is_open = board.held > 0
    emptied: list[int] = []
    most = asked.most_moves if asked.most_moves is not None else board.home.shape[0]
    for host in emptying_order(board, asked):
        if int(is_open.sum()) <= max(1, bound):
            break
        before = state.copy()
        is_open[host] = False
        if _clear(state, kernels, [host], is_open) or _moves(state) > most:
            state = before
            is_open[host] = True
        else:
            emptied.append(host)
    return state, emptied


def _moves(state: Board) -> int:
    return int(np.count_nonzero((state.where != state.home) & (state.home >= 0)))


def _clear(state: Board, kernels: Any, hosts: list[int], is_open: Bools) -> int:
    """Take all items off the hosts and place them on open ones, hardest first; return how many found no place.

    Of two rules the one that leaves fewer: evenly, which uses up several resources alike; where there is one only, as
    tightly as possible, which keeps its room in one piece for what comes later. Then the other. The largest go first.
    """
    flags = np.zeros(state.capacity.shape[0], np.bool_)
    flags[hosts] = True
    items = np.flatnonzero((state.where >= 0) & flags[state.where])
    for item in items:
        kernels.take(state, item)
    order = by_size(state, items)
    rank = np.zeros(state.capacity.shape[0], np.int64)
    tried: list[tuple[int, Board]] = []
    for rule in (TIGHTEST, EMPTIEST) if state.capacity.shape[1] == 1 else (EMPTIEST, TIGHTEST):
        made = state.copy()
        tried.append((int(kernels.place_all(made, order, is_open, rank, rule)), made))
        if not tried[-1][0]:
            break
    left, best = min(tried, key=lambda pair: pair[0])
    if left and left <= max(2, _HOPELESS * len(items)):
        budget = np.array([_REPAIR_TRIES * min(left, _REPAIRED)], np.int64)
        left = int(kernels.make_room(best, order, is_open, rank, TIGHTEST, 2, budget))
    for name in ("where", "load", "tones", "head", "after", "before", "held"):
        getattr(state, name)[...] = getattr(best, name)
    return left


def by_size(board: Board, items: Ints) -> Ints:
    """Return the items largest first: by the sum of their shares of all capacity; equal ones by number."""
    total = np.maximum(board.capacity.astype(np.float64), 0).sum(axis=0)
    share = (board.demand[items].max(axis=1) / np.maximum(total, 1.0)).sum(axis=1)
    return np.ascontiguousarray(items[np.lexsort((items, -share))])


def _joint(board: Board, asked: Emptying, bound: int) -> list[tuple[Board, list[int]]]:
    """Keep as few hosts as the bound allows, pack the rest onto them at once; more hosts until that works.

    One host more at first, then in growing steps; between the last that failed and the first that worked by halves.
    """
    order = emptying_order(board, asked)
    kernels = kernels_for(board.size * _PASSES)
    count = min(len(order), int(np.count_nonzero(board.held > 0)) - bound)
    fails, found = count + 1, list[tuple[Board, list[int]]]()
    for step in (*(1,) * _CLOSE, *(2**n for n in range(1, _ROUNDS))):
        if count < 1:
            break
        state, is_open = board.copy(), board.held > 0
        is_open[order[:count]] = False
        if _clear(state, kernels, order[:count], is_open):
            fails = count
        else:
            found = [(state, order[:count])]
        works = len(found[0][1]) if found else 0
        count = (works + fails) // 2 if found else fails - step
        if count == works:
            break
    return found


def _go_home(state: Board) -> None:
    """Send items back that moved off a host that stays, where there is room again."""
    kernels = kernels_for(state.size)
    stays = state.held > 0
    for item in np.flatnonzero((state.where != state.home) & (state.home >= 0)):
        home, there = int(state.home[item]), int(state.where[item])
        if not stays[home] or there < 0:
            continue
        kernels.take(state, item)
        kernels.put(state, item, home if kernels.fits(state, item, home) else there)
