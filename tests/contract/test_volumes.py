"""Contract of the volumes of a pool; the pool is a directory, as no device mapper is needed for it."""

from __future__ import annotations

import pytest

from tests.contract.contract_fleet import DEST, LOCAL, FleetUnderTest
from vmferry.errors import CopyFailed, PermanentError

POOL, TARGET, NAME = "contract", f"{LOCAL}/contract-pool", "vm one.raw"
SIZE = 8 << 20


def test_a_volume_is_made_empty_once_and_removed(fleet: FleetUnderTest) -> None:
    fleet.make_pool(DEST, POOL, TARGET)
    libvirt, tools = fleet.world.hypervisor(DEST), fleet.world.tools(DEST)
    path = libvirt.create_volume(POOL, NAME, size_bytes=SIZE, format="raw")
    assert path == f"{TARGET}/{NAME}"
    facts = tools.stat_files([path])[path]
    assert (facts.size_bytes, facts.is_block) == (SIZE, False)
    with pytest.raises(CopyFailed, match=NAME):
        libvirt.create_volume(POOL, NAME, size_bytes=SIZE, format="raw")
    assert tools.stat_files([path])[path] == facts
    libvirt.refresh_pool(POOL)
    for _ in range(2):
        libvirt.delete_volume(POOL, NAME)
    assert tools.stat_files([path]) == {}


def test_a_pool_that_is_not_there_is_told(fleet: FleetUnderTest) -> None:
    libvirt = fleet.world.hypervisor(DEST)
    with pytest.raises(CopyFailed, match="no-such-pool"):
        libvirt.create_volume("no-such-pool", NAME, size_bytes=SIZE, format="raw")
    with pytest.raises(PermanentError, match="no-such-pool"):
        libvirt.refresh_pool("no-such-pool")
    libvirt.delete_volume("no-such-pool", NAME)
