"""Finding one VM and judging its move."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.builders import (
    IMAGES,
    build_facts,
    build_fleet,
    build_host,
    build_off_vm,
    build_snapshot,
    build_uuid,
    build_vm,
)
from tests.unit.planning.fleets import SOURCE
from vmferry.errors import InvalidInput
from vmferry.model.constraint import Constraint, ConstraintKind
from vmferry.model.host import FleetSnapshot, Unreachable
from vmferry.model.migration import DomainChanges, MigrationMode, MigrationRequest
from vmferry.model.vm import DomainState, Vm
from vmferry.planning.single import plan_vm, warned_of_constraints

OFF: dict[str, Any] = {"state": DomainState.SHUTOFF}


def ask(vm: str = "a", dest: str = "dest-1", **fields: Any) -> MigrationRequest:
    return MigrationRequest(vm=vm, dest=dest, **fields)


def fleet(*vms: tuple[Vm, ...], lost: bool = False) -> FleetSnapshot:
    """Hosts h0, h1, … with these VMs."""
    hosts: list[Any] = [(build_host(f"h{n}"), build_facts(f"h{n}", there)) for n, there in enumerate(vms)]
    hosts += [(build_host("lost"), None)] if lost else []
    return build_snapshot(hosts, unreachable=[Unreachable(host="lost", reason="timed out")] if lost else [])


def problems(snapshot: FleetSnapshot, request: MigrationRequest) -> tuple[str, ...]:
    with pytest.raises(InvalidInput) as caught:
        plan_vm(snapshot, request)
    assert caught.value.vm == request.vm
    return caught.value.problems


@pytest.mark.parametrize("name", ["a", str(build_uuid("a"))])
def test_a_vm_is_found_by_name_or_uuid_wherever_it_is(name: str) -> None:
    decision = plan_vm(build_fleet([build_vm("a")]), ask(name))
    assert (decision.vm.name, decision.case.source.name, decision.mode) == ("a", SOURCE, MigrationMode.LIVE)
    assert decision.report.findings == ()


def test_blockers_are_returned_not_raised() -> None:
    decision = plan_vm(build_fleet([build_vm("a", snapshots=1)]), ask())
    assert [f.rule for f in decision.report.blockers] == ["snapshots"]


@pytest.mark.parametrize(
    ("constraints", "told"),
    [
        ([{"kind": ConstraintKind.SPREAD, "name": "apart", "vms": ("a", "b")}], "spread apart: a, b share host h1"),
        ([{"kind": ConstraintKind.SPREAD, "name": "apart", "vms": ("a", "b"), "is_hard": False}], ""),
        ([{"kind": ConstraintKind.FENCE, "name": "here", "vms": ("a",), "hosts": ("h0", "h1")}], ""),
        ([{"kind": ConstraintKind.FENCE, "name": "no", "vms": ("a",), "hosts": ("h9",)}], "h9"),
    ],
)
def test_a_move_that_was_asked_for_by_name_warns_of_constraints_and_is_not_refused(
    constraints: list[dict[str, Any]], told: str
) -> None:
    snapshot = fleet((build_vm("a"),), (build_vm("b"),))
    wanted = snapshot.inventory.model_copy(update={"constraints": tuple(Constraint(**c) for c in constraints)})
    snapshot = snapshot.model_copy(update={"inventory": wanted})
    report = warned_of_constraints(plan_vm(snapshot, ask(dest="h1")), snapshot).report
    assert not report.blockers
    assert [f.rule for f in report.warnings] == (["constraints"] if told else [])
    assert all(told in finding.message for finding in report.warnings)


def test_the_active_copy_is_the_source_when_others_are_stale() -> None:
    decision = plan_vm(fleet((build_vm("a", **OFF),), (build_vm("a"),), ()), ask(dest="h2"))
    assert decision.case.source.name == "h1"
    assert [finding.rule for finding in decision.report.findings] == ["defined-elsewhere"]  # the twin on h0


def test_two_active_copies_are_an_alarm() -> None:
    (problem,) = problems(fleet((build_vm("a"),), (build_vm("a"),), ()), ask(dest="h2"))
    assert problem.startswith("ALARM") and "h0" in problem and "h1" in problem


def test_two_active_copies_block_when_the_source_is_named() -> None:
    decision = plan_vm(fleet((build_vm("a"),), (build_vm("a"),), ()), ask(dest="h2", source="h0"))
    assert [f.rule for f in decision.report.blockers] == ["two-copies"]


def test_two_definitions_none_active_need_the_source() -> None:
    (problem,) = problems(fleet((build_vm("a", **OFF),), (build_vm("a", **OFF),), ()), ask(dest="h2"))
    assert "name the source" in problem


def test_two_different_vms_of_one_name_need_the_source() -> None:
    snapshot = fleet((build_vm("a"),), (build_vm("a", uuid=build_uuid("b")),), ())
    assert "several VMs are named a" in problems(snapshot, ask(dest="h2"))[0]
    assert plan_vm(snapshot, ask(dest="h2", source="h1")).vm.uuid == build_uuid("b")


def test_a_vm_not_found_tells_where_was_searched_and_where_not() -> None:
    (problem,) = problems(fleet((), (), lost=True), ask("ghost", dest="h1"))
    assert "searched h0, h1; not searched: lost (timed out)" in problem


def test_everything_wrong_is_said_at_once() -> None:
    found = problems(fleet((), ()), ask("ghost", dest="nowhere", source="nobody"))
    assert [p.split(":")[0] for p in found] == ["dest", "source"]


def test_a_vm_that_is_at_its_destination_is_not_moved() -> None:
    assert (
        "is on dest-1 already"
        in problems(build_snapshot([(build_host("dest-1"), build_facts("dest-1", [build_vm("a")]))]), ask())[0]
    )


def test_a_vm_not_on_the_source_named_is_said_to_be_elsewhere() -> None:
    (problem,) = problems(fleet((), (build_vm("a"),), ()), ask(dest="h2", source="h0"))
    assert "no VM a on h0; it is on h1" in problem


def test_an_unreachable_destination_is_refused_with_its_reason() -> None:
    assert "lost was not read: timed out" in problems(fleet((build_vm("a"),), lost=True), ask(dest="lost"))[0]


def test_changes_of_what_the_vm_does_not_have_are_refused_together() -> None:
    changes = DomainChanges(disk_sources={"vdz": "/x.raw"}, bridges={"br7": "br0"}, networks={"lan": "dmz"})
    found = problems(build_fleet([build_vm("a")]), ask(changes=changes))
    assert [p.split(";")[0] for p in found] == [
        "disk: a has no disk vdz",
        "bridge: a has no bridge br7",
        "network: a has no network lan",
    ]
    assert "it has vda" in found[0] and "virsh domblklist a" in found[0]


def test_changes_are_judged_on_the_destination() -> None:
    changes = DomainChanges(bridges={"br0": "br9"}, disk_sources={"vda": f"{IMAGES}/other.qcow2"})
    decision = plan_vm(build_fleet([build_vm("a")]), ask(changes=changes))
    assert {f.rule for f in decision.report.blockers} == {"bridge-missing", "storage-not-shared"}


def test_the_operators_own_xml_is_judged_when_parsed() -> None:
    arriving = build_vm("a", nics=())
    snapshot = build_snapshot(
        [
            (build_host(SOURCE), build_facts(SOURCE, [build_vm("a")])),
            (build_host("dest-1"), build_facts("dest-1", bridges=())),
        ]
    )
    assert plan_vm(snapshot, ask()).report.blockers
    assert not plan_vm(snapshot, ask(), arriving).report.blockers


def test_a_shut_off_vm_goes_offline() -> None:
    assert plan_vm(build_fleet([build_off_vm("a")]), ask()).mode is MigrationMode.OFFLINE
