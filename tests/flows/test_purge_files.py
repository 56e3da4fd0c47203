"""purge-files on the simulated fleet: it lists unless it is told to remove, and it ends as the truth is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from typer.testing import CliRunner

from flows.migrate_vm import migrate_vm
from flows.purge_files import purge_files
from tests.flows.yard import Yard
from tests.prefect_side import PrefectServer, run_id
from vmferry.adapters.simulated import LOCAL, Blow
from vmferry.cli import app
from vmferry.model.purge import Fate, PurgeReport
from vmferry.model.vm import DomainState

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect")]


@pytest.fixture
def moved(yard: Yard) -> Yard:
    """Two VMs were moved offline eight days ago."""
    for name in ("wanderer4", "wanderer5"):
        yard.add_local(name)
        with yard.process():
            migrate_vm(name, "kvm2")
    # The journal writes down real time, the fleet has a time of its own.
    yard.fleet.advance((datetime.now(UTC) - yard.fleet.now()).total_seconds() + 8 * 86400)
    return yard


def aside(yard: Yard, vm: str) -> str:
    return f"{LOCAL}/{vm}.qcow2.vmferry-moved-{yard.run_of(vm).run}"


def purge(yard: Yard, **given: Any) -> State[Any]:
    with yard.process():
        return purge_files(return_state=True, **given)


def report_of(state: State[Any]) -> PurgeReport:
    report = state.result(raise_on_failure=False)
    assert isinstance(report, PurgeReport), report
    return report


def test_without_being_told_it_only_lists(moved: Yard) -> None:
    files, writes = moved.files(), moved.writes()
    state = purge(moved)
    assert state.is_completed(), state.message
    assert [(f.host, f.path, f.fate) for f in report_of(state).files] == [
        ("kvm1", aside(moved, vm), Fate.REMOVABLE) for vm in ("wanderer4", "wanderer5")
    ]
    assert (moved.files(), moved.writes()) == (files, writes)


def test_what_the_moves_left_goes_and_the_vms_start_at_their_new_place(moved: Yard) -> None:
    before = moved.files()
    state = purge(moved, dry_run=False)
    assert state.is_completed(), state.message
    gone = {aside(moved, vm) for vm in ("wanderer4", "wanderer5")}
    assert set(moved.files()["kvm1"]) == set(before["kvm1"]) - gone
    assert moved.files()["kvm2"] == before["kvm2"]
    assert moved.names_on("kvm2") == {"wanderer4", "wanderer5"}
    assert moved.is_sound()
    again = purge(moved, dry_run=False)
    assert (again.is_completed(), report_of(again).files) == (True, ())


def test_the_grace_time_and_the_hosts_can_be_given(moved: Yard) -> None:
    assert {f.fate for f in report_of(purge(moved, older_than_days=30, dry_run=False)).files} == {Fate.KEPT}
    assert report_of(purge(moved, hosts=["kvm2", "kvm3"], dry_run=False)).files == ()
    unknown = purge(moved, hosts=["kvm9"])
    assert unknown.is_failed() and "kvm9" in str(unknown.message)


def test_one_that_cannot_be_removed_fails_the_run_and_stops_no_other(moved: Yard) -> None:
    moved.break_at(Blow.PERMANENT, op="remove_file")
    state = purge(moved, dry_run=False)
    assert state.is_failed()
    assert f"kvm1:{aside(moved, 'wanderer4')}: not removed" in str(state.message)
    left = [path for path in moved.files()["kvm1"] if "vmferry-moved" in path]
    assert left == [aside(moved, "wanderer4")]


def test_a_host_that_is_down_keeps_everything_and_fails_the_run(moved: Yard) -> None:
    """A purge that nobody looks at must not stay quiet when it can do nothing."""
    moved.fleet.cut_power("kvm3")
    before = moved.files()
    state = purge(moved, dry_run=False)
    assert state.is_failed() and "host kvm3: not read" in str(state.message)
    assert moved.files() == before


def test_a_vm_that_is_started_from_what_is_aside_keeps_it(moved: Yard) -> None:
    path = aside(moved, "wanderer4")
    moved.fleet.add_vm("kvm1", "rescue", disks=[path], state=DomainState.SHUTOFF)
    state = purge(moved, dry_run=False)
    assert state.is_completed(), state.message
    assert {f.path: f.fate for f in report_of(state).files} == {
        path: Fate.KEPT,
        aside(moved, "wanderer5"): Fate.REMOVED,
    }
    assert moved.is_sound()


def test_prefect_shows_every_removal_and_the_report(moved: Yard, prefect: PrefectServer) -> None:
    run = run_id(purge(moved, dry_run=False))
    names = [f"remove {aside(moved, vm)} on kvm1" for vm in ("wanderer4", "wanderer5")]
    prefect.task_runs(run, "judge what moves left", *names, "publish purge")
    (artifact,) = [a for a in prefect.artifacts(run) if a.key == "purge-files"]
    assert "removed: 2 files, 2.0 GiB" in str(artifact.data)
    assert prefect.flow_run(run).name == "purge files"


def test_the_command_line_removes_through_the_flow(moved: Yard, tmp_path: Path, prefect: PrefectServer) -> None:
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text("hosts:\n  kvm1:\n  kvm2:\n  kvm3:\n")
    moved.break_at(Blow.PERMANENT, op="remove_file")
    with moved.process(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", prefect.api_url)
        ended = CliRunner().invoke(app, ["-i", str(inventory), "purge", "kvm1", "--remove"])
    assert ended.exit_code == 4, ended.output
    assert "kvm1: not removed: 1 file, 1.0 GiB; removed: 1 file, 1.0 GiB" in ended.stdout
    assert len([line for line in ended.stderr.splitlines() if "wanderer4.qcow2" in line and "not removed" in line]) == 1
