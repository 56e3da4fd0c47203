"""VMs that the fleet knows more than once: the most dangerous first, and nothing that a move explains."""

from __future__ import annotations

import pytest

from tests.unit.builders import (
    IMAGES,
    LOCAL,
    build_disk,
    build_facts,
    build_host,
    build_off_vm,
    build_pair,
    build_snapshot,
    build_uuid,
    build_vm,
)
from tests.unit.rules.cases.marks import ending
from vmferry.model.audit import DomainTrouble, Trouble
from vmferry.model.host import FleetSnapshot
from vmferry.model.vm import DiskKind, DomainState, Vm
from vmferry.planning.doubles import find_doubles, suspicious
from vmferry.rules.case import Fleet

MIGRATING = {"state": DomainState.PAUSED, "state_reason": "migrating"}


def fleet(*vms: tuple[Vm, ...], **snapshot: object) -> FleetSnapshot:
    """kvm1, kvm2, … with these VMs each."""
    hosts = [(build_host(f"kvm{n}"), build_facts(f"kvm{n}", there)) for n, there in enumerate(vms, 1)]
    return build_snapshot(hosts, **snapshot)  # type: ignore[arg-type]


def troubles(*vms: tuple[Vm, ...], **snapshot: object) -> tuple[DomainTrouble, ...]:
    return find_doubles(Fleet(fleet(*vms, **snapshot)))


def off(name: str = "a", **fields: object) -> Vm:
    """The same VM, shut off, its disk on shared storage."""
    return build_off_vm(name, disks=(build_disk(f"{IMAGES}/{name}.qcow2"),), **fields)


def test_a_fleet_where_every_vm_is_once_has_no_trouble() -> None:
    assert troubles((build_vm("a"),), (build_vm("b"), off("c"))) == ()


def test_a_vm_that_runs_twice_is_an_alarm_that_names_the_hosts() -> None:
    (found,) = troubles((build_vm("a"),), (build_vm("a"),))
    assert (found.kind, found.is_alarm, found.hosts) == (Trouble.RUNS_TWICE, True, ("kvm1", "kvm2"))
    assert found.message.startswith("ALARM: vm a ")
    assert "start and resume nothing" in found.message


def test_no_run_and_no_job_explain_two_running_copies() -> None:
    a = build_vm("a")
    (found,) = troubles((build_vm("a", has_active_job=True),), (a,), open_runs={str(a.uuid): "run-7"})
    assert found.is_alarm
    assert "run-7" in found.message


def test_two_running_copies_under_different_names_are_still_an_alarm() -> None:
    a = build_vm("a")
    (found,) = troubles((a,), (build_vm("renamed", uuid=a.uuid, disks=a.disks),))
    assert found.is_alarm
    assert "a / renamed" in found.message


def test_only_vms_that_are_active_on_several_hosts_or_wait_for_a_migration_are_looked_at_again() -> None:
    here = (build_vm("a"), build_vm("b"), build_vm("c"), build_vm("d", **MIGRATING))
    vms = fleet(here, (build_vm("a"), off("b"), build_vm("c", **MIGRATING)))
    twice = ["kvm1", "kvm2"]
    found = {uuid: list(where) for uuid, where in suspicious(Fleet(vms)).items()}
    assert found == {build_uuid("a"): twice, build_uuid("c"): twice, build_uuid("d"): ["kvm1"]}


@pytest.mark.parametrize("runs", [{str(build_uuid("a")): "run-1"}, {}], ids=["a run of ours", "somebody's job"])
def test_a_move_under_way_is_no_trouble(runs: dict[str, str]) -> None:
    moving = build_vm("a", has_active_job=not runs)
    assert troubles((moving,), (build_vm("a", **MIGRATING),), open_runs=runs) == ()


def test_a_second_qemu_that_nothing_explains_is_told() -> None:
    (found,) = troubles((build_vm("a"),), (build_vm("a", **MIGRATING),))
    assert (found.kind, found.is_alarm) == (Trouble.ACTIVE_TWICE, True)
    assert "resume none of them" in found.message


def test_a_vm_left_paused_by_a_migration_is_told() -> None:
    (found,) = troubles((build_vm("a", **MIGRATING),), ())
    assert (found.kind, found.is_alarm) == (Trouble.LEFT_PAUSED, True)
    assert "paused, migrating" in found.message and "belongs to nobody" in found.message


@pytest.mark.parametrize("states", [MIGRATING, {}], ids=["paused", "running"])
def test_another_vmferrys_mark_explains_it_until_it_is_over_and_then_names_its_owner(states: dict[str, object]) -> None:
    lasts, over = (ending(seconds).vm.marks for seconds in (60, -86400))
    assert troubles((build_vm("a", marks=lasts, **states),), ()) == ()
    (found,) = troubles((build_vm("a", marks=over, **states),), ())
    assert found.kind is (Trouble.LEFT_PAUSED if states else Trouble.MARK_LEFT)
    assert "ops@mgmt2:4711:99" in found.message and "is over" in found.message


def test_a_vm_at_its_switch_over_is_no_trouble() -> None:
    assert troubles((build_vm("a", has_active_job=True, **MIGRATING),), ()) == ()


def test_a_vm_paused_by_its_user_is_no_trouble() -> None:
    assert troubles((build_vm("a", state=DomainState.PAUSED, state_reason="user"),), ()) == ()


def test_a_vm_defined_twice_is_told_with_the_host_where_it_runs() -> None:
    (found,) = troubles((off("a"),), (build_vm("a"),))
    assert (found.kind, found.hosts) == (Trouble.DEFINED_TWICE, ("kvm1", "kvm2"))
    assert "runs on kvm2" in found.message
    assert "virsh -c qemu+ssh://kvm1/system undefine a --keep-nvram --keep-tpm" in found.message


def test_a_definition_made_by_an_open_run_is_no_trouble() -> None:
    assert troubles((off("a"),), (off("a"),), open_runs={str(build_uuid("a")): "run-1"}) == ()


@pytest.mark.parametrize(
    ("here", "there", "kind"),
    [
        (build_vm("a"), off("a", is_autostart=True), Trouble.AUTOSTART_TWICE),
        (off("a", is_autostart=True), off("a", is_autostart=True), Trouble.AUTOSTART_TWICE),
        (build_vm("a", is_autostart=True), off("a"), Trouble.DEFINED_TWICE),
        (off("a", is_autostart=True), off("a"), Trouble.DEFINED_TWICE),
    ],
)
def test_autostart_of_a_second_definition_is_told(here: Vm, there: Vm, kind: Trouble) -> None:
    (found,) = troubles((here,), (there,))
    assert found.kind is kind
    assert ("a reboot there starts a second copy" in found.message) == (kind is Trouble.AUTOSTART_TWICE)


def test_one_name_for_different_vms_is_told() -> None:
    own = (build_disk(f"{LOCAL}/other.qcow2"),)
    (found,) = troubles((build_vm("a"),), (build_vm("a", uuid=build_uuid("other"), disks=own),))
    assert (found.kind, found.uuid, found.hosts) == (Trouble.NAME_TWICE, None, ("kvm1", "kvm2"))


def test_one_disk_for_different_vms_is_told() -> None:
    (found,) = troubles((build_vm("a"),), (build_vm("b", disks=build_vm("a").disks),))
    assert found.kind is Trouble.DISK_TWICE
    assert "a on kvm1 (running), b on kvm2 (running)" in found.message


@pytest.mark.parametrize(
    "fields",
    [{"is_shareable": True}, {"is_readonly": True}, {"device": "cdrom"}, {"is_transient": True}],
    ids=lambda fields: next(iter(fields)),
)
def test_a_disk_that_may_be_shared_is_no_trouble(fields: dict[str, object]) -> None:
    disks = (build_disk(f"{IMAGES}/x.img", **fields),)
    assert troubles((build_vm("a", disks=disks),), (build_vm("b", disks=disks),)) == ()


def test_equal_paths_on_storage_of_each_host_are_different_disks() -> None:
    disks = (build_disk(f"{LOCAL}/x.qcow2"),)
    assert troubles((build_vm("a", disks=disks),), (build_vm("b", disks=disks),)) == ()


def test_a_directory_proved_to_be_one_holds_one_disk() -> None:
    disks = (build_disk("/data/x.qcow2"),)
    pairs = [build_pair("kvm1", "kvm2", same_storage=("/data",)), build_pair("kvm2", "kvm1", same_storage=())]
    (found,) = troubles((build_vm("a", disks=disks),), (build_vm("b", disks=disks),), pairs=pairs)
    assert found.kind is Trouble.DISK_TWICE


def test_one_network_disk_is_one_disk_wherever_it_is_used() -> None:
    disks = (build_disk("rbd://ceph:6789/pool/x", kind=DiskKind.NETWORK),)
    (found,) = troubles((build_vm("a", disks=disks),), (build_vm("b", disks=disks),))
    assert found.kind is Trouble.DISK_TWICE


def test_the_most_dangerous_comes_first() -> None:
    kinds = [
        found.kind
        for found in troubles(
            (build_vm("z"), off("a"), build_vm("p", **MIGRATING)),
            (build_vm("z"), off("a"), build_vm("y", disks=build_vm("z").disks)),
        )
    ]
    assert kinds == [Trouble.RUNS_TWICE, Trouble.DISK_TWICE, Trouble.LEFT_PAUSED, Trouble.DEFINED_TWICE]
