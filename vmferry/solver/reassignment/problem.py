"""The machine reassignment problem as arrays: processes (VMs) of services on machines (hosts), in small integers.

The model of the ROADEF/EURO challenge 2012, whose words are kept: hard capacity with transient use, conflict, spread
and dependency; the cost is load above a safety capacity, imbalance between two resources, and three prices of moving.
Sizes: P processes, M machines, R resources, S services, B balances, D dependencies. Any unit, as long as it is the same
for use and capacity of one resource; whole numbers, because the search adds and subtracts them millions of times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from vmferry.errors import InvalidInput

Ints = npt.NDArray[np.int64]

# The search keeps sums in doubles, where whole numbers are exact up to here.
MOST = 2**53
# A whole problem's worst cost; so many machines or services still fit the tables of the search.
MOST_CELLS = 200_000_000


@dataclass(frozen=True, eq=False)
class Problem:
    """One problem, validated when it is made; arrays are int64, copied and read-only.

    Raises `InvalidInput` with every problem found: shapes, negative numbers, unknown machines, services or resources.
    """

    usage: Ints  # (P, R) what a process takes of each resource
    service: Ints  # (P,) its service; two of one service never share a machine (conflict)
    process_move_cost: Ints  # (P,) price of moving it, before `weights`
    initial: Ints  # (P,) the machine it is on
    capacity: Ints  # (M, R) hard
    safety: Ints  # (M, R) soft: use above it costs `load_weight` per unit
    location: Ints  # (M,) failure domain, for spread
    neighborhood: Ints  # (M,) for dependencies
    machine_move_cost: Ints  # (M, M) price of moving any process from a machine to another, before `weights`
    load_weight: Ints  # (R,)
    is_transient: Ints  # (R,) 1: a moved process takes its use on both machines
    spread_min: Ints  # (S,) a service lies on at least so many locations
    dependencies: Ints  # (D, 2) service, and the service that must have a process in each of its neighbourhoods
    balances: Ints  # (B, 4) r1, r2, target, weight: a machine costs weight × max(0, target × free r1 − free r2)
    weights: Ints  # (3,) of process, service and machine move cost

    def __post_init__(self) -> None:
        for field in fields(self):
            array = np.array(getattr(self, field.name), dtype=np.int64)
            array.setflags(write=False)
            object.__setattr__(self, field.name, array)
        problems = tuple(_wrong_shapes(self)) or (*_wrong_values(self), *_wrong_sizes(self))
        if problems:
            raise InvalidInput(f"not a reassignment problem: {'; '.join(problems)}", problems=problems)

    @property
    def processes(self) -> int:
        """P."""
        return int(self.usage.shape[0])

    @property
    def resources(self) -> int:
        """R."""
        return int(self.usage.shape[1])

    @property
    def machines(self) -> int:
        """M."""
        return int(self.capacity.shape[0])

    @property
    def services(self) -> int:
        """S."""
        return int(self.spread_min.shape[0])


def own_costs(problem: Problem) -> npt.NDArray[np.float64]:
    """Return what each process (P,) would cost where there is no room left."""
    cost = (problem.usage @ problem.load_weight).astype(np.float64)
    for first, second, target, weight in problem.balances:
        cost = np.maximum(cost, weight * np.maximum(target * problem.usage[:, first], problem.usage[:, second]))
    return cost


def _wrong_shapes(p: Problem) -> Iterator[str]:
    if p.usage.ndim != 2 or p.capacity.ndim != 2 or p.spread_min.ndim != 1:
        yield "usage and capacity need two dimensions, spread_min one"
        return
    processes, resources, machines, services = p.processes, p.resources, p.machines, p.services
    if not (processes and resources and machines and services):
        found = f"{processes} processes, {machines} machines, {resources} resources, {services} services"
        yield f"{found}: one of each at least"
    wanted = {
        "service": (processes,), "process_move_cost": (processes,), "initial": (processes,),
        "capacity": (machines, resources), "safety": (machines, resources), "location": (machines,),
        "neighborhood": (machines,), "machine_move_cost": (machines, machines), "load_weight": (resources,),
        "is_transient": (resources,), "dependencies": (p.dependencies.shape[0], 2),
        "balances": (p.balances.shape[0], 4), "weights": (3,),
    }  # fmt: skip
    for name, shape in wanted.items():
        found = getattr(p, name).shape
        if found != shape:
            yield f"{name} has shape {found}, needs {shape}"


def _wrong_values(p: Problem) -> Iterator[str]:
    for field in fields(p):
        array = getattr(p, field.name)
        if array.size and array.min() < 0:
            where = tuple(int(index) for index in np.argwhere(array < 0)[0])
            yield f"{field.name}{list(where)} is {array[where]}, needs 0 or more"
    limits = {
        "initial": ("machines", p.initial, p.machines),
        "service": ("services", p.service, p.services),
        "dependencies": ("services", p.dependencies, p.services),
        "balances": ("resources", p.balances[:, :2], p.resources),
        "is_transient": ("values", p.is_transient, 2),
        "location": ("locations", p.location, 10**6),
        "neighborhood": ("neighbourhoods", p.neighborhood, 10**6),
    }
    for name, (things, array, limit) in limits.items():
        if array.size and array.max() >= limit:
            place = [int(index) for index in np.argwhere(array >= limit)[0]]
            yield f"{name}{place} is {array.max()}, but there are {limit} {things}, counted from 0"


def _wrong_sizes(p: Problem) -> Iterator[str]:
    """Refuse what would overflow the sums or the memory of the search."""
    used = p.usage.astype(float)
    worst = float((used.sum(axis=0) * p.load_weight).sum())
    free = p.capacity.astype(float).sum(axis=0) + used.sum(axis=0)
    worst += sum(float(w) * (t * free[a] + free[b]) for a, b, t, w in p.balances if max(a, b) < p.resources)
    worst += float(p.weights[0]) * float(p.process_move_cost.astype(float).sum()) + float(p.weights[1]) * p.processes
    worst += float(p.weights[2]) * float(p.machine_move_cost.max()) * p.processes
    if worst >= MOST or (free >= MOST).any():
        yield f"the greatest cost or sum is about {max(worst, float(free.max())):.3g}, can be at most {MOST:.3g}"
    cells = p.services * (p.machines + int(p.location.max()) + int(p.neighborhood.max()) + 2)
    if cells > MOST_CELLS:
        yield f"services × (machines + locations + neighbourhoods) is {cells}, can be at most {MOST_CELLS}"
