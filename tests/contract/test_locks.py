"""Contract of image locks on markers, of the process behind a domain, and of an unguarded switch-over."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.contract.contract_fleet import DEST, LOCAL, SHARED, SOURCE, FleetUnderTest, ignore, plan_of, wait_for, words
from vmferry.model.transport import Switch
from vmferry.model.vm import DomainState

MARKER = ".vmferry-marker-contract"
SHARED_MARKER, LOCAL_MARKER = f"{SHARED}/{MARKER}", f"{LOCAL}/{MARKER}"


def test_a_lock_is_seen_by_the_other_host_where_storage_is_shared_and_ends_with_its_marker(
    fleet: FleetUnderTest,
) -> None:
    source, dest = fleet.world.tools(SOURCE), fleet.world.tools(DEST)
    source.make_markers([SHARED, LOCAL], MARKER)
    assert dest.find_image_locks([SHARED_MARKER]) == ()
    source.hold_image_locks([SHARED, LOCAL], MARKER, 60)
    assert source.find_image_locks([SHARED_MARKER, LOCAL_MARKER]) == (SHARED_MARKER, LOCAL_MARKER)
    assert dest.find_image_locks([LOCAL_MARKER, SHARED_MARKER]) == (SHARED_MARKER,)
    source.remove_markers([SHARED, LOCAL], MARKER)
    source.make_markers([SHARED], MARKER)
    wait_for(fleet, lambda: dest.find_image_locks([SHARED_MARKER]) == ())
    source.remove_markers([SHARED], MARKER)


def test_a_lock_that_is_held_longer_than_asked_ends_by_itself(fleet: FleetUnderTest) -> None:
    source, dest = fleet.world.tools(SOURCE), fleet.world.tools(DEST)
    source.make_markers([SHARED], MARKER)
    source.hold_image_locks([SHARED], MARKER, 2)
    wait_for(fleet, lambda: dest.find_image_locks([SHARED_MARKER]) == ())
    source.remove_markers([SHARED], MARKER)


def test_what_is_not_there_is_not_locked(fleet: FleetUnderTest) -> None:
    tools = fleet.world.tools(SOURCE)
    tools.hold_image_locks([f"{SHARED}/contract-missing"], MARKER, 5)
    tools.hold_image_locks([], MARKER, 5)
    assert tools.find_image_locks([SHARED_MARKER, f"{SHARED}/contract-missing/{MARKER}"]) == ()
    assert tools.find_image_locks([]) == ()


def test_the_process_of_a_domain_is_found_while_it_runs_and_its_end_is_seen(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("proc1")
    tools = fleet.world.tools(SOURCE)
    process = tools.find_qemu("proc1", uuid)
    assert process
    assert not tools.await_end(process, 1)
    assert tools.find_qemu("proc1", UUID(int=1)) == "", "another domain's process was taken for it"
    assert tools.find_qemu("nobody", uuid) == ""
    assert fleet.world.tools(DEST).find_qemu("proc1", uuid) == ""
    fleet.kill_qemu(SOURCE, uuid)
    assert tools.await_end(process, 30)
    wait_for(fleet, lambda: not fleet.world.hypervisor(SOURCE).look(uuid).state.is_active)
    assert tools.find_qemu("proc1", uuid) == ""


@pytest.mark.parametrize(("switch", "arrives"), [(Switch.LIBVIRT, "running"), (Switch.GUARDED, "paused (user)")])
def test_a_vm_arrives_running_only_where_libvirt_lets_it_run(
    fleet: FleetUnderTest, switch: Switch, arrives: str
) -> None:
    uuid = fleet.make_vm("arrive1", disk=SHARED)
    plan = plan_of(fleet, uuid).model_copy(update={"switch": switch})
    fleet.world.hypervisor(SOURCE).migrate(plan, ignore)
    source, dest = words(fleet, uuid)
    assert source == "shut off (migrated)"
    assert dest.startswith(arrives)


def test_a_paused_vm_arrives_paused_whoever_switches_over(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("arrive2", state=DomainState.PAUSED, disk=SHARED)
    plan = plan_of(fleet, uuid).model_copy(update={"switch": Switch.LIBVIRT})
    fleet.world.hypervisor(SOURCE).migrate(plan, ignore)
    assert words(fleet, uuid) == ("shut off (migrated)", "paused (user)")
