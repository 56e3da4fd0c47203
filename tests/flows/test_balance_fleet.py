"""balance-fleet on the simulated fleet: what lasted is relieved, what did not is left."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.balance_fleet import balance_fleet
from tests.flows.test_consolidate_fleet import observe, report_of, set_inventory
from tests.flows.yard import Yard
from vmferry.model.host import TakesPart

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect")]


def balance(yard: Yard, **given: Any) -> State[Any]:
    with yard.process():
        return balance_fleet(return_state=True, **given)


def crowd(yard: Yard, load_cpus: float = 3.0) -> None:
    """Four busy VMs on kvm1, a quiet one on kvm2."""
    for number in range(4):
        yard.add(f"busy{number}", "kvm1", vcpus=4, load_cpus=load_cpus)
    yard.add("quiet", "kvm2", vcpus=2, load_cpus=0.1)


def test_a_host_that_was_too_busy_for_long_is_relieved_and_nobody_else_moves(yard: Yard) -> None:
    crowd(yard)
    observe(yard)
    report = report_of(balance(yard))
    assert {outcome.source for outcome in report.outcomes} == {"kvm1"}
    assert 2 <= len(yard.names_on("kvm1")) <= 3
    assert "quiet" in yard.names_on("kvm2")
    assert report.decision.balance is not None and report.decision.balance.hot[0].host == "kvm1"
    assert "kvm1 had 75 % of its CPU or more in use for most of 30 minutes" in report.reason
    assert yard.journal.cordons() == ()
    assert yard.is_sound()


def test_one_busy_sample_moves_nothing(yard: Yard) -> None:
    crowd(yard, load_cpus=0.1)
    observe(yard)
    for domain in yard.fleet.hosts["kvm1"].domains.values():
        domain.load_cpus = 4.0
    observe(yard, minutes=5)
    state = balance(yard)
    assert state.is_completed()
    assert "nothing worth doing: no host was 20 points above the mean" in report_of(state).reason
    assert yard.runs() == ()


def test_without_samples_nothing_is_done(yard: Yard) -> None:
    crowd(yard)
    assert "0 hosts were observed for 30 minutes" in report_of(balance(yard)).reason
    assert yard.runs() == ()


def test_no_more_moves_are_made_than_asked_for(yard: Yard) -> None:
    crowd(yard)
    observe(yard)
    assert len(report_of(balance(yard, max_moves=1)).outcomes) == 1


def test_where_no_move_helps_enough_none_is_made(yard: Yard) -> None:
    crowd(yard)
    observe(yard)
    report = report_of(balance(yard, min_gain=0.9))
    assert report.outcomes == () and "no move would help enough" in report.reason


def test_a_host_that_takes_no_part_gets_and_gives_nothing(yard: Yard) -> None:
    crowd(yard)
    set_inventory(yard, {"kvm3": {"takes_part": TakesPart(balance=False)}})
    observe(yard)
    balance(yard, dry_run=True)
    report_of(balance(yard))
    assert yard.names_on("kvm3") == set()


def test_a_dry_run_touches_nothing(yard: Yard) -> None:
    crowd(yard)
    observe(yard)
    report = report_of(balance(yard, dry_run=True))
    assert report.decision.plan.moves and report.is_dry_run
    assert (yard.writes(), yard.runs()) == ((), ())
