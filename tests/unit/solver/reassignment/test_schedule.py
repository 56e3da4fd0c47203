"""How a search cools: whole budgets, falling temperatures, prices that end where nothing pays for a violation."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.unit.solver.reassignment.problems import random_problem, tiny
from vmferry.solver.reassignment.schedule import LARGE_WAYS, WAYS, Phase, scale_of, setting


@pytest.mark.parametrize("way", [*WAYS, *LARGE_WAYS])
def test_the_phases_of_a_way_spend_the_whole_budget(way: tuple[Phase, ...]) -> None:
    assert sum(phase.share for phase in way) == pytest.approx(1.0)


@pytest.mark.parametrize("phase", [phase for way in (*WAYS, *LARGE_WAYS) for phase in way])
def test_a_phase_cools_and_never_lowers_the_price_of_a_violation(phase: Phase) -> None:
    course = [setting(phase, done / 20, scale=1e6, load_weight=10.0) for done in range(21)]
    for now, later in pairwise(course):
        assert now.temperature > later.temperature >= 0.5
        assert now.over <= later.over
        assert now.transient >= later.transient
    assert course[-1].transient == 0


def test_the_scale_is_what_the_mean_process_costs_where_there_is_no_room() -> None:
    # Mean use 4 and 3; load weights 10 and 1; balance weight 3 × max(2 × 4, 3).
    assert scale_of(tiny()) == max(10 * 4 + 1 * 3, 3 * 8)
    assert scale_of(random_problem(1)) >= 1
