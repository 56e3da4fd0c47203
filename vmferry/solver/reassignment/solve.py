"""Find a better assignment: the one entrance to the solver."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass

import numpy as np

from vmferry.errors import InvalidInput
from vmferry.solver.reassignment.audit import Cost, cost_of, violations
from vmferry.solver.reassignment.bound import lower_bound
from vmferry.solver.reassignment.problem import Ints, Problem

_LEAVE_S = 0.3  # of the seconds: a stretch of steps ends, and its best is looked at


@dataclass(frozen=True)
class Budget:
    """How much to search: either steps (one thread, the same answer every time) or seconds of wall clock."""

    steps: int | None = None
    seconds: float | None = None
    workers: int = 2  # threads, with seconds only
    stop: threading.Event | None = None  # set it to end a search of seconds early, with the best so far

    def __post_init__(self) -> None:
        problems = []
        if (self.steps is None) == (self.seconds is None):
            problems.append("a budget needs either steps or seconds")
        if self.steps is not None and self.steps < 0:
            problems.append(f"steps is {self.steps}, needs 0 or more")
        if self.seconds is not None and not 0 <= self.seconds < math.inf:
            problems.append(f"seconds is {self.seconds}, needs 0 or more")
        if self.workers < 1:
            problems.append(f"workers is {self.workers}, needs 1 or more")
        if problems:
            raise InvalidInput("; ".join(problems), problems=tuple(problems))


@dataclass(frozen=True, eq=False)
class Assignment:
    """The best that was found; where nothing feasible was, the initial assignment with what it breaks."""

    machine_of: Ints  # (P,)
    cost: Cost
    lower_bound: int
    problems: tuple[str, ...]  # what `audit.violations` says; empty for a feasible one
    steps: int  # moves that were tried


def solve(problem: Problem, budget: Budget, seed: int = 0) -> Assignment:
    """Search for a cheaper feasible assignment within the budget.

    Never worse than a feasible initial assignment; an infeasible one is repaired if a way is found. Raises
    `InvalidInput` where the seed is negative or a service has more processes than there are machines.
    """
    begun = time.monotonic()
    if seed < 0:
        raise InvalidInput(f"seed is {seed}, needs 0 or more")
    start = _apart(problem)
    machine_of, steps = _by_steps(problem, start, budget.steps, seed) if budget.steps is not None else (
        _by_time(problem, start, begun, budget, seed)
    )  # fmt: skip
    return Assignment(
        machine_of=machine_of,
        cost=cost_of(problem, machine_of),
        lower_bound=lower_bound(problem),
        problems=violations(problem, machine_of),
        steps=steps,
    )


def _by_steps(problem: Problem, start: Ints, steps: int, seed: int) -> tuple[Ints, int]:
    # Imported here: numba takes a second, which a program that never searches need not wait for.
    from vmferry.solver.reassignment.search import Board, Worker

    board = Board(problem)
    Worker(board, start, seed, 0).by_steps(steps)
    return board.best()[0], board.steps


def _by_time(problem: Problem, start: Ints, begun: float, budget: Budget, seed: int) -> tuple[Ints, int]:
    """Let the workers run as threads; return in time even if they are still being compiled."""
    from vmferry.solver.reassignment.search import Board, Worker

    board, stop = Board(problem), budget.stop or threading.Event()
    limit = begun + (budget.seconds or 0.0)
    end = limit - _LEAVE_S
    over = threading.Event()
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            worker = Worker(board, start, seed + 7919 * number, number, budget.workers)
            worker.until(end, lambda: over.is_set() or stop.is_set())
        except BaseException as error:  # told to the caller below
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(budget.workers)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end and not stop.is_set() and any(thread.is_alive() for thread in threads):
        stop.wait(min(0.2, max(0.0, end - time.monotonic())))
    over.set()
    limit = min(limit, time.monotonic() + 2 * _LEAVE_S)
    for thread in threads:
        thread.join(max(0.0, limit - time.monotonic()))
    if failed:
        raise failed[0]
    return board.best()[0], board.steps


def _apart(problem: Problem) -> Ints:
    """Return the initial assignment with no two processes of a service on a machine, which the search never allows."""
    most = np.bincount(problem.service, minlength=problem.services)
    if most.max() > problem.machines:
        text = f"service {int(most.argmax())} has {most.max()} processes, but there are {problem.machines} machines"
        raise InvalidInput(text)
    machine_of = problem.initial.copy()
    order = np.lexsort((np.arange(problem.processes), machine_of, problem.service))
    same = (np.diff(problem.service[order]) == 0) & (np.diff(machine_of[order]) == 0)
    crowded = order[1:][same]
    if crowded.size:
        used = np.zeros_like(problem.capacity)
        np.add.at(used, machine_of, problem.usage)
        left = (problem.capacity - used).astype(float) / np.maximum(problem.capacity, 1)
        for process in np.sort(crowded):
            taken = machine_of[problem.service == problem.service[process]]
            room = left.min(axis=1)
            room[taken] = -np.inf
            machine_of[process] = int(room.argmax())
            left[machine_of[process]] -= problem.usage[process] / np.maximum(problem.capacity[machine_of[process]], 1)
    return machine_of
