"""Is emptying a host worth its moves: figures, cool-downs, and what may be switched off."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.adapters.test_journal import build_plan
from tests.unit.builders import GIB_KIB, NOW, build_host, build_uuid
from vmferry.model.evacuation import Move
from vmferry.model.forecast import Ending, Forecast
from vmferry.model.host import Energy
from vmferry.model.journal import RunRecord, RunState
from vmferry.model.migration import MigrationMode, OutcomeKind
from vmferry.model.worth import HostPrice, MovePrice, WorthPolicy
from vmferry.planning.worth import (
    cost_per_useful_hour,
    hosts_to_switch_off,
    judge_emptying,
    price,
    price_host,
    price_move,
    resting_hosts,
    resting_vms,
)

POLICY = WorthPolicy(hours=8, min_gain_wh=100, payback=2, max_moves=10)


def build_price(host: str = "a", watts: float = 100, weight: float = 1) -> HostPrice:
    return HostPrice(host=host, idle_watts=watts, max_watts=2 * watts, weight=weight)


def moves(count: int, wh: float = 1.0) -> list[MovePrice]:
    return [MovePrice(vm=f"vm{n}", wh=wh) for n in range(count)]


def build_move(**fields: Any) -> Move:
    given: dict[str, Any] = {"vm": "web", "uuid": str(build_uuid("web")), "source": "a", "dest": "b", "order": 0}
    given |= {"mode": MigrationMode.LIVE, "mode_reason": "", "dest_reason": "", "memory_kib": 4 * GIB_KIB, "vcpus": 2}
    return Move(**{**given, **fields})


def test_a_move_costs_the_energy_of_its_bytes_its_downtime_and_that_it_is_made() -> None:
    """0.512 J/MB and 20.2 J (Liu et al. 2011): 4,000 MB are 0.57 Wh."""
    cost = price("web", 40, 4000 * 10**6, 500, POLICY)
    assert cost.wh == pytest.approx((0.512 * 4000 + 20.2) / 3600 + 1.0 + 5.0 * 0.5)


def test_a_move_without_forecast_sends_its_memory_and_one_with_it_what_is_sent_again_too() -> None:
    assert price_move(build_move(copy_bytes=10), POLICY).sent_bytes == (4 << 30) + 10
    forecast = Forecast(ending=Ending.CONVERGES, seconds=60, downtime_ms=200, rate_mib_s=100, basis="")
    told = price_move(build_move(forecast=forecast), POLICY)
    assert (told.seconds, told.downtime_ms, told.sent_bytes) == (60, 200, 6000 << 20)


def test_a_host_is_emptied_where_it_saves_a_multiple_of_what_its_moves_cost() -> None:
    worth = judge_emptying({"a": moves(4), "b": moves(9, 60)}, {"a": build_price("a"), "b": build_price("b")}, POLICY)
    assert worth.emptied == ("a",) and worth.net_wh == pytest.approx(796)
    assert worth.reason == "796 Wh net in 8 h for 4 moves"
    assert worth.savings[1].reason == "saves 800 Wh in 8 h, its 9 moves cost 540 Wh: less than 2 times that"


def test_little_is_nothing_and_the_figures_say_so() -> None:
    worth = judge_emptying({"a": moves(2)}, {"a": build_price(watts=5)}, POLICY)
    assert worth.emptied == () and worth.net_wh == 0
    assert worth.reason == "nothing worth doing: 38 Wh net in 8 h for 2 moves, less than 100 Wh"
    assert judge_emptying({}, {}, POLICY).reason == "nothing worth doing: no host can be emptied"


def test_the_moves_of_a_run_are_capped_host_by_host() -> None:
    prices = {name: build_price(name) for name in "abc"}
    worth = judge_emptying({"a": moves(6), "b": moves(6), "c": moves(4)}, prices, POLICY)
    assert worth.emptied == ("a", "c")
    assert "only 4 of 10 moves are left" in worth.savings[1].reason


def test_an_old_host_counts_more_and_one_that_does_more_counts_less() -> None:
    assert cost_per_useful_hour(build_price(weight=2), 16) == 2 * cost_per_useful_hour(build_price(), 16)
    assert cost_per_useful_hour(build_price(), 32) < cost_per_useful_hour(build_price(), 16)


def test_watts_that_nobody_told_are_assumed_and_said() -> None:
    assert price_host(build_host("a")).is_assumed and price_host(build_host("a")).idle_watts == 100
    told = price_host(build_host("a", energy=Energy(idle_watts=80, max_watts=120, weight=1.5)))
    assert (told.idle_watts, told.max_watts, told.weight, told.is_assumed) == (80, 120, 1.5, False)


@given(st.lists(st.tuples(st.floats(0, 400), st.integers(0, 8), st.floats(0, 300)), max_size=8))
@examples(80)
def test_what_is_done_always_brings_more_than_it_costs(hosts: list[tuple[float, int, float]]) -> None:
    names = [f"h{n}" for n in range(len(hosts))]
    prices = {name: build_price(name, watts) for name, (watts, _, _) in zip(names, hosts, strict=True)}
    groups = {name: moves(count, wh) for name, (_, count, wh) in zip(names, hosts, strict=True)}
    worth = judge_emptying(groups, prices, POLICY)
    done = [saving for saving in worth.savings if saving.host in worth.emptied]
    assert sum(len(saving.moves) for saving in done) <= POLICY.max_moves
    assert all(saving.gain_wh >= POLICY.payback * saving.cost_wh for saving in done)
    assert not done or sum(saving.net_wh for saving in done) >= POLICY.min_gain_wh
    assert [saving.host for saving in worth.savings] == names


def build_run(hours_ago: float, vm: str = "web", outcome: OutcomeKind = OutcomeKind.MOVED) -> RunRecord:
    ended = NOW - timedelta(hours=hours_ago)
    return RunRecord(
        run=f"run-{hours_ago}",
        plan=build_plan(vm=vm),
        state=RunState.CLOSED,
        outcome=outcome,
        owner="x",
        opened_at=ended,
        closed_at=ended,
    )


def test_a_vm_rests_after_a_move_and_after_a_failed_one() -> None:
    runs = [build_run(1), build_run(2, "db", OutcomeKind.ROLLED_BACK), build_run(13, "old")]
    found = resting_vms(runs, NOW, WorthPolicy(vm_cooldown_h=12))
    assert set(found) == {str(build_uuid("web")), str(build_uuid("db"))}
    assert found[str(build_uuid("web"))] == "moved 1.0 h ago, rests for 12 h"
    assert found[str(build_uuid("db"))].startswith("was to be moved 2.0 h ago")


def test_a_host_rests_after_arrivals_only() -> None:
    policy = WorthPolicy(host_cooldown_h=4)
    assert set(resting_hosts([build_run(1)], NOW, policy)) == {"b"}
    assert resting_hosts([build_run(5), build_run(1, "db", OutcomeKind.ROLLED_BACK)], NOW, policy) == {}


@pytest.mark.parametrize(
    ("emptied", "online", "least", "spare", "off"),
    [(3, 10, 1, 1, 2), (3, 10, 1, 0, 3), (3, 10, 9, 0, 1), (3, 3, 1, 0, 2), (1, 10, 1, 1, 0), (2, 4, 5, 0, 0)],
)
def test_the_reserve_and_the_least_number_stay_on(emptied: int, online: int, least: int, spare: int, off: int) -> None:
    hosts = tuple(f"h{n}" for n in range(emptied))
    found, stays = hosts_to_switch_off(hosts, online, min_online=least, spare_hosts=spare)
    assert (len(found), (*found, *stays)) == (off, hosts)
