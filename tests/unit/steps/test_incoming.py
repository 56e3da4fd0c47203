"""Moves that are on their way to a host which is to be emptied."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.unit.steps.voyage import DEST, SCENARIOS, Voyage
from vmferry.errors import AlreadyMoving
from vmferry.model.migration import MigrationOutcome, OutcomeKind
from vmferry.model.operation import Incoming
from vmferry.steps.incoming import coming, settle_incoming


@pytest.fixture
def voyage() -> Voyage:
    """A run whose VM is on its way to DEST."""
    made = Voyage(SCENARIOS["live"])
    made.world.journal.open_run(made.plan)
    return made


class ThatEnds:
    """A clock at whose third tick the run ends."""

    def __init__(self, voyage: Voyage) -> None:
        self._clock, self._voyage, self._ticks = voyage.world.clock, voyage, 0

    def now(self) -> datetime:
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)
        self._ticks += 1
        if self._ticks == 3:
            plan, now = self._voyage.plan, self._clock.now()
            ended = MigrationOutcome(run=plan.run, vm=plan.vm, source=plan.source, dest=plan.dest, mode=plan.mode,
                                     kind=OutcomeKind.MOVED, started_at=now, ended_at=now)  # fmt: skip
            self._voyage.world.journal.close_run(plan.run, ended)


@pytest.mark.parametrize("policy", [Incoming.WAIT, Incoming.CANCEL])
def test_the_end_of_a_move_is_awaited_and_then_the_host_is_read_again(voyage: Voyage, policy: Incoming) -> None:
    voyage.world.clock = ThatEnds(voyage)
    assert settle_incoming(DEST, policy, voyage.world) is True
    assert coming(DEST, voyage.world) == ()


def test_where_nothing_comes_nothing_is_waited_for(voyage: Voyage) -> None:
    assert settle_incoming(voyage.plan.source, Incoming.REFUSE, voyage.world) is False


def test_a_run_may_refuse_to_begin_and_names_who_is_coming(voyage: Voyage) -> None:
    with pytest.raises(AlreadyMoving, match=f"{voyage.plan.vm} from {voyage.plan.source}"):
        settle_incoming(DEST, Incoming.REFUSE, voyage.world)


def test_patience_ends(voyage: Voyage) -> None:
    with pytest.raises(AlreadyMoving, match="after 60 s still"):
        settle_incoming(DEST, Incoming.WAIT, voyage.world, patience_s=60)


def test_a_run_that_waits_for_a_human_keeps_nobody(voyage: Voyage) -> None:
    voyage.world.journal.hold(voyage.plan.run, "look")
    assert settle_incoming(DEST, Incoming.WAIT, voyage.world) is False
