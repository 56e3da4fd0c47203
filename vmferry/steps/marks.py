"""The mark of a run on its VM: every vmferry sees it, whatever its journal (docs/decisions/0020).

Written on the source just before the VM is touched; it travels with the domain's XML and goes last.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from vmferry.domxml.marks import marks_of, put_mark
from vmferry.errors import AlreadyMoving, MoveFailed, OutcomeUnknown, PermanentError, TransientError, VmferryError
from vmferry.model.disks import CopyStats
from vmferry.model.effects import VmMarked
from vmferry.model.mark import LEASE_S, VmMark, is_over
from vmferry.model.migration import MigrationPlan
from vmferry.model.vm import DomainState
from vmferry.ports import OnCopy, World
from vmferry.progress import CopyProgress, publish
from vmferry.rules.marks import STALE, told
from vmferry.steps.names import StepName, made
from vmferry.stopping import current_stop

logger = logging.getLogger("vmferry.steps")

# Two that mark a VM at the same time see each other; the one with the lower run id waits so long for the other to go.
_RACE_S = 3.0
_AGAIN_S = 0.2


def lease_s(plan: MigrationPlan) -> float:
    """Return for how long a run's mark is written: while its job runs libvirt lets nobody renew it."""
    return LEASE_S + plan.deadline_s


def mark_of(plan: MigrationPlan, world: World) -> VmMark:
    """Return the run's mark as it is to be written now."""
    record, now = world.journal.find(plan.run), world.clock.now()
    until = now + timedelta(seconds=lease_s(plan))
    return VmMark(
        run=plan.run, owner=record.owner, source=plan.source, dest=plan.dest, since=record.opened_at, until=until
    )


def claim(plan: MigrationPlan, world: World) -> None:
    """Mark the VM on its source; raises AlreadyMoving when another run has marked it. May be repeated.

    libvirt has no compare-and-swap. Each run has a mark of its own and reads all of them after writing it: only who
    then sees no other one goes on, so that of two at least one sees both, whichever was faster. Marks that are over
    go away when the operator has lifted the rule, and only after both of their hosts have been looked at.
    """
    source, mark = world.hypervisor(plan.source), mark_of(plan, world)
    made(plan, world, StepName.RESERVE, VmMarked(host=plan.source, uuid=plan.uuid))
    waited = 0.0
    while True:
        try:
            marks = source.mark(plan.uuid, mark)
        except OutcomeUnknown as error:  # it may be written again
            raise TransientError(str(error), vm=plan.vm, host=plan.source) from error
        others = [other for other in marks if other.run != plan.run]
        rivals = [other for other in others if not _take_away(other, plan, world)]
        if not rivals:
            return
        # Preflight saw no mark: these came just now, and those of higher run ids give way.
        if waited >= _RACE_S or min(other.run for other in rivals) < plan.run:
            raise AlreadyMoving(f"vm {plan.vm}: {told(rivals[0])}", vm=plan.vm)
        world.clock.sleep(_AGAIN_S)
        waited += _AGAIN_S


def holder(plan: MigrationPlan, world: World) -> str:
    """Return who has marked the VM on its source and what to do, for a message; empty when no other run has."""
    marks = marks_of(world.hypervisor(plan.source).read_xml(plan.uuid, is_inactive=False))
    return next((told(mark) for mark in marks if mark.run != plan.run), "")


def _take_away(other: VmMark, plan: MigrationPlan, world: World) -> bool:
    """Remove another run's mark that is over, where the operator said so and both of its hosts were seen."""
    is_lifted = any(finding.is_lifted and finding.rule == STALE for finding in plan.warnings)
    if not is_lifted or not is_over(other.until, world.clock.now()):
        return False
    for host in {other.source, other.dest} - {plan.source}:
        if world.inventory.find(host) is None:
            raise PermanentError(
                f"vm {plan.vm}: {other.words()}, and {host} is not in the inventory: nobody here can look whether a "
                "copy of it is there",
                vm=plan.vm,
            )
        seen = world.hypervisor(host).look(plan.uuid)
        if not seen.is_reachable or seen.state is not DomainState.ABSENT:
            raise PermanentError(f"vm {plan.vm}: {other.words()}, and on {host} it is {seen.words()}", vm=plan.vm)
    world.hypervisor(plan.source).unmark(plan.uuid, other.run)
    logger.warning("run %s vm %s: took away a mark that was over: %s", plan.run, plan.vm, other.words())
    return True


def marked(xml: str, plan: MigrationPlan, world: World) -> str:
    """Return an operator's own XML with the run's mark, so that the VM arrives with it."""
    return put_mark(xml, mark_of(plan, world))


def telling_of_copy(plan: MigrationPlan, world: World) -> OnCopy:
    """Return a callback that publishes samples of a copy, and renews the VM's mark while it lasts.

    It raises MoveFailed when the run is to be aborted; it may be called from another thread than the step's.
    """
    renewed_at, stop = world.clock.now(), current_stop()

    def on_copy(stats: CopyStats) -> None:
        nonlocal renewed_at
        publish(CopyProgress(run=plan.run, vm=plan.vm, stats=stats))
        if why := stop.reason_to_end():
            raise MoveFailed(f"vm {plan.vm}: {why} while {stats.path} was copied", vm=plan.vm)
        now = world.clock.now()
        if now - renewed_at < timedelta(seconds=LEASE_S / 3):
            return
        renewed_at = now
        try:
            world.hypervisor(plan.source).mark(plan.uuid, mark_of(plan, world))
        except VmferryError as error:
            logger.warning("run %s vm %s: the mark was not renewed: %s", plan.run, plan.vm, error)

    return on_copy
