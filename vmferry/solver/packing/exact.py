"""Small placements solved exactly by CP-SAT: one worker and deterministic time, so that equal input gives equal output.

Imported late: it takes half a second, and most plans never need it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vmferry.solver.packing.backend import interpreted
from vmferry.solver.packing.board import Board, Bools, Ints

_MOST_CHOICES = 12_000  # of item and host: beyond it a model takes longer to build than it helps
_WIDTHS = (3, 6, 10, 14)  # hosts of a neighbourhood, one after the other


def place_exactly(board: Board, items: Ints, is_open: Bools, units: float, seed: int) -> tuple[Board, bool]:
    """Place as many of `items` as possible, all others where they are; return the state, and whether that is proved."""
    hosts = np.flatnonzero(is_open)
    choices = int(board.allowed[board.row[items]][:, hosts].sum())
    if choices > _MOST_CHOICES:
        return board, False
    model = _Model(board, items, hosts, is_must=np.ones(len(items), np.bool_))
    return model.solve(units, seed)


def repair_exactly(board: Board, items: Ints, is_open: Bools, most_extra: int, units: float, seed: int) -> Board:
    """For each item without a host, free all items of a few hosts at once; at most `most_extra` others move in all."""
    must = np.zeros(board.where.shape[0], np.bool_)
    must[items] = True
    widths = [width for width in _WIDTHS if width <= int(is_open.sum())] or [int(is_open.sum())]
    share = units / len(widths) / max(1, int((board.where[items] < 0).sum()))
    for width in widths:
        for item in items[board.where[items] < 0]:
            if board.where[item] >= 0:
                continue
            hosts = _neighbourhood(board, int(item), is_open, width)
            inside = np.flatnonzero(np.isin(board.where, hosts) & (board.movable | must))
            free = np.append(inside, items[board.where[items] < 0])
            if not len(hosts) or len(free) * len(hosts) > _MOST_CHOICES:
                continue
            away = (board.where != board.home) & (board.home >= 0) & ~must
            away[free] = False
            model = _Model(board, free, hosts, is_must=must[free], most_extra=most_extra - int(away.sum()))
            board = model.solve(share, seed)[0]
    return board


def _neighbourhood(board: Board, item: int, is_open: Bools, width: int) -> Ints:
    """Return the open hosts that the item may be on where most of its scarcest resource is free."""
    hosts = np.flatnonzero(is_open & board.allowed[board.row[item]])
    wanted = board.demand[item, board.host_class[hosts], :]
    free = board.capacity[hosts] - board.load[hosts]
    share = np.where(wanted > 0, free / np.maximum(wanted, 1), np.inf).min(axis=1)
    return np.sort(hosts[np.lexsort((hosts, -share))][:width])


class _Model:
    """Choices of (item, host) as booleans; room, groups and tones as sums."""

    def __init__(self, board: Board, items: Ints, hosts: Ints, is_must: Bools, most_extra: int | None = None) -> None:
        from ortools.sat.python import cp_model

        self.board, self.items, self.hosts = board, items, hosts
        self.model: Any = cp_model.CpModel()
        self.solver: Any = cp_model.CpSolver()
        self.good = (cp_model.OPTIMAL, cp_model.FEASIBLE)
        self.optimal = cp_model.OPTIMAL
        rest = board.copy()
        for item in items:
            if rest.where[item] >= 0:
                interpreted().take(rest, int(item))
        self.rest = rest
        self.choice = self._choices()
        self._room()
        self._apart()
        self._tones()
        self._aim(is_must, most_extra)

    def _choices(self) -> dict[tuple[int, int], Any]:
        """A choice that is impossible beside what stays is none."""
        fits = interpreted().fits
        return {
            (int(item), int(host)): self.model.new_bool_var("")
            for item in self.items
            for host in self.hosts
            if fits(self.rest, int(item), int(host))
        }

    def _of(self, item: int) -> list[Any]:
        return [x for host in self.hosts if (x := self.choice.get((item, int(host)))) is not None]

    def _room(self) -> None:
        b = self.board
        for host in (int(h) for h in self.hosts):
            there = [(i, x) for i in map(int, self.items) if (x := self.choice.get((i, host))) is not None]
            for r in range(b.capacity.shape[1]):
                terms = [(_need(b, i, host, r), x) for i, x in there]
                free = int(b.capacity[host, r] - self.rest.load[host, r])
                if sum(size for size, _ in terms) > free:
                    self.model.add(sum(size * x for size, x in terms) <= free)

    def _apart(self) -> None:
        """Items of one group and different colours share no domain: one colour for each domain."""
        b = self.board
        free = {int(i) for i in self.items}
        for group in sorted({int(b.group_of[k]) for i in free for k in range(b.group_ptr[i], b.group_ptr[i + 1])}):
            span = range(int(b.member_ptr[group]), int(b.member_ptr[group + 1]))
            level = int(b.level[group])
            per_domain: dict[int, dict[int, list[Any]]] = {}
            for m in span:
                for host in (int(h) for h in self.hosts):
                    x = self.choice.get((int(b.member[m]), host))
                    domain = int(b.domain[level, host])
                    if x is not None and domain >= 0:
                        per_domain.setdefault(domain, {}).setdefault(int(b.member_colour[m]), []).append(x)
            for colours in per_domain.values():
                self._one_colour(list(colours.values()))

    def _one_colour(self, colours: list[list[Any]]) -> None:
        if len(colours) < 2:
            return
        if all(len(xs) == 1 for xs in colours):
            self.model.add_at_most_one(xs[0] for xs in colours)
            return
        flags = []
        for xs in colours:
            flag = self.model.new_bool_var("")
            for x in xs:
                self.model.add_implication(x, flag)
            flags.append(flag)
        self.model.add_at_most_one(flags)

    def _tones(self) -> None:
        if self.board.tones.shape[1] < 2:
            return
        for host in (int(h) for h in self.hosts):
            colours: dict[int, list[Any]] = {}
            for i in map(int, self.items):
                if (x := self.choice.get((i, host))) is not None:
                    colours.setdefault(int(self.board.tone[i]), []).append(x)
            self._one_colour(list(colours.values()))

    def _aim(self, is_must: Bools, most_extra: int | None) -> None:
        """Most items placed; of those that need not move, all placed and as few as possible away from home."""
        gain, away = [], []
        for item, must in zip(map(int, self.items), is_must, strict=True):
            xs = self._of(item)
            if must:
                self.model.add_at_most_one(xs)
                gain += xs
            else:
                self.model.add_exactly_one(xs)
                home = self.choice.get((item, int(self.board.home[item])))
                away += [x for x in xs if x is not home]
            for host in map(int, self.hosts):
                if (x := self.choice.get((item, host))) is not None:
                    self.model.add_hint(x, int(self.board.where[item] == host))
        if most_extra is not None and away:
            self.model.add(sum(away) <= max(0, most_extra))
        self.model.maximize((len(self.items) + 1) * sum(gain) - sum(away))

    def solve(self, units: float, seed: int) -> tuple[Board, bool]:
        """Return the better state and whether it is proved to be the best; the board where nothing better was found."""
        parameters = self.solver.parameters
        parameters.num_workers, parameters.random_seed = 1, seed
        parameters.max_deterministic_time = units
        status = self.solver.solve(self.model)
        if status not in self.good:
            return self.board, False
        state, put = self.rest.copy(), interpreted().put
        for (item, host), x in self.choice.items():
            if self.solver.boolean_value(x):
                put(state, item, host)
        before = int((self.board.where[self.items] < 0).sum())
        after = int((state.where[self.items] < 0).sum())
        return (state if after < before else self.board), status == self.optimal


def _need(b: Board, item: int, host: int, resource: int) -> int:
    if b.home[item] == host:
        return int(b.at_home[item, resource])
    return int(b.demand[item, b.host_class[host], resource])
