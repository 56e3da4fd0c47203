"""A host counts as hot when it was so for long enough, in CPU or in memory."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.builders import NOW
from vmferry.model.optimization import BalanceRequest
from vmferry.model.usage import UsageSample
from vmferry.planning.imbalance import find_imbalance

END = int(NOW.timestamp())
CPUS = {"a": 10, "b": 10, "c": 20}
MEMORY = {"a": 1000, "b": 1000, "c": 2000}


def history(cpus: Sequence[float], memory_mib: int = 100, step_s: int = 300) -> list[UsageSample]:
    begin = END - len(cpus) * step_s
    return [
        UsageSample(start_s=begin + n * step_s, span_s=step_s, cpus=used, cpus_peak=used, memory_mib=memory_mib)
        for n, used in enumerate(cpus)
    ]


def find(**hosts: list[UsageSample]):  # type: ignore[no-untyped-def]
    return find_imbalance(hosts, CPUS, MEMORY, BalanceRequest(threshold_percent=20, lasting_s=1800), NOW)


def test_a_host_that_is_busier_all_the_time_is_hot() -> None:
    found = find(a=history([9] * 6), b=history([1] * 6), c=history([2] * 6))
    (hot,) = found.hot
    assert (hot.host, hot.resource, round(hot.percent), round(hot.mean_percent)) == ("a", "CPU", 90, 37)
    assert found.reason.startswith("a had 90 % of its CPU or more in use for most of 30 minutes")


def test_one_busy_sample_or_a_busy_third_is_not() -> None:
    for busy in ([1, 1, 1, 1, 1, 9], [9, 1, 1, 9, 1, 1]):
        found = find(a=history(busy), b=history([1] * 6), c=history([2] * 6))
        assert found.hot == () and found.reason.startswith("nothing worth doing")


def test_one_quiet_sample_among_busy_ones_hides_nothing() -> None:
    assert find(a=history([9, 9, 9, 1, 9, 9]), b=history([1] * 6)).is_needed


def test_what_was_long_ago_does_not_count() -> None:
    assert not find(a=history([9] * 20 + [1] * 6), b=history([1] * 26)).is_needed


def test_memory_makes_a_host_hot_too_and_shares_count_not_amounts() -> None:
    found = find(a=history([1] * 6, 900), b=history([1] * 6, 100), c=history([2] * 6, 900))
    assert [(one.host, one.resource) for one in found.hot] == [("a", "memory")]


def test_a_host_without_enough_samples_is_neither_hot_nor_counted() -> None:
    found = find(a=history([9] * 2), b=history([1] * 6))
    assert found.reason == "nothing worth doing: 1 hosts were observed for 30 minutes"


def test_a_fleet_that_is_busy_everywhere_is_in_balance() -> None:
    assert not find(a=history([9.5] * 6), b=history([9.4] * 6), c=history([19] * 6)).is_needed


def test_long_samples_cover_the_time_too() -> None:
    assert find(a=history([9], step_s=3600), b=history([1], step_s=3600)).is_needed
