"""The matrix: every VM of every host that was read, for every other host."""

from __future__ import annotations

import time

import pytest
from hypothesis import given

from tests.examples import examples
from tests.unit.builders import (
    GIB_KIB,
    LOCAL,
    build_cordon,
    build_disk,
    build_facts,
    build_fleet,
    build_host,
    build_off_vm,
    build_snapshot,
    build_uuid,
    build_vm,
)
from tests.unit.planning.fleets import fleets
from vmferry.errors import InvalidInput
from vmferry.model.audit import Verdict, VmRow
from vmferry.model.evacuation import EvacuationRequest
from vmferry.model.host import FleetSnapshot, Unreachable
from vmferry.model.migration import MigrationMode
from vmferry.planning.audit import audit
from vmferry.planning.movability import movability
from vmferry.planning.placement import plan_evacuation
from vmferry.rules.case import Fleet
from vmferry.rules.judge import Judge


def trio(**vms: tuple[object, ...]) -> FleetSnapshot:
    """kvm1, kvm2, kvm3 with these VMs; kvm4 was not read."""
    hosts = [(build_host(name), build_facts(name, vms.get(name, ()))) for name in ("kvm1", "kvm2", "kvm3")]  # type: ignore[arg-type]
    return build_snapshot([*hosts, (build_host("kvm4"), None)], unreachable=[Unreachable(host="kvm4", reason="off")])


def row(snapshot: FleetSnapshot, vm: str, **given: tuple[str, ...]) -> VmRow:
    (found,) = (row for row in movability(snapshot, given.get("lifted", ())).rows if row.vm == vm)
    return found


def test_a_vm_may_go_where_no_rule_says_anything() -> None:
    found = row(trio(kvm1=(build_vm("a"),)), "a")
    assert [found.verdict(host) for host in ("kvm1", "kvm2", "kvm3", "kvm4")] == [
        Verdict.HERE,
        Verdict.FREE,
        Verdict.FREE,
        Verdict.UNREAD,
    ]
    assert found.movable_to == ("kvm2", "kvm3")


def test_warnings_are_told_by_their_rules() -> None:
    found = row(trio(kvm1=(build_vm("a", cpu_mode="host-passthrough"),)), "a")
    assert found.verdict("kvm2") is Verdict.WARNED
    assert set(found.warned) == {"kvm2", "kvm3"}
    assert found.movable_to == ("kvm2", "kvm3")
    assert found.free == ()


def test_what_blocks_is_kept_whole() -> None:
    found = row(trio(kvm1=(build_vm("a", snapshots=2),)), "a")
    assert found.verdict("kvm3") is Verdict.BLOCKED
    (finding,) = found.blocked["kvm3"]
    assert finding.rule == "snapshots"
    assert "snapshot-list" in finding.message
    assert movability(trio(kvm1=(build_vm("a", snapshots=2),))).immovable == (found,)


def test_a_lifted_rule_only_warns() -> None:
    snapshot = trio(kvm1=(build_vm("a", snapshots=2),))
    assert row(snapshot, "a", lifted=("snapshots",)).warned == {"kvm2": ("snapshots",), "kvm3": ("snapshots",)}
    assert movability(snapshot, ["snapshots"]).lifted == ("snapshots",)
    with pytest.raises(InvalidInput, match="two-copies cannot be lifted"):
        movability(snapshot, ["two-copies"])


def test_each_vm_is_judged_in_the_mode_that_it_would_take() -> None:
    snapshot = trio(kvm1=(build_vm("on"), build_off_vm("off")))
    assert [r.mode for r in movability(snapshot).rows] == [MigrationMode.OFFLINE, MigrationMode.LIVE]


def test_a_host_that_was_not_read_is_a_column_without_rows() -> None:
    found = movability(trio(kvm1=(build_vm("a"),)))
    assert found.hosts == ("kvm1", "kvm2", "kvm3", "kvm4")
    assert [(u.host, u.reason) for u in found.unread] == [("kvm4", "off")]
    assert {r.host for r in found.rows} == {"kvm1"}


def test_a_cordoned_host_takes_nobody() -> None:
    snapshot = trio(kvm1=(build_vm("a"),)).model_copy(update={"cordons": (build_cordon("kvm2"),)})
    assert row(snapshot, "a").movable_to == ("kvm3",)


@examples(60)
@given(fleets())
def test_every_cell_is_what_judging_that_one_move_says(snapshot: FleetSnapshot) -> None:
    fleet = Fleet(snapshot)
    found = movability(snapshot)
    assert len(found.rows) == sum(len(side.facts.vms) for side in fleet.sides.values())
    for r in found.rows:
        assert {*r.free, *r.warned, *r.blocked} == set(fleet.sides) - {r.host}
        vm = next(vm for vm in fleet.side(r.host).facts.vms if str(vm.uuid) == r.uuid)
        for dest in set(fleet.sides) - {r.host}:
            alone = Judge(fleet).check(fleet.case(vm, r.host, dest, r.mode))
            assert r.blocked.get(dest, ()) == alone.blockers
            assert (dest in r.free) == (not alone.findings)


@examples(60)
@given(fleets())
def test_emptying_a_host_is_planned_as_an_evacuation_would(snapshot: FleetSnapshot) -> None:
    for emptying in audit(snapshot).emptying:
        plan = plan_evacuation(snapshot, EvacuationRequest(host=emptying.host))
        assert emptying.stranded == plan.stranded
        assert [(m.vm, m.dest) for m in emptying.moves] == [(m.vm, m.dest) for m in plan.moves]


def test_vms_that_each_fit_alone_may_not_fit_together() -> None:
    found = audit(build_fleet([build_vm(f"a{n}", memory_kib=6 * GIB_KIB) for n in range(3)], 1, 13 * GIB_KIB))
    assert found.movability.immovable == ()
    (stranded,) = found.emptying[0].stranded
    assert [f.rule for f in stranded.reasons["dest-1"]] == ["no-room-left"]


def test_a_large_fleet_is_judged_in_seconds() -> None:
    hosts = []
    for h in range(20):
        guests = [build_vm(f"vm-{h}-{n}", nvram="/var/lib/libvirt/images/vars.fd") for n in range(16)]
        local = [build_disk(f"{LOCAL}/off-{h}-{n}.qcow2") for n in range(4)]
        off = [build_off_vm(f"off-{h}-{n}", uuid=build_uuid(f"{h}-{n}"), disks=(local[n],)) for n in range(4)]
        hosts.append((build_host(f"kvm{h}"), build_facts(f"kvm{h}", [*guests, *off])))
    snapshot = build_snapshot(hosts)
    started = time.process_time()
    found = audit(snapshot)
    seconds = time.process_time() - started
    assert sum(len(r.free) for r in found.movability.rows) == 400 * 19
    # 49,000 moves of 50 hosts take some 8 s with all else that an audit tells; these are a sixth of them.
    assert seconds < 8, f"{seconds:.1f} s"
