"""Run the phases of one worker in short stretches, and keep the best assignment of all workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from vmferry.solver.reassignment.anneal import anneal
from vmferry.solver.reassignment.audit import cost_of, violations
from vmferry.solver.reassignment.kernels import recount
from vmferry.solver.reassignment.problem import Ints, Problem
from vmferry.solver.reassignment.schedule import Phase, mean_load_weight, phases_of, scale_of, setting
from vmferry.solver.reassignment.tables import (
    BEST,
    DIRTY,
    OF_LONELY,
    OF_NARROW,
    OF_OVER,
    OF_TRANSIENT,
    PENDING,
    State,
    Tables,
    state_of,
    tables_of,
)

_MIX = np.array([0.5, 0.004])  # shares of swaps and pushes among the moves
_STRETCHES = 200  # of a phase in a search that is bound by steps
_STRETCH_S = 0.05  # in one that is bound by time: how late it may notice that it shall stop
_OFFER_S = 2.0


class Board:
    """The best feasible assignment of all workers; takes none that `audit` does not find feasible and as cheap as
    told."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.machine_of: Ints = problem.initial.copy()
        self.is_feasible = not violations(problem, problem.initial)
        self.cost = float(cost_of(problem, problem.initial).total) if self.is_feasible else np.inf
        self.refused = 0
        self.steps = 0
        self._lock = threading.Lock()

    def offer(self, machine_of: Ints, cost: float) -> None:
        """Take an assignment that is better than all before."""
        if cost >= self.cost:
            return
        if violations(self.problem, machine_of) or cost_of(self.problem, machine_of).total != cost:
            self.refused += 1
            return
        with self._lock:
            if cost < self.cost:
                self.machine_of, self.cost, self.is_feasible = machine_of.copy(), cost, True

    def best(self) -> tuple[Ints, float]:
        """Return the best assignment and its cost; infinity while none is feasible."""
        with self._lock:
            return self.machine_of, self.cost

    def count(self, steps: int) -> None:
        """Count tried moves."""
        with self._lock:
            self.steps += steps


class Worker:
    """One search with its own state and random numbers."""

    def __init__(self, board: Board, start: Ints, seed: int, number: int) -> None:
        self.board = board
        self.phases: tuple[Phase, ...] = phases_of(board.problem, number)
        self.tables: Tables = tables_of(board.problem)
        self.state: State = state_of(board.problem, start, seed)
        self.scale = scale_of(board.problem)
        self.load_weight = mean_load_weight(board.problem)
        self._begin(start, board.cost)

    def by_steps(self, steps: int) -> None:
        """Do so many steps: the same seed and number always give the same."""
        done = 0.0
        for phase in self.phases:
            first, done = round(done * steps), done + phase.share
            last = round(done * steps)
            self._enter(phase)
            length = max(1, (last - first) // _STRETCHES)
            for begin in range(first, last, length):
                self._stretch(phase, (begin - first) / (last - first), min(length, last - begin))
            self._offer()

    def until(self, begun: float, end: float, is_over: Callable[[], bool]) -> None:
        """Search between two times of the monotonic clock, or until told that it is over."""
        done, steps, offered = 0.0, 2_000, begun
        for phase in self.phases:
            first, done = begun + done * (end - begun), done + phase.share
            last = begun + done * (end - begun)
            if time.monotonic() >= last:
                continue
            self._enter(phase)
            while (now := time.monotonic()) < last and not is_over():
                self._stretch(phase, max(0.0, (now - first) / (last - first)), steps)
                took = time.monotonic() - now
                steps = int(min(max(steps * min(2.0, _STRETCH_S / max(took, 1e-4)), 1_000), 1_000_000))
                if now - offered > _OFFER_S:
                    self._offer()
                    offered = now
            self._offer()

    def _begin(self, machine_of: Ints, cost: float) -> None:
        """Go to an assignment; its cost is the one to beat from here on."""
        self.state.where[:] = machine_of
        self.state.best[:] = machine_of
        self.state.is_dirty[:] = 0
        recount(self.tables, self.state)
        self.state.tally[[DIRTY, PENDING]] = 0
        self.state.tally[BEST] = cost

    def _enter(self, phase: Phase) -> None:
        machine_of, cost = self.board.best()
        if phase.takes_best and np.isfinite(cost):
            self._begin(machine_of, cost)

    def _stretch(self, phase: Phase, done: float, steps: int) -> None:
        now = setting(phase, done, self.scale, self.load_weight)
        price = self.state.price
        price[OF_OVER], price[OF_TRANSIENT] = now.over, now.transient
        price[OF_LONELY] = price[OF_NARROW] = now.bound
        anneal(self.tables, self.state, steps, now.temperature, _MIX)
        self.board.count(steps)

    def _offer(self) -> None:
        cost = float(self.state.tally[BEST])
        if np.isfinite(cost):
            self.board.offer(self.state.best, cost)
