"""Small reassignment problems: one by hand, and random ones whose initial assignment is feasible."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from vmferry.solver.reassignment import Problem
from vmferry.solver.reassignment.audit import cost_of, violations


def tiny(**other: Any) -> Problem:
    """Two machines in one neighbourhood and two locations, three processes, the third one of another service."""
    parts: dict[str, Any] = {
        "usage": [[4, 2], [3, 1], [5, 6]],
        "service": [0, 0, 1],
        "process_move_cost": [1, 2, 3],
        "initial": [0, 1, 0],
        "capacity": [[10, 10], [12, 12]],
        "safety": [[6, 9], [10, 10]],
        "location": [0, 1],
        "neighborhood": [0, 0],
        "machine_move_cost": [[0, 4], [5, 0]],
        "load_weight": [10, 1],
        "is_transient": [0, 1],
        "spread_min": [0, 0],
        "dependencies": np.zeros((0, 2)),
        "balances": [[0, 1, 2, 3]],
        "weights": [1, 10, 100],
    }
    return Problem(**{**parts, **other})


def random_problem(seed: int, processes: int = 24, machines: int = 6, room: float = 1.5) -> Problem:
    """Return a problem with everything in it: transient use, spread, dependencies, balances; initially feasible."""
    random = np.random.default_rng(seed)
    resources, services = int(random.integers(1, 5)), max(2, processes // 2)
    service = random.integers(0, services, processes)
    initial = np.full(processes, -1)
    for p in range(processes):
        free = [m for m in range(machines) if m not in initial[service == service[p]]]
        if not free:
            service[p] = next(s for s in range(services) if (service == s).sum() < machines)
            free = [m for m in range(machines) if m not in initial[service == service[p]]]
        initial[p] = random.choice(free)
    usage = random.integers(0, 50, (processes, resources))
    used = np.zeros((machines, resources), dtype=np.int64)
    np.add.at(used, initial, usage)
    capacity = used + random.integers(0, int(60 * room) + 1, (machines, resources))
    location, neighborhood = random.integers(0, 4, machines), random.integers(0, 3, machines)
    spread = np.array([len(set(location[initial[service == s]])) for s in range(services)])
    places = [set(neighborhood[initial[service == s]]) for s in range(services)]
    pairs = [
        (a, b) for a in range(services) for b in range(services) if a != b and places[a] and places[a] <= places[b]
    ]
    return Problem(
        usage=usage,
        service=service,
        process_move_cost=random.integers(0, 5, processes),
        initial=initial,
        capacity=capacity,
        safety=(capacity * random.uniform(0.4, 0.9, capacity.shape)).astype(int),
        location=location,
        neighborhood=neighborhood,
        machine_move_cost=random.integers(0, 5, (machines, machines)) * (1 - np.eye(machines, dtype=int)),
        load_weight=random.integers(0, 10, resources),
        is_transient=random.integers(0, 2, resources),
        spread_min=np.maximum(spread - random.integers(0, 2, services), 0),
        dependencies=np.array(pairs[:6]).reshape(-1, 2),
        balances=[[0, resources - 1, 2, 3]],
        weights=[1, 10, 100],
    )


def cheapest(problem: Problem) -> int:
    """Return the least cost of all feasible assignments, by trying every one."""
    every = product(range(problem.machines), repeat=problem.processes)
    costs = [cost_of(problem, a).total for a in map(np.array, every) if not violations(problem, a)]
    return min(costs)
