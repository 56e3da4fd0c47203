"""The hand-over before libvirt's own call returns: only when the source's process has ended and the copy is whole."""

from __future__ import annotations

import pytest

from tests.unit.steps.voyage import DEST, SCENARIOS, SOURCE, Voyage
from vmferry.adapters.simulated import Blow, Fault
from vmferry.errors import OutcomeUnknown
from vmferry.model.journal import Mark
from vmferry.model.migration import JobStats
from vmferry.model.vm import DomainState
from vmferry.steps.handover import Handover
from vmferry.steps.names import RESUME_INTENT
from vmferry.steps.switch import resume_at_dest


@pytest.fixture
def voyage() -> Voyage:
    return Voyage(SCENARIOS["live"])


def process_of(voyage: Voyage) -> str:
    return voyage.world.tools(SOURCE).find_qemu(voyage.vm, voyage.uuid)


def state_at_dest(voyage: Voyage) -> DomainState:
    return voyage.world.hypervisor(DEST).look(voyage.uuid).state


def intents(voyage: Voyage) -> int:
    rows = voyage.world.journal.rows(voyage.run)
    return sum(row.mark is Mark.NOTE and row.note == RESUME_INTENT for row in rows)


def arrive(voyage: Voyage) -> str:
    """Let the VM arrive paused; return what its process at the source was."""
    process = process_of(voyage)
    voyage.world.journal.open_run(voyage.plan)
    voyage.world.hypervisor(SOURCE).migrate(voyage.plan, lambda _stats: None)
    return process


def handover_of(voyage: Voyage) -> Handover:
    return Handover(voyage.plan, voyage.world, resume_at_dest)


def test_a_copy_that_has_arrived_is_let_run_once_its_source_is_gone(voyage: Voyage) -> None:
    process = arrive(voyage)
    with handover_of(voyage) as handover:
        handover.take(process)
    assert state_at_dest(voyage) is DomainState.RUNNING
    assert handover.resumed_at_s is not None and intents(voyage) == 1


def test_nothing_is_done_while_the_source_has_its_process(voyage: Voyage) -> None:
    voyage.world.journal.open_run(voyage.plan)
    process = process_of(voyage)
    with handover_of(voyage) as handover:
        handover.take(process)
    assert handover.resumed_at_s is None and intents(voyage) == 0


@pytest.mark.parametrize("phase", ["memory", "switch-over"])
def test_a_copy_that_is_not_whole_is_never_let_run(voyage: Voyage, phase: str) -> None:
    """The source's QEMU dies on the way: its process has ended, but nothing has arrived."""
    voyage.world.journal.open_run(voyage.plan)
    process = process_of(voyage)
    handover = handover_of(voyage)
    looks: list[DomainState] = []

    def take(_stats: JobStats) -> None:
        if voyage.world.tools(SOURCE).find_qemu(voyage.vm, voyage.uuid) != process:
            handover.take(process)
            looks.append(state_at_dest(voyage))

    voyage.fleet.inject(Fault(does=Blow.QEMU_KILLED, target=SOURCE, op="migrate", phase=phase))
    with handover, pytest.raises(OutcomeUnknown):
        voyage.world.hypervisor(SOURCE).migrate(voyage.plan, take)
    assert looks and DomainState.RUNNING not in looks
    assert handover.resumed_at_s is None and intents(voyage) == 0


def test_after_the_call_has_returned_it_keeps_its_hands_off(voyage: Voyage) -> None:
    process = arrive(voyage)
    with handover_of(voyage) as handover:
        pass
    handover.take(process)
    assert state_at_dest(voyage) is DomainState.PAUSED
    assert handover.resumed_at_s is None and intents(voyage) == 0


def test_a_silent_destination_is_left_to_the_look_that_follows(voyage: Voyage) -> None:
    process = arrive(voyage)
    voyage.fleet.inject(Fault(does=Blow.ISOLATED, target=DEST, op="look", host=DEST))
    with handover_of(voyage) as handover:
        handover.take(process)
    assert handover.resumed_at_s is None and intents(voyage) == 0
