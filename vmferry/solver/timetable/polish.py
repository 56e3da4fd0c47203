"""The exact solver for what is left to gain where there are few jobs: OR-Tools' CP-SAT on intervals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from vmferry.solver.timetable.decode import empty_times
from vmferry.solver.timetable.problem import NEVER, Ints, Problem
from vmferry.solver.timetable.solve import Solution

MOST_JOBS = 50
_WORTH = 0.005  # a gap below this is not worth loading the solver
_WORK = 4.0  # CP-SAT's deterministic seconds: not of a clock, so that the same input gives the same plan


def polish(p: Problem, solution: Solution) -> Solution:
    """Return a solution that is no longer; the same one where there are many jobs or hardly anything to gain."""
    ticks = solution.bound.ticks
    if (
        solution.missing
        or p.pinned.any()
        or not 0 < len(p.ticks) <= MOST_JOBS
        or solution.makespan - ticks <= _WORTH * ticks
    ):
        return solution
    found = _Model(p, solution).solve()
    if found is None:
        return solution
    starts, used = found
    makespan = int((starts + p.ticks[np.arange(len(starts)), used]).max())
    if makespan >= solution.makespan:
        return solution
    order = np.lexsort((np.arange(len(starts)), starts)).astype(np.int64)
    times = empty_times(len(starts))._replace(starts=starts, used=used)
    return replace(solution, times=times, order=order, makespan=makespan)


class _Model:
    """One CP-SAT model; starts and paces are its variables."""

    def __init__(self, p: Problem, solution: Solution) -> None:
        from ortools.sat.python import cp_model

        self._cp: Any = cp_model
        self._p = p
        self._solution = solution
        self._model: Any = cp_model.CpModel()
        self._starts: list[Any] = []
        self._ends: list[Any] = []
        self._intervals: list[Any] = []
        self._rates: list[Any] = []
        self._paces: list[list[Any]] = []

    def solve(self) -> tuple[Ints, Ints] | None:
        p, model = self._p, self._model
        makespan = model.new_int_var(self._solution.bound.ticks, self._solution.makespan, "makespan")
        for j in range(len(p.ticks)):
            self._job(j)
            model.add(self._ends[j] <= makespan)
        self._orders()
        self._cumulative(p.link_at, p.link, p.link_cap, self._rates)
        self._cumulative(p.slot_at, p.slot, p.slot_cap, [1] * len(p.ticks))
        self._rooms()
        model.minimize(makespan)
        solver = self._cp.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = 1
        solver.parameters.max_deterministic_time = _WORK
        if solver.solve(model) not in (self._cp.OPTIMAL, self._cp.FEASIBLE):
            return None
        starts = np.array([solver.value(start) for start in self._starts], dtype=np.int64)
        used = np.array([[solver.value(pace) for pace in paces].index(1) for paces in self._paces], dtype=np.int64)
        return starts, used

    def _job(self, j: int) -> None:
        p, model, horizon = self._p, self._model, self._solution.makespan
        ticks, rate = p.ticks[j], p.rate[j]
        first = 0 if p.pinned[j] else int(p.opens[j])
        start = model.new_int_var(first, first if p.pinned[j] else horizon, f"start{j}")
        size = model.new_int_var(int(ticks[ticks > 0].min()), int(ticks.max()), f"size{j}")
        end = model.new_int_var(0, min(horizon, int(p.closes[j]) if p.closes[j] < NEVER else horizon), f"end{j}")
        paces = [model.new_bool_var(f"pace{j}.{k}") for k in range(len(ticks))]
        model.add_exactly_one(paces)
        for k, pace in enumerate(paces):
            if ticks[k] <= 0:
                model.add(pace == 0)
        model.add(size == sum(int(ticks[k]) * pace for k, pace in enumerate(paces)))
        self._rates.append(sum(int(rate[k]) * pace for k, pace in enumerate(paces)))
        self._starts.append(start)
        self._ends.append(end)
        self._intervals.append(model.new_interval_var(start, size, end, f"job{j}"))
        self._paces.append(paces)
        model.add_hint(start, int(self._solution.times.starts[j]))
        for k, pace in enumerate(paces):
            model.add_hint(pace, int(self._solution.times.used[j] == k))

    def _orders(self) -> None:
        p = self._p
        for j in range(len(p.ticks)):
            for a in p.after[p.after_at[j] : p.after_at[j + 1]]:
                self._model.add(self._starts[int(a)] >= self._ends[j])

    def _cumulative(self, at: Ints, values: Ints, caps: Ints, demands: list[Any]) -> None:
        for number, cap in enumerate(caps):
            jobs = [j for j in range(len(at) - 1) if number in values[at[j] : at[j + 1]]]
            if jobs and not any(self._p.pinned[j] for j in jobs):
                self._model.add_cumulative([self._intervals[j] for j in jobs], [demands[j] for j in jobs], int(cap))

    def _rooms(self) -> None:
        """Room as reservoirs: taken at the start, freed at the end, never below nothing."""
        p = self._p
        for site in range(len(p.free)):
            for kind in range(p.free.shape[1]):
                takes = [j for j in range(len(p.ticks)) if p.dest[j] == site and p.take[j, kind]]
                gives = [j for j in range(len(p.ticks)) if p.source[j] == site and p.give[j, kind]]
                wanted = sum(int(p.take[j, kind]) for j in takes)
                if wanted <= p.free[site, kind]:
                    continue
                times = [self._starts[j] for j in takes] + [self._ends[j] for j in gives]
                changes = [-int(p.take[j, kind]) for j in takes] + [int(p.give[j, kind]) for j in gives]
                most = int(p.free[site, kind]) + sum(int(p.give[j, kind]) for j in gives)
                self._model.add_reservoir_constraint(times, changes, -int(p.free[site, kind]), most)
