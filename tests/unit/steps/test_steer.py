"""A move that does not converge: what its policy did is in journal and report, and the VM runs at the end."""

from __future__ import annotations

import pytest

from tests.unit.steps.promises import wrongs_of
from tests.unit.steps.voyage import DEST, SCENARIOS, SOURCE, Scenario, Voyage
from vmferry.adapters.simulated import Blow, Fault
from vmferry.errors import OutcomeUnknown
from vmferry.model.convergence import PolicyName
from vmferry.model.journal import RunState
from vmferry.model.migration import MigrationMode, OutcomeKind
from vmferry.model.vm import DomainState

SUSPENDED = SCENARIOS["suspended on the way"]


def restless(policy: PolicyName, state: DomainState = DomainState.RUNNING) -> Scenario:
    return Scenario(MigrationMode.LIVE, state=state, policy=policy, dirty_mib_s=400)


def orders(voyage: Voyage) -> list[str]:
    """The order of the acts on the job, as the journal has them."""
    notes = [row.note.removeprefix("help: ") for row in voyage.world.journal.rows(voyage.run) if "help: " in row.note]
    return [note.partition(" at iteration")[0] for note in notes]


def test_a_suspended_vm_arrives_runs_and_the_report_names_the_rung_that_moved_it() -> None:
    voyage = Voyage(SUSPENDED)
    outcome = voyage.sail()
    assert outcome.kind is OutcomeKind.MOVED
    assert voyage.fleet.running_on(voyage.uuid) == (DEST,)
    assert orders(voyage) == ["downtime limit 400 ms", "downtime limit 500 ms", "suspend"]
    assert outcome.notes[-1].startswith("policy suspend-if-needed: moved after suspend at iteration ")
    assert "iterations without gain" in outcome.notes[-1]
    assert outcome.downtime_ms is not None


def test_the_bandwidth_cap_is_lifted_together_with_the_suspend() -> None:
    voyage = Voyage(SUSPENDED)
    voyage.plan = voyage.plan.model_copy(update={"bandwidth_mib_s": 100})
    outcome = voyage.sail()
    assert orders(voyage)[-2:] == ["suspend", "bandwidth cap lifted"]
    assert ["moved after suspend" in note for note in outcome.notes] == [False, False, True, False]


def test_a_throttled_vm_moves_without_a_suspend() -> None:
    voyage = Voyage(restless(PolicyName.AUTO_CONVERGE))
    outcome = voyage.sail()
    assert outcome.kind is OutcomeKind.MOVED
    assert any("moved after CPU throttled by" in note for note in outcome.notes)
    assert "suspend" not in orders(voyage)
    assert "suspend" not in [operation.op for operation in voyage.fleet.operations()]


def test_without_a_policy_that_allows_more_the_vm_stays_where_it_runs() -> None:
    voyage = Voyage(restless(PolicyName.MINIMAL_DOWNTIME))
    voyage.sail_or_settle()
    assert voyage.outcome is not None and voyage.outcome.kind is OutcomeKind.ROLLED_BACK
    assert "did not finish within 270 s" in voyage.outcome.reason
    assert "--policy suspend-if-needed" in voyage.outcome.reason
    assert voyage.fleet.running_on(voyage.uuid) == (SOURCE,)
    assert [note.partition(" at")[0] for note in voyage.outcome.notes] == [
        "policy minimal-downtime: downtime limit 400 ms",
        "policy minimal-downtime: downtime limit 500 ms",
    ]


@pytest.mark.parametrize("policy", PolicyName)
def test_a_vm_that_its_user_paused_is_not_helped_and_stays_paused(policy: PolicyName) -> None:
    voyage = Voyage(restless(policy, DomainState.PAUSED))
    voyage.sail()
    assert voyage.state_on(DEST) is DomainState.PAUSED
    assert orders(voyage) == []


@pytest.mark.parametrize("blow", [Blow.CRASH_BEFORE, Blow.CRASH_AFTER])
@pytest.mark.parametrize("op", ["suspend", "set_max_downtime"])
def test_vmferry_killed_at_an_act_leaves_a_vm_that_recovery_lets_run(op: str, blow: Blow) -> None:
    voyage = Voyage(SUSPENDED)
    voyage.fleet.inject(Fault(does=blow, op=op))
    voyage.sail_or_settle()
    record = voyage.record()
    assert record is not None and record.state is RunState.CLOSED
    assert len(voyage.fleet.running_on(voyage.uuid)) == 1
    assert list(wrongs_of(voyage, Fault(does=blow))) == []


def test_vmferry_killed_right_after_the_suspend_ends_with_the_vm_running_at_the_destination() -> None:
    voyage = Voyage(SUSPENDED)
    voyage.fleet.inject(Fault(does=Blow.CRASH_AFTER, op="suspend"))
    voyage.sail_or_settle()
    assert voyage.outcome is not None and voyage.outcome.kind is OutcomeKind.MOVED
    assert voyage.fleet.running_on(voyage.uuid) == (DEST,)


def test_a_suspended_vm_whose_link_breaks_runs_at_the_source_again() -> None:
    voyage = Voyage(SUSPENDED)
    voyage.fleet.inject(Fault(does=Blow.LINK_DOWN, op="suspend", peer=DEST))
    voyage.sail_or_settle()
    assert voyage.outcome is not None and voyage.outcome.kind is OutcomeKind.ROLLED_BACK
    assert voyage.fleet.running_on(voyage.uuid) == (SOURCE,)


def test_a_suspend_that_comes_when_the_job_has_just_ended_is_taken_back() -> None:
    """libvirt then calls the pause the user's: only the journal knows that it is ours."""
    voyage = Voyage(SUSPENDED)
    voyage.fleet.inject(Fault(does=Blow.LIBVIRTD_RESTARTED, op="suspend"))
    with pytest.raises(OutcomeUnknown):
        voyage.sail()
    domain = voyage.fleet.domain(SOURCE, voyage.uuid)
    assert domain is not None and (domain.state, domain.reason, domain.job) == (DomainState.PAUSED, "user", None)
    voyage.process()
    voyage.recover_all()
    assert voyage.outcome is not None and voyage.outcome.kind is OutcomeKind.ROLLED_BACK
    assert voyage.fleet.running_on(voyage.uuid) == (SOURCE,)


def test_a_refused_act_is_not_fatal() -> None:
    voyage = Voyage(SUSPENDED)
    voyage.fleet.inject(Fault(does=Blow.PERMANENT, op="set_max_downtime", times=2))
    outcome = voyage.sail()
    assert outcome.kind is OutcomeKind.MOVED
    assert ["was refused" in note for note in outcome.notes] == [True, True, False]
    assert "moved after suspend" in outcome.notes[2]


def test_a_refused_suspend_leaves_the_vm_running_at_the_source_when_the_time_is_over() -> None:
    voyage = Voyage(SUSPENDED)
    voyage.plan = voyage.plan.model_copy(update={"bandwidth_mib_s": 100})
    voyage.fleet.inject(Fault(does=Blow.PERMANENT, op="suspend"))
    voyage.sail_or_settle()
    assert voyage.outcome is not None and voyage.outcome.kind is OutcomeKind.ROLLED_BACK
    assert voyage.fleet.running_on(voyage.uuid) == (SOURCE,)
    assert "lift_cap" not in [operation.op for operation in voyage.fleet.operations()]
    assert "suspend at iteration" in voyage.outcome.notes[-1] and "was refused" in voyage.outcome.notes[-1]


def test_the_last_act_that_had_an_effect_is_what_the_move_ended_after() -> None:
    voyage = Voyage(restless(PolicyName.MINIMAL_DOWNTIME))
    domain = voyage.fleet.domain(SOURCE, voyage.uuid)
    assert domain is not None
    domain.working_set_mib = 100  # 390 ms at 256 MiB/s
    (note,) = voyage.sail().notes
    assert note.startswith("policy minimal-downtime: moved after downtime limit 400 ms at iteration 4")


def test_an_act_that_cannot_be_written_down_is_not_done() -> None:
    voyage = Voyage(SUSPENDED)
    voyage.fleet.inject(Fault(does=Blow.TRANSIENT, op="write", nth=_writes_before_help(), times=3))
    voyage.sail_or_settle()
    assert "suspend" not in [operation.op for operation in voyage.fleet.operations()]
    assert orders(voyage) == []


def _writes_before_help() -> int:
    """How many times the journal is written until the first act, that one included."""
    voyage = Voyage(SUSPENDED)
    voyage.sail()
    log = voyage.fleet.operations()
    first = next(number for number, operation in enumerate(log) if operation.op == "set_max_downtime")
    return sum(operation.port == "journal" and operation.op == "write" for operation in log[:first])
