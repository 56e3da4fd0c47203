"""An order of single moves that never needs more room than there is: found by trying, within a budget."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vmferry.solver.timetable.problem import Problem

_BUDGET = 300_000  # looks at a move; then it is said that no order was found


def safe_order(p: Problem, budget: int = _BUDGET) -> list[int] | None:
    """Return the jobs in an order in which each finds its room when those before it have ended; None: not found.

    A move whose destination has room for all that still want to go there harms nobody, and is made at once. Only the
    others are tried one after the other, those first that leave the fullest site.
    """
    return _Trial(p, budget).order()


def with_queues(p: Problem, order: list[int]) -> Problem:
    """Return the problem in which jobs to a site that cannot hold all of them at once start in this order.

    Those before a job in the order have started when it may, and those behind it at the same site have not: so it finds
    at least the room that it had in the order, when those before it have ended.
    """
    wanted = np.zeros_like(p.free)
    np.add.at(wanted, p.dest, p.take)
    is_short: NDArray[np.bool_] = np.any(wanted > p.free, axis=1)
    behind, last = p.behind.copy(), dict[int, int]()
    for j in order:
        site = int(p.dest[j])
        if not is_short[site] or p.pinned[j]:
            continue
        if site in last:
            behind[last[site]] = j
        last[site] = j
    return p._replace(behind=behind)


class _Trial:
    """One search; depth first, with the sets of moves that were seen to lead nowhere."""

    def __init__(self, p: Problem, budget: int) -> None:
        n = len(p.ticks)
        self._p = p
        self._budget = budget
        self._dead: set[int] = set()
        self._takes, self._gives = [tuple(map(int, row)) for row in p.take], [tuple(map(int, row)) for row in p.give]
        self._room, self._wanted = [list(map(int, row)) for row in p.free], [[0] * p.free.shape[1] for _ in p.free]
        self._source, self._dest = p.source.tolist(), p.dest.tolist()
        self._to: list[list[int]] = [[] for _ in p.free]
        self._waits, self._lets = (
            [0] * n,
            [list(map(int, p.after[p.after_at[j] : p.after_at[j + 1]])) for j in range(n)],
        )
        for j in range(n):
            self._to[self._dest[j]].append(j)
            self._add(self._wanted[self._dest[j]], self._takes[j], 1)
            for a in self._lets[j]:
                self._waits[a] += 1
        self._left = set(range(n))
        self._done: list[int] = []
        self._mask = 0

    def order(self) -> list[int] | None:
        frames: list[tuple[int, list[int]]] = []  # per guess: how many were done before it, what else can be tried
        self._advance(list(self._left))
        while self._left:
            frames.append((len(self._done), [] if self._mask in self._dead else self._choices()))
            while frames and not frames[-1][1]:
                self._dead.add(self._mask)
                frames.pop()
                if frames:
                    self._take_back(frames[-1][0])
            if not frames or self._budget <= 0:
                return None
            self._advance(self._make(frames[-1][1].pop(0)))
        return self._done

    def _fits(self, j: int) -> bool:
        room = self._room[self._dest[j]]
        return bool(self._p.pinned[j]) or (
            not self._waits[j] and all(not take or take <= room[r] for r, take in enumerate(self._takes[j]))
        )

    def _advance(self, looked_at: list[int]) -> None:
        """Make all moves that harm nobody, beginning with these."""
        while looked_at:
            j = looked_at.pop()
            self._budget -= 1
            if j not in self._left or not self._fits(j):
                continue
            site = self._dest[j]
            room, wanted = self._room[site], self._wanted[site]
            if self._p.pinned[j] or all(not want or want <= room[r] for r, want in enumerate(wanted)):
                looked_at += self._make(j)

    def _choices(self) -> list[int]:
        """Return the moves that fit, best first: what their leaving lets in, then what they take."""
        waiting = {self._dest[i] for i in self._left}
        fitting = [j for j in sorted(self._left) if self._fits(j)]
        return sorted(
            fitting, key=lambda j: (self._source[j] not in waiting, sum(self._takes[j]) - sum(self._gives[j]), j)
        )

    def _make(self, j: int) -> list[int]:
        """Make a move; return those that it may have helped."""
        self._add(self._room[self._dest[j]], self._takes[j], -1)
        self._add(self._wanted[self._dest[j]], self._takes[j], -1)
        self._add(self._room[self._source[j]], self._gives[j], 1)
        for a in self._lets[j]:
            self._waits[a] -= 1
        self._done.append(j)
        self._left.discard(j)
        self._mask |= 1 << j
        return [*self._to[self._source[j]], *self._to[self._dest[j]], *self._lets[j]]

    def _take_back(self, count: int) -> None:
        while len(self._done) > count:
            j = self._done.pop()
            self._add(self._room[self._dest[j]], self._takes[j], 1)
            self._add(self._wanted[self._dest[j]], self._takes[j], 1)
            self._add(self._room[self._source[j]], self._gives[j], -1)
            for a in self._lets[j]:
                self._waits[a] += 1
            self._left.add(j)
            self._mask ^= 1 << j

    @staticmethod
    def _add(to: list[int], what: tuple[int, ...], sign: int) -> None:
        for r, value in enumerate(what):
            to[r] += sign * value
