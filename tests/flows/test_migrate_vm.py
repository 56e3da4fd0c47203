"""migrate-vm on the simulated fleet: every mode for real, what goes wrong, and what Prefect shows of it."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.migrate_vm import migrate_vm
from tests.flows.yard import Yard
from tests.prefect_side import PrefectServer, run_id
from vmferry.adapters.simulated import LOCAL, Blow
from vmferry.model.convergence import PolicyName
from vmferry.model.journal import Mark, RunState
from vmferry.model.migration import MigrationMode, OutcomeKind
from vmferry.model.vm import DomainState

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect")]


def migrate(yard: Yard, vm: str = "wanderer1", dest: str = "kvm2", **given: Any) -> State[Any]:
    with yard.process():
        return migrate_vm(vm, dest, return_state=True, **given)


def test_a_live_move_leaves_the_vm_running_at_the_destination_only(yard: Yard) -> None:
    uuid = yard.add("wanderer1", is_autostart=True)
    state = migrate(yard)
    assert state.is_completed(), state.message
    assert (yard.where(uuid), yard.state_on("kvm2", uuid)) == (("kvm2",), DomainState.RUNNING)
    assert yard.outcomes() == {"wanderer1": OutcomeKind.MOVED}
    assert yard.run_of("wanderer1").plan.mode is MigrationMode.LIVE
    moved = yard.fleet.domain("kvm2", uuid)
    assert moved is not None and moved.is_autostart
    assert yard.is_sound()


def test_a_non_live_move_leaves_the_vm_running(yard: Yard) -> None:
    uuid = yard.add("wanderer1")
    state = migrate(yard, mode=MigrationMode.NON_LIVE)
    assert state.is_completed(), state.message
    assert (yard.where(uuid), yard.state_on("kvm2", uuid)) == (("kvm2",), DomainState.RUNNING)
    assert yard.run_of("wanderer1").plan.mode is MigrationMode.NON_LIVE
    assert yard.is_sound()


def test_a_vm_that_was_paused_stays_paused(yard: Yard) -> None:
    uuid = yard.add("wanderer1", state=DomainState.PAUSED)
    state = migrate(yard)
    assert state.is_completed(), state.message
    assert (yard.where(uuid), yard.state_on("kvm2", uuid)) == (("kvm2",), DomainState.PAUSED)
    assert yard.is_sound()


def test_a_vm_that_does_not_converge_is_moved_by_the_policy_that_was_picked(yard: Yard) -> None:
    uuid = yard.add("wanderer1", dirty_mib_s=400, working_set_mib=512)
    state = migrate(yard, policy=PolicyName.SUSPEND_IF_NEEDED)
    assert state.is_completed(), state.message
    assert (yard.where(uuid), yard.state_on("kvm2", uuid)) == (("kvm2",), DomainState.RUNNING)
    assert any("moved after suspend at iteration" in note for note in state.result().notes)
    assert yard.is_sound()


def test_a_vm_that_does_not_converge_stays_where_it_runs_when_nobody_picked_a_policy(yard: Yard) -> None:
    uuid = yard.add("wanderer1", dirty_mib_s=400, working_set_mib=512)
    state = migrate(yard)
    assert state.is_failed() and "under policy minimal-downtime" in str(state.message)
    assert (yard.where(uuid), yard.state_on("kvm1", uuid)) == (("kvm1",), DomainState.RUNNING)
    assert yard.is_sound()


def test_an_offline_move_copies_the_disk_and_keeps_the_original_aside(yard: Yard) -> None:
    uuid = yard.add_local("wanderer4")
    state = migrate(yard, "wanderer4")
    assert state.is_completed(), state.message
    path, run = f"{LOCAL}/wanderer4.qcow2", yard.run_of("wanderer4").run
    kept, copied = yard.fleet.hosts["kvm1"].file(f"{path}.vmferry-moved-{run}"), yard.fleet.hosts["kvm2"].file(path)
    assert (yard.where(uuid), yard.state_on("kvm2", uuid)) == (("kvm2",), DomainState.SHUTOFF)
    assert kept is not None and copied is not None
    assert copied.content == kept.content
    assert yard.fleet.hosts["kvm1"].file(path) is None
    assert yard.is_sound()


def test_a_dry_run_touches_nothing(yard: Yard) -> None:
    uuid = yard.add("wanderer1")
    files = yard.files()
    state = migrate(yard, dry_run=True)
    assert state.is_completed(), state.message
    assert yard.writes() == ()
    assert yard.files() == files
    assert yard.where(uuid) == ("kvm1",)
    assert yard.runs() == ()


def test_a_blocked_move_fails_with_every_reason_and_touches_nothing(yard: Yard) -> None:
    yard.add_local("wanderer1", DomainState.RUNNING)
    yard.fleet.remove_link("kvm2", "br0")
    state = migrate(yard)
    assert state.is_failed()
    assert "br0" in str(state.message) and LOCAL in str(state.message)
    assert yard.writes() == ()
    assert yard.runs() == ()


def test_a_vm_and_a_host_that_do_not_exist_are_both_told(yard: Yard) -> None:
    state = migrate(yard, "nobody", "nowhere")
    assert state.is_failed()
    assert "nobody" in str(state.message) and "nowhere" in str(state.message)
    assert yard.writes() == ()


def test_a_move_that_fails_is_rolled_back_and_the_run_failed_with_the_reason(yard: Yard) -> None:
    uuid = yard.add("wanderer1")
    yard.break_at(Blow.QEMU_KILLED, op="migrate", phase="memory", target="kvm2")
    state = migrate(yard)
    assert state.is_failed()
    assert "wanderer1" in str(state.message) and "stays on kvm1" in str(state.message)
    assert "\n" not in str(state.message)
    assert (yard.where(uuid), yard.state_on("kvm1", uuid)) == (("kvm1",), DomainState.RUNNING)
    assert yard.outcomes() == {"wanderer1": OutcomeKind.ROLLED_BACK}
    assert yard.is_sound()


def test_a_disk_that_fills_up_leaves_no_file_behind(yard: Yard) -> None:
    uuid = yard.add_local("wanderer4")
    yard.break_at(Blow.DISK_FULL, op="copy_file", target="kvm2")
    state = migrate(yard, "wanderer4")
    assert state.is_failed()
    assert yard.where(uuid) == ("kvm1",)
    assert yard.fleet.hosts["kvm2"].mounts[LOCAL].files == {}
    assert yard.fleet.hosts["kvm1"].file(f"{LOCAL}/wanderer4.qcow2") is not None
    assert yard.outcomes() == {"wanderer4": OutcomeKind.ROLLED_BACK}
    assert yard.is_sound()


def test_a_host_lost_in_the_move_is_held_with_the_commands_for_a_human(yard: Yard) -> None:
    uuid = yard.add("wanderer1")
    yard.break_at(Blow.ISOLATED, op="migrate", phase="switch-over", target="kvm1")
    state = migrate(yard)
    assert state.is_failed()
    assert "HELD" in str(state.message) and "virsh -c" in str(state.message) and str(uuid) in str(state.message)
    assert yard.run_of("wanderer1").state is RunState.HELD
    assert yard.is_sound()


# retries: counted in the fleet and in the journal


def test_a_transient_error_before_the_move_is_tried_again(yard: Yard) -> None:
    yard.add("wanderer1")
    yard.break_at(Blow.TRANSIENT, op="look", host="kvm2")
    state = migrate(yard)
    assert state.is_completed(), state.message
    assert len(yard.rows("wanderer1", "reserve", Mark.INTENDED)) == 2
    assert len(yard.rows("wanderer1", "reserve", Mark.DONE)) == 1
    assert len(yard.calls("migrate")) == 1


def test_a_permanent_error_before_the_move_is_not_tried_again(yard: Yard) -> None:
    yard.add("wanderer1")
    yard.break_at(Blow.QEMU_KILLED, op="look", host="kvm1")  # shut off since preflight
    state = migrate(yard)
    assert state.is_failed()
    assert "changed since preflight" in str(state.message)
    assert len(yard.rows("wanderer1", "reserve", Mark.INTENDED)) == 1
    assert yard.calls("migrate") == ()


def test_an_unsafe_error_before_the_move_is_not_tried_again(yard: Yard) -> None:
    uuid = yard.add("wanderer1")
    yard.break_at(Blow.TRANSIENT, op="cordons", nth=2)  # the journal cannot be used when `reserve` reads it
    state = migrate(yard)
    assert state.is_failed()
    assert "the journal cannot be used" in str(state.message)
    assert len(yard.rows("wanderer1", "reserve", Mark.INTENDED)) == 1
    assert (yard.calls("migrate"), yard.where(uuid)) == ((), ("kvm1",))


def test_a_proof_that_does_not_come_is_tried_again(yard: Yard) -> None:
    uuid = yard.add("wanderer1")
    yard.break_at(Blow.TRANSIENT, op="virsh_list", host="kvm2")
    state = migrate(yard)
    assert state.is_completed(), state.message
    assert len(yard.rows("wanderer1", "verify", Mark.INTENDED)) == 2
    assert yard.rows("wanderer1", "settle", Mark.NOTE) == ()
    assert len(yard.calls("migrate")) == 1
    assert yard.where(uuid) == ("kvm2",)


def test_a_proof_that_is_refused_is_settled_instead_of_tried_again(yard: Yard) -> None:
    uuid = yard.add("wanderer1")
    yard.break_at(Blow.PERMANENT, op="virsh_list", host="kvm2")
    state = migrate(yard)
    assert state.is_completed(), state.message
    cause, look = yard.rows("wanderer1", "settle", Mark.NOTE)
    assert cause.note.startswith("cause: ") and "FORWARD" in look.note
    assert len(yard.rows("wanderer1", "verify", Mark.INTENDED)) == 2  # the task's, and the settlement's
    assert yard.where(uuid) == ("kvm2",)


@pytest.mark.parametrize("blow", [Blow.TRANSIENT, Blow.PERMANENT, Blow.LOST_ANSWER])
def test_the_pivot_is_never_repeated(yard: Yard, blow: Blow) -> None:
    uuid = yard.add("wanderer1")
    yard.break_at(blow, op="migrate")
    migrate(yard)
    assert len(yard.calls("migrate")) == 1
    assert len(yard.rows("wanderer1", "move", Mark.INTENDED)) == 1
    assert len(yard.fleet.running_on(uuid)) == 1
    assert yard.is_sound()


@pytest.mark.parametrize("blow", [Blow.PERMANENT, Blow.LOST_ANSWER])
def test_a_copy_that_is_refused_or_unknown_is_settled_instead_of_tried_again(yard: Yard, blow: Blow) -> None:
    uuid = yard.add_local("wanderer4")
    yard.break_at(blow, op="copy_file")
    migrate(yard, "wanderer4")
    assert len(yard.calls("copy_file")) == 1
    assert len(yard.where(uuid)) == 1
    assert yard.is_sound()


def test_a_copy_whose_connection_broke_goes_on(yard: Yard) -> None:
    uuid = yard.add_local("wanderer4")
    yard.break_at(Blow.TRANSIENT, op="copy_file")
    state = migrate(yard, "wanderer4")
    assert state.is_completed(), state.message
    assert len(yard.calls("copy_file")) == 2
    assert yard.where(uuid) == ("kvm2",)
    assert yard.is_sound()


# what people see


def test_run_and_task_runs_have_names_that_can_be_searched(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    run = run_id(migrate(yard))
    tasks = {task.name for task in prefect.task_runs(run, "finish wanderer1 on kvm2", "publish outcome of wanderer1")}
    steps = {
        "read fleet",
        "reserve wanderer1 on kvm2",
        "move wanderer1 → kvm2",
        "verify wanderer1 on kvm2",
        "finish wanderer1 on kvm2",
    }
    assert steps <= tasks
    assert prefect.flow_run(run).name == "migrate wanderer1: kvm1 → kvm2"


def test_a_run_is_tagged_with_its_vm_and_its_hosts(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    run = prefect.flow_run(run_id(migrate(yard)))
    assert {"vm:wanderer1", "host:kvm1", "host:kvm2"} <= set(run.tags)


def test_progress_and_outcome_are_artifacts(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    artifacts = prefect.artifacts(run_id(migrate(yard)))
    progress = [a for a in artifacts if a.type == "progress"]
    (outcome,) = [a for a in artifacts if a.key == "move-wanderer1"]
    assert [(a.description, a.data) for a in progress] == [("wanderer1: kvm1 → kvm2 (live): moved", 100.0)]
    assert "| wanderer1 | kvm1 → kvm2 | live | moved |" in str(outcome.data)


@pytest.mark.parametrize("state", [DomainState.RUNNING, DomainState.SHUTOFF])
def test_persistent_xml_of_another_vm_is_refused_before_anything_is_touched(yard: Yard, state: DomainState) -> None:
    yard.add("wanderer1", state=state)
    other = yard.add("other", state=DomainState.SHUTOFF)
    domain = yard.fleet.domain("kvm1", other)
    assert domain is not None and domain.persistent_xml is not None
    result = migrate(yard, persistent_xml=domain.persistent_xml)
    assert result.is_failed() and "persistent XML" in str(result.message) and "'other'" in str(result.message)
    assert yard.names_on("kvm2") == set() and yard.runs() == ()
