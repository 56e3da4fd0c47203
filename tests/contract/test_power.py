"""Contract of turning VMs on and off, of commands on a host, and of what tells one boot from another."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.contract.contract_fleet import DEST, SOURCE, FleetUnderTest
from vmferry.errors import NotFound
from vmferry.model.mark import MarkKind
from vmferry.model.vm import DomainState

NOBODY = UUID("00000000-0000-4000-8000-000000000001")


def test_a_vm_that_is_off_is_started_once(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", state=DomainState.SHUTOFF)
    hypervisor = fleet.world.hypervisor(SOURCE)
    hypervisor.start(uuid)
    assert hypervisor.look(uuid).state is DomainState.RUNNING
    hypervisor.start(uuid)
    assert hypervisor.look(uuid).state is DomainState.RUNNING


def test_a_vm_that_is_off_has_nothing_to_shut_down(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", state=DomainState.SHUTOFF)
    hypervisor = fleet.world.hypervisor(SOURCE)
    hypervisor.shut_down(uuid)
    assert hypervisor.look(uuid).state is DomainState.SHUTOFF


@pytest.mark.parametrize("state", [DomainState.RUNNING, DomainState.SHUTOFF])
def test_a_guest_without_an_agent_does_not_answer(fleet: FleetUnderTest, state: DomainState) -> None:
    assert fleet.world.hypervisor(SOURCE).ping_agent(fleet.make_vm("contract", state=state)) is False


def test_nobody_can_be_started_or_shut_down(fleet: FleetUnderTest) -> None:
    hypervisor = fleet.world.hypervisor(SOURCE)
    for act in (hypervisor.start, hypervisor.shut_down):
        with pytest.raises(NotFound):
            act(NOBODY)


def test_a_boot_has_an_id_that_stays(fleet: FleetUnderTest) -> None:
    tools = fleet.world.tools(SOURCE)
    assert tools.read_boot().boot_id and tools.read_boot() == tools.read_boot()


def test_a_command_is_run_as_it_is(fleet: FleetUnderTest) -> None:
    assert fleet.world.tools(SOURCE).run_command(["true", "$HOME; exit 3"], 30).exit_code == 0


def test_marks_of_two_kinds_stand_side_by_side(fleet: FleetUnderTest) -> None:
    tools = fleet.world.tools(SOURCE)
    assert (tools.read_marks().mark, tools.read_marks().freeze) == ("", "")
    try:
        tools.swap_mark("", "closed")
        assert tools.swap_mark("", "frozen", MarkKind.FREEZE) == "frozen"
        marks, system = tools.read_marks(), tools.read_system()
        assert (marks.mark, marks.freeze) == ("closed", "frozen") == (system.mark, system.freeze)
        assert fleet.world.tools(DEST).read_marks().freeze == ""
    finally:
        tools.swap_mark("closed", "")
        tools.swap_mark("frozen", "", MarkKind.FREEZE)
    assert tools.read_marks().freeze == "" == tools.read_marks().mark
