"""Run the phases of one worker in short stretches, and keep the best assignment of all workers."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from vmferry.solver.reassignment.anneal import anneal
from vmferry.solver.reassignment.audit import cost_of, violations
from vmferry.solver.reassignment.kernels import recount
from vmferry.solver.reassignment.problem import Ints, Problem, own_costs
from vmferry.solver.reassignment.schedule import (
    LARGE_WAYS,
    MAIN,
    TRIALS,
    WAYS,
    Course,
    Phase,
    Setting,
    is_large,
    mean_load_weight,
    reheating,
    shortened,
)
from vmferry.solver.reassignment.tables import (
    BEST,
    DIRTY,
    OF_AWAY,
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

_MIX = np.array([0.5, 0.004, 0.3, 0.0])  # see `anneal`
_HOMING_MIX = np.array([0.5, 0.004, 0.3, 0.05])  # where it costs something to be away
_STRETCHES = 200  # of a phase in a search that is bound by steps
_STRETCH_S = 0.05  # in one that is bound by time: how late it may notice that it shall stop
_OFFER_S = 2.0


class Board:
    """The best feasible assignment of all workers; takes none that `audit` does not find feasible and as cheap as
    told."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.tables: Tables = tables_of(problem)  # of all workers: the kernels only read them
        self.machine_of: Ints = problem.initial.copy()
        self.is_feasible = not violations(problem, problem.initial)
        self.cost = float(cost_of(problem, problem.initial).total) if self.is_feasible else np.inf
        self.first_cost = self.cost
        self.refused = 0
        self.steps = 0
        self._trials: dict[int, float] = {}
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

    def note(self, way: int, cost: float) -> None:
        """Note the best cost of a way's trial."""
        with self._lock:
            self._trials[way] = min(cost, self._trials.get(way, np.inf))

    def better_way(self) -> int:
        """Return the way whose trial was best so far; the first one if none found anything feasible."""
        with self._lock:
            return min(range(len(WAYS)), key=lambda way: self._trials.get(way, np.inf))

    def count(self, steps: int) -> None:
        """Count tried moves."""
        with self._lock:
            self.steps += steps


class Worker:
    """One search with its own state and random numbers."""

    def __init__(self, board: Board, start: Ints, seed: int, number: int, workers: int = 1) -> None:
        """Make worker `number` of so many; trials are shared out among them."""
        self.board = board
        self.start, self.number, self.workers = start, number, workers
        self.trial: int | None = None  # the way that is being tried
        self.state: State = state_of(board.problem, start, seed)
        self.own = own_costs(board.problem)
        self.load_weight = mean_load_weight(board.problem)
        self._begin(start, board.cost)

    def by_steps(self, steps: int) -> None:
        """Do so many steps: the same seed and number always give the same."""
        done = 0.0
        for phase in self.phases():
            first, done = round(done * steps), done + phase.share
            last = round(done * steps)
            course = self._enter(phase)
            length = max(1, (last - first) // _STRETCHES)
            for begin in range(first, last, length):
                self._stretch(course.at((begin - first) / (last - first)), min(length, last - begin))
            self._offer()

    def until(self, end: float, is_over: Callable[[], bool]) -> None:
        """Search until a time of the monotonic clock, or until told that it is over."""
        # Compiling is no part of a cooling.
        self._stretch(Course(LARGE_WAYS[0][-1], self.own, self.load_weight).at(0.0), 1)
        begun = offered = time.monotonic()
        done, steps = 0.0, 2_000
        for phase in self.phases():
            first, done = begun + done * (end - begun), done + phase.share
            last = begun + done * (end - begun)
            if time.monotonic() >= last:
                continue
            course = self._enter(phase)
            while (now := time.monotonic()) < last and not is_over():
                self._stretch(course.at(max(0.0, (now - first) / (last - first))), steps)
                took = time.monotonic() - now
                steps = int(min(max(steps * min(2.0, _STRETCH_S / max(took, 1e-4)), 1_000), 1_000_000))
                if now - offered > _OFFER_S:
                    self._offer()
                    offered = now
            self._offer()

    def phases(self) -> Iterator[Phase]:
        """Yield the phases one after the other; which way the main part goes is chosen when trials are over."""
        if is_large(self.board.problem):
            way = LARGE_WAYS[self.number % len(LARGE_WAYS)]
        else:
            mine = [n for n in range(len(WAYS)) if n % self.workers == self.number % len(WAYS)]
            for number in mine:
                self._begin(self.start, self.board.first_cost)
                self.trial = number
                yield from shortened(WAYS[number], TRIALS / len(mine))
            self.trial = None
            way = WAYS[self.board.better_way()]
            self._begin(self.start, self.board.best()[1])
        yield from shortened(way, MAIN if way in WAYS else TRIALS + MAIN)
        yield reheating(way)

    def _begin(self, machine_of: Ints, cost: float) -> None:
        """Go to an assignment; its cost is the one to beat from here on."""
        self.state.where[:] = machine_of
        self.state.best[:] = machine_of
        self.state.is_dirty[:] = 0
        recount(self.board.tables, self.state)
        self.state.tally[[DIRTY, PENDING]] = 0
        self.state.tally[BEST] = cost

    def _enter(self, phase: Phase) -> Course:
        machine_of, cost = self.board.best()
        if phase.takes_best and np.isfinite(cost):
            self._begin(machine_of, cost)
        return Course(phase, self.own, self.load_weight)

    def _stretch(self, now: Setting, steps: int) -> None:
        price = self.state.price
        price[OF_OVER], price[OF_TRANSIENT] = now.over, now.transient
        price[OF_AWAY] = now.away * math.log(self.board.problem.machines)
        price[OF_LONELY] = price[OF_NARROW] = now.bound
        anneal(self.board.tables, self.state, steps, now.temperature, now.active, _HOMING_MIX if now.away > 0 else _MIX)
        self.board.count(steps)

    def _offer(self) -> None:
        cost = float(self.state.tally[BEST])
        if self.trial is not None:
            self.board.note(self.trial, cost)
        if np.isfinite(cost):
            self.board.offer(self.state.best, cost)
