"""Contract of HostTools."""

from __future__ import annotations

import pytest

from tests.contract.contract_fleet import DEST, LOCAL, SHARED, SOURCE, FleetUnderTest
from vmferry.errors import CopyFailed, PermanentError
from vmferry.model.host import Host
from vmferry.model.vm import DomainState

ONE, TWO = f"{LOCAL}/contract one.raw", f"{LOCAL}/contract two.raw"
STAGING = f"{LOCAL}/.vmferry-contract/contract one.raw"


def dest_entry(fleet: FleetUnderTest) -> Host:
    """Return the destination's inventory entry."""
    entry = fleet.world.inventory.find(DEST)
    assert entry is not None
    return entry


def test_existing_files_are_told_and_missing_ones_left_out(fleet: FleetUnderTest) -> None:
    fleet.write_file(SOURCE, ONE, b"one")
    facts = fleet.world.tools(SOURCE).stat_files([ONE, TWO])
    assert list(facts) == [ONE]
    assert (facts[ONE].path, facts[ONE].size_bytes, facts[ONE].is_block) == (ONE, 3, False)
    assert fleet.world.tools(SOURCE).stat_files([]) == {}


def test_a_checksum_depends_on_the_content_only(fleet: FleetUnderTest) -> None:
    for host, path, content in ((SOURCE, ONE, b"same"), (DEST, TWO, b"same"), (SOURCE, TWO, b"other")):
        fleet.write_file(host, path, content)
    source, dest = fleet.world.tools(SOURCE), fleet.world.tools(DEST)
    assert source.checksum(ONE) == dest.checksum(TWO) != source.checksum(TWO)


def test_there_is_no_checksum_of_a_missing_file(fleet: FleetUnderTest) -> None:
    with pytest.raises(PermanentError):
        fleet.world.tools(SOURCE).checksum(ONE)


def test_a_marker_is_seen_where_storage_is_shared_and_not_where_it_is_local(fleet: FleetUnderTest) -> None:
    source, dest = fleet.world.tools(SOURCE), fleet.world.tools(DEST)
    for directory in (SHARED, LOCAL):
        assert source.make_marker(directory, "contract-marker") is True
    paths = [f"{directory}/contract-marker" for directory in (SHARED, LOCAL)]
    assert list(source.stat_files(paths)) == paths
    assert list(dest.stat_files(paths)) == [f"{SHARED}/contract-marker"]


def test_a_marker_needs_its_directory(fleet: FleetUnderTest) -> None:
    assert fleet.world.tools(SOURCE).make_marker(f"{SHARED}/contract-missing", "marker") is False


def test_free_space_is_told_of_directories_that_exist(fleet: FleetUnderTest) -> None:
    free = fleet.world.tools(SOURCE).free_bytes([SHARED, LOCAL, "/srv/contract-missing"])
    assert sorted(free) == sorted([SHARED, LOCAL])
    assert all(amount > 0 for amount in free.values())


def test_a_copy_has_the_same_content_and_leaves_the_source(fleet: FleetUnderTest) -> None:
    fleet.write_file(SOURCE, ONE, b"payload" * 1000)
    source, dest = fleet.world.tools(SOURCE), fleet.world.tools(DEST)
    for _ in range(2):  # a copy may be repeated
        source.copy_file(ONE, dest_entry(fleet), STAGING)
    assert dest.checksum(STAGING) == source.checksum(ONE)
    assert dest.stat_files([STAGING])[STAGING].size_bytes == 7000
    assert fleet.read_file(SOURCE, ONE) == b"payload" * 1000
    assert ONE not in dest.stat_files([ONE])


def test_a_missing_file_is_not_copied(fleet: FleetUnderTest) -> None:
    with pytest.raises(CopyFailed):
        fleet.world.tools(SOURCE).copy_file(ONE, dest_entry(fleet), STAGING)


def test_a_published_copy_keeps_its_inode_and_loses_its_staged_name(fleet: FleetUnderTest) -> None:
    fleet.write_file(SOURCE, ONE, b"payload")
    fleet.world.tools(SOURCE).copy_file(ONE, dest_entry(fleet), STAGING)
    dest = fleet.world.tools(DEST)
    staged = dest.stat_files([STAGING])[STAGING]
    dest.publish(STAGING, ONE)
    facts = dest.stat_files([STAGING, ONE])
    assert list(facts) == [ONE]
    assert facts[ONE].inode == staged.inode
    assert fleet.read_file(DEST, ONE) == b"payload"


def test_publishing_never_overwrites(fleet: FleetUnderTest) -> None:
    fleet.write_file(SOURCE, ONE, b"new")
    fleet.write_file(DEST, ONE, b"precious")
    fleet.world.tools(SOURCE).copy_file(ONE, dest_entry(fleet), STAGING)
    with pytest.raises(CopyFailed):
        fleet.world.tools(DEST).publish(STAGING, ONE)
    assert fleet.read_file(DEST, ONE) == b"precious"
    assert fleet.read_file(DEST, STAGING) == b"new"


def test_what_is_not_staged_is_not_published(fleet: FleetUnderTest) -> None:
    with pytest.raises(CopyFailed):
        fleet.world.tools(DEST).publish(STAGING, ONE)


def test_setting_aside_renames_once(fleet: FleetUnderTest) -> None:
    fleet.write_file(SOURCE, ONE, b"image")
    for _ in range(2):
        fleet.world.tools(SOURCE).set_aside(ONE, TWO)
    assert fleet.read_file(SOURCE, ONE) is None
    assert fleet.read_file(SOURCE, TWO) == b"image"


def test_setting_aside_never_overwrites(fleet: FleetUnderTest) -> None:
    fleet.write_file(SOURCE, ONE, b"image")
    fleet.write_file(SOURCE, TWO, b"precious")
    with pytest.raises(PermanentError):
        fleet.world.tools(SOURCE).set_aside(ONE, TWO)
    assert (fleet.read_file(SOURCE, ONE), fleet.read_file(SOURCE, TWO)) == (b"image", b"precious")


def test_a_missing_file_is_not_set_aside(fleet: FleetUnderTest) -> None:
    with pytest.raises(PermanentError):
        fleet.world.tools(SOURCE).set_aside(ONE, TWO)


def test_removing_twice_is_the_same_as_once(fleet: FleetUnderTest) -> None:
    fleet.write_file(SOURCE, ONE, b"image")
    for _ in range(2):
        fleet.world.tools(SOURCE).remove_file(ONE)
    assert fleet.read_file(SOURCE, ONE) is None


def test_hosts_reach_each_other_and_not_what_does_not_exist(fleet: FleetUnderTest) -> None:
    source, entry = fleet.world.tools(SOURCE), dest_entry(fleet)
    assert source.ping(entry.migration_address).is_ok
    assert source.reach_libvirt(entry.peer_uri).is_ok
    for missed in (source.ping("192.0.2.1"), source.reach_libvirt("qemu+ssh://root@contract.invalid/system")):
        assert not missed.is_ok
        assert missed.detail


def test_virsh_lists_what_is_defined_and_what_runs(fleet: FleetUnderTest) -> None:
    fleet.make_vm("contract-on")
    fleet.make_vm("contract-off", state=DomainState.SHUTOFF)
    listed = {line.name: line for line in fleet.world.tools(SOURCE).virsh_list()}
    assert {name: line.state for name, line in listed.items()} == {
        "contract-on": "running",
        "contract-off": "shut off",
    }
    assert listed["contract-on"].id is not None
    assert listed["contract-off"].id is None
