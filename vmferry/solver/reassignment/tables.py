"""The problem and the search's state as the kernels want them: what belongs to one machine or process lies together.

Loads and costs are doubles that hold whole numbers, see `problem.MOST`. Two of a kind lie side by side in the second
dimension: use and hard use (with transient leftovers), capacity and safety, demand and demand at home.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vmferry.solver.reassignment.problem import Ints, Problem, own_costs

Floats = npt.NDArray[np.float64]

# Places in `State.tally`.
COST, TOP, OVER, LONELY, NARROW, BEST, DIRTY, PENDING = range(8)
MOST_MOVES = 200  # of one push
# Places in `State.price`.
OF_OVER, OF_LONELY, OF_NARROW, OF_TRANSIENT, OF_AWAY = range(5)


class Tables(NamedTuple):
    """What never changes during a search."""

    demand: Floats  # (P + 1, 2, R): full; what changes on its own home when it leaves or returns (nothing transient)
    transient: Floats  # (P,) its transient use as a share of the mean process's
    size: Floats  # (P,) the largest share of a mean machine that it takes
    order: Ints  # (P,) processes by `problem.own_costs`, the dearest first
    rank: Ints  # (P,) where each stands in it
    move: Floats  # (P,) weighted process move cost
    home: Ints  # (P,)
    service: Ints  # (P,)
    limit: Floats  # (M, 2, R): capacity, safety
    place: Ints  # (M, 2): location, neighbourhood
    travel: Floats  # (M, M) weighted machine move cost
    load_weight: Floats  # (R,)
    pair: Ints  # (B, 2)
    balance: Floats  # (B, 2): target, weight
    service_weight: Floats  # (1,)
    spread: Ints  # (S,)
    needs_at: Ints  # (S + 1,) → needs
    needs: Ints  # services that it depends on
    serves_at: Ints  # (S + 1,) → serves
    serves: Ints  # services that depend on it
    is_bound: npt.NDArray[np.int8]  # (S,) 1: spread or dependencies have a say


class State(NamedTuple):
    """Where everything is, and all sums that follow from it."""

    where: Ints  # (P,)
    head: Ints  # (M,) a process on the machine; -1: none
    next: Ints  # (P,) the next one on the same machine; -1: none
    previous: Ints  # (P,)
    load: Floats  # (M, 2, R): use, use with transient leftovers
    on_machine: npt.NDArray[np.int16]  # (S, M)
    in_location: npt.NDArray[np.int32]  # (S, L)
    in_place: npt.NDArray[np.int32]  # (S, N) neighbourhoods
    locations: Ints  # (S,)
    moved: Ints  # (S,)
    moved_count: Ints  # how many services moved so many processes
    tally: Floats
    price: Floats
    random: npt.NDArray[np.uint64]
    trail: Ints  # (MOST_MOVES + 2, 2) moves of a push: process, machine that it left
    best: Ints  # (P,) the best feasible assignment
    dirty: Ints  # (P,) those that changed since it was kept: the first `tally[DIRTY]`
    is_dirty: npt.NDArray[np.int8]


def tables_of(problem: Problem) -> Tables:
    """Lay a problem out for the kernels."""
    stays = problem.usage * (1 - problem.is_transient)
    nobody = np.zeros((1, 2, problem.resources))  # so that moves without a counterpart need no code of their own
    transient = (problem.usage - stays).sum(axis=1).astype(np.float64)
    needs = np.unique(problem.dependencies, axis=0) if problem.dependencies.size else problem.dependencies
    needs = needs[needs[:, 0] != needs[:, 1]]
    serves = needs[np.lexsort((needs[:, 0], needs[:, 1]))][:, ::-1]
    order = np.argsort(-own_costs(problem), kind="stable")
    bound = problem.spread_min > 1
    bound[needs.reshape(-1)] = True
    return Tables(
        demand=np.concatenate([np.stack([problem.usage, stays], axis=1), nobody]).astype(np.float64),
        transient=transient / (transient.mean() or 1.0),
        size=(problem.usage / np.maximum(problem.capacity.mean(axis=0), 1.0)).max(axis=1),
        order=order,
        rank=np.argsort(order, kind="stable"),
        move=(problem.weights[0] * problem.process_move_cost).astype(np.float64),
        home=problem.initial.copy(),
        service=problem.service.copy(),
        limit=np.stack([problem.capacity, problem.safety], axis=1).astype(np.float64),
        place=np.stack([problem.location, problem.neighborhood], axis=1).copy(),
        travel=(problem.weights[2] * problem.machine_move_cost).astype(np.float64),
        load_weight=problem.load_weight.astype(np.float64),
        pair=problem.balances[:, :2].copy(),
        balance=problem.balances[:, 2:].astype(np.float64),
        service_weight=problem.weights[1:2].astype(np.float64),
        spread=problem.spread_min.copy(),
        needs_at=_starts(needs, problem.services),
        needs=needs[:, 1].copy(),
        serves_at=_starts(serves, problem.services),
        serves=serves[:, 1].copy(),
        is_bound=bound.astype(np.int8),
    )


def _starts(pairs: Ints, count: int) -> Ints:
    starts = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(pairs[:, 0], minlength=count), out=starts[1:])
    return starts


def state_of(problem: Problem, machine_of: Ints, seed: int) -> State:
    """Make a state at an assignment; `kernels.recount` fills in its sums."""
    services, machines = problem.services, problem.machines
    start = np.random.SeedSequence(seed).generate_state(1, np.uint64) | np.uint64(1)
    return State(
        where=machine_of.copy(),
        head=np.full(machines, -1, dtype=np.int64),
        next=np.full(problem.processes, -1, dtype=np.int64),
        previous=np.full(problem.processes, -1, dtype=np.int64),
        load=np.zeros((machines, 2, problem.resources)),
        on_machine=np.zeros((services, machines), dtype=np.int16),
        in_location=np.zeros((services, int(problem.location.max()) + 1), dtype=np.int32),
        in_place=np.zeros((services, int(problem.neighborhood.max()) + 1), dtype=np.int32),
        locations=np.zeros(services, dtype=np.int64),
        moved=np.zeros(services, dtype=np.int64),
        moved_count=np.zeros(int(np.bincount(problem.service).max()) + 1, dtype=np.int64),
        tally=np.zeros(8),
        price=np.zeros(5),
        random=start,
        trail=np.zeros((MOST_MOVES + 2, 2), dtype=np.int64),
        best=machine_of.copy(),
        dirty=np.zeros(problem.processes, dtype=np.int64),
        is_dirty=np.zeros(problem.processes, dtype=np.int8),
    )
