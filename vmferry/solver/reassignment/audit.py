"""Judge an assignment by the rules of the challenge, without the search: sums are done anew from the problem's arrays.

Source: ROADEF/EURO challenge 2012, problem description, sections 2.2 (hard constraints) and 2.3 (costs).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vmferry.solver.reassignment.problem import Ints, Problem

_MOST_TOLD = 20  # of one constraint


@dataclass(frozen=True)
class Cost:
    """The parts of a cost, each already multiplied by its weight; whole numbers."""

    load: int
    balance: int
    process_move: int
    service_move: int
    machine_move: int

    @property
    def total(self) -> int:
        """Return the sum, which is what the challenge compares."""
        return self.load + self.balance + self.process_move + self.service_move + self.machine_move


def cost_of(problem: Problem, machine_of: Ints) -> Cost:
    """Add up the cost of an assignment (P,), feasible or not."""
    used = _used(problem, machine_of)
    free = problem.capacity - used
    moved = machine_of != problem.initial
    moved_of_service = np.bincount(problem.service[moved], minlength=problem.services)
    return Cost(
        load=int((np.maximum(used - problem.safety, 0).sum(axis=0) * problem.load_weight).sum()),
        balance=sum(
            int(weight * np.maximum(target * free[:, first] - free[:, second], 0).sum())
            for first, second, target, weight in problem.balances
        ),
        process_move=int(problem.weights[0] * problem.process_move_cost[moved].sum()),
        service_move=int(problem.weights[1] * moved_of_service.max()),
        machine_move=int(problem.weights[2] * problem.machine_move_cost[problem.initial, machine_of].sum()),
    )


def violations(problem: Problem, machine_of: Ints) -> tuple[str, ...]:
    """Return what an assignment (P,) breaks of the hard constraints, as text; empty for a feasible one."""
    if machine_of.shape != problem.initial.shape:
        return (f"the assignment has shape {machine_of.shape}, needs {problem.initial.shape}",)
    if ((machine_of < 0) | (machine_of >= problem.machines)).any():
        process = int(np.argmax((machine_of < 0) | (machine_of >= problem.machines)))
        return (f"process {process}: machine {machine_of[process]} is not among the {problem.machines}",)
    checks = (_over_capacity, _conflicts, _too_narrow, _alone)
    return tuple(text for check in checks for text in _first(check(problem, machine_of)))


def _first(texts: Iterator[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        if number == _MOST_TOLD:
            yield "… and more of the same"
            return
        yield text


def _used(problem: Problem, machine_of: Ints) -> Ints:
    used = np.zeros((problem.machines, problem.resources), dtype=np.int64)
    np.add.at(used, machine_of, problem.usage)
    return used


def _over_capacity(problem: Problem, machine_of: Ints) -> Iterator[str]:
    used = _used(problem, machine_of)
    left = machine_of != problem.initial
    np.add.at(used, problem.initial[left], problem.usage[left] * problem.is_transient)
    for machine, resource in np.argwhere(used > problem.capacity):
        word = "transient " if problem.is_transient[resource] else ""
        yield (
            f"machine {machine}: {word}resource {resource} used {used[machine, resource]}, "
            f"capacity {problem.capacity[machine, resource]}"
        )


def _conflicts(problem: Problem, machine_of: Ints) -> Iterator[str]:
    pairs, counts = np.unique(np.stack([problem.service, machine_of]), axis=1, return_counts=True)
    for service, machine in pairs[:, counts > 1].T:
        yield f"service {service}: more than one process on machine {machine}"


def _too_narrow(problem: Problem, machine_of: Ints) -> Iterator[str]:
    pairs = np.unique(np.stack([problem.service, problem.location[machine_of]]), axis=1)
    locations = np.bincount(pairs[0], minlength=problem.services)
    for service in np.flatnonzero(locations < problem.spread_min):
        yield f"service {service}: {locations[service]} locations, needs {problem.spread_min[service]}"


def _alone(problem: Problem, machine_of: Ints) -> Iterator[str]:
    places: dict[int, set[int]] = {}
    for service, place in zip(problem.service.tolist(), problem.neighborhood[machine_of].tolist(), strict=True):
        places.setdefault(service, set()).add(place)
    for service, needed in problem.dependencies.tolist():
        for place in sorted(places.get(service, set()) - places.get(needed, set())):
            yield f"service {service}: in neighbourhood {place} without service {needed}"
