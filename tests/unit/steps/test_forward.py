"""The six steps on a simulated fleet, without faults and with a world that is not as planned."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.steps.voyage import DEST, SCENARIOS, SOURCE, Scenario, Voyage
from vmferry.adapters.simulated import Blow, Fault
from vmferry.errors import (
    AlreadyMoving,
    CopyFailed,
    OutcomeUnknown,
    PermanentError,
    TransientError,
    UnsafeError,
    VmferryError,
)
from vmferry.model.effects import AutostartCleared, DomainDefined, DomainMoved, FileMade, FileSetAside
from vmferry.model.journal import Mark, RunState
from vmferry.model.migration import OutcomeKind
from vmferry.model.vm import DomainState
from vmferry.progress import Event, MoveEnded, MoveProgress, StepStarted, listening
from vmferry.steps.forward import run_step
from vmferry.steps.names import StepName
from vmferry.steps.recover import recover

LIVE, OFFLINE = SCENARIOS["live"], SCENARIOS["offline"]


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_a_move_without_faults_ends_at_the_destination_and_leaves_nothing(scenario: Scenario) -> None:
    voyage = Voyage(scenario)
    content = {c.dest_path: voyage.fleet.tools(SOURCE).checksum(c.source_path) for c in voyage.plan.files}
    outcome = voyage.sail()
    assert outcome.kind is OutcomeKind.MOVED
    assert voyage.fleet.incidents == ()
    assert (voyage.state_on(SOURCE), voyage.state_on(DEST)) == (DomainState.ABSENT, scenario.state)
    assert voyage.fleet.defined_on(voyage.uuid) == ((DEST,) if scenario.is_persistent else ())
    assert voyage.autostart_on(DEST) is scenario.is_autostart
    assert {path: voyage.fleet.tools(DEST).checksum(path) for path in content} == content
    record = voyage.record()
    assert record is not None
    assert (record.state, record.outcome) == (RunState.CLOSED, OutcomeKind.MOVED)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_a_step_that_is_done_is_not_repeated(scenario: Scenario) -> None:
    voyage = Voyage(scenario)
    voyage.world.journal.open_run(voyage.plan)
    for step in StepName:
        for _ in range(2):
            run_step(voyage.run, step, voyage.world)
    assert voyage.fleet.incidents == ()
    done = [row.step for row in voyage.world.journal.rows(voyage.run) if row.mark is Mark.DONE]
    assert done == list(StepName)


@pytest.mark.parametrize("scenario", [LIVE, OFFLINE], ids=["live", "offline"])
def test_every_write_to_a_host_stands_in_the_journal_before_it_happens(scenario: Scenario) -> None:
    voyage = Voyage(scenario)
    voyage.sail()
    kinds = {"copy_file": FileMade, "publish": FileMade, "define": DomainDefined, "set_aside": FileSetAside}
    log = voyage.fleet.operations()
    for number, operation in enumerate(log):
        if operation.op in kinds:
            last = next(o for o in reversed(log[:number]) if o.port == "journal" and o.is_write)
            assert last.subject.endswith(f" {Mark.EFFECT}"), operation.title
    effects = {type(row.effect) for row in voyage.world.journal.rows(voyage.run)}
    assert {AutostartCleared, DomainDefined, DomainMoved} <= effects


def test_the_changed_definition_is_the_one_that_lives_on_at_the_destination() -> None:
    voyage = Voyage(SCENARIOS["live with changes"])
    voyage.sail()
    domain = voyage.fleet.domain(DEST, voyage.uuid)
    assert domain is not None
    for xml in (domain.live_xml, domain.persistent_xml):
        assert xml is not None
        assert "on the other side" in xml


def test_a_move_tells_of_its_steps_its_progress_and_its_end() -> None:
    events: list[Event] = []
    voyage = Voyage(LIVE)
    with listening(events.append):
        voyage.sail()
    assert [e.step for e in events if isinstance(e, StepStarted)] == list(StepName)
    assert any(isinstance(e, MoveProgress) for e in events)
    assert isinstance(events[-1], MoveEnded)


def writes_to_hosts(voyage: Voyage) -> list[str]:
    return [o.title for o in voyage.fleet.operations() if o.is_write and o.host]


def cordon(voyage: Voyage) -> None:
    voyage.world.journal.cordon(DEST, "memory is replaced")


def suspend(voyage: Voyage) -> None:
    voyage.fleet.hypervisor(SOURCE).suspend(voyage.uuid)


def give_job(voyage: Voyage) -> None:
    domain = voyage.fleet.domain(SOURCE, voyage.uuid)
    assert domain is not None
    domain.job = "backup"


def take_away(voyage: Voyage) -> None:
    del voyage.fleet.hosts[SOURCE].domains[voyage.uuid]


def define_at_dest(voyage: Voyage) -> None:
    domain = voyage.fleet.domain(SOURCE, voyage.uuid)
    assert domain is not None
    voyage.fleet.hypervisor(DEST).define(domain.xml())


@pytest.mark.parametrize(
    ("meddle", "said"),
    [
        (cordon, "cordoned meanwhile"),
        (suspend, "changed since preflight"),
        (give_job, "a job has begun since preflight"),
        (take_away, "changed since preflight"),
        (define_at_dest, "changed since preflight"),
    ],
)
def test_what_changed_since_preflight_is_refused_before_anything_is_touched(
    meddle: Callable[[Voyage], None], said: str
) -> None:
    voyage = Voyage(LIVE)
    meddle(voyage)
    before = writes_to_hosts(voyage)
    with pytest.raises(PermanentError, match=said):
        voyage.sail()
    assert recover(voyage.run, voyage.world, cause=said).kind is OutcomeKind.ROLLED_BACK
    assert writes_to_hosts(voyage) == before
    assert voyage.unsettled() == ()


def test_a_cordon_of_another_host_does_not_matter() -> None:
    voyage = Voyage(LIVE)
    voyage.world.journal.cordon(SOURCE, "evacuation")
    assert voyage.sail().kind is OutcomeKind.MOVED


@pytest.mark.parametrize("host", [SOURCE, DEST])
def test_a_silent_host_at_the_start_is_a_reason_to_try_again(host: str) -> None:
    voyage = Voyage(LIVE)
    voyage.fleet.cut_link(host)
    with pytest.raises(TransientError, match="nothing was touched"):
        voyage.sail()
    voyage.fleet.heal()
    for step in StepName:
        run_step(voyage.run, step, voyage.world)
    assert voyage.fleet.running_on(voyage.uuid) == (DEST,)


def test_of_two_runs_of_one_vm_the_second_is_refused_and_told_who_holds_it() -> None:
    voyage = Voyage(LIVE)
    voyage.world.journal.open_run(voyage.plan)
    second = voyage.make_plan(run="another")
    with pytest.raises(AlreadyMoving, match=voyage.run):
        voyage.world.journal.open_run(second)
    assert writes_to_hosts(voyage) == []


def test_after_the_end_of_a_run_the_vm_may_move_again() -> None:
    voyage = Voyage(LIVE)
    voyage.sail()
    voyage.world.journal.open_run(voyage.make_plan(run="back", source=DEST, dest=SOURCE))


def test_a_file_in_the_way_is_not_overwritten_and_not_removed() -> None:
    voyage = Voyage(OFFLINE)
    path = voyage.plan.files[1].dest_path
    voyage.fleet.add_file(DEST, path, b"precious")
    with pytest.raises(CopyFailed, match="is not overwritten"):
        voyage.sail()
    assert recover(voyage.run, voyage.world).kind is OutcomeKind.ROLLED_BACK
    assert voyage.files(DEST) == voyage.before | {path}
    file = voyage.fleet.hosts[DEST].file(path)
    assert file is not None
    assert file.content == b"precious"
    assert voyage.fleet.problems() == ()


def test_an_image_that_changes_while_it_is_copied_is_not_published() -> None:
    voyage = Voyage(OFFLINE)
    copy = voyage.plan.files[0]
    voyage.world.journal.open_run(voyage.plan)
    run_step(voyage.run, StepName.RESERVE, voyage.world)
    file = voyage.fleet.hosts[SOURCE].file(copy.source_path)
    assert file is not None
    voyage.fleet.inject(Fault(does=Blow.DISK_FULL, op="copy_file", target=DEST))
    with pytest.raises(CopyFailed):
        run_step(voyage.run, StepName.STORAGE, voyage.world)
    assert copy.dest_path not in voyage.files(DEST)
    voyage.fleet.heal()
    assert recover(voyage.run, voyage.world).kind is OutcomeKind.ROLLED_BACK
    assert voyage.files(DEST) == voyage.before


def test_an_offline_vm_that_was_started_meanwhile_does_not_pass_the_pivot() -> None:
    voyage = Voyage(OFFLINE)
    voyage.world.journal.open_run(voyage.plan)
    for step in (StepName.RESERVE, StepName.STORAGE, StepName.DEFINITION):
        run_step(voyage.run, step, voyage.world)
    domain = voyage.fleet.domain(SOURCE, voyage.uuid)
    assert domain is not None
    voyage.fleet.start(voyage.fleet.hosts[SOURCE], domain)
    with pytest.raises(UnsafeError, match="shut off on both"):
        run_step(voyage.run, StepName.MOVE, voyage.world)
    assert recover(voyage.run, voyage.world).kind is OutcomeKind.ROLLED_BACK
    assert voyage.fleet.running_on(voyage.uuid) == (SOURCE,)
    assert voyage.state_on(DEST) is DomainState.ABSENT
    assert voyage.files(DEST) == voyage.before
    assert voyage.autostart_on(SOURCE)


def test_a_move_that_passes_its_deadline_leaves_the_vm_running_where_it_was() -> None:
    voyage = Voyage(LIVE)
    voyage.fleet.inject(Fault(does=Blow.STALLED, op="migrate", phase="memory"))
    with pytest.raises(VmferryError):
        voyage.sail()
    assert recover(voyage.run, voyage.world).kind is OutcomeKind.ROLLED_BACK
    assert voyage.fleet.running_on(voyage.uuid) == (SOURCE,)
    assert voyage.autostart_on(SOURCE)


def test_an_arrived_vm_is_not_let_run_while_its_source_is_not_seen() -> None:
    voyage = Voyage(LIVE)
    at_the_switch_over = {"op": "look", "host": SOURCE, "nth": 2}
    voyage.fleet.inject(Fault(does=Blow.ISOLATED, target=SOURCE, **at_the_switch_over))
    with pytest.raises(OutcomeUnknown, match="unreachable"):
        voyage.sail()
    assert voyage.fleet.running_on(voyage.uuid) == ()
    voyage.fleet.heal()
    assert recover(voyage.run, voyage.world).kind is OutcomeKind.MOVED
    assert voyage.fleet.running_on(voyage.uuid) == (DEST,)
