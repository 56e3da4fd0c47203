"""Recovery: any number of times, by any process, from any point; undo goes on, and what it cannot prove is held."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

import pytest

from tests.unit.steps.promises import wrongs_of
from tests.unit.steps.voyage import (
    DEST,
    SCENARIOS,
    SOURCE,
    Scenario,
    Voyage,
    counted,
    enumerate_faults,
    memory_journal,
)
from vmferry.adapters.simulated import Blow, Fault, SimulatedCrash
from vmferry.errors import VmferryError
from vmferry.model.effects import AutostartCleared, FileMade, Nothing, VmMarked
from vmferry.model.journal import Mark, RunState
from vmferry.model.migration import MigrationOutcome, MigrationPlan, OutcomeKind
from vmferry.model.vm import DomainState
from vmferry.ports import World
from vmferry.steps.forward import run_step
from vmferry.steps.names import StepName
from vmferry.steps.recover import close, recover

LIVE, OFFLINE, TRANSIENT = SCENARIOS["live"], SCENARIOS["offline"], SCENARIOS["transient"]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="vmferry.steps")


def sail_until(voyage: Voyage, last: StepName) -> None:
    """Open the run and do the steps up to and with `last`."""
    voyage.world.journal.open_run(voyage.plan)
    for step in StepName:
        run_step(voyage.run, step, voyage.world)
        if step is last:
            return


def lose_finish_reply(voyage: Voyage) -> None:
    """End a live move with a paused copy on both hosts."""
    voyage.fleet.inject(Fault(does=Blow.FINISH_REPLY_LOST, op="migrate", phase="switch-over"))
    with pytest.raises(VmferryError):
        voyage.sail()


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
@pytest.mark.parametrize("last", list(StepName))
def test_a_run_that_ends_after_any_step_is_settled_and_a_second_recovery_changes_nothing(
    scenario: Scenario, last: StepName
) -> None:
    voyage = Voyage(scenario)
    sail_until(voyage, last)
    first = recover(voyage.run, voyage.process())
    passed = last in (StepName.MOVE, StepName.VERIFY, StepName.FINISH)
    assert first.kind is (OutcomeKind.MOVED if passed else OutcomeKind.ROLLED_BACK)
    assert list(wrongs_of(voyage, Fault(does=Blow.CRASH_AFTER))) == []
    world_then, wrote = world_of(voyage), len(writes(voyage))
    assert recover(voyage.run, voyage.process()).kind is first.kind
    assert world_of(voyage) == world_then
    assert [title for title in writes(voyage)[wrote:] if "kvm" in title and "undefine" not in title] == []


def world_of(voyage: Voyage) -> object:
    """Return how the VM and the files stand on both hosts."""
    hosts = (SOURCE, DEST)
    return [(voyage.state_on(h), voyage.autostart_on(h), sorted(voyage.files(h))) for h in hosts]


def writes(voyage: Voyage) -> list[str]:
    return [o.title for o in voyage.fleet.operations() if o.is_write]


def test_recovering_a_run_that_is_closed_as_moved_keeps_it_closed_as_moved() -> None:
    voyage = Voyage(LIVE)
    voyage.sail()
    recover(voyage.run, voyage.process())
    record = voyage.record()
    assert record is not None
    assert (record.state, record.outcome) == (RunState.CLOSED, OutcomeKind.MOVED)


def test_recovering_a_closed_run_leaves_a_vm_that_has_moved_on_alone() -> None:
    """A rolled-back VM that a later run moved is where the later run put it."""
    voyage = Voyage(LIVE)
    sail_until(voyage, StepName.DEFINITION)
    recover(voyage.run, voyage.world)
    sail_again(voyage, voyage.make_plan(run="later"))
    before = world_of(voyage)
    recover(voyage.run, voyage.process())
    record = voyage.record()
    assert record is not None
    assert (record.state, record.outcome) == (RunState.CLOSED, OutcomeKind.ROLLED_BACK)
    assert world_of(voyage) == before


@pytest.mark.parametrize("scenario", [LIVE, OFFLINE], ids=["live", "offline"])
def test_recovering_a_closed_run_leaves_a_vm_that_has_come_home_alone(scenario: Scenario) -> None:
    voyage = Voyage(scenario)
    voyage.sail()
    back = voyage.make_plan(run="back", source=DEST, dest=SOURCE, peer_uri=voyage.fleet.hosts[SOURCE].entry.peer_uri)
    sail_again(voyage, back.model_copy(update={"files": voyage.plan.files}))
    before = world_of(voyage)
    recover(voyage.run, voyage.process())
    record = voyage.record()
    assert record is not None
    assert (record.state, record.outcome) == (RunState.CLOSED, OutcomeKind.MOVED)
    assert world_of(voyage) == before


def sail_again(voyage: Voyage, plan: MigrationPlan) -> None:
    """Move the VM once more, by another run."""
    voyage.world.journal.open_run(plan)
    for step in StepName:
        run_step(plan.run, step, voyage.world)
    close(voyage.world.journal.find(plan.run), voyage.world, OutcomeKind.MOVED)


def test_the_arrived_copy_that_never_ran_is_destroyed_and_the_source_runs() -> None:
    voyage = Voyage(LIVE)
    lose_finish_reply(voyage)
    assert recover(voyage.run, voyage.world).kind is OutcomeKind.ROLLED_BACK
    assert voyage.fleet.running_on(voyage.uuid) == (SOURCE,)
    assert voyage.state_on(DEST) is DomainState.ABSENT


def test_a_copy_that_a_human_let_run_is_held_and_neither_side_is_touched() -> None:
    voyage = Voyage(LIVE)
    lose_finish_reply(voyage)
    voyage.fleet.hypervisor(DEST).resume(voyage.uuid)
    outcome = recover(voyage.run, voyage.world)
    assert outcome.kind is OutcomeKind.HELD
    assert "TWO ACTIVE COPIES" in outcome.reason
    assert voyage.fleet.running_on(voyage.uuid) == (SOURCE, DEST)


def test_nothing_is_done_while_one_host_is_silent_and_all_of_it_when_it_answers_again() -> None:
    voyage = Voyage(LIVE)
    lose_finish_reply(voyage)
    voyage.fleet.cut_link(SOURCE)
    before = writes(voyage)
    held = recover(voyage.run, voyage.world)
    assert (held.kind, voyage.unsettled()[0].state) == (OutcomeKind.HELD, RunState.HELD)
    assert [title for title in writes(voyage)[len(before) :] if "kvm" in title] == []
    voyage.fleet.heal()
    assert recover(voyage.run, voyage.process()).kind is OutcomeKind.ROLLED_BACK
    assert voyage.fleet.running_on(voyage.uuid) == (SOURCE,)


def test_a_dead_vm_is_held_until_a_human_started_it_and_then_gets_its_autostart_back() -> None:
    voyage = Voyage(LIVE)
    voyage.fleet.inject(Fault(does=Blow.QEMU_KILLED, op="migrate", phase="memory", target=SOURCE))
    voyage.sail_or_settle()
    assert voyage.outcome is not None
    assert voyage.outcome.kind is OutcomeKind.HELD
    assert "runs nowhere" in voyage.outcome.reason
    domain = voyage.fleet.domain(SOURCE, voyage.uuid)
    assert domain is not None
    voyage.fleet.start(voyage.fleet.hosts[SOURCE], domain)
    assert recover(voyage.run, voyage.process()).kind is OutcomeKind.ROLLED_BACK
    assert (voyage.fleet.running_on(voyage.uuid), voyage.autostart_on(SOURCE)) == ((SOURCE,), True)


def started_at(outcome: MigrationOutcome) -> Iterator[str]:
    """Yield the hosts at which a human is told to start the VM."""
    for command in outcome.next_commands:
        if " start " in command:
            yield command.partition("@")[2].partition("/")[0]


def lose_dest_after_finish(voyage: Voyage) -> None:
    sail_until(voyage, StepName.FINISH)
    voyage.fleet.cut_power(DEST)
    voyage.fleet.power_on(DEST)


def kill_at_the_source(voyage: Voyage) -> None:
    voyage.world.journal.open_run(voyage.plan)
    run_step(voyage.run, StepName.RESERVE, voyage.world)
    run_step(voyage.run, StepName.DEFINITION, voyage.world)
    voyage.fleet.kill_qemu(SOURCE, voyage.uuid)


@pytest.mark.parametrize(
    ("scenario", "harm"),
    [
        (SCENARIOS["live with changes"], lose_dest_after_finish),
        (TRANSIENT, kill_at_the_source),
        (LIVE, kill_at_the_source),
    ],
    ids=["defined at the destination only", "transient and gone", "defined at the source"],
)
def test_a_human_is_told_to_start_the_vm_only_where_it_is_defined(
    scenario: Scenario, harm: Callable[[Voyage], None]
) -> None:
    voyage = Voyage(scenario)
    harm(voyage)
    outcome = recover(voyage.run, voyage.world)
    assert outcome.kind is OutcomeKind.HELD
    assert tuple(started_at(outcome)) == voyage.fleet.defined_on(voyage.uuid)


def test_a_running_job_of_a_dead_process_is_adopted_and_its_vm_finished() -> None:
    voyage = Voyage(LIVE)
    voyage.fleet.inject(Fault(does=Blow.CRASH_BEFORE, op="migrate", phase="memory"))
    with pytest.raises(SimulatedCrash):
        voyage.sail()
    assert voyage.fleet.hypervisor(SOURCE).look(voyage.uuid).has_job
    assert recover(voyage.run, voyage.process()).kind is OutcomeKind.MOVED
    assert voyage.fleet.running_on(voyage.uuid) == (DEST,)
    assert voyage.fleet.incidents == ()


def test_a_job_that_is_no_move_of_ours_is_never_aborted() -> None:
    """A run that died before its move; meanwhile somebody backs the VM up at the source."""
    voyage = Voyage(LIVE)
    sail_until(voyage, StepName.DEFINITION)
    domain = voyage.fleet.domain(SOURCE, voyage.uuid)
    assert domain is not None
    domain.job = "backup"
    recover(voyage.run, voyage.process())
    assert domain.job == "backup"
    assert "abort_job" not in {operation.op for operation in voyage.fleet.operations()}


# undo


def test_undo_goes_on_after_a_failure_and_the_held_run_names_every_problem() -> None:
    voyage = Voyage(OFFLINE)
    sail_until(voyage, StepName.DEFINITION)
    voyage.fleet.inject(Fault(does=Blow.PERMANENT, host=DEST, op="remove_file"))
    voyage.fleet.inject(Fault(does=Blow.PERMANENT, host=DEST, op="undefine"))
    outcome = recover(voyage.run, voyage.world)
    assert outcome.kind is OutcomeKind.HELD
    assert "remove_file was refused" in outcome.reason
    assert "undefine was refused" in outcome.reason
    assert voyage.autostart_on(SOURCE)
    left = [c.dest_path for c in voyage.plan.files if c.dest_path in voyage.files(DEST)]
    assert len(left) == 1
    assert recover(voyage.run, voyage.process()).kind is OutcomeKind.ROLLED_BACK
    assert voyage.files(DEST) == voyage.before
    assert voyage.fleet.defined_on(voyage.uuid) == (SOURCE,)


def test_a_foreign_file_at_a_published_path_is_never_removed() -> None:
    voyage = Voyage(OFFLINE)
    sail_until(voyage, StepName.STORAGE)
    path = voyage.plan.files[0].dest_path
    voyage.fleet.hosts[DEST].take(path)
    voyage.fleet.add_file(DEST, path, b"somebody else's")
    assert recover(voyage.run, voyage.world).kind is OutcomeKind.ROLLED_BACK
    assert voyage.files(DEST) == voyage.before | {path}
    assert voyage.fleet.problems() == ()


def test_nothing_is_removed_at_a_destination_where_the_vm_is_active() -> None:
    voyage = Voyage(OFFLINE)
    sail_until(voyage, StepName.DEFINITION)
    domain = voyage.fleet.domain(DEST, voyage.uuid)
    assert domain is not None
    voyage.fleet.start(voyage.fleet.hosts[DEST], domain)
    assert recover(voyage.run, voyage.world).kind is OutcomeKind.HELD
    assert {c.dest_path for c in voyage.plan.files} <= voyage.files(DEST)
    assert voyage.fleet.running_on(voyage.uuid) == (DEST,)


def test_an_intent_whose_effect_never_happened_is_undone_without_harm() -> None:
    voyage = Voyage(OFFLINE)
    voyage.world.journal.open_run(voyage.plan)
    run_step(voyage.run, StepName.RESERVE, voyage.world)
    journal = voyage.world.journal
    made = FileMade(host=DEST, path=f"/var/lib/libvirt/images/.vmferry-{voyage.run}/x.qcow2", uuid=voyage.uuid)
    journal.write(voyage.run, StepName.STORAGE, Mark.INTENDED)
    journal.write(voyage.run, StepName.STORAGE, Mark.EFFECT, made)
    journal.write(voyage.run, StepName.DEFINITION, Mark.EFFECT, AutostartCleared(host=SOURCE, uuid=voyage.uuid))
    assert recover(voyage.run, voyage.world).kind is OutcomeKind.ROLLED_BACK
    undone = [row.effect for row in journal.rows(voyage.run) if row.mark is Mark.UNDONE]
    cleared, marked = AutostartCleared(host=SOURCE, uuid=voyage.uuid), VmMarked(host=SOURCE, uuid=voyage.uuid)
    assert set(undone) - {Nothing()} == {made, cleared, marked} and undone[-1] == marked
    assert voyage.files(DEST) == voyage.before


def test_a_run_that_touched_nothing_is_closed_without_asking_any_host() -> None:
    voyage = Voyage(LIVE)
    voyage.world.journal.open_run(voyage.plan)
    assert recover(voyage.run, voyage.world, cause="cancelled").kind is OutcomeKind.ROLLED_BACK
    assert [o.title for o in voyage.fleet.operations() if o.host] == []


# a recovery that is struck itself


def crash_after_publish(voyage: Voyage) -> None:
    voyage.fleet.inject(Fault(does=Blow.CRASH_AFTER, op="publish", nth=2))
    with pytest.raises(SimulatedCrash):
        voyage.sail()


def crash_on_arrival(voyage: Voyage) -> None:
    voyage.fleet.inject(Fault(does=Blow.CRASH_BEFORE, op="migrate", phase="arrived"))
    with pytest.raises(SimulatedCrash):
        voyage.sail()


def strand_source(voyage: Voyage) -> None:
    voyage.fleet.inject(Fault(does=Blow.LIBVIRTD_RESTARTED, op="migrate", phase="switch-over", target=SOURCE))
    with pytest.raises(VmferryError):
        voyage.sail()


@pytest.mark.parametrize(
    ("scenario", "before"),
    [
        (LIVE, lose_finish_reply),
        (LIVE, crash_on_arrival),
        (LIVE, strand_source),
        (OFFLINE, crash_after_publish),
    ],
)
def test_a_recovery_that_is_struck_anywhere_is_completed_by_the_next(
    scenario: Scenario, before: Callable[[Voyage], None]
) -> None:
    journal = memory_journal()
    calm = Voyage(scenario, journal)
    before(calm)
    begun = len(calm.fleet.operations())
    recover(calm.run, calm.process())
    log = calm.fleet.operations()
    faults = [counted(f, log) for f in calm.fleet.faults() if f.seq is not None and f.seq >= begun]
    assert len(faults) > 20
    broken = {}
    for fault in faults:
        voyage = Voyage(scenario, journal)
        before(voyage)
        broken[str(fault)] = list(recovered(voyage, fault))
    assert not (wrong := {where: what for where, what in broken.items() if what}), "\n".join(map(str, wrong.items()))


def recovered(voyage: Voyage, fault: Fault) -> Iterator[str]:
    """Recover with a fault, heal, recover again; yield the broken promises."""
    already = sum(fault.fits(operation) for operation in voyage.fleet.operations())
    voyage.fleet.inject(fault.model_copy(update={"nth": max(1, fault.nth - already)}))
    world: World = voyage.process()
    with contextlib.suppress(SimulatedCrash, VmferryError):
        voyage.outcome = recover(voyage.run, world)
    voyage.fleet.advance(120)
    voyage.fleet.heal()
    voyage.process()
    voyage.recover_all()
    yield from wrongs_of(voyage, fault)


def test_every_kind_of_fault_is_in_the_matrix() -> None:
    kinds = {fault.does for scenario in (LIVE, OFFLINE) for fault in enumerate_faults(scenario)}
    assert kinds == set(Blow)
