"""The search: feasible, never worse than before, the same for the same seed, and its sums are true."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.solver.reassignment.problems import cheapest, random_problem, tiny
from vmferry.errors import InvalidInput
from vmferry.solver.reassignment import Budget, solve
from vmferry.solver.reassignment.anneal import anneal
from vmferry.solver.reassignment.audit import cost_of, violations
from vmferry.solver.reassignment.kernels import recount
from vmferry.solver.reassignment.problem import own_costs
from vmferry.solver.reassignment.search import Board, Worker
from vmferry.solver.reassignment.tables import BEST, COST, LONELY, NARROW, OF_AWAY, OVER, TOP, state_of, tables_of


@examples(25)
@given(st.integers(0, 10_000))
def test_an_answer_is_feasible_and_never_worse_than_the_initial_one(seed: int) -> None:
    problem = random_problem(seed)
    assert violations(problem, problem.initial) == ()
    found = solve(problem, Budget(steps=5_000), seed)
    assert violations(problem, found.machine_of) == found.problems == ()
    assert found.lower_bound <= found.cost.total <= cost_of(problem, problem.initial).total


@examples(25)
@given(st.integers(0, 10_000))
def test_sums_that_the_search_carries_are_those_of_a_fresh_count(seed: int) -> None:
    problem = random_problem(seed, processes=40, machines=8)
    tables, state = tables_of(problem), state_of(problem, problem.initial, seed)
    recount(tables, state)
    state.tally[BEST] = cost_of(problem, problem.initial).total
    state.price[:] = 5.0, 20.0, 20.0, 3.0, 7.0
    for active in (15, 40):
        anneal(tables, state, 2_000, 200.0, active, np.array([0.4, 0.1, 0.3, 0.2]))
    fresh = state_of(problem, state.where, seed)
    recount(tables, fresh)
    for carried, counted in zip(state[4:11], fresh[4:11], strict=True):
        assert np.array_equal(carried, counted)
    names = [COST, TOP, OVER, LONELY, NARROW]
    assert state.tally[names].tolist() == fresh.tally[names].tolist()
    total = cost_of(problem, state.where).total
    assert state.tally[COST] + tables.service_weight[0] * state.tally[TOP] == total
    assert (state.tally[[OVER, LONELY, NARROW]].sum() == 0) == (violations(problem, state.where) == ())
    assert cost_of(problem, state.best).total == state.tally[BEST]
    assert violations(problem, state.best) == ()


@pytest.mark.parametrize("seed", range(6))
def test_the_optimum_of_a_small_problem_is_found(seed: int) -> None:
    problem = random_problem(seed, processes=6, machines=3)
    assert solve(problem, Budget(steps=60_000)).cost.total == cheapest(problem)


def test_only_active_processes_are_chosen() -> None:
    problem = random_problem(4, processes=40, machines=8)
    tables, state = tables_of(problem), state_of(problem, problem.initial, 1)
    recount(tables, state)
    state.price[:] = 1.0, 1.0, 1.0, 0.0, 0.0
    anneal(tables, state, 5_000, 1e6, 12, np.array([0.5, 0.0, 0.5, 0.2]))  # no pushes, which may move others
    moved = np.flatnonzero(state.where != problem.initial)
    dearest = np.argsort(-own_costs(problem), kind="stable")[:12]
    assert 0 < moved.size <= 12
    assert set(moved.tolist()) <= set(dearest.tolist())


def test_a_price_of_being_away_brings_processes_home() -> None:
    problem = random_problem(5, processes=40, machines=8, room=4.0)
    away = []
    for price in (0.0, 1e4):
        tables, state = tables_of(problem), state_of(problem, problem.initial, 1)
        recount(tables, state)
        for state.price[OF_AWAY] in (0.0, price):
            anneal(tables, state, 20_000, 1e3, 40, np.array([0.5, 0.0, 0.3, 0.05]))
        away.append(int((state.where != problem.initial).sum()))
    assert away[1] < away[0] / 2


def test_the_same_seed_gives_the_same_answer() -> None:
    problem = random_problem(3, processes=60, machines=10)
    first, second = (solve(problem, Budget(steps=20_000), seed=5) for _ in range(2))
    assert np.array_equal(first.machine_of, second.machine_of)
    assert first.steps == second.steps == 20_000


def test_an_overfull_machine_is_emptied_where_that_is_possible() -> None:
    problem = tiny(capacity=[[8, 10], [12, 12]])
    assert violations(problem, problem.initial)
    found = solve(problem, Budget(steps=20_000))
    assert found.problems == ()
    assert found.machine_of.tolist() in ([0, 1, 1], [1, 0, 0], [1, 0, 1])


def test_an_overfull_machine_is_emptied_where_load_costs_nothing() -> None:
    crowded = dict(capacity=[[8, 10]] * 40, safety=[[8, 10]] * 40, location=range(40), neighborhood=range(40))
    parts = {**crowded, "usage": [[1, 1]] * 60, "service": range(60), "spread_min": [0] * 60, "initial": [0] * 60}
    parts |= {"process_move_cost": [1] * 60, "machine_move_cost": np.zeros((40, 40)), "load_weight": [0, 0]}
    problem = tiny(**parts, balances=np.zeros((0, 4)), is_transient=[0, 0])
    found = solve(problem, Budget(steps=200_000))
    assert found.problems == ()
    assert (found.machine_of != 0).sum() == 52


def test_two_of_a_service_on_one_machine_are_parted() -> None:
    problem = tiny(initial=[0, 0, 1], capacity=[[10, 10], [12, 12]])
    found = solve(problem, Budget(steps=20_000))
    assert found.problems == ()


def test_where_nothing_is_feasible_the_initial_assignment_says_what_it_breaks() -> None:
    problem = tiny(capacity=[[4, 10], [4, 12]])
    found = solve(problem, Budget(steps=2_000))
    assert found.machine_of.tolist() == [0, 1, 0]
    assert found.problems == ("machine 0: resource 0 used 9, capacity 4",)


def test_more_processes_of_a_service_than_machines_are_refused() -> None:
    with pytest.raises(InvalidInput, match="service 0 has 3 processes, but there are 2 machines"):
        solve(tiny(service=[0, 0, 0]), Budget(steps=10))


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(InvalidInput, match="seed is -1, needs 0 or more"):
        solve(tiny(), Budget(steps=10), seed=-1)


def test_one_machine_leaves_nothing_to_do() -> None:
    problem = random_problem(1, processes=1, machines=1)
    assert solve(problem, Budget(steps=100)).machine_of.tolist() == [0]


def test_a_search_by_the_clock_ends_when_it_is_told_to() -> None:
    problem = random_problem(7, processes=60, machines=10)
    stop = threading.Event()
    stop.set()
    found = solve(problem, Budget(seconds=3600.0, stop=stop))
    assert found.problems == ()


def test_a_search_by_the_clock_finds_something_better() -> None:
    problem = random_problem(7, processes=60, machines=10)
    solve(problem, Budget(steps=100))  # compiles
    found = solve(problem, Budget(seconds=1.0))
    assert found.problems == ()
    assert found.cost.total < cost_of(problem, problem.initial).total


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({}, "either steps or seconds"),
        ({"steps": 1, "seconds": 1.0}, "either steps or seconds"),
        ({"steps": -1, "workers": 0}, "steps is -1, needs 0 or more; workers is 0"),
        ({"seconds": float("nan")}, "seconds is nan"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(budget: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        Budget(**budget)  # type: ignore[arg-type]


def test_the_way_whose_trial_was_better_gets_the_main_part() -> None:
    problem = random_problem(2)
    board = Board(problem)
    assert board.better_way() == 0
    for way, cost in ((0, 70.0), (1, 60.0), (1, 65.0)):
        board.note(way, cost)
    assert board.better_way() == 1


@pytest.mark.parametrize(("workers", "tried"), [(1, {0: [0, 1]}), (2, {0: [0], 1: [1]}), (3, {0: [0], 1: [1], 2: [0]})])
def test_trials_are_shared_out_among_workers(workers: int, tried: dict[int, list[int]]) -> None:
    problem = random_problem(2)
    for number, ways in tried.items():
        worker = Worker(Board(problem), problem.initial, 0, number, workers)
        seen = [(worker.trial, phase.share) for phase in worker.phases()]
        assert sorted({way for way, _ in seen if way is not None}) == ways
        assert sum(share for _, share in seen) == pytest.approx(1.0)
