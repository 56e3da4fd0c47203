"""evacuate-host on the simulated fleet: one VM's trouble stays its own, and the end tells the truth."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, TaskRunFilter, TaskRunFilterName
from prefect.client.schemas.objects import State

from flows.evacuate_host import evacuate_host
from tests.flows.yard import Yard
from tests.prefect_side import PrefectServer, run_id
from tests.unit.builders import GIB
from vmferry.adapters.simulated import Blow
from vmferry.model.convergence import PolicyName
from vmferry.model.facts import Pool
from vmferry.model.journal import RunState
from vmferry.model.migration import MigrationMode, OutcomeKind
from vmferry.model.options import CautionOptions
from vmferry.model.vm import DomainState

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect")]


def evacuate(yard: Yard, **given: Any) -> State[Any]:
    with yard.process():
        return evacuate_host("kvm1", return_state=True, **given)


def test_every_vm_leaves_by_its_own_kind_of_migration(yard: Yard) -> None:
    idle, asked = yard.add("idle"), yard.add("asked")
    paused = yard.add("paused", state=DomainState.PAUSED)
    off = yard.add_local("off")
    state = evacuate(yard, modes={"asked": MigrationMode.NON_LIVE})
    assert state.is_completed(), state.message
    assert yard.names_on("kvm1") == set()
    assert {record.plan.vm: record.plan.mode.value for record in yard.runs()} == {
        "idle": "live",
        "asked": "non-live",
        "paused": "non-live",
        "off": "offline",
    }
    ((idle_on,), (asked_on,)) = (yard.fleet.running_on(idle), yard.fleet.running_on(asked))
    assert {idle_on, asked_on} <= {"kvm2", "kvm3"}
    assert [yard.state_on(yard.where(vm)[0], vm) for vm in (paused, off)] == [DomainState.PAUSED, DomainState.SHUTOFF]
    assert yard.is_sound()


def test_a_policy_for_all_and_one_for_a_vm_reach_their_runs(yard: Yard) -> None:
    yard.add("idle")
    yard.add("restless", dirty_mib_s=400, working_set_mib=512)
    state = evacuate(yard, policy=PolicyName.AUTO_CONVERGE, policies={"restless": PolicyName.SUSPEND_IF_NEEDED})
    assert state.is_completed(), state.message
    assert {record.plan.vm: record.plan.policy for record in yard.runs()} == {
        "idle": PolicyName.AUTO_CONVERGE,
        "restless": PolicyName.SUSPEND_IF_NEEDED,
    }
    assert yard.is_sound()


def test_an_evacuated_host_stays_closed_for_arrivals(yard: Yard) -> None:
    yard.add("wanderer1")
    evacuate(yard, reason="new memory")
    assert [(cordon.host, cordon.reason) for cordon in yard.journal.cordons()] == [("kvm1", "new memory")]


def test_a_dry_run_touches_nothing(yard: Yard) -> None:
    uuid = yard.add("wanderer1")
    yard.add_local("wanderer4")
    files = yard.files()
    state = evacuate(yard, dry_run=True)
    assert state.is_completed(), state.message
    assert (yard.writes(), yard.runs(), yard.journal.cordons()) == ((), (), ())
    assert yard.files() == files
    assert yard.where(uuid) == ("kvm1",)


def test_vms_go_only_where_they_may(yard: Yard) -> None:
    yard.add("wanderer1")
    yard.add("wanderer2")
    state = evacuate(yard, dests=["kvm3"])
    assert state.is_completed(), state.message
    assert yard.names_on("kvm3") == {"wanderer1", "wanderer2"}


def test_a_failing_vm_is_rolled_back_and_stops_no_other(yard: Yard) -> None:
    vms = {name: yard.add(name) for name in ("wanderer1", "wanderer2", "wanderer3", "wanderer4")}
    yard.break_at(Blow.ABORTED, op="migrate", phase="memory", nth=2)
    state = evacuate(yard, caution=CautionOptions(retries=0))
    assert state.is_failed()
    (failed,) = (name for name, kind in yard.outcomes().items() if kind is OutcomeKind.ROLLED_BACK)
    assert yard.names_on("kvm1") == {failed}
    assert yard.state_on("kvm1", vms[failed]) is DomainState.RUNNING
    assert yard.where(vms[failed]) == ("kvm1",)
    assert list(yard.outcomes().values()).count(OutcomeKind.MOVED) == 3
    assert "3 moved, 1 rolled back" in str(state.message)
    assert yard.is_sound()


def test_a_stranded_vm_makes_the_run_failed_in_one_line_while_the_others_move(yard: Yard) -> None:
    yard.add("wanderer1")
    yard.add("wanderer2")
    stuck = yard.add_local("stuck", DomainState.RUNNING)
    state = evacuate(yard)
    assert state.is_failed()
    assert yard.names_on("kvm1") == {"stuck"}
    assert yard.state_on("kvm1", stuck) is DomainState.RUNNING
    assert "kvm1 is NOT empty, 1 VM left: 2 moved, 1 stranded" in str(state.message)
    assert "\n" not in str(state.message)
    assert yard.is_sound()


def test_volumes_that_fit_only_one_at_a_time_go_to_different_hosts(yard: Yard) -> None:
    """10 GiB each, and two volume groups with room for one: the third VM stays, untouched."""
    vms = [yard.add(name, disks=[f"/dev/vg0/{name}"], state=DomainState.SHUTOFF) for name in ("a", "b", "c")]
    group = Pool(name="vg", kind="logical", target="/dev/vg0", available_bytes=19 * GIB)
    for host in ("kvm2", "kvm3"):
        yard.fleet.set_offer(host, pools=(group,))
    state = evacuate(yard)
    assert "2 moved, 1 stranded" in str(state.message)
    assert "has 9216 MiB in pool vg, needs 10240 MiB" in str(state.message)
    assert sorted(yard.where(vm) for vm in vms) == [("kvm1",), ("kvm2",), ("kvm3",)]
    assert yard.is_sound()


def test_a_failed_run_names_the_vm_that_was_left_and_why(yard: Yard) -> None:
    yard.add("wanderer1")
    yard.add_local("stuck", DomainState.RUNNING)
    message = str(evacuate(yard).message)
    assert "stuck" in message
    assert "shared" in message
    assert "\n" not in message


def test_a_held_vm_lets_no_further_one_start(yard: Yard) -> None:
    for number in range(6):
        yard.add(f"wanderer{number}")
    yard.break_at(Blow.ISOLATED, op="migrate", phase="arrived", target="kvm2")
    state = evacuate(yard, dests=["kvm2"], max_parallel=1)
    assert state.is_failed()
    assert [record.state for record in yard.runs()] == [RunState.HELD]
    assert len(yard.calls("migrate")) == 1
    assert "1 HELD for a human, 5 not started" in str(state.message)
    assert yard.is_sound()


def test_a_source_that_is_lost_on_the_way_still_gets_its_report(yard: Yard, prefect: PrefectServer) -> None:
    for number in range(3):
        yard.add(f"wanderer{number}")
    yard.break_at(Blow.POWER_CUT, op="migrate", phase="arrived", target="kvm1")
    state = evacuate(yard, max_parallel=1)
    assert state.is_failed()
    assert [record.state for record in yard.runs()] == [RunState.HELD]
    assert "1 HELD for a human, 2 not started" in str(state.message)
    assert "evacuation-kvm1" in {artifact.key for artifact in prefect.artifacts(run_id(state))}


def test_a_host_that_does_not_answer_is_no_destination_and_no_obstacle(yard: Yard) -> None:
    yard.add("wanderer1")
    yard.fleet.cut_power("kvm2")
    state = evacuate(yard)
    assert state.is_completed(), state.message
    assert yard.names_on("kvm3") == {"wanderer1"}


def test_wrong_names_are_all_told_and_nothing_is_touched(yard: Yard) -> None:
    yard.add("wanderer1")
    state = evacuate(
        yard, dests=["nowhere"], modes={"nobody": MigrationMode.LIVE}, policies={"none": PolicyName.AUTO_CONVERGE}
    )
    assert state.is_failed()
    assert all(name in str(state.message) for name in ("nowhere", "modes: no VM nobody", "policies: no VM none"))
    assert (yard.writes(), yard.journal.cordons()) == ((), ())


def test_an_empty_host_is_empty(yard: Yard) -> None:
    state = evacuate(yard)
    assert state.is_completed(), state.message


# what people see


def test_plan_progress_and_report_are_artifacts(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    yard.add_local("stuck", DomainState.RUNNING)
    artifacts = {a.key or a.description: a for a in prefect.artifacts(run_id(evacuate(yard)))}
    plan, report = str(artifacts["plan-kvm1"].data), str(artifacts["evacuation-kvm1"].data)
    assert "| 1 | wanderer1 | kvm1 → kvm2 | live |" in plan
    assert "## Stranded" in plan
    assert "| wanderer1 | kvm1 → kvm2 | live | moved |" in report
    assert "| stuck | kvm2 |" in report
    assert "![timeline](data:image/svg+xml;base64," in report
    assert artifacts["wanderer1: kvm1 → kvm2 (live): moved"].data == 100.0
    assert artifacts["evacuate kvm1: VMs moved"].data == 100.0


def test_a_dry_run_shows_its_plan(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    artifacts = prefect.artifacts(run_id(evacuate(yard, dry_run=True)))
    assert [a.key for a in artifacts if a.key] == ["plan-kvm1"]


def test_an_evacuation_is_one_flow_run_whose_task_runs_name_their_vm(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    yard.add("wanderer2")
    run = run_id(evacuate(yard, dests=["kvm2"]))
    names = {f"{step} {vm} on kvm2" for step in ("reserve", "verify", "finish") for vm in ("wanderer1", "wanderer2")}
    tasks = prefect.task_runs(run, *names, "publish report", "re-read kvm1", "cordon kvm1", "plan kvm1")
    assert {"move wanderer1 → kvm2", "move wanderer2 → kvm2"} <= {task.name for task in tasks}
    assert prefect.flow_run(run).name == "evacuate kvm1"


def test_each_vm_of_a_large_run_is_found_by_its_name_and_leaves_no_flood(yard: Yard, prefect: PrefectServer) -> None:
    names = [f"web{number:02}" for number in range(12)]
    for name in names:
        yard.add(name, memory_mib=128)
    run = run_id(evacuate(yard))
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    prefect.task_runs(run, "publish report", *(f"finish {name} on {yard.run_of(name).plan.dest}" for name in names))
    with prefect.client() as client:
        for name in names:  # the search box of the UI
            found = client.read_task_runs(
                flow_run_filter=of_run, task_run_filter=TaskRunFilter(name=TaskRunFilterName(like_=name))
            )
            assert len(found) == 7, [task.name for task in found]  # opened, and six steps
        others = [task.name for task in client.read_task_runs(flow_run_filter=of_run, limit=200)]
    assert len(others) - 7 * len(names) < 15, others
    artifacts = prefect.artifacts(run)
    assert len(artifacts) - len(names) <= 4, [artifact.key or artifact.description for artifact in artifacts]
    assert all(any(name in str(a.description) for a in artifacts) for name in names)


def test_an_evacuation_is_tagged_with_its_host(yard: Yard, prefect: PrefectServer) -> None:
    assert "host:kvm1" in prefect.flow_run(run_id(evacuate(yard))).tags
