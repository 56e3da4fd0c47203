"""Moves between real libvirt hosts, proved from the guests' own heartbeats and `virsh` of both hosts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from flows.evacuate_host import evacuate_host
from flows.migrate_vm import migrate_vm
from infra.lab import DiskFormat, DiskKind, GuestSpec, GuestState, Lab
from vmferry.adapters.world import RealWorld
from vmferry.errors import LeftBehind
from vmferry.model.journal import RunState
from vmferry.model.migration import DomainChanges, MigrationMode, MigrationOutcome, OutcomeKind
from vmferry.model.transport import Encryption

pytestmark = pytest.mark.lab


def move(vm: str, dest: str, **rest: object) -> MigrationOutcome:
    outcome = migrate_vm(vm=vm, dest=dest, **rest)
    assert isinstance(outcome, MigrationOutcome)
    return outcome


@pytest.mark.parametrize("disk", [DiskKind.SHARED, DiskKind.NOLOCK, DiskKind.NONE])
def test_a_live_move_keeps_the_guest_beating_and_loses_no_page(fleet: Lab, world: RealWorld, disk: DiskKind) -> None:
    fleet.add_guest(
        GuestSpec(
            name="live1",
            disk=disk,
            dirty_mib_s=20,
            working_set_mib=24,
            autostart=True,
            title="a title",
            metadata='<x:owner xmlns:x="https://example.org/x">somebody</x:owner>',
        )
    )
    with fleet.watch("live1") as watch:
        outcome = move("live1", "kvm2")
    assert outcome.kind is OutcomeKind.MOVED and outcome.mode is MigrationMode.LIVE
    assert fleet.where("live1") == {"kvm2": "running"}
    assert watch.alive_on("kvm2") and watch.overlap_s == 0 and watch.errors == 0
    info = fleet.hosts["kvm2"].virsh("dominfo", "live1")
    assert "Persistent:     yes" in info and "Autostart:      enable" in info
    for kind in ("--inactive", "--migratable"):
        xml = fleet.hosts["kvm2"].virsh("dumpxml", kind, "live1")
        assert "<title>a title</title>" in xml and ">somebody</x:owner>" in xml
    assert world.journal.find(outcome.run).state is RunState.CLOSED


def test_a_non_live_move_runs_afterwards(fleet: Lab, world: RealWorld) -> None:
    fleet.add_guest(GuestSpec(name="cold1", disk=DiskKind.SHARED, dirty_mib_s=40, working_set_mib=32))
    with fleet.watch("cold1") as watch:
        outcome = move("cold1", "kvm2", mode=MigrationMode.NON_LIVE)
    assert outcome.mode is MigrationMode.NON_LIVE
    assert fleet.where("cold1") == {"kvm2": "running"}
    assert watch.alive_on("kvm2") and watch.overlap_s == 0 and watch.errors == 0


def test_a_vm_that_a_user_paused_arrives_paused(fleet: Lab, world: RealWorld) -> None:
    fleet.add_guest(GuestSpec(name="paused1", disk=DiskKind.SHARED, state=GuestState.PAUSED))
    with fleet.watch("paused1") as watch:
        outcome = move("paused1", "kvm2")
    assert outcome.mode is MigrationMode.NON_LIVE
    assert fleet.hosts["kvm2"].virsh("domstate", "--reason", "paused1").strip() == "paused (user)"
    assert fleet.where("paused1") == {"kvm2": "paused"}
    assert not watch.spells, "a paused guest beat during its move"


@pytest.mark.parametrize("image", [DiskFormat.RAW, DiskFormat.QCOW2])
def test_an_offline_move_copies_the_disk_bit_by_bit_and_keeps_it_sparse(
    fleet: Lab, world: RealWorld, image: DiskFormat
) -> None:
    fleet.add_guest(
        GuestSpec(
            name="off1",
            disk=DiskKind.LOCAL,
            disk_format=image,
            disk_mib=200,
            disk_data_mib=8,
            state=GuestState.SHUTOFF,
            autostart=True,
        )
    )
    path = f"/var/lib/libvirt/images/off1.{image}"
    before = fleet.hosts["kvm1"].outer_path(path)
    digest, size, allocated = _digest(before), before.stat().st_size, before.stat().st_blocks
    outcome = move("off1", "kvm2")
    after = fleet.hosts["kvm2"].outer_path(path)
    assert outcome.mode is MigrationMode.OFFLINE
    assert (_digest(after), after.stat().st_size) == (digest, size)
    assert after.stat().st_blocks <= allocated + 64
    assert fleet.where("off1") == {"kvm2": "shut off"}
    assert "Autostart:      enable" in fleet.hosts["kvm2"].virsh("dominfo", "off1")
    aside = before.with_name(f"{before.name}.vmferry-moved-{outcome.run}")
    assert not before.exists() and _digest(aside) == digest
    assert not list(after.parent.glob(".vmferry-*"))
    aside.unlink()
    fleet.hosts["kvm2"].virsh("start", "off1")
    assert fleet.where("off1") == {"kvm2": "running"}


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes()).hexdigest()


def test_a_transient_vm_stays_transient(fleet: Lab, world: RealWorld) -> None:
    fleet.add_guest(GuestSpec(name="trans1", disk=DiskKind.SHARED, transient=True))
    with fleet.watch("trans1") as watch:
        move("trans1", "kvm2")
    assert fleet.where("trans1") == {"kvm2": "running"} and watch.overlap_s == 0
    assert "Persistent:     no" in fleet.hosts["kvm2"].virsh("dominfo", "trans1")


def test_typed_changes_reach_the_live_and_the_persistent_definition(fleet: Lab, world: RealWorld) -> None:
    fleet.add_guest(GuestSpec(name="changed1", disk=DiskKind.SHARED))
    (fleet.hosts["kvm2"].outer_path("/var/lib/libvirt/images") / "changed1.raw").symlink_to("/srv/shared/changed1.raw")
    move("changed1", "kvm2", changes=DomainChanges(title="moved", description="by a test"))
    for kind in ("--inactive", "--migratable"):
        xml = fleet.hosts["kvm2"].virsh("dumpxml", kind, "changed1")
        assert "<title>moved</title>" in xml and "<description>by a test</description>" in xml


def test_an_xml_file_is_what_the_destination_defines(fleet: Lab, world: RealWorld) -> None:
    fleet.add_guest(GuestSpec(name="file1", disk=DiskKind.SHARED, title="before"))
    xml = fleet.hosts["kvm1"].virsh("dumpxml", "--migratable", "file1")
    move("file1", "kvm2", xml=xml.replace("<title>before</title>", "<title>after</title>"))
    assert "<title>after</title>" in fleet.hosts["kvm2"].virsh("dumpxml", "file1")


def test_the_stream_can_go_through_ssh(fleet: Lab, world: RealWorld) -> None:
    hosts = tuple(h.model_copy(update={"encryption": Encryption.TUNNELLED}) for h in world.inventory.hosts)
    world.inventory = world.inventory.model_copy(update={"hosts": hosts})
    fleet.add_guest(GuestSpec(name="tunnel1", disk=DiskKind.SHARED))
    with fleet.watch("tunnel1") as watch:
        move("tunnel1", "kvm2")
    assert fleet.where("tunnel1") == {"kvm2": "running"} and watch.overlap_s == 0 and watch.errors == 0


def test_an_evacuation_empties_the_host_and_tells_who_could_not_leave(fleet: Lab, world: RealWorld) -> None:
    fleet.add_guest(GuestSpec(name="e-live", disk=DiskKind.SHARED, dirty_mib_s=10, working_set_mib=16))
    fleet.add_guest(GuestSpec(name="e-off", disk=DiskKind.LOCAL, state=GuestState.SHUTOFF))
    fleet.add_guest(GuestSpec(name="e-paused", disk=DiskKind.NOLOCK, state=GuestState.PAUSED))
    fleet.add_guest(GuestSpec(name="e-pinned", disk=DiskKind.SHARED, numa_pinned=True))
    with fleet.watch("e-live") as watch, pytest.raises(LeftBehind, match="1 VM left: 3 moved, 1 stranded"):
        evacuate_host(host="kvm1", reason="hardware work")
    assert set(fleet.hosts["kvm1"].list_domains()) == {"e-pinned"}
    assert watch.overlap_s == 0 and watch.errors == 0 and not watch.alive_on("kvm1")
    assert [cordon.host for cordon in world.journal.cordons()] == ["kvm1"]
    world.journal.uncordon("kvm1")


def test_a_dry_run_touches_nothing(fleet: Lab, world: RealWorld) -> None:
    fleet.add_guest(GuestSpec(name="dry1", disk=DiskKind.SHARED))
    report = evacuate_host(host="kvm1", dry_run=True)
    assert report.is_dry_run and "dry1" in report.left
    assert fleet.where("dry1") == {"kvm1": "running"}
    assert not world.journal.cordons() and not world.journal.recent(1)
