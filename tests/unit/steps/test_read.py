"""Reading the fleet: one lost host hides no other, and sharing is proved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated import LOCAL, SHARED, SimulatedFleet
from vmferry.ports import World
from vmferry.steps.read import read_fleet, read_pairs


@pytest.fixture
def fleet() -> SimulatedFleet:
    made = SimulatedFleet.of("a", "b", "c")
    made.add_vm("a", "web", disks=[f"{SHARED}/web.qcow2"])
    return made


@pytest.fixture
def world(fleet: SimulatedFleet, tmp_path: Path) -> Iterator[World]:
    yield fleet.world(journal=SqlJournal(f"sqlite:///{tmp_path}/journal.db"))


def test_a_silent_host_is_listed_and_hides_no_other(fleet: SimulatedFleet, world: World) -> None:
    fleet.cut_power("b")
    snapshot = read_fleet(world)
    assert [facts.name for facts in snapshot.hosts] == ["a", "c"]
    assert [lost.host for lost in snapshot.unreachable] == ["b"]


def test_a_destination_that_is_lost_meanwhile_spoils_only_its_own_pair(fleet: SimulatedFleet, world: World) -> None:
    vms = read_fleet(world).hosts[0].vms
    fleet.cut_power("b")
    lost, good = read_pairs(world, "a", ["b", "c"], vms)
    assert (lost.dest, lost.ping.is_ok, lost.libvirt.is_ok, lost.same_storage) == ("b", False, False, ())
    assert (good.dest, good.ping.is_ok, good.libvirt.is_ok) == ("c", True, True)


def test_shared_directories_are_proved_and_local_ones_are_not(fleet: SimulatedFleet, world: World) -> None:
    fleet.add_vm("a", "local", disks=[f"{LOCAL}/local.qcow2"])
    vms = read_fleet(world).hosts[0].vms
    (pair,) = read_pairs(world, "a", ["b"], vms)
    assert pair.is_same_storage(f"{SHARED}/web.qcow2")
    assert not pair.is_same_storage(f"{LOCAL}/local.qcow2")
    assert not fleet.problems()
