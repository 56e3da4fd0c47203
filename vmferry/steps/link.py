"""A step whose data travels over a link that has a total for all moves together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vmferry.model.journal import RunState
from vmferry.model.migration import MigrationMode, MigrationPlan
from vmferry.planning.link_register import share_of, travelling
from vmferry.planning.link_shares import Travel, first_grant
from vmferry.planning.window import limits_of
from vmferry.ports import World
from vmferry.steps.names import StepName


@contextmanager
def on_the_link(plan: MigrationPlan, step: StepName, world: World) -> Iterator[MigrationPlan]:
    """Yield the plan with the run's share of its hosts' links as its cap; unchanged where no host has a total.

    A job's cap follows while it runs (`adapters/steering.py`). A copy, and a disk that QEMU mirrors, keep the speed of
    their start (libvirt lets nobody change a block job during a migration): they get a part that is always free.
    """
    limits = limits_of(world.inventory)
    is_limited = any(limits[host].total_mib_s is not None for host in (plan.source, plan.dest) if host in limits)
    copies, moves = step is StepName.STORAGE, step is StepName.MOVE and plan.mode is not MigrationMode.OFFLINE
    if not is_limited or not ((copies and plan.files) or moves):
        yield plan
        return
    travel = _travel(plan)
    if copies or plan.disks:
        travel = travel.model_copy(update={"fixed_mib_s": first_grant(travel, limits)})
    with travelling(travel, limits, _others(plan, world)):
        cap = share_of(plan.run)
        if cap is not None and moves and plan.disks:
            cap = max(1, cap // len(plan.disks))  # libvirt gives the cap to each of them
        yield plan.model_copy(update={"bandwidth_mib_s": cap})


def _others(plan: MigrationPlan, world: World) -> tuple[Travel, ...]:
    """Return the open runs of other processes; ours are in the register while their data travels."""
    ours = world.journal.find(plan.run).owner
    return tuple(
        _travel(record.plan)
        for record in world.journal.unsettled()
        if record.state is RunState.OPEN and record.owner != ours
    )


def _travel(plan: MigrationPlan) -> Travel:
    return Travel(run=plan.run, source=plan.source, dest=plan.dest, cap_mib_s=plan.bandwidth_mib_s)
