"""Contract of HostTools."""

from __future__ import annotations

import pytest

from tests.contract.contract_fleet import DEST, LOCAL, SHARED, SOURCE, FleetUnderTest, entry_of
from vmferry.errors import CopyFailed, PermanentError
from vmferry.model.vm import DomainState

ONE, TWO = f"{LOCAL}/contract one.raw", f"{LOCAL}/contract two.raw"
MARKER = ".vmferry-marker-contract"
STAGING = f"{LOCAL}/.vmferry-contract/contract one.raw"


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


def test_a_file_has_a_time_and_no_identity_of_a_device(fleet: FleetUnderTest) -> None:
    fleet.write_file(SOURCE, ONE, b"one")
    facts = fleet.world.tools(SOURCE).stat_files([ONE])[ONE]
    assert abs(facts.mtime_ns / 10**9 - fleet.world.clock.now().timestamp()) < 60
    assert facts.device_id == ""


def test_one_file_on_shared_storage_is_the_same_to_both_hosts(fleet: FleetUnderTest) -> None:
    path = f"{SHARED}/contract one.raw"
    fleet.write_file(SOURCE, path, b"one")
    source, dest = (fleet.world.tools(host).stat_files([path]) for host in (SOURCE, DEST))
    assert source == dest
    assert path in source


def test_markers_are_seen_where_storage_is_shared_and_not_where_it_is_local(fleet: FleetUnderTest) -> None:
    source, dest = fleet.world.tools(SOURCE), fleet.world.tools(DEST)
    assert source.make_markers([SHARED, LOCAL], MARKER) == (SHARED, LOCAL)
    paths = [f"{directory}/{MARKER}" for directory in (SHARED, LOCAL)]
    assert list(source.stat_files(paths)) == paths
    assert list(dest.stat_files(paths)) == [f"{SHARED}/{MARKER}"]
    for _ in range(2):
        source.remove_markers([SHARED, LOCAL], MARKER)
    assert source.stat_files(paths) == {}


def test_markers_are_made_in_the_directories_that_exist_and_no_directory_is_made(fleet: FleetUnderTest) -> None:
    tools, missing = fleet.world.tools(SOURCE), f"{SHARED}/contract-missing"
    assert tools.make_markers([missing, LOCAL], MARKER) == (LOCAL,)
    tools.remove_markers([missing, LOCAL], MARKER)
    assert tools.free_bytes([missing]) == {}
    assert tools.make_markers([missing], MARKER) == ()
    assert tools.make_markers([], MARKER) == ()


def test_markers_that_were_never_made_are_removed_without_a_word(fleet: FleetUnderTest) -> None:
    fleet.write_file(SOURCE, ONE, b"precious")
    fleet.world.tools(SOURCE).remove_markers([SHARED, f"{LOCAL}/contract-missing"], MARKER)
    assert fleet.read_file(SOURCE, ONE) == b"precious"


def test_files_that_are_no_overlays_have_no_backing_file(fleet: FleetUnderTest) -> None:
    fleet.write_file(SOURCE, ONE, b"one")
    assert fleet.world.tools(SOURCE).backing_files([ONE, TWO]) == {}


def test_files_are_listed_below_directories_by_path_with_size_and_time(fleet: FleetUnderTest) -> None:
    below = f"{LOCAL}/contract dir/deep/three.raw"
    for path, content in ((TWO, b"two"), (below, b"three"), (ONE, b"one")):
        fleet.write_file(SOURCE, path, content)
    listed = [f for f in fleet.world.tools(SOURCE).list_files([LOCAL]) if f.path.startswith(f"{LOCAL}/contract")]
    assert [(f.path, f.size_bytes) for f in listed] == [(below, 5), (ONE, 3), (TWO, 3)]
    now = fleet.world.clock.now().timestamp()
    assert all(abs(f.modified_at_s - now) < 60 for f in listed)
    assert all(f.allocated_bytes > 0 for f in listed)


def test_every_file_is_listed_once_and_markers_not_at_all(fleet: FleetUnderTest) -> None:
    tools = fleet.world.tools(SOURCE)
    fleet.write_file(SOURCE, f"{LOCAL}/contract dir/one.raw", b"one")
    tools.make_markers([f"{LOCAL}/contract dir"], MARKER)
    listed = tools.list_files([f"{LOCAL}/contract dir", f"{LOCAL}/contract-missing", LOCAL])
    assert [f.path for f in listed if "contract" in f.path] == [f"{LOCAL}/contract dir/one.raw"]
    assert tools.list_files([f"{LOCAL}/contract-missing"]) == ()
    assert tools.list_files([]) == ()


def test_free_space_is_told_of_directories_that_exist(fleet: FleetUnderTest) -> None:
    free = fleet.world.tools(SOURCE).free_bytes([SHARED, LOCAL, "/srv/contract-missing"])
    assert sorted(free) == sorted([SHARED, LOCAL])
    assert all(amount > 0 for amount in free.values())


def test_a_copy_has_the_same_content_and_leaves_the_source(fleet: FleetUnderTest) -> None:
    fleet.write_file(SOURCE, ONE, b"payload" * 1000)
    source, dest = fleet.world.tools(SOURCE), fleet.world.tools(DEST)
    for _ in range(2):  # a copy may be repeated
        source.copy_file(ONE, entry_of(fleet, DEST), STAGING)
    assert dest.checksum(STAGING) == source.checksum(ONE)
    assert dest.stat_files([STAGING])[STAGING].size_bytes == 7000
    assert fleet.read_file(SOURCE, ONE) == b"payload" * 1000
    assert ONE not in dest.stat_files([ONE])


def test_a_missing_file_is_not_copied(fleet: FleetUnderTest) -> None:
    with pytest.raises(CopyFailed):
        fleet.world.tools(SOURCE).copy_file(ONE, entry_of(fleet, DEST), STAGING)


def test_a_published_copy_keeps_its_inode_and_loses_its_staged_name(fleet: FleetUnderTest) -> None:
    fleet.write_file(SOURCE, ONE, b"payload")
    fleet.world.tools(SOURCE).copy_file(ONE, entry_of(fleet, DEST), STAGING)
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
    fleet.world.tools(SOURCE).copy_file(ONE, entry_of(fleet, DEST), STAGING)
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
