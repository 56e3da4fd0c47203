"""audit-fleet on the simulated fleet: nothing is touched, everything is told, and only alarms make it fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.audit_fleet import audit_fleet
from tests.flows.yard import Yard
from tests.prefect_side import PrefectServer, run_id
from vmferry.adapters.simulated import LOCAL
from vmferry.model.audit import FileKind, FleetAudit
from vmferry.model.vm import DomainState

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect")]


def run_audit(yard: Yard) -> State[Any]:
    with yard.process():
        return audit_fleet(return_state=True)


def found_by(state: State[Any]) -> FleetAudit:
    found = state.result()
    assert isinstance(found, FleetAudit)
    return found


def test_an_audit_touches_nothing(yard: Yard) -> None:
    yard.add("wanderer1")
    yard.add_local("wanderer4")
    files = yard.files()
    state = run_audit(yard)
    assert state.is_completed(), state.message
    assert (yard.writes(), yard.runs(), yard.journal.cordons()) == ((), (), ())
    assert yard.files() == files


def test_a_sound_fleet_gives_a_plain_run(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    state = run_audit(yard)
    assert (state.name, state.message) == (
        "Completed",
        "3 hosts, 1 VM; every VM can go somewhere; every host can be emptied",
    )
    assert found_by(state).movability.rows[0].movable_to == ("kvm2", "kvm3")
    assert [tag for tag in prefect.flow_run(run_id(state)).tags if ":" in tag] == []


def test_what_was_found_stands_in_name_message_and_tags(yard: Yard, prefect: PrefectServer) -> None:
    yard.add_local("stuck", state=DomainState.RUNNING)
    yard.fleet.add_file("kvm2", f"{LOCAL}/gone.qcow2")
    state = run_audit(yard)
    assert state.is_completed()
    assert state.name == "With findings"
    assert "1 VM can go nowhere; 1 host cannot be emptied (kvm1); the loss of kvm1 would strand VMs" in str(
        state.message
    )
    tags = set(prefect.flow_run(run_id(state)).tags)
    assert tags >= {"unmovable:1", "not-emptiable:1", "stranded-by-loss:1", "leftover-files:1"}


def test_report_table_and_picture_are_shown(yard: Yard, prefect: PrefectServer) -> None:
    yard.add_local("stuck", state=DomainState.RUNNING)
    artifacts = {a.key: a for a in prefect.artifacts(run_id(run_audit(yard)))}
    assert set(artifacts) == {"audit-fleet", "audit-movability"}
    report = str(artifacts["audit-fleet"].data)
    assert "| stuck | kvm1 | running | storage-not-shared | every host |" in report
    assert "data:image/svg+xml;base64," in report
    assert "storage-not-shared" in str(artifacts["audit-movability"].data)


def test_two_running_copies_make_the_run_fail_with_an_alarm(
    yard: Yard, prefect: PrefectServer, own_state_dir: Path
) -> None:
    yard.add("twin")
    yard.add("twin", "kvm2")
    state = run_audit(yard)
    assert state.is_failed()
    assert "ALARM: vm twin" in str(state.message)
    assert "kvm1" in str(state.message) and "kvm2" in str(state.message)
    assert "alarm:1" in prefect.flow_run(run_id(state)).tags
    report = next(a for a in prefect.artifacts(run_id(state)) if a.key == "audit-fleet")
    assert str(report.data).startswith("# ALARM: ")
    assert list((own_state_dir / "reports" / "audits").glob("*.json"))  # compared with all the same


def test_a_vm_that_became_unmovable_is_found_by_the_next_audit(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("web")
    assert found_by(run_audit(yard)).changes is None
    yard.fleet.hosts["kvm2"].networks.clear()
    with yard.process():
        yard.journal.cordon("kvm2", "new memory")
        yard.journal.cordon("kvm3", "new memory")
    state = run_audit(yard)
    changes = found_by(state).changes
    assert changes is not None
    assert [(vm.vm, vm.rules) for vm in changes.unmovable] == [("web", ("cordoned",))]
    assert "became-unmovable:1" in prefect.flow_run(run_id(state)).tags


def test_a_damaged_earlier_audit_is_told_and_not_fatal(yard: Yard, own_state_dir: Path) -> None:
    run_audit(yard)
    (saved,) = (own_state_dir / "reports" / "audits").glob("*.json")
    saved.write_text("{")
    state = run_audit(yard)
    assert state.is_completed()
    (note,) = found_by(state).notes
    assert str(saved) in note


def test_a_host_that_cannot_be_read_leaves_its_files_undecided(yard: Yard) -> None:
    yard.add("web")
    yard.fleet.add_file("kvm1", "/srv/shared/perhaps.qcow2")
    yard.fleet.cut_power("kvm3")
    found = found_by(run_audit(yard))
    assert [(f.path, f.kind) for f in found.files or ()] == [("/srv/shared/perhaps.qcow2", FileKind.UNDECIDED)]
    assert [lost.host for lost in found.movability.unread] == ["kvm3"]


def test_an_audit_that_cannot_be_saved_fails_after_it_was_shown(
    yard: Yard, prefect: PrefectServer, own_state_dir: Path
) -> None:
    place = own_state_dir / "reports"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("a file where the directory should be")
    state = run_audit(yard)
    assert state.is_failed()
    assert "was not saved below" in str(state.message)
    assert {a.key for a in prefect.artifacts(run_id(state))} >= {"audit-fleet", "audit-movability"}
