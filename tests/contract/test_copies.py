"""Contract of copies from host to host."""

from __future__ import annotations

import pytest

from tests.contract.contract_fleet import DEST, LOCAL, SOURCE, FleetUnderTest, entry_of
from vmferry.errors import CopyFailed
from vmferry.model.disks import CopyMethod, CopyOptions, CopyStats

IMAGE = f"{LOCAL}/contract one.raw"
STAGING = f"{LOCAL}/.vmferry-contract/contract one.raw"


def test_a_copy_is_equal_tells_its_progress_and_why_it_went_that_way(fleet: FleetUnderTest) -> None:
    fleet.write_file(SOURCE, IMAGE, b"payload" * 10_000)
    seen: list[CopyStats] = []
    done = fleet.world.tools(SOURCE).copy_file(IMAGE, entry_of(fleet, DEST), STAGING, CopyOptions(), seen.append)
    assert fleet.read_file(DEST, STAGING) == fleet.read_file(SOURCE, IMAGE)
    assert done.method is CopyMethod.EXTENTS
    assert done.reason
    assert done.streams >= 1
    assert all(one.path == IMAGE and 0 <= one.done_bytes <= one.total_bytes for one in seen)


def test_what_an_earlier_attempt_brought_is_not_sent_again(fleet: FleetUnderTest) -> None:
    fleet.write_file(SOURCE, IMAGE, b"payload" * 10_000)
    source, dest = fleet.world.tools(SOURCE), entry_of(fleet, DEST)
    first = source.copy_file(IMAGE, dest, STAGING)
    again = source.copy_file(IMAGE, dest, STAGING)
    assert (first.resumed_bytes, again.sent_bytes) == (0, 0)
    assert again.resumed_bytes > 0


def test_other_remains_at_the_staged_name_are_replaced(fleet: FleetUnderTest) -> None:
    source, dest = fleet.world.tools(SOURCE), entry_of(fleet, DEST)
    fleet.write_file(SOURCE, IMAGE, b"longer than the second one" * 1000)
    source.copy_file(IMAGE, dest, STAGING)
    fleet.write_file(SOURCE, IMAGE, b"second")
    source.copy_file(IMAGE, dest, STAGING)
    assert fleet.read_file(DEST, STAGING) == b"second"


@pytest.mark.parametrize("method", [CopyMethod.TAR, CopyMethod.SCP, CopyMethod.RELAY])
def test_a_method_that_is_asked_for_is_used(fleet: FleetUnderTest, method: CopyMethod) -> None:
    fleet.write_file(SOURCE, IMAGE, b"payload" * 1000)
    done = fleet.world.tools(SOURCE).copy_file(IMAGE, entry_of(fleet, DEST), STAGING, CopyOptions(method=method))
    assert done.method is method
    assert fleet.read_file(DEST, STAGING) == b"payload" * 1000


def test_a_missing_file_leaves_nothing_at_the_destination(fleet: FleetUnderTest) -> None:
    with pytest.raises(CopyFailed):
        fleet.world.tools(SOURCE).copy_file(IMAGE, entry_of(fleet, DEST), STAGING)
    assert fleet.world.tools(DEST).stat_files([STAGING]) == {}


def test_a_link_has_a_speed(fleet: FleetUnderTest) -> None:
    assert fleet.world.tools(SOURCE).measure_link(entry_of(fleet, DEST), 0.3) > 0
