"""Consolidation on real hosts: libvirt's counters, a plan of the whole fleet, real moves, hosts really empty."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flows.consolidate_fleet import consolidate_fleet
from infra.lab import DiskKind, GuestSpec, Lab
from vmferry.adapters.world import RealWorld
from vmferry.model.optimization import OptimizationReport
from vmferry.model.usage import SubjectKind

pytestmark = pytest.mark.lab


def observe(world: RealWorld) -> None:
    """Read the counters twice; the first reading is dated back, so that the sample covers an hour."""
    for host in world.inventory.names():
        reading = world.hypervisor(host).read_counters()
        world.usage.take(reading.model_copy(update={"at": reading.at - timedelta(minutes=61)}))
    for host in world.inventory.names():
        world.usage.take(world.hypervisor(host).read_counters())


def test_quiet_guests_are_packed_onto_one_host_and_the_others_are_empty(fleet: Lab, world: RealWorld) -> None:
    guests = {"packed1": "kvm1", "packed2": "kvm2", "packed3": "kvm3"}
    for name, host in guests.items():
        fleet.add_guest(GuestSpec(name=name, host=host, memory_mib=48, working_set_mib=4, disk=DiskKind.NOLOCK))
    observe(world)
    kept = world.usage.read([(0, 1 << 40)])
    assert {u.subject.name for u in kept if u.subject.kind is SubjectKind.VM} == set(guests)

    report = consolidate_fleet(min_gain_wh=0, max_parallel=2)

    assert isinstance(report, OptimizationReport), report
    assert len(report.emptied) == 2 and len(report.outcomes) == 2
    (left,) = {"kvm1", "kvm2", "kvm3"} - set(report.emptied)
    assert {name: fleet.where(name) for name in guests} == {name: {left: "running"} for name in guests}
    assert all(fleet.hosts[host].list_domains() == {} for host in report.emptied)
    assert {cordon.host for cordon in world.journal.cordons()} == set(report.emptied)
    assert report.decision.worth is not None and report.decision.worth.net_wh > 0
    assert all(move.forecast is not None and move.forecast.seconds for move in report.decision.plan.moves)

    again = consolidate_fleet(min_gain_wh=0, dry_run=True)
    assert isinstance(again, OptimizationReport) and again.decision.plan.moves == ()
