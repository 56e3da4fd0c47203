"""The measures of the PlanetLab benchmark, on days that can be reckoned by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.planetlab.fleet import HOSTS, IS_G5, VM_MIPS, first_placement, kinds
from tests.bench.planetlab.measures import bound_of_cpu, bound_of_memory, dvfs_as_cloudsim, least_hosts, run_day
from tests.bench.planetlab.policy import Planner
from tests.bench.planetlab.traces import STEPS, Percents

DAY_H = 24.0


def flat(percent: int, vms: int = 8) -> Percents:
    return np.full((vms, STEPS), percent, np.uint8)


def stay(_asked: object, where: np.ndarray, _kind: object) -> np.ndarray:
    return where


def test_a_day_without_moves_costs_the_watts_of_its_hosts() -> None:
    """Eight VMs at 50 %: two of 2,500 MIPS on one G5, two of 2,000 on the next, the small ones on one G4."""
    day = run_day(flat(50), stay)
    where = first_placement(kinds(8))
    assert [int(w) for w in where] == [1, 1, 3, 3, 0, 0, 0, 2]
    g5 = [np.interp(load / 5320, np.linspace(0, 1, 11), (93.7, 97, 101, 105, 110, 116, 121, 125, 129, 133, 135))
          for load in (2500, 2000)]  # fmt: skip
    g4 = [np.interp(load / 3720, np.linspace(0, 1, 11), (86, 89.4, 92.6, 96, 99.5, 102, 106, 108, 112, 114, 117))
          for load in (1250, 250)]  # fmt: skip
    assert day.kwh == pytest.approx((sum(g5) + sum(g4)) * DAY_H / 1000)
    assert (day.moves, day.slatah, day.pdm, day.hosts) == (0, 0, 0, 4)


def test_a_host_that_lacks_cpu_violates_until_its_vms_have_left() -> None:
    """All VMs on the first G5 but for one step, and relieved 27.84 s after the last step begins."""

    def crowd(asked: np.ndarray, where: np.ndarray, kind: np.ndarray) -> np.ndarray:
        is_last = asked.shape[1] == STEPS
        return first_placement(kind) if is_last else np.full_like(where, 1)

    day = run_day(flat(100), crowd)
    active_s = 300.0 * (STEPS - 1) + 4 * 300
    assert day.slatah == pytest.approx((300 * (STEPS - 1) + 1740 / 62.5) / active_s)
    assert day.moves == 6 + 6


def test_a_vm_loses_a_tenth_while_it_moves() -> None:
    def hop(asked: np.ndarray, where: np.ndarray, _kind: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(where)) == 0, 5, where) if asked.shape[1] == 10 else where

    day = run_day(flat(10), hop)
    assert day.pdm == pytest.approx(0.1 * 870 / 62.5 / (300 * STEPS) * VM_MIPS[0] / (2 * VM_MIPS.sum()))


def test_bounds_are_below_what_any_day_costs() -> None:
    traces = np.random.default_rng(1).integers(0, 60, (40, STEPS)).astype(np.uint8)
    least = least_hosts(40)
    assert (least.by_sum, least.all) == (13, 13) and least.g5 == 8
    free, held = run_day(traces, Planner()), run_day(traces, Planner(has_memory=True))
    assert bound_of_cpu(traces) < free.kwh < run_day(traces, stay).kwh
    assert bound_of_memory(traces) < held.kwh
    assert held.most_mb <= 4096


def test_the_policy_knows_nothing_of_the_future() -> None:
    """Two days that are equal until noon are planned alike until noon."""
    traces = np.random.default_rng(2).integers(0, 60, (40, STEPS)).astype(np.uint8)
    other = traces.copy()
    other[:, STEPS // 2 :] = 99
    plans: list[list[bytes]] = []
    for day in (traces, other):
        seen: list[bytes] = []
        planner = Planner()

        def noting(asked: np.ndarray, where: np.ndarray, kind: np.ndarray, planner: Planner = planner) -> np.ndarray:
            after = planner(asked, where, kind)
            seen.append(after.tobytes())  # noqa: B023
            return after

        run_day(day, noting)
        plans.append(seen)
    assert plans[0][: STEPS // 2] == plans[1][: STEPS // 2] and plans[0] != plans[1]


def test_idle_vms_cost_nothing_in_cloudsims_own_reckoning() -> None:
    assert dvfs_as_cloudsim(flat(0)) == 0
    assert dvfs_as_cloudsim(flat(50)) == pytest.approx(run_day(flat(50), stay).kwh * (STEPS - 1) / STEPS)
    assert IS_G5.sum() == HOSTS // 2
