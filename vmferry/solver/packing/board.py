"""A packing problem and its present state as plain arrays: items on hosts, several resources, items kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vmferry.errors import InvalidInput

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
NOWHERE = -1


class Board(NamedTuple):
    """Arrays that the kernels work on; those of the last block are the state and change.

    V items, H hosts, R resources, C classes of hosts for which an item's demand is the same, G groups of items.
    """

    demand: Ints  # [V, C, R]
    host_class: Ints  # [H] → C
    capacity: Ints  # [H, R]
    at_home: Ints  # [V, R]: what is taken where the item is at home, and free when it leaves
    home: Ints  # [V] → H, or NOWHERE
    row: Ints  # [V] → row of `allowed`
    allowed: Bools  # [K, H]
    movable: Bools  # [V]
    group_ptr: Ints  # [V + 1] → entries of group_of and colour_of: the groups of an item
    group_of: Ints
    colour_of: Ints  # two items of a group with different colours may not share a domain
    member_ptr: Ints  # [G + 1] → entries of member and member_colour
    member: Ints
    member_colour: Ints
    level: Ints  # [G] → row of `domain`
    domain: Ints  # [L, H]: 0 is the host itself; another level is a rack or alike
    tone: Ints  # [V]: items of different tones may not share a host
    where: Ints  # [V] → H, or NOWHERE
    load: Ints  # [H, R]
    tones: Ints  # [H, T]: how many items of each tone are there
    head: Ints  # [H] → first item there; with `after` and `before` a list per host
    after: Ints  # [V]
    before: Ints  # [V]
    held: Ints  # [H]: how many items are there

    @property
    def size(self) -> int:
        """What a scan of all items over all hosts costs, in comparisons."""
        return int(self.demand.shape[0]) * int(self.capacity.shape[0]) * int(self.capacity.shape[1])

    def copy(self) -> Board:
        """Return a board with the same problem and a state of its own."""
        state = ("where", "load", "tones", "head", "after", "before", "held")
        return self._replace(**{name: getattr(self, name).copy() for name in state})


@dataclass(frozen=True)
class Apart:
    """Items that may not share a domain unless they have the same colour; no colours: each its own."""

    items: tuple[int, ...]
    level: int = 0
    colours: tuple[int, ...] = ()


@dataclass(frozen=True)
class Problem:
    """What a board is made from; what is left out allows everything.

    `demand` is [V, R], or [V, C, R] with `host_class`; all numbers are whole and not negative, capacities may be below
    zero where a host is over-committed by what this problem does not hold.
    """

    demand: Any
    capacity: Any
    home: Any
    allowed: Any = None  # [K, H] with `row`, or [V, H]
    row: Any = None
    movable: Any = None
    apart: Sequence[Apart] = ()
    domains: Any = None  # [L, H]; level 0 is always the host itself and is not among them
    tone: Any = None
    host_class: Any = None
    at_home: Any = None  # [V, R]; else what the item takes as anywhere of its host's class


def make_board(problem: Problem) -> Board:
    """Return the board with every item at home. Raises InvalidInput with every wrong array at once."""
    capacity = _ints(problem.capacity)
    demand = _ints(problem.demand)
    demand = demand[:, None, :] if demand.ndim == 2 else demand
    home = _ints(problem.home)
    if found := _problems(problem, demand, capacity, home):
        raise InvalidInput("packing: " + "; ".join(found), problems=tuple(found))
    items, hosts = demand.shape[0], capacity.shape[0]
    row, allowed = _rows(problem, items, hosts)
    own = np.arange(hosts, dtype=np.int64)[None, :]
    tone = np.zeros(items, np.int64) if problem.tone is None else _ints(problem.tone)
    host_class = np.zeros(hosts, np.int64) if problem.host_class is None else _ints(problem.host_class)
    board = Board(
        demand=demand,
        host_class=host_class,
        capacity=capacity,
        at_home=_at_home(problem, demand, host_class, home),
        home=home,
        row=row,
        allowed=allowed,
        movable=_bools(problem.movable, items, True),
        **_groups(problem.apart, items),
        domain=own if problem.domains is None else np.concatenate([own, _ints(problem.domains)]),
        tone=tone,
        where=np.full(items, NOWHERE, np.int64),
        load=np.zeros_like(capacity),
        tones=np.zeros((hosts, int(tone.max(initial=0)) + 1), np.int64),
        head=np.full(hosts, NOWHERE, np.int64),
        after=np.full(items, NOWHERE, np.int64),
        before=np.full(items, NOWHERE, np.int64),
        held=np.zeros(hosts, np.int64),
    )
    return _settle(board)


def _settle(board: Board) -> Board:
    """Put every item home, all at once."""
    there = np.flatnonzero(board.home >= 0)
    at = board.home[there]
    np.add.at(board.load, at, board.at_home[there])
    np.add.at(board.tones, (at, board.tone[there]), 1)
    np.add.at(board.held, at, 1)
    board.where[there] = at
    for item in there[::-1]:  # the list of a host is in the order of the items
        host = board.home[item]
        first = board.head[host]
        board.after[item] = first
        if first >= 0:
            board.before[first] = item
        board.head[host] = item
    return board


def _at_home(problem: Problem, demand: Ints, host_class: Ints, home: Ints) -> Ints:
    if problem.at_home is not None:
        return _ints(problem.at_home)
    return np.ascontiguousarray(demand[np.arange(len(home)), host_class[np.maximum(home, 0)], :])


def _ints(values: Any) -> Ints:
    return np.ascontiguousarray(np.asarray(values), dtype=np.int64)


def _bools(values: Any, length: int, default: bool) -> Bools:
    return np.full(length, default) if values is None else np.ascontiguousarray(values, dtype=np.bool_)


def _rows(problem: Problem, items: int, hosts: int) -> tuple[Ints, Bools]:
    if problem.allowed is None:
        return np.zeros(items, np.int64), np.ones((1, hosts), np.bool_)
    allowed = np.ascontiguousarray(problem.allowed, dtype=np.bool_)
    return (np.arange(items, dtype=np.int64) if problem.row is None else _ints(problem.row)), allowed


def _groups(apart: Sequence[Apart], items: int) -> dict[str, Ints]:
    """Return the groups by item and by group, each as one array with pointers into it."""
    of_item: list[list[tuple[int, int]]] = [[] for _ in range(items)]
    member: list[int] = []
    colours: list[int] = []
    member_ptr = [0]
    for number, group in enumerate(apart):
        shades = group.colours or tuple(range(len(group.items)))
        for item, colour in zip(group.items, shades, strict=True):
            of_item[item].append((number, colour))
        member += group.items
        colours += shades
        member_ptr.append(len(member))
    flat = [pair for pairs in of_item for pair in pairs]
    return {
        "group_ptr": np.cumsum([0, *(len(pairs) for pairs in of_item)], dtype=np.int64),
        "group_of": _ints([pair[0] for pair in flat]),
        "colour_of": _ints([pair[1] for pair in flat]),
        "member_ptr": _ints(member_ptr),
        "member": _ints(member),
        "member_colour": _ints(colours),
        "level": _ints([group.level for group in apart]),
    }


def _problems(problem: Problem, demand: Ints, capacity: Ints, home: Ints) -> list[str]:
    if capacity.ndim != 2 or capacity.shape[0] == 0:
        return ["there are no hosts: give at least one"]
    items, hosts = demand.shape[0], capacity.shape[0]
    found = []
    if demand.ndim != 3 or demand.shape[2] != capacity.shape[1]:
        found.append(f"demand is {demand.shape}, capacity {capacity.shape}: the resources differ")
    if demand.size and int(demand.min()) < 0:
        found.append(f"item {int(np.argwhere(demand < 0)[0][0])} has a negative demand")
    if home.shape != (items,):
        found.append(f"{home.shape} homes for {items} items")
    elif items and not (int(home.min()) >= NOWHERE and int(home.max()) < hosts):
        found.append(f"homes lie between {int(home.min())} and {int(home.max())}, hosts between 0 and {hosts - 1}")
    levels = 1 if problem.domains is None else 1 + len(problem.domains)
    for number, group in enumerate(problem.apart):
        wrong = [item for item in group.items if not 0 <= item < items]
        found += [f"group {number} holds unknown items {wrong}"] if wrong else []
        found += [f"group {number} is of unknown level {group.level}"] if not 0 <= group.level < levels else []
    if problem.tone is not None and len(problem.tone) and min(problem.tone) < 0:
        found.append("a tone is negative")
    return found
