"""What an audit reads besides the fleet: VMs that seem to run twice once more, and stored files once per place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated import LOCAL, SHARED, Blow, Fault, SimulatedFleet
from vmferry.model.host import FleetSnapshot
from vmferry.model.vm import DomainState
from vmferry.planning.doubles import suspicious
from vmferry.ports import World
from vmferry.rules.case import Fleet
from vmferry.steps.read import read_all_pairs, read_fleet
from vmferry.steps.survey import list_stored, look_again


@pytest.fixture
def fleet() -> SimulatedFleet:
    made = SimulatedFleet.of("a", "b", "c")
    made.add_vm("a", "web", disks=[f"{SHARED}/web.qcow2"])
    return made


@pytest.fixture
def world(fleet: SimulatedFleet, tmp_path: Path) -> Iterator[World]:
    yield fleet.world(journal=SqlJournal(f"sqlite:///{tmp_path}/journal.db"))


def seen_on_both(world: World, fleet: SimulatedFleet) -> FleetSnapshot:
    """A snapshot read while the VM moved from b to a: b was read before its end, a after it."""
    snapshot = read_fleet(world)
    (web,) = snapshot.hosts[0].vms
    late = snapshot.hosts[1].model_copy(update={"vms": (web,)})
    return snapshot.model_copy(update={"hosts": (snapshot.hosts[0], late, snapshot.hosts[2])})


def test_a_vm_that_moved_while_the_fleet_was_read_runs_once(fleet: SimulatedFleet, world: World) -> None:
    snapshot = seen_on_both(world, fleet)
    assert suspicious(Fleet(snapshot))
    again = look_again(world, snapshot)
    assert suspicious(Fleet(again)) == {}
    assert [len(facts.vms) for facts in again.hosts] == [1, 0, 0]


def test_a_vm_that_is_shut_off_by_now_is_kept_as_it_is_now(fleet: SimulatedFleet, world: World) -> None:
    snapshot = seen_on_both(world, fleet)
    fleet.add_vm("b", "web", disks=[f"{SHARED}/web.qcow2"], state=DomainState.SHUTOFF, reason="migrated")
    (vm,) = look_again(world, snapshot).hosts[1].vms
    assert (vm.state, vm.state_reason) == (DomainState.SHUTOFF, "migrated")


def test_two_running_copies_are_still_two_when_looked_at_again(fleet: SimulatedFleet, world: World) -> None:
    fleet.add_vm("b", "web", disks=[f"{SHARED}/web.qcow2"])
    assert len(suspicious(Fleet(look_again(world, read_fleet(world))))) == 1


def test_a_host_that_does_not_answer_any_more_keeps_the_alarm(fleet: SimulatedFleet, world: World) -> None:
    snapshot = seen_on_both(world, fleet)
    fleet.cut_power("b")
    assert len(suspicious(Fleet(look_again(world, snapshot)))) == 1


def test_nobody_is_asked_again_when_no_vm_runs_twice(fleet: SimulatedFleet, world: World) -> None:
    snapshot = read_fleet(world)
    assert look_again(world, snapshot) is snapshot
    assert [o.op for o in fleet.log if o.op == "look"] == []


def test_a_shared_group_is_listed_once_and_every_host_its_own(fleet: SimulatedFleet, world: World) -> None:
    fleet.add_vm("b", "own", disks=[f"{LOCAL}/own.qcow2"])
    listings = list_stored(world, read_fleet(world))
    found = [(f"{x.host}", file.path) for x in listings for file in x.files]
    assert sorted(found) == [("a", f"{SHARED}/web.qcow2"), ("b", f"{LOCAL}/own.qcow2")]


def test_a_group_is_listed_where_it_was_proved(fleet: SimulatedFleet, world: World) -> None:
    fleet.mount("a", SHARED)  # not the others' file system
    snapshot = read_all_pairs(world, read_fleet(world))
    assert [x.host for x in list_stored(world, snapshot) if x.directories == (SHARED,)] == ["b"]


def test_another_host_lists_a_group_when_the_first_cannot(fleet: SimulatedFleet, world: World) -> None:
    snapshot = read_fleet(world)
    fleet.cut_power("a")
    shared = next(x for x in list_stored(world, snapshot) if x.directories == (SHARED,))
    assert (shared.host, shared.problem) == ("b", "")
    assert [file.path for file in shared.files] == [f"{SHARED}/web.qcow2"]


def test_what_nobody_can_list_is_told(fleet: SimulatedFleet, world: World) -> None:
    snapshot = read_fleet(world)
    fleet.inject(Fault(does=Blow.TRANSIENT, host="c", op="list_files"))
    (listing,) = (x for x in list_stored(world, snapshot) if x.problem)
    assert (listing.host, listing.files) == ("c", ())
    assert LOCAL in listing.problem
