"""Contract of disks that QEMU mirrors: empty images of the right size, never over a file; what a failure leaves."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.contract.contract_fleet import DEST, LOCAL, SOURCE, FleetUnderTest, ignore, plan_of, words
from vmferry.errors import CopyFailed, OutcomeUnknown
from vmferry.model.disks import LiveDisk
from vmferry.model.facts import ImageFile
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.model.transport import Encryption

STAGING = f"{LOCAL}/.vmferry-contract/contract.raw"


def disk_of(fleet: FleetUnderTest, uuid: UUID) -> LiveDisk:
    """The VM's only disk, to be mirrored to the same path."""
    vm = fleet.world.hypervisor(SOURCE).read_host().find_vm(str(uuid))
    assert vm is not None
    disk = vm.disks[0]
    assert disk.source is not None and disk.driver is not None
    image = fleet.world.tools(SOURCE).read_images([ImageFile(path=disk.source, format=disk.driver)])[disk.source]
    return LiveDisk(
        target=disk.target,
        source_path=disk.source,
        dest_path=disk.source,
        size_bytes=image.virtual_bytes,
        format=image.format,
        options=image.options,
    )


def mirroring(fleet: FleetUnderTest, uuid: UUID, disk: LiveDisk) -> MigrationPlan:
    plan = plan_of(fleet, uuid)
    return plan.model_copy(update={"disks": (disk,), "encryption": Encryption.NONE})


def test_an_image_is_read_while_its_vm_runs(fleet: FleetUnderTest) -> None:
    disk = disk_of(fleet, fleet.make_vm("contract", disk=LOCAL))
    assert disk.size_bytes == fleet.world.tools(SOURCE).stat_files([disk.source_path])[disk.source_path].size_bytes
    missing = ImageFile(path=f"{LOCAL}/contract-not-there.raw", format="raw")
    assert fleet.world.tools(SOURCE).read_images([missing]) == {}


def test_an_empty_image_has_the_size_of_its_original_and_the_inode_that_was_told(fleet: FleetUnderTest) -> None:
    tools = fleet.world.tools(DEST)
    disk = LiveDisk(target="vda", source_path=STAGING, dest_path=STAGING, size_bytes=5 << 20)
    inode = tools.make_image(disk)
    facts = tools.stat_files([STAGING])[STAGING]
    assert (facts.inode, facts.size_bytes) == (inode, 5 << 20) and facts.allocated_bytes < 1 << 20
    tools.publish(STAGING, f"{LOCAL}/contract.raw")
    assert tools.stat_files([f"{LOCAL}/contract.raw"])[f"{LOCAL}/contract.raw"].inode == inode


def test_an_image_is_never_made_over_a_file(fleet: FleetUnderTest) -> None:
    path = f"{LOCAL}/contract-foreign.raw"
    fleet.write_file(DEST, path, b"somebody else's")
    with pytest.raises(CopyFailed, match=path):
        fleet.world.tools(DEST).make_image(LiveDisk(target="vda", source_path=path, dest_path=path, size_bytes=1 << 20))
    assert fleet.read_file(DEST, path) == b"somebody else's"


def test_a_vm_takes_its_local_disk_along_and_its_samples_count_disks_and_memory(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", disk=LOCAL)
    disk = disk_of(fleet, uuid)
    fleet.world.tools(DEST).make_image(disk)
    samples: list[JobStats] = []
    fleet.world.hypervisor(SOURCE).migrate(mirroring(fleet, uuid, disk), samples.append)
    assert words(fleet, uuid) == ("shut off (migrated)", "paused (user)")
    digests = {fleet.world.tools(host).checksum(disk.dest_path) for host in (SOURCE, DEST)}
    assert len(digests) == 1, "the mirror is complete when the copy arrives paused"
    assert all(sample.data_total_bytes >= sample.disk_total_bytes > 0 for sample in samples if sample.disk_total_bytes)


def test_a_disk_without_an_image_to_go_to_refuses_the_move(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", disk=LOCAL)
    disk = disk_of(fleet, uuid)
    with pytest.raises(OutcomeUnknown):
        fleet.world.hypervisor(SOURCE).migrate(mirroring(fleet, uuid, disk), ignore)
    assert words(fleet, uuid) == ("running (booted)", "absent")


def test_an_image_of_another_size_refuses_the_move_and_stays(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", disk=LOCAL)
    disk = disk_of(fleet, uuid)
    inode = fleet.world.tools(DEST).make_image(disk.model_copy(update={"size_bytes": disk.size_bytes + 512}))
    with pytest.raises(OutcomeUnknown):  # libvirt 9.0 may tell of the closed connection instead of the sizes
        fleet.world.hypervisor(SOURCE).migrate(mirroring(fleet, uuid, disk), ignore)
    assert words(fleet, uuid) == ("running (booted)", "absent")
    assert fleet.world.tools(DEST).stat_files([disk.dest_path])[disk.dest_path].inode == inode


def test_a_disk_cannot_go_through_the_libvirt_connection(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", disk=LOCAL)
    disk = disk_of(fleet, uuid)
    fleet.world.tools(DEST).make_image(disk)
    plan = mirroring(fleet, uuid, disk).model_copy(update={"encryption": Encryption.TUNNELLED})
    with pytest.raises(OutcomeUnknown):
        fleet.world.hypervisor(SOURCE).migrate(plan, ignore)
    assert words(fleet, uuid) == ("running (booted)", "absent")
