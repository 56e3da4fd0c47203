"""What is taken for shared, and why not: proofs, contradictions, places of disks, files to look for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.builders import IMAGES, LOCAL, build_disk, build_facts, build_off_vm, build_pair, build_vm
from tests.unit.rules.cases.making import DEST, SOURCE, make
from tests.unit.rules.cases.real import volume_disk, xml_vm
from tests.unit.rules.cases.storage import LV, MNT, WWN, device, file_facts, inodes, library, moved, nested
from vmferry.model.facts import FileFacts, Mount, Pool, SystemFacts
from vmferry.rules.case import Case
from vmferry.rules.check import check_move
from vmferry.rules.copies import copies
from vmferry.rules.sharing import files_to_stat, is_shared, places, why_not_shared

IMAGE = f"{IMAGES}/wanderer1.qcow2"


def why(case: Case) -> str:
    """Why the VM's first disk is not taken for shared."""
    place = places(case)[0]
    return why_not_shared(case, place.path, place.dest_path, is_read_only=place.is_read_only)


def message(case: Case, rule: str) -> str:
    (found,) = [finding.message for finding in check_move(case).findings if finding.rule == rule]
    return found


def test_before_the_pair_is_read_the_inventory_is_believed() -> None:
    case = make(pair=None)
    assert is_shared(case, IMAGE, IMAGE)
    assert not is_shared(case, f"{LOCAL}/a", f"{LOCAL}/a")
    assert why(make(build_off_vm(), pair=None)) == (
        "the inventory does not declare it as shared by source-example and dest-example"
    )


def test_a_marker_that_was_not_seen_is_told() -> None:
    case = make(pair=build_pair(SOURCE, DEST, same_storage=()))
    assert why(case) == "no marker file made beside it on source-example was seen on dest-example"


def test_an_image_that_is_not_there_is_not_shared_whatever_the_marker_says() -> None:
    case = make(pair=build_pair(SOURCE, DEST, (build_vm(),), dest_files={}))
    assert why(case) == f"{IMAGE} does not exist on dest-example"


def test_a_marker_seen_at_another_path_proves_nothing_for_the_same_path() -> None:
    """Storage mounted at /mnt/images there: a file that lies at the old path there is the destination's own."""
    assert why(make(dest_host={"storage": MNT})) != ""
    assert why(moved({"/mnt/images/wanderer1.qcow2": file_facts("/mnt/images/wanderer1.qcow2")})) == ""


@pytest.mark.parametrize("side", ["source", "dest"])
def test_a_marker_proves_nothing_for_what_is_mounted_below_its_directory(side: str) -> None:
    assert why(nested(side)) != ""


def test_a_mount_point_beside_the_image_changes_nothing() -> None:
    beside = SystemFacts(
        mounts=(
            Mount(path=IMAGES, source="nas:/images", fstype="nfs4"),
            Mount(path=f"{IMAGES}/fast", source="/dev/sdb1", fstype="xfs"),
        )
    )
    assert why(make(source={"system": beside}, dest={"system": beside})) == ""


def test_another_inode_is_another_file_where_inodes_are_the_file_systems_own() -> None:
    assert why(inodes("nfs4")) == "dest-example has another file there (inode 6, source-example has 5)"
    assert why(inodes("fuse.sshfs")) == ""


def test_the_file_system_mounted_last_at_a_path_is_the_one_that_is_seen() -> None:
    first, last = (Mount(path="/a", source=source, fstype="nfs4") for source in ("old:/a", "new:/a"))
    assert SystemFacts(mounts=(first, last)).mount_of("/a/b") == last


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        (LV, LV, ""),
        (WWN, WWN, ""),
        (LV, None, "/dev/vg0/vm1 does not exist on dest-example"),
        (LV, WWN, f"it is {LV} on source-example, but {WWN} on dest-example"),
        ("", "", "nothing on source-example and dest-example tells which device it is"),
        (WWN, "", "nothing on dest-example tells which device it is"),
        ("t10.IET 1", "t10.IET 1", "both are called t10.IET 1, of 0 and 0 bytes: that proves nothing"),
    ],
)
def test_a_block_device_is_proved_by_its_identity_alone(here: str, there: str | None, words: str) -> None:
    assert why(device(here, there)) == words


def test_two_devices_of_one_name_and_different_size_are_two() -> None:
    facts = [file_facts("/dev/vg0/vm1", is_block=True, device_id=LV, size_bytes=size) for size in (1 << 30, 2 << 30)]
    pair = build_pair(SOURCE, DEST, source_files={facts[0].path: facts[0]}, dest_files={facts[1].path: facts[1]})
    vm = build_vm(disks=(build_disk("/dev/vg0/vm1", kind="block"),))
    assert why(make(vm, pair=pair)) != ""


def test_a_device_whose_identity_was_not_read_is_not_believed() -> None:
    vm = build_vm(disks=(build_disk("/dev/vg0/vm1", kind="block"),))
    pair = build_pair(SOURCE, DEST, same_storage=("/dev",))
    assert "what it is on source-example was not read" in message(make(vm, pair=pair), "block-device")


def test_a_different_file_behind_the_same_path_is_told_with_both_sizes() -> None:
    path = f"{LOCAL}/a.qcow2"
    here, there = (FileFacts(path=path, size_bytes=size, allocated_bytes=1) for size in (1000, 2000))
    pair = build_pair(SOURCE, DEST, source_files={path: here}, dest_files={path: there})
    text = message(make(build_vm(disks=(build_disk(path),)), pair=pair), "different-file")
    assert f"a different file lies behind {path} on dest-example (2000 bytes)" in text
    assert "(1000 bytes)" in text


def test_a_library_that_cannot_be_written_is_proved_by_its_file_system() -> None:
    assert why(library()) == ""


@pytest.mark.parametrize("server", ["localhost:/iso", "127.0.0.1:/iso", "[::1]:/iso"])
def test_a_host_that_mounts_from_itself_shares_nothing(server: str) -> None:
    """localhost:/iso is another server on every host, even where the files look alike."""
    mount = Mount(path="/iso", source=server, fstype="nfs4", options=("ro",))
    assert why(relabelled(library(), mount)) != ""


@pytest.mark.parametrize(
    ("fstype", "uuid", "is_proved"),
    [("gfs2", "9f4b", True), ("ocfs2", "9f4b", True), ("gfs2", None, False), ("ext4", "9f4b", False)],
)
def test_an_equal_uuid_proves_a_cluster_file_system_and_no_other(
    fstype: str, uuid: str | None, is_proved: bool
) -> None:
    """ext4 and xfs with equal UUIDs are cloned disks."""
    mount = Mount(path="/iso", source="/dev/mapper/iso", fstype=fstype, uuid=uuid, options=("ro",))
    assert (why(relabelled(library(), mount)) == "") is is_proved


def test_a_disk_that_the_guest_writes_needs_a_marker() -> None:
    """The identity of its file system is enough for what nobody writes only."""
    case = library()
    path = "/iso/rescue.iso"
    assert is_shared(case, path, path, is_read_only=True)
    assert not is_shared(case, path, path)


def relabelled(case: Case, mount: Mount) -> Case:
    """The same move between hosts that have this mount instead."""
    system: dict[str, Any] = {"system": SystemFacts(mounts=(mount,))}
    return make(case.vm, pair=case.pair, source=system, dest=system)


def test_a_volume_lies_where_each_hosts_pool_puts_it() -> None:
    case = make(
        xml_vm(volume_disk()),
        source={"pools": (Pool(name="images", kind="dir", target=IMAGES),)},
        dest={"pools": (Pool(name="images", kind="dir", target="/mnt/images/"),)},
    )
    (place,) = places(case)
    assert (place.path, place.dest_path) == (f"{IMAGES}/vm1.qcow2", "/mnt/images/vm1.qcow2")


def test_disks_without_a_path_have_no_place() -> None:
    vm = build_vm(disks=(build_disk(kind="network", source="rbd://p/a"), build_disk(kind="volume", source="p/v")))
    assert places(make(vm)) == ()


def test_everything_that_a_move_depends_on_is_looked_for_once() -> None:
    vm = xml_vm(volume_disk()).model_copy(update={"emulator": "/usr/bin/qemu", "nvram": "/nv/vm1.fd"})
    facts = build_facts(pools=(Pool(name="images", kind="dir", target=IMAGES),))
    assert files_to_stat(vm, facts) == (
        "/nv/vm1.fd",
        f"{IMAGES}/vm1.qcow2",
        "/var/lib/libvirt/qemu/save/vm1.save",
        "/usr/bin/qemu",
    )


def test_a_shared_device_under_a_files_name_is_not_copied() -> None:
    path = f"{LOCAL}/lun"
    there = {path: file_facts(path, is_block=True, device_id=WWN)}
    vm = build_off_vm(disks=(build_disk(path),))
    assert copies(make(vm, pair=build_pair(SOURCE, DEST, source_files=there, dest_files=there))) == ()
    assert [c.is_block for c in copies(make(vm, pair=build_pair(SOURCE, DEST, source_files=there)))] == [True]
