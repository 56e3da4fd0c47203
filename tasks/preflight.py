"""Read hosts and what they see of each other."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task

from tasks._policy import READ
from tasks._wiring import world
from vmferry.model.host import FleetSnapshot
from vmferry.model.vm import Vm
from vmferry.steps import read, read_dirty


@task(**READ, task_run_name="read fleet")
def read_fleet(hosts: Sequence[str] | None = None) -> FleetSnapshot:
    """Read every host once, in parallel."""
    return read.read_fleet(world(), hosts)


@task(**READ, task_run_name="preflight {source} → {dests}")
def read_ways(
    snapshot: FleetSnapshot, source: str, dests: Sequence[str], vms: Sequence[Vm], arriving: Vm | None = None
) -> FleetSnapshot:
    """Look from the source at each destination: the way and its speed, networks, files, CPUs; and how VMs write."""
    return read_dirty.read_ways(world(), snapshot, source, dests, vms, arriving)
