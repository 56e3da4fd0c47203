"""The choice of the mode."""

from __future__ import annotations

import pytest

from tests.unit.builders import build_vm
from vmferry.model.migration import MigrationMode
from vmferry.model.vm import DomainState
from vmferry.planning.mode import choose_mode


@pytest.mark.parametrize(
    ("state", "mode"),
    [
        (DomainState.RUNNING, MigrationMode.LIVE),
        (DomainState.BLOCKED, MigrationMode.LIVE),
        (DomainState.PAUSED, MigrationMode.NON_LIVE),
        (DomainState.SHUTOFF, MigrationMode.OFFLINE),
        (DomainState.CRASHED, MigrationMode.OFFLINE),
    ],
)
def test_the_mode_follows_the_state(state: DomainState, mode: MigrationMode) -> None:
    chosen, reason = choose_mode(build_vm(state=state), None)
    assert chosen is mode
    assert str(state) in reason


@pytest.mark.parametrize("asked", list(MigrationMode))
def test_what_is_asked_for_wins_and_is_said(asked: MigrationMode) -> None:
    chosen, reason = choose_mode(build_vm(), asked)
    assert chosen is asked
    assert reason == f"{asked} was asked for; the VM is running"
