"""Samples of what hosts and VMs use."""

from __future__ import annotations

from prefect import task

from tasks._policy import READ
from tasks._wiring import settings, world
from vmferry.errors import HostUnreachable
from vmferry.model.host import FleetSnapshot
from vmferry.model.usage import FleetUsage, UsageTaken
from vmferry.steps import usage


@task(**READ, task_run_name="sample usage")
def take_samples() -> UsageTaken:
    """Read every host's counters once, in parallel, and keep what was used since the last time."""
    taken = usage.sample_usage(world(), settings().usage_keep_days)
    if taken.hosts and len(taken.problems) == len(taken.hosts):
        raise HostUnreachable(f"no host answers: {'; '.join(taken.problems)}")
    return taken


@task(**READ, task_run_name="read usage")
def read_demands(snapshot: FleetSnapshot) -> FleetUsage:
    """Read what each running VM is expected to need."""
    return usage.read_usage(world(), snapshot)
