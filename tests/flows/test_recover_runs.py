"""recover-runs after a process that died: the VM runs exactly once, and the journal says how it ended."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.migrate_vm import migrate_vm
from flows.recover_runs import recover_runs
from tasks._wiring import share_world
from tests.flows.yard import Yard
from tests.prefect_side import PrefectServer, run_id
from vmferry.adapters.simulated import LOCAL, Blow, SimulatedCrash
from vmferry.model.journal import RunState
from vmferry.model.migration import MigrationMode, OutcomeKind
from vmferry.model.sharing import SharePlan, ShareRequest
from vmferry.model.vm import DomainState

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect")]


def crash(yard: Yard, vm: str = "wanderer1", mode: MigrationMode | None = None) -> None:
    """Let a process die in the middle of a migration."""
    with yard.process("vmferry-1"), pytest.raises(SimulatedCrash):
        migrate_vm(vm, "kvm2", mode=mode)
    assert [record.state for record in yard.runs()] == [RunState.OPEN]


def recover(yard: Yard) -> State[Any]:
    with yard.process("vmferry-2"):
        return recover_runs(return_state=True)


@pytest.mark.parametrize("mode", [MigrationMode.LIVE, MigrationMode.NON_LIVE])
@pytest.mark.parametrize("phase", ["memory", "switch-over", "arrived"])
def test_a_crash_inside_the_move_leaves_the_vm_running_exactly_once(
    yard: Yard, mode: MigrationMode, phase: str
) -> None:
    uuid = yard.add("wanderer1")
    yard.break_at(Blow.CRASH_BEFORE, op="migrate", phase=phase)
    crash(yard, mode=mode)
    state = recover(yard)
    assert state.is_completed(), state.message
    assert len(yard.fleet.running_on(uuid)) == 1
    assert yard.where(uuid) == yard.fleet.running_on(uuid) == yard.fleet.defined_on(uuid)
    moved = yard.where(uuid) == ("kvm2",)
    assert yard.outcomes() == {"wanderer1": OutcomeKind.MOVED if moved else OutcomeKind.ROLLED_BACK}
    assert yard.is_sound()


@pytest.mark.parametrize("blow", [Blow.CRASH_BEFORE, Blow.CRASH_AFTER])
@pytest.mark.parametrize("op", ["copy_file", "publish", "define", "set_aside"])
def test_a_crash_in_an_offline_move_leaves_one_definition_and_its_disk(yard: Yard, op: str, blow: Blow) -> None:
    uuid = yard.add_local("wanderer4")
    yard.break_at(blow, op=op)
    crash(yard, "wanderer4")
    state = recover(yard)
    assert state.is_completed(), state.message
    (host,) = yard.where(uuid)
    assert yard.fleet.hosts[host].file(f"{LOCAL}/wanderer4.qcow2") is not None
    assert host == "kvm2" or yard.fleet.hosts["kvm2"].mounts[LOCAL].files == {}
    assert yard.is_sound()


def test_recovery_twice_changes_nothing_more(yard: Yard) -> None:
    yard.add("wanderer1")
    yard.break_at(Blow.CRASH_BEFORE, op="migrate", phase="arrived")
    crash(yard)
    recover(yard)
    before = (yard.writes(), yard.outcomes())
    state = recover(yard)
    assert state.is_completed(), state.message
    assert (tuple(write for write in yard.writes()), yard.outcomes()) == before


def test_a_run_that_somebody_works_on_is_left_alone(yard: Yard) -> None:
    yard.add("wanderer1")
    yard.break_at(Blow.CRASH_BEFORE, op="migrate", phase="memory")
    crash(yard)
    with yard.process("vmferry-1"):
        before = yard.writes()
        state = recover(yard)
    assert state.is_completed(), state.message
    assert [title for title in yard.writes() if "take_over" not in title] == list(before)
    assert [record.state for record in yard.runs()] == [RunState.OPEN]


def test_a_vm_that_cannot_be_settled_is_held_with_the_commands_and_settled_when_its_host_is_back(yard: Yard) -> None:
    uuid = yard.add("wanderer1")
    yard.break_at(Blow.CRASH_BEFORE, op="migrate", phase="arrived")
    crash(yard)
    yard.fleet.cut_link("kvm2")
    held = recover(yard)
    assert held.is_failed()
    assert "wanderer1" in str(held.message) and "virsh -c" in str(held.message)
    assert yard.run_of("wanderer1").state is RunState.HELD
    yard.fleet.heal()
    settled = recover(yard)
    assert settled.is_completed(), settled.message
    assert yard.run_of("wanderer1").state is RunState.CLOSED
    assert len(yard.fleet.running_on(uuid)) == 1
    assert yard.is_sound()


def test_a_second_move_of_a_vm_with_an_open_run_names_the_run_and_touches_nothing(yard: Yard) -> None:
    uuid = yard.add("wanderer1")
    yard.break_at(Blow.CRASH_BEFORE, op="migrate")
    crash(yard)
    before = yard.writes()
    with yard.process("vmferry-2"):
        state = migrate_vm("wanderer1", "kvm3", return_state=True)
    assert state.is_failed()
    assert yard.run_of("wanderer1").run in str(state.message)
    assert yard.writes() == before
    assert yard.state_on("kvm1", uuid) is DomainState.RUNNING


def test_a_share_of_storage_that_was_cut_off_is_settled_too(yard: Yard, prefect: PrefectServer) -> None:
    request = ShareRequest(server="kvm3", source="kvm1", dest="kvm2")
    with yard.process("vmferry-2") as world:
        shares = share_world().shares
        shares.open_share(SharePlan(share="s1", request=request, addresses={}, server_address="kvm3"))
        state = recover_runs(return_state=True)
        assert world.inventory.names() == ("kvm1", "kvm2", "kvm3") and shares.shares() == ()
    assert state.is_completed(), state.message
    (artifact,) = [a for a in prefect.artifacts(run_id(state)) if a.key == "share-kvm3"]
    assert (
        artifact.description
        == f"no longer shared: {request.server}:{request.directory} at {request.mount_at} of kvm1 and kvm2"
    )


def test_a_recovery_has_a_name_and_shows_each_outcome(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    yard.break_at(Blow.CRASH_BEFORE, op="migrate", phase="memory")
    crash(yard)
    run = run_id(recover(yard))
    prefect.task_runs(run, "settle wanderer1", "publish outcome of wanderer1")
    (artifact,) = [a for a in prefect.artifacts(run) if a.key == "move-wanderer1"]
    assert "wanderer1" in str(artifact.data)
    assert prefect.flow_run(run).name == "recover runs"
