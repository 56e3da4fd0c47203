"""Every single fault at every touch point of the reading phase: a lost host hides no other, and nothing is left behind.

The matrix is enumerated from a reading without faults, so a new question is covered by itself. Nothing is sampled.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.unit.steps.voyage import counted, memory_journal
from vmferry.adapters.simulated import LOCAL, Blow, Fault, SimulatedCrash, SimulatedFleet
from vmferry.errors import UnsafeError
from vmferry.model.host import FleetSnapshot, PairFacts
from vmferry.model.vm import DomainState
from vmferry.steps.read import read_fleet
from vmferry.steps.read_pairs import read_all_pairs

CRASHES = (Blow.CRASH_BEFORE, Blow.CRASH_AFTER)
# A host that is gone keeps what was made on it; a marker whose removal failed is told in the log.
LOSSES = (Blow.POWER_CUT, Blow.ISOLATED)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="vmferry.steps")


def build() -> SimulatedFleet:
    """Return three hosts that share storage, with VMs on it and beside it."""
    fleet = SimulatedFleet.of("a", "b", "c")
    fleet.add_vm("a", "web")
    fleet.add_vm("b", "mail", disks=[f"{LOCAL}/mail.qcow2"])
    fleet.add_vm("c", "old", state=DomainState.SHUTOFF)
    return fleet


def read(fleet: SimulatedFleet) -> FleetSnapshot:
    world = fleet.world(journal=memory_journal())
    return read_all_pairs(world, read_fleet(world))


def by_hosts(snapshot: FleetSnapshot) -> dict[tuple[str, str], PairFacts]:
    return {(pair.source, pair.dest): _without_inodes(pair) for pair in snapshot.pairs}


def _without_inodes(pair: PairFacts) -> PairFacts:
    """Leave out what differs between two fleets that are built alike."""
    kinds = {"source_files": pair.source_files, "dest_files": pair.dest_files}
    plain = {
        kind: {path: file.model_copy(update={"inode": 0}) for path, file in files.items()}
        for kind, files in kinds.items()
    }
    return pair.model_copy(update=plain)


def markers(fleet: SimulatedFleet) -> set[str]:
    spaces = (space for host in fleet.hosts.values() for space in host.mounts.values())
    return {path for space in spaces for path in space.files if path.startswith(".vmferry-marker-")}


def struck(fault: Fault) -> str:
    return fault.target or fault.host


def wrongs_of(fleet: SimulatedFleet, fault: Fault, calm: FleetSnapshot) -> Iterator[str]:
    """Read with one fault, heal, read again; yield the broken promises."""
    fleet.inject(fault)
    try:
        yield from _wrong_answers(read(fleet), fault, calm)
    except SimulatedCrash:
        if fault.does not in CRASHES:
            yield "crashed without a crash"
    except UnsafeError as error:
        if fault.host:  # a journal that cannot be used stops everything, a host never does
            yield f"raised {error!r}"
    may_leave = fault.does in (*CRASHES, *LOSSES) or fault.op == "remove_markers"
    if markers(fleet) and not may_leave:
        yield f"left {markers(fleet)}"
    fleet.heal()
    if by_hosts(read(fleet)) != by_hosts(calm):
        yield "once healed, the hosts are read differently"
    yield from (problem.words() for problem in fleet.problems())


def _wrong_answers(snapshot: FleetSnapshot, fault: Fault, calm: FleetSnapshot) -> Iterator[str]:
    pairs = by_hosts(snapshot)
    read_ones = {facts.name for facts in snapshot.hosts}
    if {*read_ones, *(lost.host for lost in snapshot.unreachable)} != {"a", "b", "c"}:
        yield f"hosts are missing: {snapshot.unreachable}"
    if read_ones < {"a", "b", "c"} - {struck(fault)}:
        yield f"hosts are hidden: {snapshot.unreachable}"
    for hosts, sound in by_hosts(calm).items():
        pair = pairs.get(hosts)
        if pair is None or pair == sound:
            if pair is None and struck(fault) not in hosts:
                yield f"{hosts} is missing"
        elif struck(fault) not in hosts:
            yield f"{hosts} is spoilt: {pair}"
        elif not set(pair.same_storage) <= set(sound.same_storage):
            yield f"{hosts}: storage is believed to be shared: {pair.same_storage}"


def test_no_single_fault_spoils_what_the_other_hosts_say_or_leaves_anything_behind() -> None:
    calm_fleet = build()
    calm = read(calm_fleet)
    log = calm_fleet.operations()
    faults = [counted(fault, log) for fault in calm_fleet.faults()]
    assert {"make_markers", "remove_markers", "probe_peers", "compare_cpus"} <= {fault.op for fault in faults}
    assert len(faults) > 100
    assert markers(calm_fleet) == set()
    broken = {str(fault): list(wrongs_of(build(), fault, calm)) for fault in faults}
    wrong = {where: what for where, what in broken.items() if what}
    assert not wrong, "\n".join(f"{where}: {what}" for where, what in wrong.items())
