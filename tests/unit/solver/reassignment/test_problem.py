"""Problems are validated when they are made, and every fault is told at once."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.solver.reassignment.problems import tiny
from vmferry.errors import InvalidInput


def test_several_faults_are_told_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        tiny(initial=[0, 7, 0], service=[0, 0, 9], usage=[[4, -2], [3, 1], [5, 6]])
    assert caught.value.problems == (
        "usage[0, 1] is -2, needs 0 or more",
        "initial[1] is 7, but there are 2 machines, counted from 0",
        "service[2] is 9, but there are 2 services, counted from 0",
    )


def test_wrong_shapes_are_told() -> None:
    with pytest.raises(InvalidInput, match=r"safety has shape \(1, 2\), needs \(2, 2\)"):
        tiny(safety=[[1, 1]])


def test_numbers_whose_sums_would_not_be_exact_are_refused() -> None:
    with pytest.raises(InvalidInput, match="can be at most"):
        tiny(load_weight=[2**50, 1])


def test_a_problem_without_machines_is_refused() -> None:
    with pytest.raises(InvalidInput, match="0 machines"):
        tiny(
            capacity=np.zeros((0, 2)),
            safety=np.zeros((0, 2)),
            location=[],
            neighborhood=[],
            machine_move_cost=np.zeros((0, 0)),
        )


def test_arrays_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        tiny().usage[0, 0] = 1
