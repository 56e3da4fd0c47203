"""A rule lifted for one run: its block only warns, and plan, outcome and journal say who did it."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.evacuate_host import evacuate_host
from flows.migrate_vm import migrate_vm
from tests.flows.yard import Yard
from tests.prefect_side import PrefectServer, run_id
from vmferry.adapters.simulated import Blow
from vmferry.model.findings import PreflightReport
from vmferry.model.migration import OutcomeKind
from vmferry.steps.recover import recover

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect")]

RULE = "same-network"


@pytest.fixture
def split(yard: Yard) -> Yard:
    """kvm2's bridge leads to another network than that of the other hosts."""
    yard.fleet.set_link("kvm2", "br0", segment="elsewhere")
    return yard


def migrate(yard: Yard, **given: Any) -> State[Any]:
    with yard.process():
        return migrate_vm("wanderer1", "kvm2", return_state=True, **given)


def evacuate(yard: Yard, **given: Any) -> State[Any]:
    with yard.process():
        return evacuate_host("kvm1", dests=["kvm2"], return_state=True, **given)


def test_a_lifted_block_lets_the_vm_move_and_stands_in_outcome_and_journal(split: Yard) -> None:
    split.add("wanderer1")
    state = migrate(split, lift=[RULE])
    assert state.is_completed(), state.message
    outcome = state.result()
    assert outcome.kind is OutcomeKind.MOVED
    assert any(note.startswith(f"{RULE} was lifted by the operator: vm wanderer1") for note in outcome.notes)
    warnings = split.run_of("wanderer1").plan.warnings
    assert [f.rule for f in warnings if f.is_lifted] == [RULE]
    assert split.is_sound()


def test_without_lifting_nothing_is_touched(split: Yard) -> None:
    split.add("wanderer1")
    assert migrate(split).is_failed()
    assert (split.writes(), split.runs()) == ((), ())


def test_a_dry_run_shows_what_was_lifted(split: Yard) -> None:
    split.add("wanderer1")
    report = migrate(split, lift=[RULE], dry_run=True).result()
    assert isinstance(report, PreflightReport)
    assert [finding.rule for finding in report.lifted] == [RULE]
    assert report.blockers == ()


def test_an_evacuation_lifts_for_every_vm_and_says_so(split: Yard, prefect: PrefectServer) -> None:
    split.add("wanderer1")
    split.add("wanderer2")
    state = evacuate(split, lift=[RULE])
    assert state.is_completed(), state.message
    assert split.names_on("kvm2") == {"wanderer1", "wanderer2"}
    for vm in ("wanderer1", "wanderer2"):
        assert RULE in {f.rule for f in split.run_of(vm).plan.warnings if f.is_lifted}
    shown = {a.key: str(a.data) for a in prefect.artifacts(run_id(state)) if a.key}
    assert f"Lifted by the operator: `{RULE}`." in shown["plan-kvm1"]
    assert f"({RULE}, lifted by the operator)" in shown["plan-kvm1"]
    assert f"{RULE} was lifted by the operator" in shown["evacuation-kvm1"]


@pytest.mark.parametrize(("rule", "why"), [("two-copies", "cannot be lifted"), ("same-netwrok", "did you mean")])
def test_a_rule_that_cannot_be_lifted_is_refused_before_anything_is_touched(yard: Yard, rule: str, why: str) -> None:
    yard.add("wanderer1")
    for state in (migrate(yard, lift=[rule]), evacuate(yard, lift=[rule])):
        assert state.is_failed()
        assert f"lift: {rule}" in str(state.message) or f"lift: there is no rule '{rule}'" in str(state.message)
        assert why in str(state.message)
    assert (yard.writes(), yard.runs(), yard.journal.cordons()) == ((), (), ())


def test_a_run_that_fails_still_says_what_was_lifted(split: Yard) -> None:
    split.add("wanderer1")
    split.break_at(Blow.ABORTED, op="migrate", phase="memory")
    assert migrate(split, lift=[RULE]).is_failed()
    # A closed run's outcome is made from the journal again, whoever asks.
    outcome = recover(split.run_of("wanderer1").run, split.fleet.world(journal=split.journal))
    assert outcome.kind is OutcomeKind.ROLLED_BACK
    assert [note for note in outcome.notes if note.startswith(f"{RULE} was lifted")]
