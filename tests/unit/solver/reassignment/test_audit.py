"""The judge of assignments: each hard constraint has a case that holds and one that does not, each cost is added by
hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.solver.reassignment.problems import cheapest, random_problem, tiny
from vmferry.solver.reassignment.audit import cost_of, violations
from vmferry.solver.reassignment.bound import lower_bound


def test_the_initial_cost_is_load_and_balance() -> None:
    # Machine 0 uses 9 and 8 of 10 and 10, safety 6 and 9; machine 1 uses 3 and 1 of 12 and 12.
    cost = cost_of(tiny(), np.array([0, 1, 0]))
    assert (cost.load, cost.balance) == (10 * 3, 3 * (2 * 9 - 11))
    assert (cost.process_move, cost.service_move, cost.machine_move) == (0, 0, 0)
    assert cost.total == 30 + 21


def test_moves_cost_by_process_service_and_machines() -> None:
    cost = cost_of(tiny(), np.array([1, 0, 0]))
    assert (cost.process_move, cost.service_move, cost.machine_move) == (1 + 2, 10 * 2, 100 * (4 + 5))


def test_a_service_move_counts_the_service_with_most_moves() -> None:
    assert cost_of(tiny(), np.array([1, 1, 1])).service_move == 10 * 1


@pytest.mark.parametrize(
    ("other", "machine_of", "words"),
    [
        ({"capacity": [[10, 10], [7, 12]]}, [0, 1, 1], "machine 1: resource 0 used 8, capacity 7"),
        ({"capacity": [[10, 7], [12, 12]]}, [0, 1, 1], "machine 0: transient resource 1 used 8, capacity 7"),
        ({}, [0, 0, 1], "service 0: more than one process on machine 0"),
        ({"spread_min": [3, 0]}, [0, 1, 0], "service 0: 2 locations, needs 3"),
        (
            {"neighborhood": [0, 1], "dependencies": [[0, 1]]},
            [0, 1, 0],
            "service 0: in neighbourhood 1 without service 1",
        ),
        ({}, [0, 2, 0], "process 1: machine 2 is not among the 2"),
        ({}, [0, 1], "the assignment has shape (2,), needs (3,)"),
    ],
)
def test_a_broken_constraint_is_told(other: dict[str, object], machine_of: list[int], words: str) -> None:
    assert violations(tiny(**other), np.array(machine_of)) == (words,)


@pytest.mark.parametrize(
    ("other", "machine_of"),
    [
        ({"capacity": [[10, 8], [8, 7]]}, [0, 1, 1]),
        ({"spread_min": [2, 1]}, [0, 1, 0]),
        ({"neighborhood": [0, 1], "dependencies": [[1, 0]]}, [0, 1, 1]),
    ],
)
def test_what_just_fits_is_feasible(other: dict[str, object], machine_of: list[int]) -> None:
    assert violations(tiny(**other), np.array(machine_of)) == ()


def test_no_assignment_costs_less_than_the_bound() -> None:
    for seed in range(5):
        problem = random_problem(seed, processes=5, machines=3)
        assert lower_bound(problem) <= cheapest(problem)
