"""How a search cools: whole budgets, falling temperatures, prices that end where nothing pays for a violation."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.unit.solver.reassignment.problems import random_problem, tiny
from vmferry.solver.reassignment.problem import own_costs
from vmferry.solver.reassignment.schedule import (
    LARGE_WAYS,
    MAIN,
    TRIALS,
    WAYS,
    Course,
    Phase,
    reheating,
    scale_of,
    shortened,
)

OWN = np.geomspace(1e3, 1e7, 200)


@pytest.mark.parametrize("way", [*WAYS, *LARGE_WAYS])
def test_the_phases_of_a_way_spend_the_whole_budget(way: tuple[Phase, ...]) -> None:
    assert sum(phase.share for phase in way) == pytest.approx(1.0)
    assert sum(phase.share for phase in shortened(way, TRIALS + MAIN)) + reheating(way).share == pytest.approx(1.0)


@pytest.mark.parametrize("phase", [phase for way in (*WAYS, *LARGE_WAYS) for phase in (*way, reheating(way))])
def test_a_phase_cools_and_never_lowers_the_price_of_a_violation(phase: Phase) -> None:
    course = [Course(phase, OWN, load_weight=10.0).at(done / 20) for done in range(21)]
    for now, later in pairwise(course):
        assert now.temperature > later.temperature >= 0.5
        assert now.over <= later.over
        assert now.transient >= later.transient
        assert now.away > later.away > 0 or not phase.away
        assert now.active <= later.active
    assert course[-1].transient == 0


def test_a_cooling_that_starts_with_the_dearest_ends_with_all() -> None:
    course = Course(WAYS[0][0], OWN, load_weight=10.0)
    assert course.at(0.0).temperature == pytest.approx(WAYS[0][0].hot * OWN[-1])
    assert course.at(0.0).active < OWN.size / 4
    assert Course(WAYS[0][1], OWN, load_weight=10.0).at(0.0).active == OWN.size


def test_being_away_has_its_price_on_every_way_when_it_is_cold() -> None:
    for way in WAYS:
        course = Course(way[-1], OWN, load_weight=10.0)
        for done in (0.1, 0.5, 1.0):
            assert course.at(done).away == course.at(done).temperature
    assert [Course(way[0], OWN, load_weight=10.0).at(0.5).away > 0 for way in WAYS] == [True, False]


def test_few_processes_are_all_active_and_free_ones_cost_nothing() -> None:
    course = Course(WAYS[0][0], np.zeros(3), load_weight=1.0)
    assert {course.at(done).active for done in (0.0, 0.5, 1.0)} == {3}
    later = Course(WAYS[0][1], np.zeros(200), load_weight=1.0)
    assert {later.at(done).active for done in (0.0, 0.5, 1.0)} == {200}
    assert course.at(0.0).temperature >= 0.5


def test_the_scale_is_what_the_mean_process_costs_where_there_is_no_room() -> None:
    # Load weights 10 and 1; balance weight 3 × max(2 × first, second).
    own = own_costs(tiny())
    assert own.tolist() == [max(42, 24), max(31, 18), max(56, 30)]
    assert scale_of(own) == 43
    assert scale_of(own_costs(random_problem(1))) >= 1
