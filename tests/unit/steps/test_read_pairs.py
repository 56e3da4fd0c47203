"""Reading pairs: a few commands per host, markers that go again, and a lost host that spoils only its own pairs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated import LOCAL, SHARED, Blow, Fault, SimulatedFleet, host_entry
from vmferry.errors import NotFound, PermanentError
from vmferry.model.facts import FileFacts
from vmferry.model.host import FleetSnapshot, Inventory, PairFacts, Storage
from vmferry.model.migration import DomainChanges
from vmferry.model.vm import DomainState, Vm
from vmferry.ports import HostTools, World
from vmferry.rules.case import apply_changes
from vmferry.steps.read import read_all_pairs, read_fleet, read_pairs

NAMES = ("a", "b", "c", "d")
MARKING = ("make_markers", "remove_markers")


@pytest.fixture
def fleet() -> SimulatedFleet:
    made = SimulatedFleet.of(*NAMES)
    for name in NAMES:
        made.add_vm(name, f"web-{name}", disks=[f"{SHARED}/web-{name}.qcow2"])
        made.add_vm(name, f"db-{name}", disks=[f"{LOCAL}/db-{name}.qcow2"], state=DomainState.SHUTOFF)
    return made


@pytest.fixture
def world(fleet: SimulatedFleet, tmp_path: Path) -> Iterator[World]:
    yield fleet.world(journal=SqlJournal(f"sqlite:///{tmp_path}/journal.db"))


@pytest.fixture
def snapshot(world: World) -> FleetSnapshot:
    return read_fleet(world)


def vms_of_a(snapshot: FleetSnapshot) -> tuple[Vm, ...]:
    facts = snapshot.facts("a")
    assert facts is not None
    return facts.vms


def read_from_a(world: World, snapshot: FleetSnapshot, *dests: str) -> tuple[PairFacts, ...]:
    return read_pairs(world, snapshot, "a", dests, vms_of_a(snapshot))


def asked(fleet: SimulatedFleet, since: int) -> Counter[tuple[str, str]]:
    """Count what was asked of each host."""
    return Counter((o.host, o.op) for o in fleet.log[since:])


def markers_left(fleet: SimulatedFleet) -> list[str]:
    return [p for host in fleet.hosts.values() for space in host.mounts.values() for p in space.files if "marker" in p]


def is_usable(pair: PairFacts) -> bool:
    return pair.ping.is_ok and pair.libvirt.is_ok


# how many commands


def test_all_pairs_of_a_fleet_take_five_commands_per_host(
    fleet: SimulatedFleet, world: World, snapshot: FleetSnapshot
) -> None:
    since = len(fleet.log)
    pairs = read_all_pairs(world, snapshot).pairs
    assert [(pair.source, pair.dest) for pair in pairs] == [(s, d) for s in NAMES for d in NAMES if s != d]
    ops = ("probe_peers", "make_markers", "stat_files", "remove_markers", "compare_cpus")
    assert asked(fleet, since) == {(host, op): 1 for host in NAMES for op in ops}


def test_one_source_asks_its_destinations_only_for_files_and_cpus(
    fleet: SimulatedFleet, world: World, snapshot: FleetSnapshot
) -> None:
    since = len(fleet.log)
    pairs = read_from_a(world, snapshot, "c", "b")
    assert [pair.dest for pair in pairs] == ["c", "b"]
    counted = asked(fleet, since)
    assert counted["a", "probe_peers"] == counted["a", "stat_files"] == counted["b", "stat_files"] == 1
    assert {op for host, op in counted if host == "b"} <= {"stat_files", "compare_cpus"}
    assert "d" not in {host for host, _ in counted}


def test_no_destination_is_no_question(fleet: SimulatedFleet, world: World, snapshot: FleetSnapshot) -> None:
    since = len(fleet.log)
    assert read_from_a(world, snapshot) == ()
    assert asked(fleet, since) == {}


def test_pairs_are_read_without_vms_for_the_inventory(world: World, snapshot: FleetSnapshot) -> None:
    pairs = read_all_pairs(world, snapshot, vms={}).pairs
    assert all(pair.same_storage == (SHARED,) and not pair.source_files for pair in pairs)


def test_sources_that_probe_at_once_begin_with_different_destinations(
    fleet: SimulatedFleet, world: World, snapshot: FleetSnapshot
) -> None:
    read_all_pairs(world, snapshot)
    probes = {o.host: o.subject.split(",") for o in fleet.log if o.op == "probe_peers"}
    assert probes == {"a": ["b", "c", "d"], "b": ["c", "d", "a"], "c": ["d", "a", "b"], "d": ["a", "b", "c"]}


# what is found


def test_shared_directories_are_proved_and_local_ones_are_not(world: World, snapshot: FleetSnapshot) -> None:
    for pair in read_all_pairs(world, snapshot).pairs:
        assert pair.is_same_storage(f"{SHARED}/web-{pair.source}.qcow2")
        assert not pair.is_same_storage(f"{LOCAL}/db-{pair.source}.qcow2")


def test_files_of_both_hosts_are_told_apart(fleet: SimulatedFleet, world: World, snapshot: FleetSnapshot) -> None:
    fleet.add_file("b", f"{LOCAL}/db-a.qcow2", size_bytes=7)
    to_b, to_c = read_from_a(world, snapshot, "b", "c")
    image = f"{LOCAL}/db-a.qcow2"
    assert to_b.dest_files[image].size_bytes == 7 != to_b.source_files[image].size_bytes
    assert image not in to_c.dest_files
    assert to_c.source_files == to_b.source_files


def test_a_mount_that_is_missing_on_one_destination_is_found(
    fleet: SimulatedFleet, world: World, snapshot: FleetSnapshot
) -> None:
    fleet.mount("b", SHARED)
    to_b, to_c = read_from_a(world, snapshot, "b", "c")
    assert (to_b.same_storage, to_c.same_storage) == ((), (SHARED,))


def test_a_directory_counts_only_when_it_is_the_same_at_every_place_that_is_meant(
    fleet: SimulatedFleet, world: World, snapshot: FleetSnapshot
) -> None:
    """A marker seen under another path says nothing of the same path: a different file may lie behind it."""
    vm = next(vm for vm in vms_of_a(snapshot) if vm.name == "web-a")
    fleet.mount("b", "/mnt/bay", fleet.hosts["a"].mounts[SHARED])
    fleet.mount("b", SHARED)
    moved = apply_changes(vm, DomainChanges(disk_sources={disk.target: "/mnt/bay/web-a.qcow2" for disk in vm.disks}))
    (pair,) = read_pairs(world, snapshot, "a", ["b"], [vm], moved)
    assert "/mnt/bay/web-a.qcow2" in pair.dest_files
    assert pair.same_storage == ()


# markers go again


@pytest.mark.parametrize("blow", [Blow.TRANSIENT, Blow.LOST_ANSWER, Blow.PERMANENT])
@pytest.mark.parametrize("op", ["make_markers", "stat_files", "probe_peers"])
def test_markers_are_removed_whatever_happens(
    fleet: SimulatedFleet, world: World, snapshot: FleetSnapshot, op: str, blow: Blow
) -> None:
    fleet.inject(Fault(does=blow, host="a", op=op))
    pairs = read_all_pairs(world, snapshot).pairs
    assert markers_left(fleet) == []
    assert all(is_usable(pair) for pair in pairs if "a" not in (pair.source, pair.dest))


def test_a_marker_that_cannot_be_removed_spoils_no_answer(
    fleet: SimulatedFleet, world: World, snapshot: FleetSnapshot, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.inject(Fault(does=Blow.PERMANENT, host="a", op="remove_markers"))
    assert all(is_usable(pair) for pair in read_all_pairs(world, snapshot).pairs)
    assert "may be left behind on a" in caplog.text
    assert len(markers_left(fleet)) > 0


def test_an_error_of_our_own_waits_for_the_markers_under_way_and_removes_them(
    fleet: SimulatedFleet, world: World, snapshot: FleetSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()
    tools = world.tools

    class Late:
        """Tools of which a's break, and the others make their markers only after that."""

        def __init__(self, host: str) -> None:
            self.host = host
            self._tools = tools(host)

        def make_markers(self, directories: Sequence[str], name: str) -> tuple[str, ...]:
            if self.host == "a":
                failed.set()
                raise ZeroDivisionError
            failed.wait(10)
            return self._tools.make_markers(directories, name)

        def __getattr__(self, name: str) -> object:
            return getattr(self._tools, name)

    monkeypatch.setattr(world, "tools", Late)
    with pytest.raises(ZeroDivisionError):
        read_all_pairs(world, snapshot)
    assert "make_markers" in {o.op for o in fleet.log}
    assert markers_left(fleet) == []


# image locks


@pytest.fixture
def locking() -> SimulatedFleet:
    """Two hosts that declare locks on the shared group, and no locks on another one."""
    storage = (Storage(path=SHARED, shared="lab-shared", locks=True), Storage(path="/srv/b", shared="b"))
    made = SimulatedFleet(Inventory(hosts=tuple(host_entry(name, storage=storage) for name in ("a", "b"))))
    made.add_vm("a", "web", disks=[f"{SHARED}/web.qcow2", "/srv/b/data.qcow2"])
    return made


def read_locking(fleet: SimulatedFleet, tmp_path: Path) -> PairFacts:
    world = fleet.world(journal=SqlJournal(f"sqlite:///{tmp_path}/locks.db"))
    snapshot = read_fleet(world)
    (pair,) = read_pairs(world, snapshot, "a", ["b"], snapshot.hosts[0].vms)
    return pair


def test_locks_are_proved_where_the_inventory_says_so_and_running_vms_write(
    locking: SimulatedFleet, tmp_path: Path
) -> None:
    pair = read_locking(locking, tmp_path)
    assert set(pair.same_storage) == {SHARED, "/srv/b"}
    assert pair.locked_storage == (SHARED,)
    assert {(o.host, o.op) for o in locking.log if "lock" in o.op} == {
        ("a", "hold_image_locks"),
        ("b", "find_image_locks"),
    }
    assert markers_left(locking) == []


def test_locks_that_end_at_the_host_are_not_proved(locking: SimulatedFleet, tmp_path: Path) -> None:
    locking.hosts["a"].locate(f"{SHARED}/web.qcow2")[0].has_locks = False
    pair = read_locking(locking, tmp_path)
    assert SHARED in pair.same_storage and pair.locked_storage == ()


@pytest.mark.parametrize("op", ["hold_image_locks", "find_image_locks"])
def test_locks_that_could_not_be_asked_for_are_not_proved_and_spoil_nothing(
    locking: SimulatedFleet, tmp_path: Path, op: str
) -> None:
    locking.inject(Fault(does=Blow.PERMANENT, op=op))
    pair = read_locking(locking, tmp_path)
    assert is_usable(pair) and SHARED in pair.same_storage and pair.locked_storage == ()
    assert markers_left(locking) == []


def test_no_lock_is_asked_for_where_no_running_vm_has_a_disk(locking: SimulatedFleet, tmp_path: Path) -> None:
    for domain in locking.hosts["a"].domains.values():
        domain.state = DomainState.SHUTOFF
    assert read_locking(locking, tmp_path).locked_storage == ()
    assert not [o for o in locking.log if "lock" in o.op]


# lost hosts


def test_a_destination_that_is_lost_meanwhile_spoils_only_its_own_pair(
    fleet: SimulatedFleet, world: World, snapshot: FleetSnapshot
) -> None:
    fleet.cut_power("b")
    lost, good = read_from_a(world, snapshot, "b", "c")
    assert (lost.dest, lost.ping.is_ok, lost.libvirt.is_ok, lost.same_storage) == ("b", False, False, ())
    assert "b" in lost.ping.detail
    assert (good.dest, is_usable(good), good.same_storage) == ("c", True, (SHARED,))


def test_a_host_that_is_lost_is_lost_as_source_and_as_destination(
    fleet: SimulatedFleet, world: World, snapshot: FleetSnapshot
) -> None:
    fleet.cut_power("b")
    pairs = read_all_pairs(world, snapshot).pairs
    assert {(p.source, p.dest) for p in pairs if not is_usable(p)} == {
        (s, d) for s in NAMES for d in NAMES if s != d and "b" in (s, d)
    }
    assert markers_left(fleet) == []


def test_a_source_whose_probe_fails_can_still_be_a_destination(
    fleet: SimulatedFleet, world: World, snapshot: FleetSnapshot
) -> None:
    fleet.inject(Fault(does=Blow.TRANSIENT, host="a", op="probe_peers"))
    pairs = read_all_pairs(world, snapshot).pairs
    assert {pair.source for pair in pairs if not is_usable(pair)} == {"a"}


def test_cpus_that_were_not_compared_are_unknown_and_no_more(
    fleet: SimulatedFleet, world: World, snapshot: FleetSnapshot
) -> None:
    fleet.inject(Fault(does=Blow.TRANSIENT, host="b", op="compare_cpus"))
    to_b, _ = read_from_a(world, snapshot, "b", "c")
    assert is_usable(to_b)
    assert to_b.cpus == {}


def test_a_host_that_was_not_read_has_no_usable_pair_and_is_not_asked(fleet: SimulatedFleet, world: World) -> None:
    fleet.cut_power("b")
    snapshot = read_fleet(world)
    fleet.power_on("b")
    since = len(fleet.log)
    lost, good = read_from_a(world, snapshot, "b", "c")
    assert (lost.ping.detail, is_usable(good)) == ("b was not read", True)
    assert "b" not in {host for host, _ in asked(fleet, since)}
    (also,) = read_pairs(world, snapshot, "b", ["c"], ())
    assert also.libvirt.detail == "b was not read"


def test_a_host_that_nobody_knows_is_an_error(world: World, snapshot: FleetSnapshot) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        read_from_a(world, snapshot, "nowhere")


# a path that cannot be looked at


def test_a_path_that_cannot_be_looked_at_spoils_no_other_and_is_not_called_free(
    fleet: SimulatedFleet, world: World, snapshot: FleetSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop of links: on the source there is no such file, on the destination there may be one."""
    bad = f"{LOCAL}/db-a.qcow2"
    stat_files = type(world.tools("a")).stat_files

    def stat(self: HostTools, paths: Sequence[str]) -> dict[str, FileFacts]:
        if bad in paths:
            raise PermanentError(f"stat: {bad}: Too many levels of symbolic links", host=self.host)
        return stat_files(self, paths)  # type: ignore[arg-type]

    monkeypatch.setattr(type(world.tools("a")), "stat_files", stat)
    (pair,) = read_from_a(world, snapshot, "b")
    assert is_usable(pair)
    assert bad not in pair.source_files
    assert pair.dest_files[bad] == FileFacts(path=bad, size_bytes=0, allocated_bytes=0)
    assert f"{SHARED}/web-a.qcow2" in pair.source_files
    assert pair.same_storage == (SHARED,)
