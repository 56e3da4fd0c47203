"""Place items that have no host: by a greedy rule, then by moving others, then exactly in small neighbourhoods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vmferry.solver.packing.backend import kernels_for
from vmferry.solver.packing.board import Board, Bools, Ints
from vmferry.solver.packing.emptying import by_size
from vmferry.solver.packing.kernels import ALIGNED, EMPTIEST, TIGHTEST

_PUSHES = 10  # how often repairs look at everything, for the choice of kernels
_DEPTH = 3  # one other, two of one host, a chain of two
# Tries of repairs per unit of the exact solver's deterministic time, about a second on the machine of the benchmarks.
_TRIES_PER_UNIT = 250_000


@dataclass(frozen=True)
class Placing:
    """What is asked: `items` leave where they are; `is_open` hosts take them, those of a lower `rank` first.

    `budget` is tries of repairs, a microsecond or less each. At most `most_extra` other items move; `is_exact` False
    leaves the exact solver out.
    """

    items: Any
    is_open: Any
    rank: Any = None
    budget: int = 1_000_000
    most_extra: int = 0
    is_exact: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Placed:
    """Where every item is, those that found no host, and whether no better is possible without moving others."""

    board: Board
    left: tuple[int, ...]
    is_proved: bool
    how: str  # greedy, pushed, exact


def place_items(board: Board, asked: Placing) -> Placed:
    """Return a state in which as many of the items as was found have a host; the board itself is not changed.

    Deterministic. An item that cannot be placed is nowhere in the result.
    """
    items = np.asarray(asked.items, np.int64)
    is_open = np.asarray(asked.is_open, np.bool_)
    rank = np.zeros(len(is_open), np.int64) if asked.rank is None else np.asarray(asked.rank, np.int64)
    base = board.copy()
    kernels = kernels_for(max(1, len(items)) * base.capacity.size)
    for item in items:
        if base.where[item] >= 0:
            kernels.take(base, item)
    order = hardest_first(base, items, is_open)
    best = _greedy(base, order, is_open, rank, kernels)
    if not len(_left(best, order)):
        return Placed(best, (), True, "greedy")
    best = _push(best, order, is_open, rank, asked.budget, items)
    if not len(_left(best, order)):
        return Placed(best, (), True, "pushed")
    return _exactly(best, order, is_open, asked)


def _left(state: Board, order: Ints) -> Ints:
    return order[state.where[order] < 0]


def hardest_first(board: Board, items: Ints, is_open: Bools) -> Ints:
    """Return the items with the fewest hosts first, then the largest."""
    sized = by_size(board, items)
    choices = (board.allowed[:, is_open].sum(axis=1))[board.row[sized]]
    return np.ascontiguousarray(sized[np.argsort(choices, kind="stable")])


def _greedy(base: Board, order: Ints, is_open: Bools, rank: Ints, kernels: Any) -> Board:
    """Return the best of three rules: evenly if all find a host, else as tightly as possible."""
    found: list[tuple[int, Board]] = []
    for rule in (EMPTIEST, TIGHTEST, ALIGNED):
        state = base.copy()
        left = int(kernels.place_all(state, order, is_open, rank, rule))
        if not left:
            return state
        found.append((left, state))
    return min(found, key=lambda pair: pair[0])[1]


def _push(state: Board, order: Ints, is_open: Bools, rank: Ints, budget: int, items: Ints) -> Board:
    """Move items that were just placed to make room for the rest."""
    only = np.zeros(state.where.shape[0], np.bool_)
    only[items] = True
    kernels = kernels_for(len(items) * state.capacity.size * _PUSHES)
    tries = np.array([budget // 4], np.int64)
    free = state._replace(movable=only)
    while len(left := _left(free, order)):
        if kernels.make_room(free, left, is_open, rank, TIGHTEST, _DEPTH, tries) == len(left) or tries[0] < 0:
            break
    return free._replace(movable=state.movable)


def _exactly(state: Board, order: Ints, is_open: Bools, asked: Placing) -> Placed:
    """Let others move too, one pushed aside where that is enough, then a few hosts solved exactly at once."""
    from vmferry.solver.packing.exact import place_exactly, repair_exactly

    units = asked.budget / _TRIES_PER_UNIT if asked.is_exact else 0.0
    is_proved = False
    if units:
        state, is_proved = place_exactly(state, order, is_open, units / 2, asked.seed)
    if asked.most_extra and len(_left(state, order)):
        state = _push_others(state, order, is_open, asked)
        if units and len(_left(state, order)):
            state = repair_exactly(state, order, is_open, asked.most_extra, units * 2, asked.seed)
    return Placed(state, tuple(int(i) for i in _left(state, order)), is_proved, "exact")


def _push_others(state: Board, order: Ints, is_open: Bools, asked: Placing) -> Board:
    """Push one other item aside at a time, as long as no more move than allowed."""
    kernels, tries = kernels_for(state.size * _PUSHES), np.array([asked.budget], np.int64)
    rank = np.zeros(len(is_open), np.int64)
    for item in _left(state, order):
        before = state.copy()
        kernels.make_room(state, np.array([item], np.int64), is_open, rank, TIGHTEST, 1, tries)
        if extra_moves(state, order) > asked.most_extra:
            state = before
    return state


def extra_moves(state: Board, items: Ints) -> int:
    """Return how many items other than these are away from home."""
    away = (state.where != state.home) & (state.home >= 0)
    away[items] = False
    return int(np.count_nonzero(away))


def relieve(board: Board) -> tuple[Board, Ints]:
    """Return a copy of the board without the items that must leave, and those items; see `shed`."""
    state = board.copy()
    taken: Any = kernels_for(board.size).shed(state)
    return state, np.sort(taken)
