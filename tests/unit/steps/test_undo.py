"""Undo: the domain first, then its disks, the mark last; each removal right after the proof that nothing runs there."""

from __future__ import annotations

import logging

import pytest

from tests.unit.steps.promises import wrongs_of
from tests.unit.steps.voyage import DEST, SCENARIOS, SOURCE, Voyage
from vmferry.adapters.simulated import Blow, Fault, Operation
from vmferry.model.journal import RunState
from vmferry.model.migration import OutcomeKind
from vmferry.steps.forward import run_step
from vmferry.steps.names import StepName
from vmferry.steps.recover import recover

RICH = SCENARIOS["offline with layer, TPM and volume"]
REMOVALS = ("undefine", "remove_file", "delete_volume")


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="vmferry.steps")


@pytest.fixture
def voyage() -> Voyage:
    """Return a run that has made all it makes before its pivot."""
    made = Voyage(RICH)
    made.world.journal.open_run(made.plan)
    for step in (StepName.RESERVE, StepName.STORAGE, StepName.DEFINITION):
        run_step(made.run, step, made.world)
    return made


def during_recovery(voyage: Voyage) -> list[Operation]:
    """Recover; return what was asked of the hosts."""
    begun = len(voyage.fleet.operations())
    voyage.outcome = recover(voyage.run, voyage.process(), cause="cancelled")
    return [operation for operation in voyage.fleet.operations()[begun:] if operation.host]


def test_the_definition_goes_before_the_disks_and_the_mark_of_the_run_goes_last(voyage: Voyage) -> None:
    asked = [(operation.host, operation.op) for operation in during_recovery(voyage) if operation.is_write]
    removals = [op for host, op in asked if host == DEST and op in REMOVALS]
    assert removals[0] == "undefine"
    assert {"remove_file", "delete_volume"} == set(removals[1:])
    assert asked[-1] == (SOURCE, "unmark")
    assert list(wrongs_of(voyage, Fault(does=Blow.CRASH_AFTER))) == []


def test_each_removal_follows_a_look_that_shows_nothing_active_there(voyage: Voyage) -> None:
    seen = [o.op for o in during_recovery(voyage) if o.host == DEST and o.op in (*REMOVALS, "look")]
    before = dict(enumerate(seen))
    assert sum(op in REMOVALS for op in seen) >= 5
    assert all(before[n - 1] == "look" for n, op in before.items() if op in REMOVALS)


def test_a_vm_that_is_started_there_during_undo_keeps_the_disks_that_are_left(voyage: Voyage) -> None:
    """By whoever had the definition: the proof is taken anew for every file."""
    voyage.fleet.inject(Fault(does=Blow.PERMANENT, host=DEST, op="undefine"))
    voyage.outcome = recover(voyage.run, voyage.process())
    domain = voyage.fleet.domain(DEST, voyage.uuid)
    assert domain is not None
    left = {path for path in voyage.files(DEST) - voyage.before}
    voyage.fleet.start(voyage.fleet.hosts[DEST], domain)
    assert recover(voyage.run, voyage.process()).kind is OutcomeKind.HELD
    assert left <= voyage.files(DEST)


def test_an_undo_that_fails_is_held_with_every_problem_and_is_completed_by_the_next_recovery(voyage: Voyage) -> None:
    for op in REMOVALS:
        voyage.fleet.inject(Fault(does=Blow.PERMANENT, host=DEST, op=op, times=100))
    voyage.fleet.inject(Fault(does=Blow.PERMANENT, host=SOURCE, op="unmark"))
    during_recovery(voyage)
    assert voyage.outcome is not None and voyage.outcome.kind is OutcomeKind.HELD
    for op in ("undefine", "remove_file", "unmark"):
        assert f"{op} was refused" in voyage.outcome.reason
    assert f"is named by {voyage.vm}" in voyage.outcome.reason  # the volume, by the definition that could not go
    assert voyage.outcome.reason.count("remove_file was refused") >= 3  # one for each file
    assert voyage.outcome.next_commands[-1] == "vmferry recover"
    voyage.fleet.heal()
    during_recovery(voyage)
    record = voyage.record()
    assert record is not None and record.state is RunState.CLOSED
    assert list(wrongs_of(voyage, Fault(does=Blow.CRASH_AFTER))) == []
