"""Moves under policy post-copy, from their begin to the last resort: one running copy, no memory given up.

The whole fault matrix of this policy is in test_fault_matrix; here is what it ends in, and what is told.
"""

from __future__ import annotations

import logging

import pytest

from tests.unit.steps.voyage import DEST, SCENARIOS, SOURCE, Voyage
from vmferry.adapters.simulated import Blow, Fault, SimulatedCrash
from vmferry.model.journal import RunState
from vmferry.model.migration import OutcomeKind
from vmferry.model.transport import Switch
from vmferry.model.vm import DomainState

POSTCOPY, HELPED = SCENARIOS["post-copy"], SCENARIOS["suspended on the way"]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="vmferry")


def in_postcopy(does: Blow, target: str = "", peer: str = "") -> Fault:
    return Fault(does=does, op="migrate", phase="post-copy", target=target, peer=peer)


def moved_once(voyage: Voyage) -> bool:
    fleet = voyage.fleet
    assert fleet.incidents == ()
    assert fleet.running_on(voyage.uuid) == (DEST,)
    assert (voyage.state_on(SOURCE), fleet.defined_on(voyage.uuid)) == (DomainState.ABSENT, (DEST,))
    return voyage.outcome is None or voyage.outcome.kind is OutcomeKind.MOVED


def test_the_report_names_post_copy_as_what_the_move_ended_after() -> None:
    voyage = Voyage(POSTCOPY)
    outcome = voyage.sail()
    assert moved_once(voyage)
    assert any(note.startswith("policy post-copy: moved after post-copy at iteration") for note in outcome.notes)


def test_a_post_copy_that_breaks_off_is_resumed_again_and_again_while_that_is_too_early() -> None:
    voyage = Voyage(POSTCOPY)
    voyage.fleet.inject(in_postcopy(Blow.STALLED))
    voyage.fleet.inject(Fault(does=Blow.TRANSIENT, op="resume_postcopy", times=3))
    voyage.sail_or_settle()
    assert moved_once(voyage)
    assert [o.answer for o in voyage.fleet.operations() if o.op == "resume_postcopy"][-1] == "ok"


def test_a_link_that_stays_down_is_held_with_both_copies_untouched_and_finished_when_it_is_back() -> None:
    voyage = Voyage(POSTCOPY)
    voyage.fleet.inject(in_postcopy(Blow.LINK_DOWN, SOURCE, DEST))
    voyage.sail_or_settle()
    assert voyage.outcome is not None and voyage.outcome.kind is OutcomeKind.HELD
    assert "post-copy does not go on" in voyage.outcome.reason
    assert not {"destroy", "resume", "abort_job"} & {o.op for o in voyage.fleet.operations()}
    voyage.fleet.heal()
    voyage.process()
    voyage.recover_all()
    assert moved_once(voyage)


@pytest.mark.parametrize("target", [SOURCE, DEST])
def test_lost_memory_is_told_with_the_commands_and_nothing_is_destroyed(target: str) -> None:
    voyage = Voyage(POSTCOPY)
    voyage.fleet.inject(in_postcopy(Blow.QEMU_KILLED, target))
    voyage.sail_or_settle()
    outcome, kept = voyage.outcome, DEST if target == SOURCE else SOURCE
    assert outcome is not None and outcome.kind is OutcomeKind.HELD
    assert f"MEMORY LOST: its QEMU on {target} ended" in outcome.reason
    acts = [c for c in outcome.next_commands if " destroy " in c or " start " in c]
    assert [(kept in acts[0], " destroy " in acts[0]), (DEST in acts[1], " start " in acts[1])] == [(True, True)] * 2
    assert "destroy" not in {o.op for o in voyage.fleet.operations()}
    assert voyage.unsettled()[0].state is RunState.HELD
    # The human does as told.
    fleet = voyage.fleet
    fleet.hypervisor(kept).destroy(voyage.uuid)
    domain = fleet.domain(DEST, voyage.uuid)
    assert domain is not None
    fleet.start(fleet.hosts[DEST], domain)
    voyage.process()
    voyage.recover_all()
    assert voyage.outcome.kind is OutcomeKind.MOVED
    assert (fleet.running_on(voyage.uuid), voyage.state_on(SOURCE)) == ((DEST,), DomainState.ABSENT)
    assert fleet.double_runs == ()


@pytest.mark.parametrize("target", [SOURCE, DEST])
def test_a_libvirtd_that_is_restarted_in_post_copy_does_no_harm(target: str) -> None:
    voyage = Voyage(POSTCOPY)
    voyage.fleet.inject(in_postcopy(Blow.LIBVIRTD_RESTARTED, target))
    voyage.sail_or_settle()
    assert moved_once(voyage)


def test_a_post_copy_that_stands_still_is_broken_off_and_resumed_never_aborted() -> None:
    voyage = Voyage(POSTCOPY)
    voyage.fleet.inject(in_postcopy(Blow.STALLED))
    voyage.sail_or_settle()
    assert moved_once(voyage)
    asked = [o.op for o in voyage.fleet.operations()]
    assert "resume_postcopy" in asked and "abort_job" not in asked


def test_vmferry_that_dies_in_post_copy_is_replaced_by_one_that_finishes() -> None:
    voyage = Voyage(POSTCOPY)
    voyage.fleet.inject(in_postcopy(Blow.CRASH_BEFORE))
    voyage.sail_or_settle()
    assert moved_once(voyage) and voyage.outcome is not None


@pytest.mark.parametrize("scenario", [POSTCOPY, HELPED], ids=["post-copy", "suspend"])
def test_the_job_of_a_dead_process_gets_the_help_that_its_policy_gives(scenario: object) -> None:
    voyage = Voyage(POSTCOPY if scenario is POSTCOPY else HELPED)
    voyage.fleet.inject(Fault(does=Blow.CRASH_BEFORE, op="migrate", phase="memory"))
    with pytest.raises(SimulatedCrash):
        voyage.sail()
    assert not any("help: " in row.note for row in voyage.world.journal.rows(voyage.run))
    voyage.process()
    voyage.recover_all()
    assert moved_once(voyage) and voyage.outcome is not None
    word = "post-copy" if scenario is POSTCOPY else "suspend"
    assert any(f"moved after {word} at iteration" in note for note in voyage.outcome.notes)


def lost_reply(voyage: Voyage) -> None:
    voyage.fleet.inject(Fault(does=Blow.FINISH_REPLY_LOST, op="migrate", phase="memory"))
    voyage.sail_or_settle()


def test_where_libvirt_lets_it_run_a_lost_answer_ends_in_one_copy_also_without_image_locks() -> None:
    voyage = Voyage(POSTCOPY)
    space = voyage.fleet.hosts[SOURCE].mounts["/"]
    assert not space.has_locks or not space.is_shared
    lost_reply(voyage)
    assert voyage.fleet.incidents == () and moved_once(voyage)
    assert any("its paused remains there are ended" in row.note for row in voyage.world.journal.rows(voyage.run))


def test_a_guarded_move_leaves_the_source_to_settlement_when_the_answer_is_lost() -> None:
    voyage = Voyage(SCENARIOS["live"])
    assert voyage.plan.switch is Switch.GUARDED
    lost_reply(voyage)
    assert not any("its paused remains" in row.note for row in voyage.world.journal.rows(voyage.run))
    assert voyage.fleet.running_on(voyage.uuid) == (SOURCE,)
