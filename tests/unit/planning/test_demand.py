"""Demand that is expected: percentiles over time, the same hours of earlier days, nothing from the future."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from vmferry.model.usage import Demand, UsageSample
from vmferry.planning.demand import DAY_S, DemandPolicy, Peers, Sizing, forecast_demand, percentile, windows

NOW = 1_700_000_000 // DAY_S * DAY_S + 10 * 3600  # 10:00 UTC
STEP = 300


def build_sample(start_s: int, cpus: float, span_s: int = STEP, peak: float | None = None) -> UsageSample:
    return UsageSample(start_s=start_s, span_s=span_s, cpus=cpus, cpus_peak=peak or cpus, memory_mib=1024)


def steady(cpus: float, begin_s: int = NOW - 4 * 3600, end_s: int = NOW) -> list[UsageSample]:
    return [build_sample(at, cpus) for at in range(begin_s, end_s, STEP)]


def test_a_steady_vm_is_expected_to_go_on() -> None:
    demand = forecast_demand(steady(0.4), 4, NOW)
    assert (demand.cpus, demand.mean_cpus, demand.is_known) == (pytest.approx(0.4), pytest.approx(0.4), True)


def test_one_busy_sample_moves_nothing_and_a_busy_half_hour_does() -> None:
    one = [*steady(0.2, end_s=NOW - STEP), build_sample(NOW - STEP, 4.0)]
    half = [*steady(0.2, end_s=NOW - 1800), *steady(4.0, begin_s=NOW - 1800)]
    assert forecast_demand(one, 4, NOW).cpus == pytest.approx(0.278, abs=0.1)
    assert forecast_demand(half, 4, NOW).cpus == pytest.approx(4.0)


def test_a_vm_that_works_every_day_at_noon_is_expected_to_do_so_while_it_is_quiet_in_the_morning() -> None:
    noon = NOW - DAY_S + 2 * 3600
    demand = forecast_demand([*steady(0.1), *steady(3.0, noon, noon + 3600)], 4, NOW)
    assert demand.cpus == pytest.approx(3.0)
    assert "same hours of an earlier day" in demand.basis


def test_what_was_busy_yesterday_at_another_time_of_day_does_not_count() -> None:
    midnight = NOW - DAY_S + 12 * 3600
    assert forecast_demand([*steady(0.1), *steady(3.0, midnight, midnight + 3600)], 4, NOW).cpus == pytest.approx(0.1)


def test_a_vm_that_is_hardly_known_counts_with_all_its_vcpus() -> None:
    demand = forecast_demand(steady(0.1, begin_s=NOW - 1800), 4, NOW)
    assert (demand.cpus, demand.is_known) == (4.0, False)
    assert demand.basis == "observed for 30 of 60 minutes: all of its vCPUs"


def test_a_sample_of_the_future_is_refused() -> None:
    with pytest.raises(ValueError, match="future"):
        forecast_demand([build_sample(NOW, 1.0)], 1, NOW)


def test_a_long_sample_weighs_as_long_as_it_was() -> None:
    assert percentile([(1.0, 3300), (9.0, 300)], 90) == 1.0
    assert percentile([(1.0, 300), (9.0, 3300)], 90) == 9.0
    assert percentile([], 95) == 0.0


def test_the_windows_are_those_that_a_store_has_to_give() -> None:
    spans = windows(NOW, DemandPolicy(days=2, horizon_s=3600, recent_s=7200))
    assert spans == (
        (NOW - 7200, NOW),
        (NOW - DAY_S, NOW - DAY_S + 3600),
        (NOW - 2 * DAY_S, NOW - 2 * DAY_S + 3600),
    )


@given(st.lists(st.floats(0, 8), min_size=12, max_size=60), st.integers(1, 8))
@examples(60)
def test_a_forecast_lies_between_mean_and_highest_sample(values: list[float], vcpus: int) -> None:
    samples = [build_sample(NOW - (n + 1) * STEP, value) for n, value in enumerate(values[:48])]
    demand = forecast_demand(samples, vcpus, NOW)
    used = [s.cpus for s in samples]
    assert demand.mean_cpus == pytest.approx(sum(used) / len(used))
    assert demand.mean_cpus - 1e-9 <= demand.cpus <= max(used) + 1e-9


def test_a_vm_that_is_hardly_known_is_taken_for_one_of_its_peers() -> None:
    policy = DemandPolicy(known_after_s=0, learn_s=3600)
    peers = Peers.of([([build_sample(0, 0.5)], 1), ([build_sample(0, 0.3)], 1)])
    assert (peers.mean, peers.spread) == (pytest.approx(0.4), pytest.approx(0.1))
    fresh = forecast_demand(steady(0.0, begin_s=NOW - STEP), 4, NOW, policy, peers)
    known = forecast_demand(steady(0.0, begin_s=NOW - 4 * 3600), 4, NOW, policy, peers)
    assert fresh.mean_cpus == pytest.approx(0.4 * 4 * 12 / 13)
    assert known.mean_cpus == pytest.approx(0.4 * 4 / 5)
    assert 0 < known.spread_cpus < fresh.spread_cpus
    assert Peers.of([]) == Peers(mean=0, spread=0)


def build_demand(mean: float, spread: float) -> Demand:
    return Demand(cpus=mean + 2 * spread, mean_cpus=mean, spread_cpus=spread, samples=9, basis="test")


@given(st.lists(st.tuples(st.floats(0, 4), st.floats(0, 4)), min_size=1, max_size=30), st.floats(0.05, 3))
@examples(80)
def test_sizes_and_headroom_are_never_less_than_what_a_host_needs(
    vms: Sequence[tuple[float, float]], typical: float
) -> None:
    """Σ mean + z·√(Σ spread²) is what independent VMs need; the sizing adds up to no less."""
    demands = [build_demand(mean, spread) for mean, spread in vms]
    sizing = Sizing(typical_spread=typical)
    needed = sum(d.mean_cpus for d in demands) + 2 * math.sqrt(sum(d.spread_cpus**2 for d in demands))
    assert sum(sizing.size(d) for d in demands) + sizing.headroom() >= needed - 1e-6
    assert all(sizing.size(d) <= d.mean_cpus + 2 * d.spread_cpus + 1e-9 for d in demands)


def test_the_typical_host_is_three_quarters_busy() -> None:
    sizing = Sizing.of([build_demand(0.75, 0.5)] * 160, cpus_per_host=16)
    assert sizing.typical_spread == pytest.approx(math.sqrt(160 * 0.25 / 10))
    assert Sizing.of([], 16).headroom() == pytest.approx(0, abs=1e-5)
