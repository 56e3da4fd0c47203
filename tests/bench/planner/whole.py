"""Evacuations from a snapshot to a plan: simulated hosts, every rule asked, reasons and explanations made."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import numpy as np

from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated import SimulatedFleet
from vmferry.model.host import FleetSnapshot
from vmferry.model.plan import PlanRequest, Purpose
from vmferry.planning.fleet.plan import plan
from vmferry.planning.replay_fleet import replay_fleet
from vmferry.steps.read import read_all_pairs, read_fleet


def simulated(hosts: int, vms: int, memory_mib: int = 262_144) -> FleetSnapshot:
    """Return the snapshot of simulated hosts that all see each other."""
    fleet = SimulatedFleet.of(*(f"kvm{number}" for number in range(hosts)), memory_mib=memory_mib, cpus=64)
    for number in range(vms):
        fleet.add_vm(f"kvm{number % hosts}", f"vm{number}")
    world = fleet.world(journal=SqlJournal("sqlite://"))
    return read_all_pairs(world, read_fleet(world))


def whole_evacuations(hosts: int, vms: int, say: Callable[[str], None]) -> tuple[float, float]:
    """Return p50 and p99 of CPU seconds from a snapshot to a checked plan's moves, each of the hosts evacuated once."""
    snapshot = simulated(hosts, vms)
    gc.collect()
    gc.freeze()  # as `vmferry plan` does when it has read the fleet
    seconds = []
    for number in range(hosts):
        request = PlanRequest(purpose=Purpose.EVACUATE, hosts=(f"kvm{number}",))
        begun = time.process_time()
        made = plan(snapshot, request)
        seconds.append(time.process_time() - begun)
        if made.stranded:
            raise RuntimeError(f"kvm{number}: {made.stranded[0].summary()}")
    p50, p99 = float(np.percentile(seconds, 50)), float(np.percentile(seconds, 99))
    say(f"from snapshot to plan: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms")
    return p50, p99


def explained_share(say: Callable[[str], None]) -> str:
    """Strand VMs of a small full fleet; return how many have reasons, a nearest host and something that would help."""
    snapshot = simulated(6, 90, memory_mib=40_960)
    hosts = tuple(f"kvm{number}" for number in range(5))
    request = PlanRequest(purpose=Purpose.EVACUATE, hosts=hosts)
    made = plan(snapshot, request)
    broken = replay_fleet(made)
    good = [s for s in made.stranded if s.explanation and s.explanation.conflict and s.explanation.nearest]
    say(f"{len(made.stranded)} stranded, {len(good)} explained; replay finds {len(broken)} problems")
    if broken:
        raise RuntimeError("; ".join(broken))
    return f"{len(good)} of {len(made.stranded)}"
