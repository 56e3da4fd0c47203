"""Reading the fleet: each host once, and one lost host hides no other."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.builders import build_facts
from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated import LOCAL, SHARED, Blow, Fault, SimulatedFleet
from vmferry.model.facts import Pool, SystemFacts
from vmferry.model.host import HostFacts
from vmferry.model.vm import Disk, DiskKind, Vm
from vmferry.ports import World
from vmferry.steps.read import read_fleet


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


@pytest.mark.parametrize("op", ["read_host", "read_system", "free_bytes"])
def test_a_host_that_is_read_in_part_only_is_not_used(fleet: SimulatedFleet, world: World, op: str) -> None:
    fleet.inject(Fault(does=Blow.TRANSIENT, host="b", op=op))
    snapshot = read_fleet(world)
    assert [facts.name for facts in snapshot.hosts] == ["a", "c"]
    assert op in snapshot.unreachable[0].reason


def test_each_host_is_asked_once(fleet: SimulatedFleet, world: World) -> None:
    read_fleet(world)
    asked = Counter((o.host, o.op) for o in fleet.log if o.host)
    assert asked == {(host, op): 1 for host in "abc" for op in ("read_host", "read_system", "free_bytes")}


def test_bridges_are_those_of_the_system_linux_and_open_vswitch(fleet: SimulatedFleet, world: World) -> None:
    fleet.set_link("a", "ovs0", kind="openvswitch")
    fleet.set_link("a", "br9", kind="bridge")
    fleet.set_link("a", "eth9", kind="")
    (facts,) = read_fleet(world, ["a"]).hosts
    assert facts.system == fleet.tools("a").read_system()
    assert facts.bridges == tuple(sorted(k.name for k in facts.system.links if k.kind in ("bridge", "openvswitch")))
    assert {"ovs0", "br9"} <= set(facts.bridges)
    assert "eth9" not in facts.bridges


class SlowHost:
    """A host whose libvirt and whose system are only told when both are asked at the same time."""

    host = "a"

    def __init__(self, facts: HostFacts) -> None:
        self.facts = facts
        self.both = threading.Barrier(2, timeout=10)
        self.asked: list[str] = []

    def read_host(self) -> HostFacts:
        self.both.wait()
        return self.facts

    def read_system(self) -> SystemFacts:
        self.both.wait()
        return SystemFacts()

    def free_bytes(self, paths: list[str]) -> dict[str, int]:
        self.asked += paths
        return {}


def test_libvirt_and_the_system_of_a_host_are_read_at_the_same_time_and_then_the_space(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(target="vda", kind=DiskKind.VOLUME, pool="p", source="p/web.raw")
    vm = Vm(name="v", uuid="00000000-0000-0000-0000-000000000001", domain_type="kvm", disks=(disk,))  # type: ignore[arg-type]
    host = SlowHost(build_facts("a", [vm], pools=(Pool(name="p", kind="dir", target="/srv/pool"),)))
    monkeypatch.setattr(world, "tools", lambda name: host)
    monkeypatch.setattr(world, "hypervisor", lambda name: host)
    assert [facts.name for facts in read_fleet(world, ["a"]).hosts] == ["a"]
    assert {SHARED, LOCAL, "/srv/pool"} == set(host.asked)
